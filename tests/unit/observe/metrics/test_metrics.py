"""What is counted of calls, and that it is the truth."""

import random
import subprocess
import sys
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from pydantic import BaseModel
from real_time import AT_ONCE_S
from scraped import answer, make_app, samples, total

from flask_llm.errors import (
    AuthError,
    ConfigurationError,
    InvalidRequestError,
    QuotaError,
    StreamInterrupted,
    TransientError,
)
from flask_llm.filters import forbid_pattern
from flask_llm.observe.aggregates import ATTEMPTS, CALLS, Tally
from flask_llm.observe.metrics import NAME, exposition
from flask_llm.observe.metrics import definitions as families
from flask_llm.observe.records import CallRecord
from flask_llm.signals import attempt_made, generation_finished
from flask_llm.testing import FakeProvider

CALLED = "flask_llm_calls_total"
TRIED = "flask_llm_attempts_total"
REQUESTED = "gen_ai_client_operation_duration_seconds_count"
TAKEN = "gen_ai_client_inference_usage_input_tokens_total"
GIVEN = "gen_ai_client_inference_usage_output_tokens_total"


class TestCalls:
    def test_a_call_is_counted_with_its_labels(self):
        """Who answered, which model, what for, how it ended, how long it took."""
        app = make_app(FakeProvider(answer(10, 2, "m-1"), name="a"))
        app.llm.generate_content("hello", purpose="greet")

        who = {"provider": "a", "model": "m-1"}
        assert total(app, CALLED, **who, purpose="greet", outcome="success") == 1
        assert total(app, TRIED, **who, outcome="success") == 1
        duration = "flask_llm_call_duration_seconds"
        assert total(app, f"{duration}_count", purpose="greet", outcome="success") == 1
        assert 0 < total(app, f"{duration}_sum") < AT_ONCE_S
        assert total(app, TAKEN, provider="a", purpose="greet") == 10
        assert total(app, GIVEN, provider="a", purpose="greet") == 2
        assert total(app, "flask_llm_fallbacks_total") == 0

    def test_a_fallback_is_counted_for_who_answered(self):
        """And the failed attempt for who failed."""
        app = make_app(
            FakeProvider(QuotaError(), name="a"), FakeProvider(answer(), name="b")
        )
        app.llm.generate_content("hello", purpose="p")

        assert total(app, CALLED, provider="b", outcome="success") == 1
        assert total(app, CALLED, provider="a") == 0
        assert total(app, "flask_llm_fallbacks_total", provider="b", purpose="p") == 1
        assert total(app, TRIED, provider="a", outcome="quota") == 1
        assert total(app, REQUESTED, provider="a", error_type="quota") == 1
        assert total(app, REQUESTED, provider="b", error_type="") == 1

    def test_a_failed_call_is_counted_by_its_kind(self):
        """A provider that is skipped counts as no attempt."""
        app = make_app(
            FakeProvider(InvalidRequestError(), name="a"),
            FakeProvider(name="b", available=False),
        )
        assert not app.llm.generate_content("hello").success

        assert total(app, CALLED, outcome="invalid_request") == 1
        assert total(app, TRIED) == 1
        assert total(app, TRIED, provider="b") == 0

    def test_retries_are_counted_by_what_failed(self):
        """One for each wait before the same provider is asked again."""
        app = make_app(FakeProvider(TransientError(), TransientError(), "yes"))
        app.llm.generate_content("hello")

        assert total(app, "flask_llm_retries_total", kind="transient") == 2
        assert total(app, TRIED, outcome="transient") == 2
        assert total(app, CALLED) == 1

    def test_a_reasked_answer_costs_too(self):
        """The tokens of the answer that did not match are counted with its error."""

        class Mail(BaseModel):
            kind: str

        good = answer(7, 3)
        good.content = '{"kind": "spam"}'
        app = make_app(FakeProvider(answer(10, 2), good, name="a"))
        response = app.llm.generate_content("classify", schema=Mail, purpose="mail")

        assert response.success
        assert total(app, TRIED, outcome="bad_answer") == 1
        assert total(app, CALLED, outcome="success") == 1
        assert (total(app, TAKEN), total(app, GIVEN)) == (17, 5)

    def test_every_call_of_a_process_is_at_zero_until_it_is_made(self):
        """An app that has made no call shows no series of calls."""
        app = make_app(FakeProvider())

        assert total(app, CALLED) == total(app, TRIED) == 0


