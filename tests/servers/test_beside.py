"""docs/beside.md: each recipe does what the page says, beside the real extension."""

import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from flask import Flask
from gunicorn_server import SOON
from usage_calls import soon

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "beside.md").read_text()
ALEMBIC = (DOCS / "usage.md").read_text().partition("## Alembic")[2]


def recipe(title):
    """Return the code that the page shows below a heading."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.search(r"```python\n(.+?)```", section, re.DOTALL)[1]


def make_app(**config):
    app = Flask("testapp")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": FakeProvider(*["hello"] * 20),
        "LLM_FALLBACK_PROVIDERS": [],
        **config,
    }
    FlaskLLM(app, authorize=lambda: True)
    return app


def test_flask_limiter():
    """Health is asked more often than the default limit allows; views keep theirs."""
    app = make_app(RATELIMIT_STORAGE_URI="memory://")
    code = recipe("Flask-Limiter").replace("200 per hour", "2 per hour")
    exec(code, {"app": app})
    app.add_url_rule("/other", view_func=lambda: "")
    client = app.test_client()

    assert {client.get("/llm/health/live").status_code for _ in range(9)} == {200}
    assert [client.get("/other").status_code for _ in range(3)] == [200, 200, 429]
    asked = [client.post("/summary") for _ in range(6)]
    assert [each.status_code for each in asked] == [200] * 5 + [429]
    assert asked[0].json == {"text": "hello"}


def test_flask_talisman():
    """The dashboard keeps the policy under which it runs, the app has Talisman's."""
    alone = make_app().test_client().get("/llm/dashboard")
    app = make_app()
    app.add_url_rule("/", view_func=lambda: "")
    exec(recipe("Flask-Talisman"), {"app": app})
    client = app.test_client()
    page, policy = client.get("/llm/dashboard"), "Content-Security-Policy"

    assert page.status_code == 200
    assert page.headers.getlist(policy) == alone.headers.getlist(policy) != []
    assert client.get("/llm/health/live").status_code == 200
    assert client.get("/").status_code == 302
    other = client.get("/", base_url="https://localhost")
    assert "default-src 'self'" in other.headers[policy]
    found = re.search(r'src="([^"]+\.js)"', page.text)
    with client.get(found[1], base_url="https://localhost") as script:
        assert script.status_code == 200


def test_celery():
    """A task asks in a context of its own."""
    scope = {"app": make_app()}
    exec(recipe("Celery, RQ and other workers"), scope)
    scope["queue"].conf.task_always_eager = True

    assert scope["summarize"].delay("a text").get() == "hello"


MODELS = """
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

db = SQLAlchemy()
app = Flask(__name__)
app.config |= dict(
    SQLALCHEMY_DATABASE_URI="sqlite:///{folder}/app.db",
    LLM_USAGE_URL="sqlite:///{folder}/app.db",
    LLM_PRIMARY_PROVIDER=FakeProvider("hello"),
    LLM_FALLBACK_PROVIDERS="none",
    LLM_DASHBOARD=False,
)
class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
db.init_app(app)
{set_up}
"""
MIGRATED = """
import flask_migrate
from flask_llm.observe.usage import flush
from models import app

with app.app_context():
    flask_migrate.init()
    flask_migrate.migrate(message="one")
    flask_migrate.upgrade()
    assert app.llm.generate_content("hi").success
    assert flush(app, 60)
    flask_migrate.migrate(message="two")
"""
SHOWN = re.search(r"\nmigrate = (Migrate\(.+\))", ALEMBIC)[1]


@pytest.mark.parametrize(
    ("set_up", "drops"),
    [
        ("Migrate(app, db); FlaskLLM(app)", False),
        ("from flask_llm.observe.usage import *; FlaskLLM(app); SHOWN", False),
        ("FlaskLLM(app); Migrate(app, db)", True),
    ],
)
def test_flask_migrate(tmp_path, set_up, drops):
    """No migration drops the log; without the recipe one does, as the page says."""
    set_up = set_up.replace("SHOWN", SHOWN).replace("*", "include_object")
    models = MODELS.format(folder=tmp_path, set_up=set_up)
    (tmp_path / "models.py").write_text(models)
    subprocess.run(
        [sys.executable, "-c", MIGRATED],
        cwd=tmp_path,
        check=True,
        timeout=SOON,
        capture_output=True,
    )
    written = "".join(each.read_text() for each in tmp_path.rglob("*_two.py"))
    assert ("op.drop_table('flask_llm_calls')" in written) is drops


SERVED = """
import time
from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from flask_llm import FlaskLLM, LLMResponse
from flask_llm.testing import FakeProvider

class Slow(FakeProvider):
    def stream(self, request):
        for number in range(3):
            print("said", number, flush=True)
            yield f"text {number}"
            while number == 0 and not open("go").read():
                time.sleep(0.01)
        return LLMResponse(success=True, content="", provider_name="slow")

app = Flask(__name__)
app.config |= dict(
    LLM_PRIMARY_PROVIDER=Slow(), LLM_FALLBACK_PROVIDERS="none", LLM_DASHBOARD=False
)
FlaskLLM(app)

@app.get("/")
def answer():
    return app.llm.stream_response("hello")

a2wsgi, asgiref = WSGIMiddleware(app), WsgiToAsgi(app)
"""


@pytest.mark.parametrize("adapter", ["a2wsgi", "asgiref"])
def test_adapters_from_asgi(tmp_path, adapter):
    """Texts come as they are said; nobody tells that a client has left."""
    (tmp_path / "served.py").write_text(SERVED)
    go, output = tmp_path / "go", tmp_path / "output"
    with uvicorn(tmp_path, adapter) as url:
        go.touch()
        with urlopen(url, timeout=SOON) as response:
            first = next(line for line in response if b"text" in line)
            assert b"text 0" in first
            go.write_text("on")
            assert b"text 2" in response.read()
        go.write_text("")
        with urlopen(url, timeout=SOON) as response:
            next(line for line in response if b"text" in line)
        go.write_text("on")
        assert soon(lambda: output.read_text().count("said 2") == 2, SOON)


@contextmanager
def uvicorn(folder, adapter):
    """Serve until the block ends; give the address."""
    output = folder / "output"
    command = [sys.executable, "-m", "uvicorn", f"served:{adapter}", "--port", "0"]
    with output.open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    found = lambda: re.search(r"running on (http://\S+)", output.read_text())  # noqa: E731  # used twice
    try:
        soon(found, SOON)
        yield found()[1]
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(SOON)
        server.kill()
