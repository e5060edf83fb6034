import gc
import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
from flask import Blueprint, Flask, current_app
from prometheus_client import CollectorRegistry, Counter

from flask_llm import FlaskLLM, LLMFactory, current_llm
from flask_llm.errors import ConfigurationError
from flask_llm.filters import Rejected
from flask_llm.testing import FakeProvider


def make_app(**config):
    app = Flask("testapp")
    app.config |= config
    return app


def test_one_call_sets_an_app_up():
    """`app.llm` is the factory, and so is `app.extensions["llm"]`."""
    app = make_app()
    FlaskLLM(app)

    assert isinstance(app.llm, LLMFactory)
    assert app.extensions["llm"] is app.llm
    with app.app_context():
        assert current_app.llm is app.llm
        assert current_llm == app.llm
        assert current_llm.get_provider_status()["current"] == "gemini"


def test_app_factories_share_one_extension_object():
    """The object keeps nothing of an app: each has its own chain and keys."""
    llm = FlaskLLM()
    before = dict(vars(llm))
    one = make_app(LLM_PRIMARY_PROVIDER=FakeProvider("one"), LLM_FALLBACK_PROVIDERS=[])
    two = make_app(LLM_PRIMARY_PROVIDER=FakeProvider("two"), LLM_FALLBACK_PROVIDERS=[])
    llm.init_app(one)
    llm.init_app(two)

    assert one.llm.generate_content("hello").content == "one"
    assert two.llm.generate_content("hello").content == "two"
    assert vars(llm) == before


def filtered(llm, *providers):
    app = make_app(LLM_PRIMARY_PROVIDER=providers[0])
    app.config["LLM_FALLBACK_PROVIDERS"] = [*providers[1:]]
    llm.init_app(app)
    return app


def adds(word):
    return lambda asked: replace(asked, prompt=f"{asked.prompt} {word}")


def test_a_filter_of_the_extension_holds_for_every_app():
    """Registered before or after `init_app`, at module level, in their order."""
    llm = FlaskLLM()
    fakes = [FakeProvider(), FakeProvider()]
    one = filtered(llm, fakes[0])
    llm.prompt_filter(adds("first"))
    two = filtered(llm, fakes[1])
    llm.prompt_filter(adds("second"))
    for app, fake in [(one, fakes[0]), (two, fakes[1])]:
        app.llm.generate_content("hello")
        assert fake.calls[0].prompt == "hello first second"


def test_a_filter_of_an_app_is_its_own():
    """It comes after those of the extension, and no other app has it."""
    llm = FlaskLLM()
    fakes = [FakeProvider(), FakeProvider()]
    one, two = (filtered(llm, fake) for fake in fakes)
    one.llm.prompt_filter(adds("one's"))
    llm.prompt_filter(adds("all's"))
    one.llm.generate_content("hello")
    two.llm.generate_content("hello")

    assert fakes[0].calls[0].prompt == "hello all's one's"
    assert fakes[1].calls[0].prompt == "hello all's"


def test_an_output_filter_of_the_extension_may_reject():
    """The next provider of that app is asked."""
    llm = FlaskLLM()

    @llm.output_filter
    def no_spam(answer):
        if "spam" in answer.content:
            raise Rejected("spam")
        return answer

    app = filtered(llm, FakeProvider("spam"), FakeProvider("ham", name="second"))
    assert app.llm.generate_content("hello").content == "ham"


def test_extensions_do_not_share_filters():
    """Two extension objects in one process know nothing of each other."""
    fake = FakeProvider()
    FlaskLLM().prompt_filter(adds("other"))
    filtered(FlaskLLM(), fake).llm.generate_content("hello")
    assert fake.calls[0].prompt == "hello"


def test_a_filter_is_what_it_was():
    """The decorators return the function, so that it can be tested and used alone."""
    llm = FlaskLLM()
    function = adds("x")
    assert llm.prompt_filter(function) is function
    assert llm.output_filter(function) is function


def test_an_app_can_be_collected():
    """An extension at module level keeps no app of a test alive."""
    llm = FlaskLLM()
    app = make_app()
    llm.init_app(app)
    gone = weakref.ref(app)
    del app
    gc.collect()

    assert gone() is None


def test_a_second_registration_is_refused_with_advice():
    """Two factories for one app would be a riddle."""
    app = make_app()
    FlaskLLM(app)

    with pytest.raises(RuntimeError, match=r"already has an extension 'llm'.*once"):
        FlaskLLM(app)


def test_a_wrong_configuration_fails_at_start_with_every_fault():
    """One error lists all faults, each with its key, general or a provider's."""
    app = make_app(
        LLM_PRIMARY_PROVIDER="gemni",
        LLM_TIMEOUT="soon",
        LLM_MAX_RETRIES="-1",
        LLM_URL_PREFIX="llm/",
        ANTHROPIC_API_KEY="sk 1",
        LLM_CLAUDE_BASE_URL="claude.internal",
    )

    with pytest.raises(ConfigurationError) as caught:
        FlaskLLM(app)
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "LLM_MAX_RETRIES",
        "LLM_TIMEOUT",
        "LLM_URL_PREFIX",
        "LLM_PRIMARY_PROVIDER",
        "ANTHROPIC_API_KEY",
        "LLM_CLAUDE_BASE_URL",
    ]
    assert "llm" not in app.extensions


