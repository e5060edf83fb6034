"""What a first call costs is paid at the start of the process."""

import os
import threading

import pytest
import wire
from flask import Flask

from flask_llm import FlaskLLM, LLMFactory
from flask_llm.extension import WarmUp
from flask_llm.testing import FakeProvider


class Slow(FakeProvider):
    """Notes how it is made ready; may fail at it."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.ready = []
        self.done = threading.Event()
        self.error = None

    def warm_up(self, *, full):
        self.ready.append((full, threading.current_thread().name))
        if self.error:
            raise self.error
        if full:
            self.done.set()


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def factory(slow):
    return LLMFactory(slow, [], config={})


def test_off_by_default(slow):
    """An app starts as fast as it can unless it is told otherwise."""
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": slow, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    app.test_client().get("/llm/status")

    assert slow.ready == []


def test_import_is_done_at_once(factory, slow):
    """Before a fork, so that the workers share it; nothing else follows."""
    warm_up = WarmUp(factory, delay=0)
    warm_up.begin(full=False)

    assert slow.ready == [(False, "MainThread")]
    assert not slow.done.wait(0.05)


def test_full_follows_in_the_background(factory, slow):
    """Clients and the model delay nobody."""
    warm_up = WarmUp(factory, delay=0)
    warm_up.begin(full=True)

    assert slow.done.wait(60)
    assert slow.ready == [(False, "MainThread"), (True, "flask-llm-warm-up")]


def test_it_happens_once_in_a_process(factory, slow):
    """Timer, fork and first request may all ask for it."""
    warm_up = WarmUp(factory)
    for _ in range(3):
        warm_up.start()

    assert slow.done.wait(60)
    assert len(slow.ready) == 1


def test_the_first_request_starts_it_at_the_latest(slow):
    """Such as a health check, which does not wait for it."""
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": slow, "LLM_FALLBACK_PROVIDERS": []}
    app.config["LLM_WARM_UP"] = "full"
    FlaskLLM(app)
    app.extensions["llm.warm_up"].cancel()
    assert not slow.done.is_set()
    app.test_client().get("/llm/status")

    assert slow.done.wait(60)


def test_what_cannot_be_made_ready_is_only_logged(factory, slow, caplog):
    """The app starts; the provider fails again where it matters."""
    slow.error = OSError("disk on fire")
    factory.warm_up()

    assert "fake cannot be warmed up" in caplog.text
    assert "disk on fire" in caplog.text


def test_who_is_unavailable_is_left_alone(factory, slow):
    """Without a key there is nothing to make."""
    slow.available = False
    factory.warm_up()

    assert slow.ready == []


def test_a_process_that_forks_leaves_it_to_its_children(factory, slow):
    """A client made before a fork would share its connections."""
    warm_up = WarmUp(factory, delay=30)
    warm_up.begin(full=True)
    child = _fork(lambda: slow.done.wait(60))

    assert child == 1
    assert not slow.done.is_set()
    assert warm_up._timer is None


def _fork(in_child):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(int(bool(in_child())))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_the_sdk_is_imported_and_no_client_made():
    """`import` loads the SDK; the client waits for the process that uses it."""
    wire.python(
        """if True:
        import sys
        from flask import Flask
        from flask_llm import FlaskLLM
        app = Flask("x")
        app.config |= {
            "LLM_PRIMARY_PROVIDER": "claude",
            "LLM_FALLBACK_PROVIDERS": [],
            "ANTHROPIC_API_KEY": "sk-ant-0123456789",
            "LLM_WARM_UP": "import",
        }
        FlaskLLM(app)
        assert "anthropic" in sys.modules
        assert not app.llm.current_provider._client._made
        app.llm.warm_up()
        assert app.llm.current_provider._client._made
        """
    )
