"""README and .env.example say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values
from known_keys import EXAMPLES, OWN, documented_keys, read_keys

from flask_llm import LLMFactory
from flask_llm.config.reader import setting_key
from flask_llm.config.settings import LLMConfig
from flask_llm.signals import generation_finished
from flask_llm.testing import FakeProvider

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


# A model in the process has no address.
MEANINGLESS = {"LLM_LOCAL_BASE_URL"}


GENERIC = (
    *("model", "base_url", "timeout", "max_concurrency"),
    *("rate", "token_rate", "limit_group", "tags", "weight"),
)


@pytest.mark.parametrize("text", [README, EXAMPLE], ids=["README", ".env.example"])
def test_every_key_is_documented_and_no_other(text):
    """A key that is read stands in the text, and a key in the text is read."""
    known = read_keys() - MEANINGLESS
    found = documented_keys(text)
    if text is README:
        # The table has a row for LLM_<PROVIDER>_MODEL and its like.
        generic = {setting_key(name, setting) for name in OWN for setting in GENERIC}
        assert known - generic <= found
    else:
        assert known <= found
    assert found - EXAMPLES <= known


def test_the_example_is_a_valid_configuration(tmp_path):
    """Copied and uncommented, it starts: every value shown is the default."""
    uncommented = re.sub(r"(?m)^#(?=[A-Z])", "", EXAMPLE)
    (tmp_path / ".env").write_text(uncommented)
    values = dotenv_values(tmp_path / ".env")
    values |= {"LLM_LOCAL_MODEL": str(tmp_path / ".env")}
    factory = LLMFactory(config=values)

    assert factory.config == LLMConfig()
    for name in [*OWN, "claude-eu"]:
        LLMFactory(name, [], config=values)


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_app_of_the_readme_runs(tmp_path):
    """The twelve lines, word for word, as a file of their own, without any key."""
    app = next(block for block in python_blocks() if "Flask(__name__)" in block)
    (tmp_path / "app.py").write_text(app)
    code = (
        "from app import app\n"
        "client = app.test_client()\n"
        "print(client.get('/llm/status').status_code)\n"
        "answer = client.post('/classify', data={'mail': 'I want my money back'})\n"
        "print(answer.status_code, answer.get_data(as_text=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    first, second = done.stdout.strip().split("\n")
    assert first == "200"
    assert second.startswith("503 ")
    assert "GOOGLE_API_KEY" not in second
    assert "gemini: no API key (set GOOGLE_API_KEY)" in done.stderr
    assert len([line for line in app.splitlines() if line.strip()]) == 12


def test_the_provider_of_the_readme_works():
    """The class that the README shows is a complete provider."""
    block = next(block for block in python_blocks() if "(LLMProvider)" in block)
    scope: dict = {}
    exec(block, scope)
    (name,) = {*LLMFactory.PROVIDER_REGISTRY} - {*OWN}
    factory = LLMFactory(name, [], config={f"{name.upper()}_API_KEY": "k-12345678"})

    assert factory.get_provider_status()["primary"]["available"]


def test_the_receiver_of_the_readme_hears(capsys):
    """The four lines of the signals' example."""
    block = next(b for b in python_blocks() if "generation_finished" in b)
    scope: dict = {}
    exec(block, scope)
    LLMFactory(FakeProvider("hi"), []).generate_content("hello", purpose="greet")
    generation_finished.disconnect(scope["count_tokens"])

    assert capsys.readouterr().out == "greet None\n"


def test_the_test_of_the_readme_passes():
    """The example of `FakeProvider` is a test that passes."""
    block = next(block for block in python_blocks() if "FakeProvider" in block)
    scope: dict = {}
    exec(block, scope)
    tests = [each for name, each in scope.items() if name.startswith("test_")]

    assert tests
    for each in tests:
        each()
    assert FakeProvider is scope["FakeProvider"]
