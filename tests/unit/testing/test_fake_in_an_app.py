"""A fake in an app that exists already, whose settings nothing hears any more."""

from dataclasses import replace

import pytest
from flask import Flask

from flask_llm import FlaskLLM, current_llm, testing
from flask_llm.errors import QuotaError
from flask_llm.signals import generation_finished
from flask_llm.testing import FakeProvider


@pytest.fixture
def app():
    app = Flask("testapp")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": FakeProvider("paid", name="gemini"),
        "LLM_FALLBACK_PROVIDERS": [],
        "TESTING": True,
    }
    FlaskLLM(app, authorize=lambda: True)

    @app.get("/")
    def view():
        return current_llm.generate_content("hello").content

    return app


def test_the_fake_is_asked_as_long_as_the_test_lasts(app):
    """By each way to the factory; afterwards the app is as before."""
    real = app.llm
    with testing.fake(app, FakeProvider("spam")) as factory:
        assert app.test_client().get("/").text == "spam"
        assert factory is app.llm is app.extensions["llm"]
    assert app.llm is app.extensions["llm"] is real
    assert app.test_client().get("/").text == "paid"


def test_a_chain_of_fakes(app):
    """With settings of its own."""
    chain = FakeProvider(QuotaError(), name="one"), FakeProvider("two", name="two")
    with testing.fake(app, *chain, LLM_MAX_RETRIES=1):
        response = app.llm.generate_content("hello")
    assert [each.outcome for each in response.attempts] == ["quota", "success"]


def test_filters_and_signals_are_those_of_the_app(app):
    """What the app has set up stays in place."""
    heard = []

    def hear(sender, event):
        heard.append((sender, event.response.content))

    app.llm.output_filter(lambda answer: replace(answer, content=answer.content[::-1]))
    with generation_finished.connected_to(hear, app), testing.fake(app):
        app.llm.generate_content("hello")
    assert heard == [(app, "ko")]


def test_it_ends_with_an_exception_too(app):
    """And an app without the extension is told so."""
    real = app.llm
    with pytest.raises(ZeroDivisionError), testing.fake(app):
        raise ZeroDivisionError
    assert app.llm is real
    with (
        pytest.raises(RuntimeError, match="call FlaskLLM"),
        testing.fake(Flask("other")),
    ):
        pass


def test_a_setting_that_comes_too_late_is_told(app, caplog):
    """Once, when it is asked for the first time; it names the key and the way."""
    app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider("late")
    for _ in range(2):
        app.llm.generate_content("hello")
    (line,) = [each for each in caplog.messages if "not heard" in each]
    assert "LLM_PRIMARY_PROVIDER" in line
    assert "flask_llm.testing.fake(app, ...)" in line
