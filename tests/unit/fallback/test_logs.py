"""The fields of log records, and that no text of a prompt or an answer is in them."""

import ast
import asyncio
import contextlib
import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask, g
from pydantic import BaseModel

from flask_llm import FlaskLLM, LLMFactory, LLMResponse, StreamInterrupted
from flask_llm.errors import (
    BadAnswerError,
    ContextLengthError,
    InvalidRequestError,
    QuotaError,
    TransientError,
)
from flask_llm.fallback.logs import Content
from flask_llm.filters import Rejected
from flask_llm.testing import Delay, FakeProvider, StubServer, reply
from flask_llm.types import Image, Message

PAGE = (Path(__file__).parents[3] / "docs" / "logging.md").read_text()
BROKEN = TransientError(reason="connection error")
CANARY = "tell nobody that the canary sings"
KEY = "sk-canary-0123456789"


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini", "claude", and these."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock)


def fields(record):
    """Return what a record carries of ours."""
    ours = vars(record).items()
    return {k: v for k, v in ours if k.startswith("llm_") or k == "request_id"}


@pytest.fixture
def told(caplog):
    """Return the sentence and the fields of each record so far, without call ids."""
    caplog.set_level(logging.DEBUG, "flask_llm")

    def lines():
        seen = {each.getMessage(): fields(each) for each in caplog.records}
        return {line: each for line, each in seen.items() if "\n" not in line}

    return lines


def counted(text, taken, given):
    usage = {"input_tokens": taken, "output_tokens": given, "total_tokens": 0}
    return LLMResponse(True, text, "x", None, {"usage": usage, "model": "claude-x"})


def test_each_line_of_a_call_tells_its_part(clock, told):
    """Who, which attempt, what went wrong, how long; and of the end the whole."""
    script = [Delay(2, BROKEN), QuotaError()]
    slow = [Delay(0.5, counted("hi", 7, 2))]
    factory = chain(clock, script, slow)
    response = factory.generate_content("hello", purpose="greet")

    call = {"llm_call_id": response.metadata["call_id"], "llm_purpose": "greet"}
    gemini = call | {"llm_provider": "gemini"}
    assert told() == {
        "LLMFactory initialized with primary provider: gemini": {},
        "Using gemini for content generation": gemini | {"llm_attempt": 1},
        "gemini connection error, retrying in 5 s": gemini
        | {"llm_attempt": 1, "llm_kind": "transient"}
        | {"llm_latency_s": 2.0, "llm_wait_s": 5.0},
        "gemini failed: quota exceeded": gemini
        | {"llm_attempt": 2, "llm_kind": "quota", "llm_latency_s": 0.0},
        "gemini quota exceeded, switching to claude": gemini
        | {"llm_attempt": 2, "llm_kind": "quota", "llm_latency_s": 0.0}
        | {"llm_next_provider": "claude"},
        "Using claude for content generation": call
        | {"llm_provider": "claude", "llm_attempt": 3},
        "claude answered in 7.50 s": call
        | {"llm_provider": "claude", "llm_model": "claude-x", "llm_attempt": 3}
        | {"llm_latency_s": 7.5, "llm_input_tokens": 7, "llm_output_tokens": 2},
    }


def test_the_line_of_a_failed_call_tells_of_the_whole(clock, told):
    """Its tokens are those of all attempts, its kind is that of the response."""
    wrong = [counted('"x"', 7, 2)]
    factory = chain(clock, [QuotaError()], wrong)
    response = factory.generate_content("hello", schema={"type": "integer"})

    line = (
        "All LLM providers failed: [gemini: quota exceeded,"
        " claude: answer does not match the schema]"
    )
    ending = told()[line]
    assert ending["llm_kind"] == response.metadata["error_kind"] == "bad_answer"
    assert ending["llm_provider"] == response.provider_name
    assert ending["llm_attempt"] == 3
    assert ending["llm_input_tokens"] == 14
    assert ending["llm_latency_s"] == response.metadata["latency_s"]


