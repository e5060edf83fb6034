import gc
import os
import subprocess
import sys
import threading
import weakref
from importlib.util import find_spec

import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.observe.aggregates import CALLS, RANGES, Span
from flask_llm.observe.memory import SOURCE
from flask_llm.testing import FakeProvider
from flask_llm.testing.failure_checks import Child


def app_of(*providers, **config):
    first, *rest = providers
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": first, "LLM_FALLBACK_PROVIDERS": rest}
    app.config |= config
    FlaskLLM(app)
    return app


def calls(app):
    """How many calls the app's source knows, in all."""
    everything = Span(0, 1e12, RANGES["7d"])
    rows = app.extensions[SOURCE].sums(CALLS, (), everything)
    return rows[0]["calls"] if rows else 0


def test_calls_are_seen_without_any_setting(app):
    """Each call of the app's factory is there, with what it was for."""
    app.llm.generate_content("hello", purpose="sort")

    (record,) = app.extensions[SOURCE].recent(10)
    assert (record.purpose, record.outcome, record.provider) == (
        "sort",
        "success",
        "fake",
    )
    assert app.extensions[SOURCE].find(record.call_id) == record
    assert app.extensions[SOURCE].about().kind == "memory"
    assert app.extensions[SOURCE].about().since is not None


def test_a_circuit_that_opens_is_seen():
    """With the failure that opened it."""
    app = app_of(
        FakeProvider(QuotaError(status=429, retry_after=60), name="first"),
        FakeProvider("hi", name="second"),
    )

    app.llm.generate_content("hello")

    source = app.extensions[SOURCE]
    (change,) = source.changes(0)
    assert (change.provider, change.kind, change.status) == ("first", "quota", 429)
    assert source.failures()["first"].attempt.outcome == "quota"


def test_two_apps_do_not_mix(fake):
    """Each has its own numbers."""
    one, other = app_of(fake), app_of(FakeProvider("hi", "hi"))

    one.llm.generate_content("hello")
    for _ in range(2):
        other.llm.generate_content("hello")

    assert (calls(one), calls(other)) == (1, 2)


def test_without_a_dashboard_nothing_is_kept(fake):
    """What nobody will look at costs nothing."""
    assert SOURCE not in app_of(fake, LLM_DASHBOARD="off").extensions


def test_an_app_that_is_gone_is_not_kept(fake):
    """The signals hold their receivers weakly."""
    app = app_of(fake)
    app.llm.generate_content("hello")
    window = weakref.ref(app.extensions[SOURCE])
    del app
    gc.collect()

    assert window() is None


def test_a_forked_process_begins_anew(app):
    """What its parent has seen is not its own, and a lock held then stops nobody."""
    app.llm.generate_content("hello")
    source = app.extensions[SOURCE]

    def work():
        assert calls(app) == 0
        app.llm.generate_content("hello")
        assert calls(app) == 1

    with source._memory.get()._lock:
        told = Child(work).end()

    assert told == ""
    assert calls(app) == 1


def test_threads_that_make_the_first_calls_share_one_memory():
    """No call gets lost where two threads both make what is made on first use."""
    app = app_of(FakeProvider(lambda prompt: prompt))
    ready = threading.Barrier(8)

    def call():
        ready.wait()
        app.llm.generate_content("hello")

    threads = [threading.Thread(target=call) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert calls(app) == 8


def test_an_app_starts_without_what_only_calls_need():
    """Nothing of it, nor of the pages, is imported before it is needed."""
    code = """if True:
        import sys
        import flask
        from flask_llm import FlaskLLM
        app = flask.Flask("x")
        app.debug = True
        app.config["GOOGLE_API_KEY"] = "k-12345678"
        FlaskLLM(app)
        assert "llm.source" in app.extensions
        assert "flask_llm.observe.memory" in sys.modules
        assert "flask_llm.web.report" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.skipif(
    not find_spec("gevent") and "FLASK_LLM_CI" not in os.environ, reason="needs gevent"
)
def test_greenlets_lose_no_call():
    """Under gevent's patching calls are counted as ever."""
    code = """if True:
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from flask import Flask
        from flask_llm import FlaskLLM
        from flask_llm.observe.aggregates import RANGES, Span
        from flask_llm.observe.aggregates import CALLS
        from flask_llm.testing import FakeProvider
        app = Flask("x")
        app.debug = True
        app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider(lambda prompt: prompt)
        app.config["LLM_FALLBACK_PROVIDERS"] = []
        FlaskLLM(app)
        source, everything = app.extensions["llm.source"], Span(0, 1e12, RANGES["7d"])

        def call():
            for _ in range(5):
                app.llm.generate_content("hello")
                gevent.sleep()
                source.sums(CALLS, (), everything)

        gevent.joinall([gevent.spawn(call) for _ in range(40)], raise_error=True)
        (row,) = source.sums(CALLS, (), everything)
        assert row["calls"] == 200, row["calls"]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