def test_a_set_up_that_failed_leaves_nothing_and_can_be_done_once_more():
    """Whoever catches the error has an app without the extension, not half of one."""
    taken = CollectorRegistry()
    Counter("flask_llm_attempts", "of somebody else", registry=taken)
    app = make_app(
        LLM_METRICS_REGISTRY=taken,
        LLM_PRIMARY_PROVIDER=FakeProvider("a"),
    )
    rules = len(list(app.url_map.iter_rules()))
    with pytest.raises(ConfigurationError, match="LLM_METRICS_REGISTRY"):
        FlaskLLM(app)
    assert (app.extensions, app.blueprints, hasattr(app, "llm")) == ({}, {}, False)
    assert "llm" not in app.cli.commands
    assert len(list(app.url_map.iter_rules())) == rules
    assert [each for each in names_of(taken) if each.startswith("flask_llm")] == [
        "flask_llm_attempts"
    ]

    app.config["LLM_METRICS_REGISTRY"] = own = CollectorRegistry()
    FlaskLLM(app)
    assert app.llm.generate_content("Hi").success
    assert "flask_llm_calls" in names_of(own)


def names_of(registry):
    """Return the names of all metrics."""
    return [each.name for each in registry.collect()]


def test_an_app_that_has_served_is_told_where_to_call_it():
    """Flask's own words for it name a method that the app did not call."""
    app = make_app()
    app.test_client().get("/")
    with pytest.raises(RuntimeError, match=r"too late.*where the app is made"):
        FlaskLLM(app)
    assert app.extensions == {}


def test_a_blueprint_of_that_name_is_told():
    """The error says which of the two names can be changed."""
    app = make_app()
    app.register_blueprint(Blueprint("flask_llm", __name__))
    with pytest.raises(RuntimeError, match="a blueprint 'flask_llm': give it another"):
        FlaskLLM(app)


def test_no_key_is_no_error_at_start():
    """A developer without keys can still start the app and see what is missing."""
    app = make_app()
    FlaskLLM(app)

    status = app.llm.get_provider_status()
    assert status["primary"] == {"name": "gemini", "available": False}


def test_current_llm_without_the_extension_says_what_to_do():
    """A forgotten `FlaskLLM(app)` is told by name."""
    with (
        make_app().app_context(),
        pytest.raises(RuntimeError, match=r"call FlaskLLM\(app\) first"),
    ):
        current_llm.get_provider_status()


def test_current_llm_outside_an_app_context_is_flask_s_own_error():
    """The usual sentence about the application context."""
    with pytest.raises(RuntimeError, match="Working outside of application context"):
        current_llm.get_provider_status()


def test_starting_an_app_emits_the_documented_line(caplog):
    """INFO LLMFactory initialized with primary provider: gemini; else nothing.

    With the dashboard comes a warning that it is closed: see `web/test_guard.py`.
    """
    caplog.set_level("INFO", "flask_llm")
    FlaskLLM(make_app(LLM_DASHBOARD="off"))

    assert [(r.levelname, r.name, r.getMessage()) for r in caplog.records] == [
        ("INFO", "flask_llm", "LLMFactory initialized with primary provider: gemini")
    ]


def test_an_app_of_another_framework_is_refused():
    """At once, and with the way that works there."""

    class Quart:
        config = {}  # noqa: RUF012  # as it has one

    with pytest.raises(TypeError, match="needs a Flask app, not Quart: there use"):
        FlaskLLM(Quart())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, True),
        ({b"master": True}, True),
        ({b"enable-threads": True}, False),
        ({"threads": b"4"}, False),
        (None, False),
    ],
)
def test_uwsgi_without_threads_is_told(monkeypatch, caplog, options, told):
    """By its own options, which it shows to the apps that it runs."""
    if options is not None:
        monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=options))
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider(), "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app, authorize=lambda: True)
    assert ("Start it with --enable-threads" in caplog.text) is told


@pytest.mark.parametrize(
    ("key", "sdks", "told"),
    [
        ("AIza-of-no-use", set(), True),
        ("AIza-of-no-use", {"google.genai"}, False),
        ("AIza-of-no-use", {"google.generativeai"}, False),
        ("", set(), False),
    ],
)
def test_gemini_without_an_sdk_is_told(monkeypatch, caplog, key, sdks, told):
    """Both pip lines, and why one may be better; nothing where there is no key."""
    monkeypatch.setattr("flask_llm.extension.installed", sdks.__contains__)
    make = Flask("testapp")
    make.config |= {"GOOGLE_API_KEY": key, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(make, authorize=lambda: True)
    lines = [each for each in caplog.messages if "gemini is unavailable" in each]
    assert len(lines) == told
    for line in lines:
        assert '"Flask-LLM[google-genai]"; or "Flask-LLM[gemini]"' in line
