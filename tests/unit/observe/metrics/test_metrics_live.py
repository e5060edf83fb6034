"""Who rests, and how much is under way: the truth at the time of asking."""

import gc
import threading
import time

from prometheus_client import CollectorRegistry
from scraped import make_app, total

from flask_llm.errors import QuotaError, TransientError
from flask_llm.observe.metrics import exposition
from flask_llm.testing import Delay, FakeProvider

FLIGHT = "flask_llm_attempts_in_flight"
STATE = "flask_llm_circuit_state"
ENDS = "flask_llm_circuit_rest_ends_timestamp_seconds"

SOON = 30.0


def soon(condition) -> bool:
    """Return whether something becomes true."""
    until = time.monotonic() + SOON
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def state(app, provider="a") -> str:
    states = ["closed", "open", "half-open", "unavailable"]
    text = exposition(app)[0].decode()  # once: it may change between two looks
    (found,) = (
        each for each in states if total(text, STATE, provider=provider, state=each)
    )
    return found


class TestCircuits:
    def test_a_rest_ends_without_anybody_saying_so(self, monkeypatch):
        """Open while the provider rests, half-open when that is over, then closed."""
        app = make_app(
            FakeProvider(TransientError(), "back", name="a"),
            LLM_BREAKER_FAILURES=1,
            LLM_BREAKER_REST=60,
            LLM_MAX_RETRIES=1,
        )
        assert (state(app), total(app, ENDS)) == ("closed", 0)

        app.llm.generate_content("hello")
        assert state(app) == "open"
        assert 0 < total(app, ENDS, provider="a") - time.time() <= 60

        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 61)
        assert (state(app), total(app, ENDS)) == ("half-open", 0)

        assert app.llm.generate_content("hello").success
        assert state(app) == "closed"

    def test_a_provider_without_a_key_is_unavailable(self):
        """Which is what an alert should tell apart from a rest."""
        app = make_app(FakeProvider(name="a"), FakeProvider(name="b", available=False))

        assert [state(app, each) for each in "ab"] == ["closed", "unavailable"]

    def test_a_shared_store_tells_of_others(self, tmp_path):
        """What one process has learned is shown by another that has made no call."""
        shared = {
            "LLM_STATE_URL": f"sqlite:///{tmp_path / 'state.db'}",
            "LLM_BREAKER_FAILURES": 1,
            "LLM_BREAKER_REST": 20,
        }
        error = QuotaError()
        error.retry_after = 120.0
        one = make_app(FakeProvider(error, name="a"), **shared)
        other = make_app(FakeProvider(name="a"), **shared)
        assert state(other) == "closed"
        one.llm.generate_content("hello")

        # Whoever looks has a store tried again that was late on a busy machine.
        assert soon(lambda: state(one) == state(other) == "open")
        assert 0 < total(other, ENDS) - time.time() <= 120


class TestInFlight:
    def test_what_is_under_way_is_counted(self):
        """One while the provider is asked, none before and after."""
        seen = []
        app = make_app(FakeProvider(lambda _: seen.append(now()) or "yes", name="a"))

        def now():
            return total(app, FLIGHT, provider="a")

        assert now() == 0
        app.llm.generate_content("hello")
        app.llm.generate_content("hello", deadline=5)
        assert (seen, now()) == ([1, 1], 0)

    def test_a_failure_ends_it_too(self):
        """Also one that the provider raises."""
        app = make_app(FakeProvider(QuotaError()), FakeProvider(name="b"))
        app.llm.generate_content("hello")

        assert total(app, FLIGHT) == 0

    def test_a_stream_counts_until_it_is_read(self):
        """Not only until its first text."""
        go_on = threading.Event()

        class Gated(FakeProvider):
            def stream(self, request):
                yield "one "
                assert go_on.wait(SOON)
                return (yield from super().stream(request))

        app = make_app(Gated("two", name="a"))
        stream = app.llm.stream_content("hello")
        assert next(stream) == "one "
        assert total(app, FLIGHT, provider="a") == 1
        go_on.set()
        list(stream)

        assert soon(lambda: total(app, FLIGHT) == 0)

    def test_a_forgotten_stream_counts_no_longer(self):
        """Though no signal tells of its end."""
        app = make_app(FakeProvider(["one ", Delay(60, "two")]))
        stream = app.llm.stream_content("hello")
        assert total(app, FLIGHT) == 1
        del stream
        gc.collect()

        assert soon(lambda: total(app, FLIGHT) == 0)

    def test_a_call_that_was_left_still_counts(self):
        """It holds a connection, whether or not somebody waits."""
        end = threading.Event()
        app = make_app(FakeProvider(lambda _: str(end.wait(SOON)), name="a"))
        assert not app.llm.generate_content("hello", deadline=0.05).success
        assert total(app, FLIGHT, provider="a") == 1
        end.set()

        assert soon(lambda: total(app, FLIGHT) == 0)

    def test_many_threads_leave_nothing_behind(self):
        """Nor less than nothing."""
        app = make_app(FakeProvider("yes"))
        threads = [
            threading.Thread(
                target=lambda: [app.llm.generate_content("x") for _ in range(50)]
            )
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

        assert total(app, FLIGHT) == 0
        assert total(app, "flask_llm_calls_total") == 400

    def test_apps_on_one_registry_are_added_up(self):
        """And one that is gone is forgotten."""
        registry = CollectorRegistry()
        end = threading.Event()
        apps = [
            make_app(
                FakeProvider(lambda _: str(end.wait(SOON)), name="a"),
                LLM_METRICS_REGISTRY=registry,
            )
            for _ in range(2)
        ]
        threads = [
            threading.Thread(target=each.llm.generate_content, args=("x",))
            for each in apps
        ]
        for each in threads:
            each.start()

        def now():
            return registry.get_sample_value(FLIGHT, {"provider": "a"})

        assert soon(lambda: now() == 2)
        end.set()
        for each in threads:
            each.join()
        assert now() == 0


def test_one_process_says_that_it_is_one():
    """Whoever sees less than the workers there are knows what is missing."""
    assert total(make_app(FakeProvider()), "flask_llm_processes") == 1
