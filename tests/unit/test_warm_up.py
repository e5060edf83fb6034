"""What a first call costs is paid at the start of the process."""

import os
import threading

import pytest
import wire
from flask import Flask

from flask_llm import FlaskLLM, LLMFactory
from flask_llm.errors import QuotaError
from flask_llm.extension import WarmUp
from flask_llm.testing import FakeProvider


class Slow(FakeProvider):
    """Notes how it is made ready; may fail at it."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.ready = []
        self.done, self.prepared = threading.Event(), threading.Event()
        self.go = None
        self.error = None

    def prepare(self):
        self.prepared.set()
        if self.go:
            assert self.go.wait(60)

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


def made(slow, **config):
    """Return an app whose only provider is that one."""
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": slow, "LLM_FALLBACK_PROVIDERS": []}
    app.config |= config
    FlaskLLM(app, authorize=lambda: True)
    return app


def hurried(app):
    """Let the app's warm-up follow an answer at once."""
    app.extensions["llm.warm_up"]._delay = 0
    return app


def test_nothing_before_the_first_answer(slow):
    """An app starts as fast as it can unless it is told otherwise."""
    app = hurried(made(slow))
    app.test_client().get("/llm/status")

    assert slow.ready == []


def test_import_is_done_at_once(slow):
    """Before a fork, so that the workers share it; nothing else follows."""
    app = made(slow, LLM_WARM_UP="import")
    app.test_client().get("/llm/status")

    assert slow.ready == [(False, "MainThread")]
    assert not slow.done.wait(0.05)


class TestAfterTheFirstAnswer:
    """The default: the rest of the chain is made ready in the background."""

    def test_all_are_prepared_once(self, slow):
        """Whoever gave the answer; no second answer does it again."""
        app = hurried(made(slow))
        app.llm.generate_content("hello")
        assert slow.prepared.wait(60)
        slow.prepared.clear()
        app.llm.generate_content("hello")

        assert not slow.prepared.wait(0.05)
        assert slow.ready == []

    @pytest.mark.parametrize("way", ["off", "testing", "command"])
    def test_where_nobody_wants_it(self, slow, way):
        """It is switched off, the app is tested, or the process ends soon."""
        config = {"LLM_WARM_UP": "off"} if way == "off" else {}
        app = made(slow, **config, TESTING=way == "testing")
        if way != "off":
            hurried(app)
        if way == "command":
            result = app.test_cli_runner().invoke(args=["llm", "ask", "hello"])
            assert result.exit_code == 0, result.output
        else:
            app.llm.generate_content("hello")

        assert not slow.prepared.wait(0.05)

    def test_a_failed_call_is_no_answer(self, slow):
        """A process whose first call fails has other things to do."""
        slow._script = (QuotaError(), "ok")
        app = hurried(made(slow, LLM_BREAKER_FAILURES=0))
        assert not app.llm.generate_content("hello").success
        assert not slow.prepared.wait(0.05)
        app.llm.generate_content("hello")

        assert slow.prepared.wait(60)

    def test_a_fork_waits_for_what_is_under_way(self, slow):
        """And the child begins anew, with an answer of its own."""
        app = hurried(made(slow))
        slow.go = threading.Event()
        app.llm.generate_content("hello")
        assert slow.prepared.wait(60)
        threading.Timer(0.05, slow.go.set).start()

        def in_child():
            assert slow.go.is_set()
            slow.prepared.clear()
            app.llm.generate_content("hello")
            return slow.prepared.wait(60)

        assert _fork(in_child) == 1

    def test_a_fork_before_it_begins_calls_it_off(self, slow):
        """Who forks at once does not serve."""
        app = made(slow)
        app.llm.generate_content("hello")

        assert _fork(slow.prepared.is_set) == 0
        assert not app.extensions["llm.warm_up"]._timer.is_alive()

    @pytest.mark.slow
    def test_an_sdk_has_all_it_needs(self):
        """The fallback's first answer imports nothing more; and no socket was used."""
        wire.python(
            """if True:
            import sys
            from flask import Flask
            from flask_llm import FlaskLLM
            sys.path.insert(0, "tests/support")
            from faultserver import FaultServer
            from wired import settings
            for name in ("claude", "openai", "cohere", "genai", "vertex"):
                with FaultServer() as server:
                    app = Flask("x")
                    app.config |= settings(name, server.url) | {
                        "LLM_PRIMARY_PROVIDER": name, "LLM_FALLBACK_PROVIDERS": []}
                    FlaskLLM(app, authorize=lambda: True)
                    app.llm.prepare()
                    assert not server.attempts(), name
                    package = app.llm.current_provider.module
                    known = set(sys.modules)
                    assert app.llm.generate_content("hello").success, name
                    new = [each for each in set(sys.modules) - known
                           if each.startswith(package)]
                    assert not new, (name, new)
            """
        )


def test_full_follows_in_the_background(factory, slow):
    """Clients and the model delay nobody."""
    warm_up = WarmUp(factory, delay=0)
    warm_up.begin()

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
    app = made(slow, LLM_WARM_UP="full")
    app.extensions["llm.warm_up"].stop()
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
    warm_up.begin()
    child = _fork(lambda: slow.done.wait(60))

    assert child == 1
    assert not slow.done.is_set()
    assert not warm_up._timer.is_alive()


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


def test_what_follows_a_first_answer_fails_no_prompt(factory, caplog):
    """Whatever it is."""
    factory.after_first_answer(lambda: 1 // 0)
    assert factory.generate_content("hello").success
    assert "What follows a first answer has failed" in caplog.text
