import asyncio
from dataclasses import replace

import pytest

from flask_llm import LLMFactory, LLMProvider, LLMResponse
from flask_llm.config.settings import ProviderSettings
from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    TransientError,
    UnreachableError,
)
from flask_llm.fallback.provider_handle import ProviderHandle
from flask_llm.testing import FakeProvider
from flask_llm.types import Request

SETTINGS = ProviderSettings(
    "fake",
    "fake:big",
    api_key="sk-12345678",
    api_key_name="FAKE_API_KEY",
    model_key="LLM_FAKE_MODEL",
)


def raising(error):
    def raise_it():
        raise error

    return raise_it


def entry_of(*script, settings=SETTINGS):
    return ProviderHandle("fake:big", lambda: FakeProvider(*script), settings)


def failure(*script, secrets=()):
    with pytest.raises(ProviderError) as caught:
        entry_of(*script).ask(Request("hello"), secrets)
    return caught.value


def test_the_request_reaches_the_provider_as_documented():
    """Prompt, temperature and max_tokens go by their documented names."""
    fake = FakeProvider()
    ProviderHandle.of(fake).ask(Request("hello", 0.5, 7))

    assert fake.calls == [Request("hello", 0.5, 7)]


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (RuntimeError("429 slow down"), "quota", "quota exceeded"),
        (TimeoutError(), "transient", "timeout"),
        (ValueError("odd"), "unknown", "failed (ValueError)"),
        (LLMResponse(False, "", "x", "rate limit"), "quota", "quota exceeded"),
        (LLMResponse(False, "", "x", None), "unknown", "failed"),
        (LLMResponse(False, "", "x", metadata={"error_kind": "auth"}), "auth", None),
        (LLMResponse(False, "", "x", metadata={"error_kind": "new"}), "unknown", None),
        (LLMResponse(True, "", "x"), "bad_answer", "empty answer"),
        (LLMResponse(True, " \n", "x"), "bad_answer", "empty answer"),
        (LLMResponse(True, None, "x"), "bad_answer", "content is NoneType, no text"),
        (LLMResponse(True, {"a": 1}, "x"), "bad_answer", "content is dict, no text"),
        (
            LLMResponse(True, "half", "x", None, {"finish_reason": "content_filter"}),
            "content_blocked",
            "answer cut by a content filter",
        ),
    ],
)
def test_raised_and_returned_failures_count_alike(step, kind, reason):
    """Whatever a provider does instead of answering becomes one error."""
    error = failure(step)

    assert error.kind == kind
    assert reason is None or error.reason == reason


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "returned NoneType instead of an LLMResponse"),
        ("hi", "returned str instead of an LLMResponse"),
        (LLMResponse(True, "hi", "x", None, ["m"]), "metadata is list, no dict"),
    ],
)
def test_another_shape_is_a_bad_answer(returned, reason):
    """A stranger's provider may return anything at all."""
    fake = FakeProvider()
    fake.generate_content = lambda *args, **kwargs: returned

    with pytest.raises(ProviderError, match=reason):
        ProviderHandle.of(fake).ask(Request("hello"))


def test_errors_leave_as_copies_under_the_entry_s_name():
    """A shared exception object is not changed, and nothing hangs on the copy."""
    original = QuotaError("slow", status=429, retry_after=7.0)
    error = failure(original)

    assert (error.provider, error.status, error.retry_after) == ("fake:big", 429, 7.0)
    assert original.provider == ""
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("step", "advice"),
    [
        (AuthError(), "check FAKE_API_KEY"),
        (ModelNotFoundError(), "set LLM_FAKE_MODEL"),
        (AuthError(advice="ask your admin"), "ask your admin"),
        (QuotaError(), ""),
    ],
)
def test_advice_names_the_key_to_look_at(step, advice):
    """A refused key or an unknown model says which setting to change."""
    assert failure(step).advice == advice


def test_an_object_handed_in_has_no_settings_to_advise_on():
    """Without configuration there is no key to name."""
    with pytest.raises(AuthError) as caught:
        ProviderHandle.of(FakeProvider(AuthError())).ask(Request("hello"))
    assert caught.value.advice == ""