class TestStreams:
    def test_a_stream_tells_when_its_first_text_came(self):
        """For the caller from the call's beginning, for the provider from its own."""
        app = make_app(
            FakeProvider(TransientError(), ["one ", "two"], name="a"),
            LLM_RETRY_DELAY=0.05,
        )
        with app.llm.stream_content("hello", purpose="talk") as stream:
            assert "".join(stream) == "one two"

        caller = "flask_llm_call_time_to_first_token_seconds"
        assert total(app, f"{caller}_count", purpose="talk") == 1
        provider = "gen_ai_client_operation_time_to_first_chunk_seconds"
        assert total(app, f"{provider}_count", provider="a") == 1
        before = total(app, f"{caller}_sum") - total(app, f"{provider}_sum")
        assert before >= 0.05  # the first attempt, and the wait for the next
        assert total(app, CALLED, outcome="success", purpose="talk") == 1

    def test_a_whole_answer_has_no_first_token(self):
        """What is not streamed has no time until its first text."""
        app = make_app(FakeProvider())
        app.llm.generate_content("hello")

        assert total(app, "flask_llm_call_time_to_first_token_seconds_count") == 0

    def test_a_closed_stream_is_counted_as_closed(self):
        """That the reader has left is nobody's failure, and no success."""
        app = make_app(FakeProvider(["one ", "two"]))
        stream = app.llm.stream_content("hello")
        next(stream)
        stream.close()

        assert total(app, CALLED, outcome="closed") == 1

    def test_a_stream_that_begins_anew_is_one_call(self):
        """The provider that broke off has the first text, the other one the answer."""
        app = make_app(
            FakeProvider(["one ", TransientError()], name="a"),
            FakeProvider(["all"], name="b"),
        )
        with app.llm.stream_content("hello", on_interrupt="restart") as stream:
            assert "".join(stream) == "one all"

        provider = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
        assert total(app, provider, provider="a") == 1
        assert total(app, provider) == 1
        assert total(app, TRIED, provider="a", outcome="transient") == 1
        assert total(app, "flask_llm_fallbacks_total", provider="b") == 1
        assert total(app, CALLED) == 1

    def test_a_stream_that_never_begins_is_a_failed_call(self):
        """It has no first text."""
        app = make_app(FakeProvider(AuthError()))
        assert list(app.llm.stream_content("hello")) == []

        assert total(app, CALLED, outcome="auth") == 1
        assert total(app, "flask_llm_call_time_to_first_token_seconds_count") == 0


class TestCost:
    def test_what_is_not_known_is_no_zero(self):
        """A call with tokens of unknown price is counted apart."""
        app = make_app(FakeProvider(answer(model="nobody-knows-this"), name="a"))
        app.llm.generate_content("hello", purpose="p")

        unpriced = "flask_llm_unpriced_calls_total"
        assert total(app, unpriced, provider="a", purpose="p") == 1
        names = {each.name for each in samples(exposition(app)[0].decode())}
        assert "flask_llm_cost_usd_total" not in names

    def test_known_prices_are_added_up(self):
        """By who was paid, also for an answer that was of no use."""
        useless = answer(1000, 0)
        useless.content = "top secret"
        app = make_app(
            FakeProvider(useless, name="a"),
            FakeProvider(answer(1000, 100, "b-1"), name="b"),
            LLM_PRICES={
                "a": {"input": 1, "output": 5},
                "b": {"input": 2, "output": 10},
            },
        )
        app.llm.output_filter(forbid_pattern("secret"))
        response = app.llm.generate_content("hello", purpose="p")

        assert response.metadata["cost_usd"] == pytest.approx(0.004)
        paid, cents = "flask_llm_cost_usd_total", pytest.approx(0.003)
        assert total(app, paid, provider="b", model="b-1", purpose="p") == cents
        assert total(app, paid, provider="a") == pytest.approx(0.001)
        assert total(app, "flask_llm_unpriced_calls_total") == 0

    def test_no_tokens_cost_nothing_and_lack_nothing(self):
        """A failure without any answer is not unpriced."""
        app = make_app(FakeProvider(AuthError()))
        app.llm.generate_content("hello")

        assert total(app, "flask_llm_unpriced_calls_total") == 0