def test_a_provider_that_rests_tells_until_when(clock, told):
    """The skip and the rest before it have the seconds."""
    factory = chain(clock, [QuotaError(retry_after=40)], ["hi"])
    factory.generate_content("hello")
    factory.generate_content("hello")

    rest = told()["gemini cooling down for 40 s after quota exceeded"]
    assert (rest["llm_provider"], rest["llm_kind"], rest["llm_wait_s"]) == (
        "gemini",
        "quota",
        40.0,
    )
    (skipped,) = [each for line, each in told().items() if "skipped" in line]
    assert (skipped["llm_provider"], skipped["llm_wait_s"]) == ("gemini", 40.0)
    assert skipped["llm_call_id"] != rest["llm_call_id"]


def test_a_refused_prompt_is_told_of(clock, told):
    """Without the words of the filter, which may quote it."""
    factory = chain(clock, ["unused"])

    @factory.prompt_filter
    def polite(request):
        raise Rejected(f"who says {request.text}?")

    response = factory.generate_content(CANARY)
    line = "No provider was asked: prompt refused by polite"
    assert told()[line]["llm_call_id"] == response.metadata["call_id"]
    assert told()[line]["llm_kind"] == "invalid_request"


def test_a_stream_tells_its_end_in_whatever_thread_reads_it(clock, told):
    """The call is known there, too, and its first text's time."""
    stream = chain(clock, ["one two"]).stream_content("hello", purpose="greet")
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    reader.join()

    ending = told()["gemini answered in 0.00 s"]
    assert ending["llm_call_id"] == stream.response.metadata["call_id"]
    assert ending["llm_purpose"] == "greet"
    assert ending["llm_first_token_s"] == 0.0


@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
def test_all_lines_of_a_broken_stream_belong_to_its_call(clock, told, on_interrupt):
    """Whether it breaks off, begins anew, or nobody is left."""
    factory = chain(clock, [["one ", BROKEN]], [QuotaError()])
    stream = factory.stream_content("hello", on_interrupt=on_interrupt)
    with pytest.raises(StreamInterrupted):
        list(stream)

    lines = told()
    del lines["LLMFactory initialized with primary provider: gemini"]
    call_ids = {each["llm_call_id"] for each in lines.values()}
    assert call_ids == {stream.response.metadata["call_id"]}
    broken = lines["gemini broke off its answer: connection error"]
    assert (broken["llm_kind"], broken["llm_attempt"]) == ("transient", 1)


def test_a_closed_stream_belongs_to_its_call(clock, told):
    """Its one line has kind and time."""
    with chain(clock, ["one two"]).stream_content("hello") as stream:
        clock.sleep(3)
    closed = told()["gemini closed by the caller"]

    assert closed["llm_call_id"] == stream.response.metadata["call_id"]
    assert (closed["llm_kind"], closed["llm_latency_s"]) == ("closed", 3.0)


