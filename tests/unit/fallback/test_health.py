"""Who rests, who probes and who is told, seen through the factory."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_llm import LLMFactory
from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    QuotaError,
    TransientError,
    UsedUpError,
)
from flask_llm.testing import Delay, FakeProvider

DOWN = [TransientError(reason="server error 503")]
ONE_TRY = {"LLM_MAX_RETRIES": 1}


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.INFO, "flask_llm")


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini" and "claude", and those."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=ONE_TRY | config, clock=clock), fakes


def ask(factory, times=1):
    """Return the last of several answers."""
    return [factory.generate_content("hello") for _ in range(times)][-1]


def outcomes(response):
    return [(each.provider, each.outcome) for each in response.attempts]


def test_an_outage_is_noticed_once(clock):
    """After five failures nobody asks the primary; the fallback answers at once."""
    factory, (gemini, claude) = chain(clock, DOWN, ["hi"])
    response = ask(factory, 20)

    assert (len(gemini.calls), len(claude.calls)) == (5, 20)
    assert outcomes(response) == [("gemini", "cooldown"), ("claude", "success")]
    skipped = response.attempts[0]
    assert skipped.error == "cooling down after server error 503, retry after 5 s"
    assert skipped.retry_after_s == 5


def test_a_patient_call_that_gave_up_opens_the_circuit(clock):
    """75 s of waits are spent once in an outage, not by every call."""
    factory, (gemini, _) = chain(clock, DOWN, ["hi"], LLM_MAX_RETRIES=5)
    ask(factory, 2)

    assert len(gemini.calls) == 5
    assert clock.waits == [5, 10, 20, 40]


def test_a_provider_that_is_back_is_asked_again(clock, caplog):
    """The first call after the rest tries it, and its success closes the circuit."""
    factory, (gemini, _) = chain(clock, [*DOWN * 5, "back"], ["hi"])
    assert ask(factory, 6).content == "hi"
    clock.sleep(5)

    assert [ask(factory).content for _ in range(3)] == ["back"] * 3
    assert len(gemini.calls) == 8
    assert "gemini answers again" in caplog.messages


def test_a_failed_probe_is_a_single_attempt(clock):
    """A probe is not retried, and the rest grows."""
    factory, (gemini, _) = chain(clock, DOWN, ["hi"], LLM_MAX_RETRIES=5)
    ask(factory)
    clock.sleep(5)
    clock.waits.clear()
    response = ask(factory)

    assert outcomes(response) == [("gemini", "transient"), ("claude", "success")]
    assert (len(gemini.calls), clock.waits) == (6, [])
    assert ask(factory).attempts[0].retry_after_s == 10


def test_only_one_call_probes(clock):
    """While one caller tries, fifteen others take the fallback."""
    probing, go_on = threading.Event(), threading.Event()

    def slow(_):
        probing.set()
        go_on.wait(60)
        return "back"

    factory, (gemini, _) = chain(clock, [*DOWN * 5, slow], ["hi"])
    ask(factory, 5)
    clock.sleep(5)
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(ask, factory)
        probing.wait(60)
        assert ask(factory, 15).content == "hi"
        go_on.set()
        assert probe.result().content == "back"

    assert len(gemini.calls) == 6


@pytest.mark.parametrize("answer", ["hi", BadAnswerError()])
def test_a_streak_is_broken_by_whatever_shows_life(clock, answer):
    """Four failures, a sign of life, four failures: no outage."""
    factory, (gemini, _) = chain(clock, [*DOWN * 4, answer, *DOWN * 4], ["hi"])
    ask(factory, 9)

    assert len(gemini.calls) == 9


def test_a_waiting_call_moves_on_when_others_have_opened_the_circuit(clock):
    """What one call learned spares another one its waits, if somebody is left."""

    class Others(list):
        """Makes other calls fail while the first one waits."""

        def append(self, seconds):
            super().append(seconds)
            if len(self) == 2:
                ask(factory, 3)

    factory, (gemini, _) = chain(clock, DOWN, ["hi"])
    clock.waits = Others()
    response = factory.generate_content("hello", max_retries=5)

    assert response.content == "hi"
    assert clock.waits == [5, 10]
    assert len(gemini.calls) == 2 + 3


def test_a_long_probe_keeps_the_others_out(clock):
    """Where an attempt may take longer than its timeout, the claim lasts as long."""

    def load(_):
        clock.sleep(300)
        assert ask(factory).content == "hi"
        return "back"

    factory, (gemini, _) = chain(clock, [*DOWN * 5, load], ["hi"])
    gemini.longest_attempt = 300
    ask(factory, 5)
    clock.sleep(5)

    assert ask(factory).content == "back"
    assert len(gemini.calls) == 6


def test_a_probe_that_shows_life_closes_the_circuit(clock):
    """A provider that refuses this request still works."""
    factory, _ = chain(clock, [*DOWN * 5, BadAnswerError(), "hi"], ["x"])
    ask(factory, 5)
    clock.sleep(5)
    ask(factory)

    assert ask(factory).provider_name == "gemini"


def test_a_told_cooldown_is_kept(clock):
    """A provider that said 30 s is asked by nobody for 30 s."""
    factory, (gemini, _) = chain(clock, [QuotaError(retry_after=30), "hi"], ["x"])
    ask(factory, 3)
    clock.sleep(29)
    assert ask(factory).attempts[0].retry_after_s == 1
    clock.sleep(1)

    assert ask(factory).provider_name == "gemini"
    assert len(gemini.calls) == 2


def test_all_rest(clock):
    """Nobody is asked; the error says when it is worth while to come back."""
    factory, fakes = chain(
        clock, [QuotaError(retry_after=30)], [QuotaError(retry_after=12)]
    )
    ask(factory)
    response = ask(factory)

    assert [len(each.calls) for each in fakes] == [1, 1]
    assert response.error == (
        "All LLM providers failed:"
        " [gemini: cooling down after quota exceeded, retry after 30 s,"
        " claude: cooling down after quota exceeded, retry after 12 s]"
    )
    assert response.metadata["error_kind"] == "cooldown"
    assert response.provider_name == "claude"
    assert response.metadata["latency_s"] == 0


def test_a_chain_of_one_rests_too(clock):
    """Its breaker is on by default: an outage is not hammered."""
    factory, (gemini,) = chain(clock, DOWN)
    response = ask(factory, 50)

    assert len(gemini.calls) == 5
    assert "retry after 5 s" in response.error


def test_where_nobody_is_left_a_probe_comes_early(clock):
    """A rest that we only guessed does not keep an app down for longer than needed."""
    factory, (gemini,) = chain(clock, [AuthError(), AuthError(), "mended"])
    ask(factory, 3)
    assert len(gemini.calls) == 1
    clock.sleep(5)
    ask(factory, 3)
    assert len(gemini.calls) == 2
    clock.sleep(5)

    response = ask(factory)
    assert response.content == "mended"
    assert outcomes(response) == [("gemini", "cooldown"), ("gemini", "success")]


def test_an_early_probe_follows_a_fallback_that_failed(clock):
    """Before the call fails, the resting primary gets its chance; its story is one."""
    factory, fakes = chain(clock, [AuthError()], [BadAnswerError()])
    ask(factory)
    clock.sleep(5)
    response = ask(factory)

    assert [len(each.calls) for each in fakes] == [2, 2]
    assert response.error == (
        "All LLM providers failed: [claude: no usable answer, gemini: API key rejected]"
    )


def test_a_told_cooldown_gets_no_early_probe(clock):
    """The provider's own word counts, even if nobody else is left."""
    factory, (gemini,) = chain(clock, [QuotaError(retry_after=600)])
    ask(factory)
    clock.sleep(300)
    ask(factory)

    assert len(gemini.calls) == 1