def test_what_a_provider_says_is_made_presentable():
    """One line, no known key, and not a whole web page."""
    page = "key sk-12345678 \r\n ERROR forged line\n" + "x" * 1000
    error = failure(
        QuotaError(page, reason="bad\nkey sk-12345678"), secrets=["sk-12345678"]
    )

    assert error.detail.startswith("key [redacted] ERROR forged line xxx")
    assert len(error.detail) == 300
    assert error.reason == "bad key [redacted]"


def test_a_failing_explain_hook_does_no_harm():
    """A stranger's hook may have a fault of its own."""
    fake = FakeProvider(TimeoutError())
    fake.explain = lambda exc: 1 / 0

    with pytest.raises(ProviderError) as caught:
        ProviderHandle.of(fake).ask(Request("hello"))
    assert caught.value.kind == "transient"


class OwnInitError(QuotaError):
    def __init__(self, message, wait):
        self.wait = wait


class NoText(Exception):  # noqa: N818
    def __str__(self):
        return {"no": "text"}  # noqa: PLE0307  # that is the fault


class NoResponse(Exception):  # noqa: N818
    @property
    def response(self):
        raise RuntimeError("stream closed")


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (QuotaError(ValueError("nested")), "quota"),
        (QuotaError(None), "quota"),
        (QuotaError({"a": 1}), "quota"),
        (OwnInitError("slow", 7), "quota"),
        (NoText(), "unknown"),
        (NoResponse("x"), "unknown"),
        (LLMResponse(False, "", "x", {"a": 1}), "unknown"),
    ],
)
def test_no_exception_is_too_odd(step, kind):
    """Whatever a stranger raises becomes an error of ours, never an exception."""
    assert failure(step).kind == kind


def test_the_traceback_of_an_unknown_exception_is_in_the_debug_log(caplog):
    """A developer's own bug can be found; what its exception quotes cannot."""
    caplog.set_level("DEBUG", "flask_llm")
    failure(RuntimeError("key sk-12345678"), secrets=("sk-12345678",))

    assert 'fakes.py", line' in caplog.text
    assert caplog.text.rstrip().endswith("RuntimeError")
    assert "sk-12345678" not in caplog.text


def test_the_key_of_an_object_handed_in_is_a_secret_too():
    """It keeps its key where the documents' example keeps it."""
    fake = FakeProvider()
    fake.api_key = "sk-12345678"

    assert ProviderHandle.of(fake).secrets == ("sk-12345678",)


def test_what_unavailable_reason_says_is_made_presentable():
    """It may be anything, a key included."""
    fake = FakeProvider(available=False)
    fake.api_key = "sk-12345678"
    fake.unavailable_reason = lambda: "no rights\nfor sk-12345678"

    assert ProviderHandle.of(fake).unavailable().summary == "no rights for [redacted]"
    fake.unavailable_reason = lambda: 7
    assert ProviderHandle.of(fake).unavailable().summary == "7"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            ModelNotFoundError("no model x"),
            "set LLM_FAKE_MODEL, or check LLM_FAKE_BASE_URL",
        ),
        (
            ModelNotFoundError("Not Found"),
            "check LLM_FAKE_BASE_URL, or set LLM_FAKE_MODEL",
        ),
        (UnreachableError("[Errno 111] Connection refused"), "check LLM_FAKE_BASE_URL"),
        (TransientError("connection reset"), ""),
    ],
)
def test_a_base_url_of_one_s_own_may_be_to_blame(error, advice):
    """A gateway's wrong path looks like an unknown model, its port like an outage."""
    settings = replace(
        SETTINGS, base_url="http://gateway", base_url_key="LLM_FAKE_BASE_URL"
    )
    with pytest.raises(type(error)) as caught:
        entry_of(error, settings=settings).ask(Request("hello"))

    assert caught.value.advice == advice


