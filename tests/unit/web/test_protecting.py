"""What docs/protecting.md tells an app to write protects it."""

import re
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from flask_httpauth import HTTPBasicAuth
from flask_login import LoginManager
from werkzeug.routing import Rule

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

PAGE = Path(__file__).parents[3] / "docs" / "protecting.md"
METRICS = "/llm/metrics"


def make_app(**config):
    app = Flask("testapp", **config.pop("flask", {}))
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider(), "LLM_METRICS": "on"}
    app.config |= {"LLM_FALLBACK_PROVIDERS": [], "SECRET_KEY": "for sessions"}
    app.config |= config
    return app


def scraped(app, token):
    """Return the status that Prometheus gets, with a token as it sends it."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return app.test_client().get(METRICS, headers=headers).status_code


def with_the_snippet(**config):
    """Return an app that does what the page shows for Prometheus."""
    app = make_app(**config)
    LoginManager(app).user_loader(lambda number: None)
    (code,) = re.findall(r"```python\n([^`]*compare_digest[^`]*)```", PAGE.read_text())
    exec(code, {"app": app, "FlaskLLM": FlaskLLM})  # the page's own
    return app


@pytest.mark.parametrize(
    ("wanted", "sent", "status"),
    [
        ("t0ken", "t0ken", 200),
        ("t0ken", "other", 403),
        ("t0ken", "ü", 403),
        ("t0ken", "", 403),
        ("t0ken", None, 403),
        ("", "", 403),
        ("", None, 403),
        (None, "x", 403),
        ("ü", "x", 403),
    ],
)
def test_the_token_for_prometheus(wanted, sent, status):
    """Only the right one opens the door, and one that is not set opens it to nobody."""
    app = with_the_snippet(METRICS_TOKEN=wanted)

    assert scraped(app, sent) == status
    assert app.test_client().get("/llm/dashboard").status_code == 403


def test_the_token_opens_no_other_route():
    """Prometheus reads the metrics and nothing else."""
    app = with_the_snippet(METRICS_TOKEN="t0ken")
    headers = {"Authorization": "Bearer t0ken"}

    assert app.test_client().get("/llm/dashboard", headers=headers).status_code == 403


def test_flask_httpauth_guards_them():
    """With its own answer, a 401 that makes a browser ask for the password."""
    auth = HTTPBasicAuth()
    auth.verify_password(lambda name, password: (name, password) == ("ann", "pw"))
    app = make_app()
    FlaskLLM(app, view_decorators=[auth.login_required])
    client = app.test_client()

    refused = client.get(METRICS)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert client.get(METRICS, auth=("ann", "pw")).status_code == 200


def test_the_first_decorator_is_the_outermost():
    """As they would be written above a view."""
    seen = []

    def noting(name):
        def decorator(view):
            def entered(*args, **kwargs):
                seen.append(name)
                return view(*args, **kwargs)

            return entered

        return decorator

    app = make_app()
    FlaskLLM(app, view_decorators=[noting("first"), noting("second")])
    app.test_client().get(METRICS)

    assert seen == ["first", "second"]


def test_an_app_with_hosts_says_which_one_is_ours():
    """With `url_rule_class`, before the extension is made."""
    app = make_app(flask={"host_matching": True, "static_host": "www.example"})
    app.url_rule_class = partial(Rule, host="ops.example")
    FlaskLLM(app, authorize=lambda: True)
    client = app.test_client()
    for path in ("status", "dashboard", "static/dashboard.css"):
        url = f"/llm/{path}"
        for host, status in (("ops", 200), ("www", 404)):
            with client.get(url, base_url=f"http://{host}.example") as answer:
                assert (answer.status_code, url) == (status, url)


def test_a_policy_that_an_app_sets_by_default_leaves_ours():
    """Ours is stricter than most, and stands when `after_request` is called."""
    app = make_app()
    FlaskLLM(app, authorize=lambda: True)

    @app.after_request
    def policy(response):
        response.headers.setdefault("Content-Security-Policy", "default-src *")
        return response

    page = app.test_client().get("/llm/dashboard", headers={"Accept": "text/html"})
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