def test_a_used_up_credit_is_an_error_in_the_log_once(clock, caplog):
    """Somebody has to pay; telling it with every probe helps nobody."""
    factory, (gemini, _) = chain(clock, [UsedUpError()], ["hi"])
    for _ in range(4):
        ask(factory)
        clock.sleep(3600)

    assert len(gemini.calls) == 4
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    (error,) = errors
    assert error == (
        "gemini cooling down for 3600 s after quota exceeded,"
        " a day's quota or the credit is used up"
    )


def test_rests_are_seen_in_the_detailed_status(clock):
    """An operator sees who rests; the documented shape stays as it is."""
    factory, _ = chain(clock, [QuotaError(retry_after=30)], ["hi"])
    ask(factory)

    assert factory.get_provider_status()["primary"] == {
        "name": "gemini",
        "available": True,
    }
    primary = factory.get_provider_status(detail=True)["primary"]
    assert primary["reason"] == "cooling down after quota exceeded, retry after 30 s"


def test_a_deadline_too_short_to_be_fair_is_not_held_against_a_provider(clock):
    """A caller in a hurry does not send the primary to rest for everybody."""
    factory, (gemini, _) = chain(clock, [Delay(3, "late")], ["hi"])
    for _ in range(10):
        factory.generate_content("hello", deadline=1.1)
    assert len(gemini.calls) == 10