def test_a_refusal_without_a_key_says_which_one_to_set():
    """A server of one's own may want a key after all."""
    settings = replace(SETTINGS, api_key="")
    with pytest.raises(AuthError) as caught:
        entry_of(AuthError(), settings=settings).ask(Request("hello"))

    assert caught.value.advice == "set FAKE_API_KEY"


def test_interrupts_are_not_swallowed():
    """Ctrl-C and a worker's exit are no failure of a provider."""

    def interrupt(prompt):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        entry_of(interrupt).ask(Request("hello"))


def test_unavailable_says_what_is_missing():
    """A key that is not set is told by its name; otherwise the provider speaks."""
    no_key = ProviderSettings("fake", "fake", api_key_name="FAKE_API_KEY")
    off = FakeProvider(available=False)

    assert ProviderHandle.of(FakeProvider()).unavailable() is None
    assert ProviderHandle.of(off).unavailable().summary == "not available"
    entry = ProviderHandle("fake", lambda: off, no_key)
    assert entry.unavailable().summary == "no API key (set FAKE_API_KEY)"


def test_a_provider_that_cannot_be_made_is_unavailable():
    """A constructor that raises stops no app and no chain; its text may hold a key."""

    def make():
        raise RuntimeError("key sk-12345678 refused")

    entry = ProviderHandle("fake", make, SETTINGS)

    assert entry.unavailable().summary == (
        "cannot be set up: RuntimeError: key [redacted] refused"
    )


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_a_provider_that_ends_the_process_is_unavailable(error):
    """The status answers whatever a plug-in does when it is asked for its own."""
    fake = FakeProvider()
    fake.is_available = raising(error)

    told = LLMFactory(fake, [], config={}).get_provider_status(detail=True)
    kind = type(error).__name__
    assert told["primary"]["reason"].startswith(f"cannot be set up: {kind}")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_who_ends_the_caller_is_not_held_up(error):
    """Ctrl-C while a provider is asked whether it is set up is no provider's fault."""
    fake = FakeProvider()
    fake.is_available = raising(error)

    with pytest.raises(type(error)):
        ProviderHandle.of(fake).unavailable()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (QuotaError(retry_after="30"), 30.0),
        (QuotaError(retry_after="soon"), None),
        (QuotaError(retry_after=float("nan")), None),
        (QuotaError(status="429"), None),
    ],
)
def test_odd_numbers_of_a_stranger_are_cleaned(error, told):
    """A header's text is a number, and what is none says nothing."""
    llm = LLMFactory(FakeProvider(error), [FakeProvider("hi", name="next")], config={})
    response = llm.generate_content("hello")

    assert response.content == "hi"
    assert response.attempts[0].retry_after_s == told
    assert response.attempts[0].status is None


class OddError(QuotaError):
    """Cannot be copied as others can."""

    retry_after = property(lambda self: 7.0)

    def __init__(self):
        Exception.__init__(self)


@pytest.mark.parametrize("error", [OddError(), asyncio.CancelledError()])
def test_an_error_that_nobody_can_handle_is_a_failure(error):
    """Whatever a provider raises, the next one answers."""

    def fail(_):
        raise error

    llm = LLMFactory(FakeProvider(fail), [FakeProvider("hi", name="next")], config={})
    response = llm.generate_content("hello")

    assert response.content == "hi"
    assert response.attempts[0].outcome == "unknown"
    assert response.attempts[0].error == f"failed ({type(error).__name__})"


def test_what_another_chain_says_of_itself_does_not_end_this_one():
    """A provider may be a factory in disguise; its deadline is not ours."""
    inner = LLMResponse(False, "", "inner", "late", {"error_kind": "deadline"})
    llm = LLMFactory(FakeProvider(inner), [FakeProvider("hi", name="next")], config={})

    assert llm.generate_content("hello").content == "hi"


def test_a_key_in_the_error_of_is_available_is_taken_out():
    """An object handed in may fail while it says whether it is there."""
    provider = FakeProvider()
    provider.api_key = "sk-secret-0123456789"

    def fail():
        raise TypeError(f"bad {provider.api_key}")

    provider.is_available = fail
    reason = ProviderHandle.of(provider).unavailable().reason

    assert "TypeError" in reason
    assert "secret" not in reason