@pytest.mark.parametrize("deadline", [None, 5], ids=["here", "in a worker"])
def test_whoever_logs_during_a_call_has_its_number(caplog, deadline):
    """A provider's traceback in a thread of its own, an app's filter that fails."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    factory = LLMFactory(FakeProvider(RuntimeError("x"), "hi"), [])
    factory.output_filter(lambda response: 1 / 0)
    config = {"deadline": deadline, "max_retries": 1}
    first = factory.generate_content("hello", **config)
    second = factory.generate_content("hello", **config)

    seen = {fields(each)["llm_call_id"]: [] for each in caplog.records[1:]}
    for each in caplog.records[1:]:
        seen[each.llm_call_id].append(each.getMessage())
    numbers = [first.metadata["call_id"], second.metadata["call_id"]]
    assert list(seen) == numbers
    assert any("RuntimeError" in line for line in seen[numbers[0]])
    assert any("ZeroDivisionError" in line for line in seen[numbers[1]])


def test_an_awaited_call_has_its_number(fake, caplog):
    """Its thread makes it; two tasks at once do not mix."""
    caplog.set_level(logging.INFO, "flask_llm")
    factory = LLMFactory(fake, [])

    async def both():
        calls = [factory.generate_content_async("hi", purpose=each) for each in "ab"]
        return await asyncio.gather(*calls)

    numbers = [each.metadata["call_id"] for each in asyncio.run(both())]
    seen = {(each.llm_call_id, each.llm_purpose) for each in caplog.records[1:]}
    assert seen == set(zip(numbers, "ab", strict=True))


def test_what_is_logged_after_a_call_is_not_of_it(fake, caplog):
    """Also if the call's argument was wrong, or a call was made within a call."""
    log = logging.getLogger("flask_llm")
    caplog.set_level(logging.INFO, "flask_llm")
    inner = LLMFactory(FakeProvider("inner", name="inner"), [])
    outer = LLMFactory(FakeProvider(lambda _: ask().content, name="outer"), [])

    def ask():
        response = inner.generate_content("hello")
        log.info("still in the outer call")
        return response

    response = outer.generate_content("hello")
    log.info("after")
    lines = {each.getMessage(): fields(each) for each in caplog.records}
    number = {"llm_call_id": response.metadata["call_id"]}
    assert lines["after"] == {}
    assert lines["still in the outer call"] == number
    told = next(line for line in lines if line.startswith("inner answered"))
    assert lines[told]["llm_call_id"] not in number.values()


def test_the_requests_number_is_in_each_line(caplog):
    """As Flask's request knows it; the endpoint is the purpose."""
    caplog.set_level(logging.INFO, "flask_llm")
    app = Flask("testapp")
    app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider("hi")
    app.config["LLM_FALLBACK_PROVIDERS"] = []
    FlaskLLM(app)

    @app.get("/")
    def index():
        g.request_id = "r-77"
        return app.llm.generate_content("hello").content

    app.test_client().get("/")
    seen = [fields(each) for each in caplog.records if hasattr(each, "llm_call_id")]
    assert len(seen) == 2
    assert {(each["request_id"], each["llm_purpose"]) for each in seen} == {
        ("r-77", "index")
    }


def test_a_request_id_that_the_app_sets_itself_stays(fake, caplog):
    """Many apps have a record factory that sets one: no call may fail on that."""
    caplog.set_level(logging.INFO, "flask_llm")
    usual = logging.getLogRecordFactory()

    def with_number(*args, **kwargs):
        record = usual(*args, **kwargs)
        record.request_id = "the app's"
        return record

    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    logging.setLogRecordFactory(with_number)
    try:
        with app.test_request_context(headers={"X-Request-ID": "the proxy's"}):
            assert app.llm.generate_content("hello").success
    finally:
        logging.setLogRecordFactory(usual)

    seen = [each for each in caplog.records if hasattr(each, "llm_call_id")]
    assert {each.request_id for each in seen} == {"the app's"}


def test_records_tell_where_they_were_written(fake, caplog):
    """Not the helper that writes them all."""
    caplog.set_level(logging.INFO, "flask_llm")
    LLMFactory(fake, []).generate_content("hello")

    assert {each.filename for each in caplog.records} == {
        "factory.py",
        "events.py",
    }


class Invoice(BaseModel):
    number: int


def quoting(request):
    """Fail as SDKs do: with the prompt in the exception, and in its cause."""
    try:
        raise ValueError(f"cannot send {request.text}")
    except ValueError as cause:
        raise RuntimeError(f"bad request: {request.text}") from cause


def speak(call, canary):
    """Make calls that go wrong in all ways, each with the canary in every text."""
    say = f"an answer: {canary}"
    for step in (
        say,
        quoting,
        InvalidRequestError(canary),
        ContextLengthError(canary),
        BadAnswerError(canary),
        TransientError(canary),
        LLMResponse(False, "", "x", f"429 {canary}"),
        [f"{canary} ", TransientError(canary)],
        [f"{canary} ", "the rest"],
    ):
        call(step)