def test_the_configured_deadline_is_fair(clock):
    """Who says that two seconds are enough gets an open circuit after five of them."""
    factory, (gemini, _) = chain(clock, [Delay(9, "late")], ["hi"], LLM_DEADLINE=2)
    response = ask(factory, 10)

    assert response.content == "hi"
    assert len(gemini.calls) == 5


def test_a_caller_with_much_time_is_fair(clock):
    """Silence for several seconds counts, whoever waited."""
    factory, (gemini, _) = chain(clock, [Delay(99, "late")], ["hi"])
    for _ in range(10):
        factory.generate_content("hello", deadline=9)
    assert len(gemini.calls) == 5


def test_a_named_rest_is_not_cut_by_a_late_answer(clock):
    """An answer that was under way says nothing of what was asked for since."""
    rest = QuotaError(retry_after=600)

    def slow(_):
        assert ask(factory).content == "hi"
        return "late"

    factory, (gemini, _) = chain(clock, [TransientError(), slow, rest, "x"], ["hi"])
    ask(factory)
    assert ask(factory).content == "late"

    assert ask(factory).content == "hi"
    assert len(gemini.calls) == 3


def test_patience_ends_where_a_provider_asked_for_more(clock):
    """Nobody is asked again after 5 s that said 600, if another one is left."""
    down = TransientError(reason="server error 503", retry_after=600)
    factory, (gemini, _) = chain(clock, [down], ["hi"], LLM_MAX_RETRIES=5)

    assert ask(factory).content == "hi"
    assert (len(gemini.calls), clock.waits) == (1, [])


def test_a_probe_that_shows_nothing_keeps_the_pace(clock):
    """Not every call probes a provider that fails in some unknown way."""
    factory, (gemini,) = chain(clock, [AuthError(), ValueError("?")])
    ask(factory)
    clock.sleep(5)
    ask(factory, 20)

    assert len(gemini.calls) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_probe_whose_caller_is_ended_is_released(clock, end):
    """Its claim does not keep others out until the lease is over."""

    def be_ended(_):
        raise end

    factory, _ = chain(clock, [*DOWN * 5, be_ended, "back"], ["hi"])
    ask(factory, 5)
    clock.sleep(5)
    with pytest.raises(end):
        ask(factory)
    clock.sleep(5)

    assert ask(factory).content == "back"


def test_an_outage_of_all_is_told_loudly_once(clock, caplog):
    """Calls that reach nobody are no news."""
    factory, _ = chain(
        clock, [QuotaError(retry_after=60)], [QuotaError(retry_after=60)]
    )
    ask(factory, 10)

    told = [r for r in caplog.records if r.getMessage().startswith("All LLM providers")]
    assert [r.levelname for r in told] == ["ERROR", *["WARNING"] * 9]


def test_factories_do_not_share_their_memory(clock):
    """Two apps in one process are two apps."""
    for _ in range(2):
        factory, (gemini, _) = chain(clock, [QuotaError(retry_after=30)], ["hi"])
        ask(factory)
        assert len(gemini.calls) == 1


def test_another_key_or_model_is_another_circuit(monkeypatch):
    """In a shared store each endpoint has its own rest; its name tells no key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    first = LLMFactory("claude", ["claude:claude-haiku-5-5"])
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-9876543210")
    second = LLMFactory("claude", [])
    keys = [e.circuit_key for f in (first, second) for e in f._chain.handles]

    assert len(set(keys)) == 3
    assert all(key.startswith("claude:") for key in keys)
    assert "0123456789" not in "".join(keys)