@pytest.mark.parametrize("most", [0, -1, "2"])
def test_a_provider_must_allow_one_call_at_least(most):
    """Nonsense on a class is told at once, not with the first prompt."""
    provider = FakeProvider()
    provider.max_concurrency = most
    with pytest.raises(TypeError, match=r"FakeProvider\.max_concurrency"):
        ProviderHandle.of(provider)


def test_a_password_of_the_address_is_taken_out_of_any_text():
    """A stranger's provider may quote the address that it was given."""
    settings = replace(SETTINGS, base_url="http://joe:hunter%21two@gateway.example")
    error = RuntimeError("cannot reach http://joe:hunter%21two@gateway, hunter!two")
    entry = entry_of(error, settings=settings)
    with pytest.raises(ProviderError) as caught:
        entry.ask(Request("hello"), entry.secrets)

    assert "hunter" not in str(caught.value)


def test_a_refused_user_of_the_address_is_looked_for_there():
    """The user is sent in place of the key, so no key is to blame."""
    settings = replace(
        SETTINGS, base_url="http://joe:pw@gateway", base_url_key="LLM_FAKE_BASE_URL"
    )
    with pytest.raises(AuthError) as caught:
        entry_of(AuthError(), settings=settings).ask(Request("hello"))

    assert caught.value.advice == "check LLM_FAKE_BASE_URL"


@pytest.mark.parametrize(
    ("odd", "seconds"), [(None, 30.0), ("long", 30.0), (7, 30.0), (300, 300.0)]
)
def test_the_longest_attempt_is_a_number_whatever_a_stranger_says(odd, seconds):
    """A probe must not fail for an attribute of a plug-in."""
    fake = FakeProvider()
    fake.longest_attempt = odd

    assert ProviderHandle.of(fake).longest_attempt == seconds


def streamed(*script, settings=SETTINGS, request=None, secrets=()):
    """Return the texts of a stream, and what it returns."""
    stream = entry_of(*script, settings=settings).stream(
        request or Request("hello"), secrets
    )
    texts = []
    while True:
        try:
            texts.append(next(stream))
        except StopIteration as end:
            return texts, end.value


def test_a_stream_is_the_answer_in_pieces():
    """With what a whole answer would have told of itself."""
    answer = LLMResponse(True, "one two", "x", None, {"model": "m"})
    texts, response = streamed(answer)

    assert texts == ["one ", "two"]
    assert response.metadata == {"model": "m"}


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (RuntimeError("429 slow down"), "quota"),
        (["one ", TimeoutError()], "transient"),
        (["one ", asyncio.CancelledError], "unknown"),
        (LLMResponse(False, "", "x", "no", {"error_kind": "auth"}), "auth"),
        (
            LLMResponse(True, "half", "x", None, {"finish_reason": "SAFETY"}),
            "content_blocked",
        ),
    ],
)
def test_a_stream_that_fails_raises_one_of_our_errors(step, kind):
    """Wherever it stood, and under the name of its entry."""
    with pytest.raises(ProviderError) as caught:
        streamed(step)

    assert (caught.value.kind, caught.value.provider) == (kind, "fake:big")


def test_what_a_stream_says_is_made_presentable():
    """On one line, and without the key."""
    error = TransientError("bad\nkey sk-12345678", reason="no sk-12345678")
    with pytest.raises(TransientError) as caught:
        streamed(["one ", error], secrets=("sk-12345678",))

    assert "sk-12345678" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_ends_the_process_is_not_held_up_by_a_stream(error):
    """As in a plain call."""
    with pytest.raises(error):
        streamed(["one ", error])


def test_closing_a_stream_closes_the_providers():
    """Without an error, whatever that does at its end."""
    closed = []

    class Closing(FakeProvider):
        def stream(self, request):
            try:
                yield "one "
                yield "two "
            finally:
                closed.append(1)

    stream = ProviderHandle.of(Closing()).stream(Request("hello"))
    next(stream)
    stream.close()

    assert closed == [1]