def everything(caplog):
    """Return all that a handler may write of the records."""
    return "\n".join(f"{vars(each)} {each.getMessage()}" for each in caplog.records)


@pytest.mark.parametrize("streamed", [False, True])
def test_no_level_tells_prompts_or_answers(clock, caplog, streamed):
    """Nor what providers, their SDKs, filters and schemas say of them."""
    caplog.set_level(1)

    def call(step):
        factory = chain(clock, [step], [quoting], LLM_MAX_RETRIES=2)
        messages = [{"role": "user", "content": CANARY}]
        if streamed:
            stream = factory.stream_content(messages, system=CANARY)
            with stream, contextlib.suppress(StreamInterrupted):
                list(stream)
            return
        factory.generate_content(messages, system=CANARY)
        factory.generate_content(CANARY, schema=Invoice)
        factory.output_filter(lambda response: 1 / len(response.text))
        factory.generate_content(CANARY)
        factory.prompt_filter(lambda request: [][request.text])
        factory.generate_content(CANARY)

    speak(call, CANARY)
    assert len(caplog.records) > 20
    assert "canary" not in everything(caplog)


@pytest.fixture
def content(caplog):
    """Make a call with LLM_LOG_CONTENT; return the two lines of its texts."""
    caplog.set_level(logging.INFO, "flask_llm")

    def call(prompt, answer, **arguments):
        provider = FakeProvider(answer, name="claude")
        provider.api_key = KEY
        factory = LLMFactory(provider, [], config={"LLM_LOG_CONTENT": "true"})
        factory.generate_content(prompt, **arguments)
        texts = {"llm_prompt", "llm_answer"}
        return [each for each in caplog.records if texts & vars(each).keys()]

    return call


def test_content_is_logged_if_asked_for(content):
    """As a line of text, on one line, and as a field."""
    prompt, answer = content("Why?\nERROR forged", "So.", system="Be brief.")

    shown = "System: Be brief.\n\nUser: Why?\nERROR forged\n\nAssistant:"
    assert (prompt.llm_prompt, answer.llm_answer) == (shown, "So.")
    assert prompt.getMessage() == f"Prompt: {shown!r}"
    assert answer.getMessage() == "Answer of claude: 'So.'"
    assert prompt.llm_call_id == answer.llm_call_id


def test_content_is_logged_without_keys_and_personal_data(content):
    """Whatever stands in the prompt or comes in the answer."""
    secret = f"{KEY} ann@example.com 4111 1111 1111 1111"
    prompt, answer = content(secret, f"I know {secret}")

    clean = "[redacted] [e-mail] [card]"
    assert (prompt.llm_prompt, answer.llm_answer) == (clean, f"I know {clean}")


def test_pictures_are_marks(content):
    """Neither their bytes nor an address with its signature."""
    parts = ("look:", Image(b"\x89PNG\r\n\x1a\n1234"), Image(url="https://a.de/?sig=1"))
    prompt, _ = content([Message("user", parts)], "A cat.")

    assert prompt.llm_prompt == (
        "look:\n[Image(12 bytes, image/png)]\n[Image(at a.de, type unknown)]"
    )


