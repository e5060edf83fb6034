"""Where the app's settings come from."""

import example_app
from example_app import create_app
from flask_llm.resilience.retry import PRESETS


def chain(app):
    status = app.llm.get_provider_status()
    return [each["name"] for each in [status["primary"], *status["fallbacks"]]]


def test_the_default_chain():
    """With nothing set, the last one asked needs no key."""
    assert chain(create_app()) == ["gemini", "claude", "local"]


def test_a_page_is_not_kept_waiting():
    """The defaults suit somebody who looks at a page that does not load."""
    config = create_app().llm.config
    assert config.retry == PRESETS["web"].retry
    assert (config.deadline, config.timeout) == (25, 10)


def test_the_environment_wins_over_the_defaults(monkeypatch):
    """What .env says is done."""
    monkeypatch.setenv("LLM_PRIMARY_PROVIDER", "claude")
    monkeypatch.setenv("LLM_FALLBACK_PROVIDERS", "none")
    monkeypatch.setenv("LLM_RETRY_DELAY", "7")
    app = create_app()
    assert chain(app) == ["claude"]
    assert app.llm.config.retry.delay == 7


def test_a_blank_line_in_the_environment_is_none(monkeypatch):
    """A key without a value, as in a copied .env.example, leaves the default."""
    monkeypatch.setenv("LLM_FALLBACK_PROVIDERS", " ")
    assert chain(create_app()) == ["gemini", "claude", "local"]


def test_the_argument_wins_over_the_environment(monkeypatch):
    """A test or a demo has the last word."""
    monkeypatch.setenv("LLM_PRIMARY_PROVIDER", "claude")
    app = create_app({"LLM_PRIMARY_PROVIDER": "local", "LLM_FALLBACK_PROVIDERS": []})
    assert chain(app) == ["local"]


def test_two_apps():
    """One process may hold several of these apps."""
    assert create_app().llm is not create_app().llm


def test_dotenv_is_read(monkeypatch):
    """The app reads .env itself, since gunicorn does not; it can be told not to."""
    calls = []
    monkeypatch.setattr(example_app, "load_dotenv", lambda: calls.append("read"))
    create_app()
    assert calls == []
    monkeypatch.delenv("FLASK_SKIP_DOTENV")
    create_app()
    assert calls == ["read"]