class Rough(LLMProvider):
    """A provider of the three-method contract."""

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        return LLMResponse(True, "hi", "rough")

    def get_provider_name(self):
        return "rough"

    def is_available(self):
        return True


@pytest.mark.parametrize("made", [FakeProvider, Rough])
def test_who_streams_piece_by_piece_is_known(made):
    """Only for them a first text can be late before the whole is."""
    assert ProviderHandle.of(made()).streams is (made is FakeProvider)


def test_an_answer_behind_a_stop_text_is_cut():
    """And ended well, whatever the provider's own end was."""
    long = LLMResponse(True, "one STOP two", "x", None, {"finish_reason": "length"})
    request = Request("hello", stop=("two", "STOP"))
    response = entry_of(long).ask(request)

    assert (response.content, response.metadata["finish_reason"]) == ("one ", "stop")
    assert streamed(long, request=request)[0] == ["one "]
    with pytest.raises(ProviderError, match="empty answer"):
        entry_of("STOP").ask(request)


def test_an_answer_without_a_stop_text_stays():
    """Also if it is cut at `max_tokens`."""
    cut = LLMResponse(True, "one two", "x", None, {"finish_reason": "length"})
    response = entry_of(cut).ask(Request("hello", stop=("STOP",)))

    assert response == cut


class Halves(LLMProvider):
    """Says two halves of a character, and a third that is alone."""

    name = "halves"

    def generate_content(self, prompt, temperature=0.7, max_tokens=1024):
        return LLMResponse(True, "a\ud83d\ude00\ud83d", self.name)

    def stream(self, request):
        yield from ("a\ud83d", "\ude00\ud83d")
        return self.generate_content("")

    def is_available(self):
        return True

    def get_provider_name(self):
        return self.name


def test_an_answer_can_be_encoded():
    """Half a character of a model does not break the view that returns its answer."""
    response = ProviderHandle.of(Halves()).ask(Request("hello"))

    assert response.content == "a😀\ufffd"
    assert "finish_reason" not in response.metadata


def test_a_stream_can_be_encoded():
    """A character that a gateway has cut in two comes whole."""
    assert list(ProviderHandle.of(Halves()).stream(Request("hello"))) == [
        "a",
        "😀",
        "\ufffd",
    ]


@pytest.mark.parametrize("told", ["length", "stop", None])
def test_a_stream_that_ends_at_a_stop_text_says_so(told):
    """As a whole answer does; what came after it is not known."""
    long = LLMResponse(True, "one STOP two", "x", None, {"finish_reason": told})
    texts, response = streamed(long, request=Request("hello", stop=("STOP",)))

    assert texts == ["one "]
    assert response.metadata == {"finish_reason": "stop"}


def test_a_stream_without_a_stop_text_says_what_its_provider_says():
    """It was cut elsewhere, or nothing is known."""
    cut = LLMResponse(True, "one two", "x", None, {"finish_reason": "length"})
    _, response = streamed(cut, request=Request("hello", stop=("STOP",)))
    assert response.metadata == {"finish_reason": "length"}


class Returning(Rough):
    """Streams a text, and returns what it is given."""

    def __init__(self, end):
        self.end = end

    def stream(self, request):
        yield "one"
        return self.end


@pytest.mark.parametrize("end", [False, True, 0, "", "one", [], {}], ids=repr)
def test_a_stream_that_returns_anything_else_is_no_success(end):
    """Only None is nothing: all else may mean that it failed."""
    entry = ProviderHandle.of(Returning(end))
    with pytest.raises(BadAnswerError, match=f"returned {type(end).__name__} instead"):
        list(entry.stream(Request("hello")))


def test_a_stream_that_returns_nothing_is_an_answer():
    """A generator without a `return` has come to its end."""
    assert list(ProviderHandle.of(Returning(None)).stream(Request("hello"))) == ["one"]