def test_the_numbers_agree_with_the_records():
    """Hundreds of calls of all sorts: metrics, signals and sums of records are one."""
    chance = random.Random(6)
    steps = [
        answer(5, 1, "m"), answer(3, 4, "n"), "untold", TransientError(), QuotaError(),
        InvalidRequestError(),
    ]  # fmt: skip
    script = chance.choices(steps, [6, 4, 2, 2, 1, 1], k=600)
    app = make_app(
        FakeProvider(*script, name="a"),
        FakeProvider(*reversed(script), name="b"),
        LLM_BREAKER_FAILURES=0,
    )
    tally, heard = Tally((3600,)), []

    def add(sender, event):
        tally.add(CallRecord.of(event))

    def hear(sender, event):
        heard.append(event.attempt)

    hearing = attempt_made.connected_to(hear, app)
    with generation_finished.connected_to(add, app), hearing:
        for number in range(300):
            purpose = f"p{number % 4}"
            if number % 3:
                with suppress(StreamInterrupted):
                    list(app.llm.stream_content("x", purpose=purpose))
            else:
                app.llm.generate_content("x", purpose=purpose)

    calls, attempts = tally.rows(CALLS), tally.rows(ATTEMPTS)
    assert len(heard) > 300
    assert total(app, TRIED) == len(heard)
    shown = exposition(app)[0].decode()
    for (_, _, values), sums in calls.items():
        labels = dict(zip(CALLS.dimensions, values, strict=True))
        assert total(shown, CALLED, **labels) == sums["calls"], labels
    for (_, _, values), sums in attempts.items():
        labels = dict(zip(ATTEMPTS.dimensions, values, strict=True))
        assert total(shown, TRIED, **labels) == sums["attempts"], labels
    for name, measure, rows in [
        (TAKEN, "input_tokens", calls),
        (GIVEN, "output_tokens", calls),
        ("flask_llm_fallbacks_total", "fallbacks", calls),
        ("flask_llm_unpriced_calls_total", "unpriced", calls),
        ("flask_llm_cost_usd_total", "cost_usd", calls),
        (REQUESTED, "attempts", attempts),
        ("flask_llm_call_duration_seconds_count", "calls", calls),
    ]:
        expected = sum(each.get(measure, 0) for each in rows.values())
        assert total(shown, name) == pytest.approx(expected), name
    assert total(shown, TAKEN) > 0


class TestRegistries:
    def test_two_apps_do_not_mix(self):
        """Each has a registry of its own, and the global one has nothing."""
        one, two = make_app(FakeProvider()), make_app(FakeProvider(QuotaError()))
        one.llm.generate_content("hello")
        two.llm.generate_content("hello")

        assert total(one, CALLED, outcome="success") == total(one, CALLED) == 1
        assert total(two, CALLED, outcome="quota") == total(two, CALLED) == 1
        assert not any(each.name.startswith("flask_llm") for each in REGISTRY.collect())

    def test_the_app_may_give_its_own(self):
        """Then the app shows them, and what else it counts; we say so."""
        registry = CollectorRegistry()
        app = make_app(FakeProvider(name="a"), LLM_METRICS_REGISTRY=registry)
        app.llm.generate_content("hello")

        labels = {"provider": "a", "model": "", "purpose": "", "outcome": "success"}
        assert registry.get_sample_value(CALLED, labels) == 1
        state = {"provider": "a", "state": "closed"}
        assert registry.get_sample_value("flask_llm_circuit_state", state) == 1
        with pytest.raises(LookupError, match="LLM_METRICS_REGISTRY"):
            exposition(app)

    def test_a_registry_alone_switches_them_on(self):
        """Who gives one wants them there."""
        registry = CollectorRegistry()
        app = make_app(FakeProvider(), LLM_METRICS_REGISTRY=registry, LLM_METRICS=None)

        assert NAME in app.extensions

    def test_apps_that_share_a_registry_are_added_up(self):
        """As with an app that a test makes again and again."""
        registry = CollectorRegistry()
        apps = [
            make_app(FakeProvider(), LLM_METRICS_REGISTRY=registry) for _ in range(3)
        ]
        for each in apps:
            each.llm.generate_content("hello")

        labels = {"provider": "fake", "model": "", "purpose": "", "outcome": "success"}
        assert registry.get_sample_value(CALLED, labels) == 3

    def test_a_registry_with_such_metrics_is_refused(self):
        """At start, and not with the first call."""
        registry = CollectorRegistry()
        Counter("flask_llm_calls", "Somebody else's.", registry=registry)

        with pytest.raises(ConfigurationError, match="LLM_METRICS_REGISTRY: Dupl"):
            make_app(FakeProvider(), LLM_METRICS_REGISTRY=registry)

    def test_what_is_no_registry_is_refused(self):
        """Such as a name in the environment."""
        with pytest.raises(ConfigurationError, match="must be a CollectorRegistry"):
            make_app(FakeProvider(), LLM_METRICS_REGISTRY="prometheus")

    def test_a_missing_package_is_named(self, monkeypatch):
        """With the line that installs it."""
        monkeypatch.setattr("flask_llm.observe.installed", lambda name: False)
        with pytest.raises(ConfigurationError, match=r'"Flask-LLM\[metrics\]"'):
            make_app(FakeProvider())

    def test_what_is_off_counts_nothing(self):
        """And says how to switch it on."""
        app = make_app(FakeProvider(), LLM_METRICS="off")
        app.llm.generate_content("hello")

        with pytest.raises(LookupError, match="LLM_METRICS=on"):
            exposition(app)