def test_a_long_text_is_cut_and_leaves_no_half_key():
    """Wherever the key stands, however much was taken out before it."""
    content = Content((KEY,))
    assert content.shown("a " * 10_000) == ("a " * 10_000)[:3999] + "…"
    for before in range(39_970, 40_001):
        text = KEY * ((before - 100) // len(KEY))
        text += "b" * (before - len(text)) + KEY + " " * 9000
        assert "canary" not in content.shown(text)


def test_content_at_debug_tells_what_a_provider_said(clock, caplog):
    """Who asks for texts gets those of failures too, without keys."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    failure = InvalidRequestError("no such tool as ann@example.com")
    chain(clock, [failure], LLM_LOG_CONTENT=True).generate_content("hello")

    line = "gemini failed: request rejected: no such tool as [e-mail]"
    assert line in caplog.messages


# --- the page ---

CODE = re.findall(r"(?ms)^```python\n(.+?)^```", PAGE)
CALL = """
from flask import Flask
from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

app = Flask("app")
app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider(QuotaError(), name="gemini")
app.config["LLM_FALLBACK_PROVIDERS"] = [FakeProvider("hi", name="claude")]
FlaskLLM(app)
with app.test_request_context(headers={"X-Request-ID": "b7a1"}):
    app.llm.generate_content("hello", purpose="classify_email")
logging.getLogger("other").warning("of another logger")
"""


@pytest.mark.parametrize("code", CODE[1:3], ids=["standard library", "structlog"])
def test_json_logging_as_shown_works(code):
    """Each line is JSON, with the fields of the call."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + CALL],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    *_, ending, foreign = lines

    assert "claude answered in" in (ending.get("message") or ending["event"])
    assert ending["llm_provider"] == "claude"
    assert ending["llm_attempt"] == 2
    assert (ending["llm_purpose"], ending["request_id"]) == ("classify_email", "b7a1")
    assert not [name for name in foreign if name.startswith("llm_")]
    assert foreign["logger"] == "other"


def test_the_loggers_of_sdks_are_kept_quiet_as_shown(caplog):
    """With all of the logging at DEBUG the SDK's logger would quote the prompt."""
    caplog.set_level(logging.DEBUG)
    names = ast.literal_eval(re.search(r"in (\(.+?\)):", CODE[3], re.DOTALL)[1])
    for name in names:
        caplog.set_level(logging.NOTSET, name)  # which puts the level back at the end
    with StubServer(reply({"error": {"message": "no"}}, 400)) as server:
        config = {"LLM_CLAUDE_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k" * 20}
        factory = LLMFactory("claude", [], config=config)
        factory.generate_content("CANARY, loud")
        exec(CODE[3], {"logging": logging})
        factory.generate_content("CANARY, quiet")

    assert "CANARY, loud" in caplog.text
    assert "CANARY, quiet" not in caplog.text
    assert "anthropic" in names


def test_the_format_as_shown_works_outside_of_calls(fake):
    """A record without the field breaks nothing."""
    formatter = eval(CODE[0], {"logging": logging})
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})

    assert formatter.format(record).endswith("INFO [-] hello")


def test_the_page_names_every_field_and_no_other(clock, caplog):
    """What records of calls of all kinds carry is in the table, and the other way."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    prices = {"claude-x": {"input": 1, "output": 5}}
    config = {"LLM_LOG_CONTENT": "true", "LLM_PRICES": prices}
    factory = chain(clock, [BROKEN, QuotaError()], [counted("hi", 7, 2)], **config)
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider("hi")}
    app.config["LLM_FALLBACK_PROVIDERS"] = []
    FlaskLLM(app)
    factory.generate_content("hello", purpose="greet")
    list(factory.stream_content("hello"))
    with app.test_request_context(headers={"X-Request-ID": "1"}):
        app.llm.generate_content("hello")

    seen = {name for each in caplog.records for name in fields(each)}
    rows = re.findall(r"(?m)^\| (`.+?) \|", PAGE.partition("## Fields")[2])
    assert seen == set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_a_logger_that_was_disabled_tells_an_outage(caplog):
    """By a configuration of the app's that did not mean it; a level silences it."""
    factory = LLMFactory(FakeProvider(QuotaError()), [], config={})
    log = logging.getLogger("flask_llm")
    log.disabled = True
    factory.generate_content("hello")
    factory.generate_content("hello")
    assert sum("was disabled" in each for each in caplog.messages) == 1
    assert sum("All LLM providers failed" in each for each in caplog.messages) == 2