class TestText:
    CANARY = "sk-canary-0123456789abcdef"

    def test_both_formats_are_valid(self):
        """What Prometheus asks for by default, and OpenMetrics."""
        app = make_app(FakeProvider(answer(), name="a"))
        app.llm.generate_content("hello", purpose="p")
        plain, kind = exposition(app)
        assert kind.startswith("text/plain; version=0.0.4")
        assert total(plain.decode(), CALLED) == 1

        wanted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        text, kind = exposition(app, wanted)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        found = {each.name for each in parse_openmetrics(text.decode())}
        assert "flask_llm_calls" in found

    @pytest.mark.parametrize(
        "purpose",
        ['say "hi"', "a\\b", "one\ntwo", "<script>alert(1)</script>", "ä\x00"],
    )
    def test_whatever_a_purpose_holds_stays_a_label(self, purpose):
        """Quotes, backslashes, line ends and markup break nothing."""
        app = make_app(FakeProvider(answer(model=purpose), name="a"))
        app.llm.generate_content("hello", purpose=purpose)

        (sample,) = (
            each for each in samples(exposition(app)[0].decode()) if each.name == CALLED
        )
        line = purpose.replace("\n", " ").replace("\x00", "")
        assert sample.labels["purpose"] == sample.labels["model"] == line

    def test_no_key_is_shown(self):
        """Whatever a provider says of it in its error."""
        errors = [
            AuthError(f"{self.CANARY} is wrong"), ValueError(self.CANARY),
            TransientError(self.CANARY), "an answer",
        ]  # fmt: skip
        provider = FakeProvider(*errors)
        provider.api_key = self.CANARY
        app = make_app(provider, LLM_BREAKER_FAILURES=1)
        for _ in range(4):
            app.llm.generate_content(self.CANARY, system=self.CANARY)

        assert self.CANARY not in exposition(app)[0].decode()
        assert total(app, CALLED) == 4

    def test_labels_are_bounded(self):
        """Purposes and models that never end become "other"."""
        script = [answer(model=f"m{number}") for number in range(160)]
        app = make_app(FakeProvider(*script))
        for number in range(160):
            app.llm.generate_content("hello", purpose=f"user {number}")

        found = [s for s in samples(exposition(app)[0].decode()) if s.name == CALLED]
        assert len({each.labels["purpose"] for each in found}) == 101
        assert len({each.labels["model"] for each in found}) == 51
        assert total(app, CALLED) == 160
        assert total(app, CALLED, purpose="other", model="other") == 60


@pytest.mark.parametrize("streamed", [False, True])
def test_metrics_that_fail_change_no_answer(streamed, monkeypatch, caplog):
    """It is logged, and the caller gets what the provider says."""
    app = make_app(FakeProvider("yes"))

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(type(app.extensions[NAME].recorder), "attempted", fail)
    monkeypatch.setattr(type(app.extensions[NAME].recorder), "called", fail)
    if streamed:
        assert "".join(app.llm.stream_content("hello")) == "yes"
    else:
        assert app.llm.generate_content("hello").content == "yes"
    assert "no space left" in caplog.text


def test_names_follow_the_rules():
    """Units in the names, "_total" for counters, and the buckets that are advised."""
    for each in (*families.COUNTED, *families.SEEN):
        assert each.name.startswith(("flask_llm_", "gen_ai_client_")), each
        assert each.name.endswith("_total") == (each.kind == "counter"), each
        assert each.name.endswith("_seconds") or each.kind != "histogram", each
    advised = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24,
               20.48, 40.96, 81.92)  # fmt: skip
    assert families.REQUEST_S.buckets == pytest.approx(advised)
    assert families.FIRST_CHUNK_S.buckets == pytest.approx(advised)


@pytest.mark.slow
def test_nothing_is_imported_where_they_are_off():
    """The package costs its start only who wants it."""
    code = f"""if True:
        import sys
        sys.path[:0] = {sys.path!r}
        import flask
        from flask_llm import FlaskLLM
        app = flask.Flask("x")
        FlaskLLM(app)
        app.test_client().get("/llm/metrics")
        assert "prometheus_client" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
