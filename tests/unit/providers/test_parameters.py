import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import wire

from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import (
    AuthError,
    InvalidRequestError,
    ParameterError,
    QuotaError,
    TransientError,
)
from flask_llm.providers.parameters import Parameters, tell_once
from flask_llm.providers.sdk import ChatProvider
from flask_llm.schema import Schema
from flask_llm.types import Message, Request


@pytest.fixture(autouse=True)
def _untold():
    """Let each test see the log's lines."""
    tell_once.cache_clear()


def refusal(text="", status=400):
    return InvalidRequestError(text, status=status)


class CodedError(Exception):
    """What OpenAI's SDK raises."""

    def __init__(self, code, param):
        super().__init__()
        self.code = code
        self.param = param


REFUSALS = [
    "invalid temperature: only 1 is allowed for this model",
    "gpt-5 models don't support temperature=0.0. Only temperature=1 is supported.",
    "temperature: Extra inputs are not permitted",
    "`temperature` is deprecated for this model.",
    "Unsupported parameter: 'temperature' is not supported with this model.",
    (
        "Unsupported value: 'temperature' does not support 0.25 with this model. Only"
        " the default (1) value is supported."
    ),
    "generation_config.temperature: unknown field",
    (
        'Invalid JSON payload received. Unknown name "temperature" at'
        " 'generation_config': Cannot find field."
    ),
    "Unrecognized request argument supplied: temperature",
    "unexpected keyword argument 'temperature'",
    '"some-model:latest" does not support temperature',
]

OTHERS = [
    "temperature: range: 0..1",
    "temperature: Input should be less than or equal to 1",
    "temperature 1.5 is not supported, at most 1 is",
    "temperature: a value above one is not supported",
    "temperature is not supported when thinking is enabled",
    "top_p is not supported; leave temperature at one",
    "temperature_range is not supported",
    "the mistemperature is unknown",
    "thinking: Extra inputs are not permitted",
    "max_tokens: 300000 > 64000, the maximum allowed",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_is_learned(text, status):
    """Words that refuse a parameter without doubt are believed."""
    parameters = Parameters("m")
    error = parameters.learn({"temperature": 0.25}, refusal(text, status))

    assert type(error) is ParameterError
    assert (error.detail, error.status) == (text, status)
    assert error.reason == "temperature refused, left out from now on"
    assert parameters.fit({"temperature": 0.25}) == (
        {},
        ["temperature is not sent to m, which refused it"],
    )


@pytest.mark.parametrize("text", OTHERS)
def test_another_complaint_is_not(text):
    """A wrong value, a combination or another name refuses no parameter."""
    parameters = Parameters("m")
    error = refusal(text)

    assert parameters.learn({"temperature": 0.25}, error) is error
    assert parameters.fit({"temperature": 0.25}) == ({"temperature": 0.25}, [])


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError(REFUSALS[0], status=409),
        InvalidRequestError(REFUSALS[0]),
        AuthError(REFUSALS[0], status=400),
        TransientError(REFUSALS[0], status=500),
        ParameterError(REFUSALS[0], status=400),
    ],
)
def test_only_a_refused_request_teaches(error):
    """Other failures say nothing of parameters, whatever their words."""
    assert Parameters("m").learn({"temperature": 0.25}, error) is error


def test_what_was_not_sent_is_not_learned():
    """Else the same request would be sent again and again."""
    parameters = Parameters("m")
    error = refusal(REFUSALS[0])

    assert parameters.learn({}, error) is error
    assert parameters.fit({"temperature": 0.25})[0] == {"temperature": 0.25}


@pytest.mark.parametrize(
    ("code", "param", "learned"),
    [
        ("unsupported_value", "temperature", True),
        ("unsupported_parameter", "temperature", True),
        ("unsupported_value", "temperature.x", True),
        ("unsupported_value", "top_p", False),
        ("unsupported_value", None, False),
        ("integer_above_max_value", "temperature", False),
        (400, "temperature", False),
        (["unsupported_value"], "temperature", False),
    ],
)
def test_a_code_tells_it_too(code, param, learned):
    """OpenAI's errors name the parameter in an attribute of its own."""
    error = Parameters("m").learn(
        {"temperature": 0.25}, refusal("No."), CodedError(code, param)
    )

    assert (type(error) is ParameterError) == learned


def test_two_at_once():
    """A validator that lists everything saves a round trip."""
    sent = {"temperature": 0.25, "thinking": {"type": "disabled"}}
    text = "temperature: Extra inputs are not permitted\nthinking: not supported"
    parameters = Parameters("m")
    error = parameters.learn(sent, refusal(text))

    assert error.reason == (
        "temperature refused, left out from now on,"
        " thinking.disabled refused, left out from now on"
    )
    assert parameters.fit(sent)[0] == {}


def test_one_type_refused_leaves_the_others():
    """A model that cannot but think may still be told how much."""
    parameters = Parameters("m")
    off, some = {"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}
    parameters.learn(off, refusal("`thinking` is not supported by this model"))

    assert parameters.refuses("thinking.disabled")
    assert parameters.fit(some) == (some, [])


def test_a_rename_leaves_nothing_out():
    """What a request cannot do without is sent under its other name, silently."""
    parameters = Parameters("m", renames={"max_tokens": "max_completion_tokens"})
    text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    error = parameters.learn({"max_tokens": 7}, refusal(text))

    assert error.reason == (
        "max_tokens refused, sent as max_completion_tokens from now on"
    )
    assert parameters.fit({"max_tokens": 7}) == ({"max_completion_tokens": 7}, [])


def test_a_rename_is_tried_once():
    """A server that takes neither name gets no third request, and no endless one."""
    both = {
        "max_tokens": "max_completion_tokens",
        "max_completion_tokens": "max_tokens",
    }
    parameters = Parameters("m", renames=both)
    parameters.learn({"max_tokens": 7}, refusal("Unknown parameter: max_tokens"))
    error = refusal("Unknown parameter: max_completion_tokens")

    assert parameters.learn({"max_completion_tokens": 7}, error) is error
    assert parameters.fit({"max_tokens": 7})[0] == {"max_completion_tokens": 7}


def test_the_log_tells_once_what_a_caller_would_miss(caplog):
    """A line for each model, and none for a temperature that nobody asked for."""
    for model in ("toy-1", "toy-1", "toy-2"):
        parameters = Parameters(model, {"temperature", "thinking.disabled"})
        for temperature in (0.0, 0.5, 0.5):
            parameters.fit({"temperature": temperature})
        parameters.fit({"thinking": {"type": "disabled"}})
    told = [record for record in caplog.records if record.levelname == "WARNING"]

    assert [each.message for each in told] == [
        "temperature is not sent to toy-1, which takes none",
        "temperature is not sent to toy-2, which takes none",
    ]


def test_threads_may_learn_the_same():
    """Each of those that were refused may ask again; later ones are not refused."""
    parameters = Parameters("m")

    def learn(_):
        return type(parameters.learn({"temperature": 1}, refusal(REFUSALS[0])))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(learn, range(64))) == {ParameterError}


class RefusedError(Exception):
    """What the toy SDK raises for an error status."""

    def __init__(self, status_code, body):
        super().__init__(body["error"]["message"])
        self.status_code = status_code
        self.code = body["error"].get("code")
        self.param = body["error"].get("param")


class Toy(ChatProvider):
    """A provider as OpenAI's will be, on the standard library."""

    name = "toy"
    module = "json"
    requirement = "toy-sdk"
    default_model = "toy-1"
    renames = {"max_tokens": "max_completion_tokens"}  # noqa: RUF012  # never changed

    def _connect(self):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _optional(self, request):
        return super()._optional(request) | {"max_tokens": request.max_tokens}

    def _send(self, client, request, optional):
        body = json.dumps({"prompt": request.prompt} | optional).encode()
        try:
            with client.open(self.base_url, body, self._seconds(request)) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                raise RefusedError(exc.code, json.load(exc)) from None

    def _read(self, answer):
        return LLMResponse(True, answer["text"], self.name)

    def _open(self, client, request, optional):
        yield self._send(client, request, optional)

    def _follow(self, events):
        for answer in events:
            yield answer["text"]
        return LLMResponse(True, "", self.name)


def error_of(param, text, code="unsupported_parameter"):
    error = {"message": text, "code": code, "param": param}
    return wire.reply({"error": error}, 400)


def test_a_provider_learns_over_the_wire(clock):
    """One call finds out both; the next asks once; a second provider learns anew."""
    answers = wire.in_turn(
        error_of("max_tokens", "Use 'max_completion_tokens' instead."),
        error_of("temperature", "Only the default (1) value.", "unsupported_value"),
        wire.reply({"text": "hi"}),
    )
    with wire.Stub(answers) as stub:
        provider = Toy("key-0123456789", base_url=stub.url)
        factory = LLMFactory(provider, [], config={"LLM_MAX_RETRIES": 3}, clock=clock)
        first, second = (factory.generate_content("?", 0.5, 7) for _ in "12")
    assert [each.json for each in stub.received] == [
        {"prompt": "?", "temperature": 0.5, "max_tokens": 7},
        {"prompt": "?", "temperature": 0.5, "max_completion_tokens": 7},
        {"prompt": "?", "max_completion_tokens": 7},
        {"prompt": "?", "max_completion_tokens": 7},
    ]
    warnings = ["temperature is not sent to toy-1, which refused it"]
    for response in (first, second):
        assert response.content == "hi"
        assert response.metadata["warnings"] == warnings
    outcomes = [each.outcome for each in first.attempts]
    assert outcomes == ["invalid_request", "invalid_request", "success"]
    assert clock.waits == []
    assert not Toy("key-0123456789")._parameters.refuses("temperature")


def test_what_did_not_help_is_forgotten():
    """A refusal is remembered only if the next request is answered."""
    known = Parameters("m")
    refusal = InvalidRequestError("temperature is not supported", status=400)
    for error, remembered in (
        (InvalidRequestError("No", status=400), False),
        (None, True),
    ):
        assert type(known.learn({"temperature": 0.0}, refusal)) is ParameterError
        assert known.on_trial
        known.settle(error)
        assert not known.on_trial
        assert known.refuses("temperature") is remembered


def test_a_failure_of_another_kind_decides_nothing():
    """Such as a quota: nobody knows yet whether it helps."""
    known = Parameters("m")
    known.learn(
        {"stop": ["x"]}, InvalidRequestError("stop is not supported", status=400)
    )
    known.settle(QuotaError())
    assert known.on_trial
    assert known.refuses("stop")


def test_a_schema_that_is_too_much():
    """It is that schema that is refused, and no other one."""
    known, schema = Parameters("m"), Schema({"type": "object", "title": "A"})
    other = Schema({"type": "object", "title": "B"})
    assert type(known.learn_schema(schema, QuotaError())) is QuotaError
    error = known.learn_schema(schema, InvalidRequestError("Bad", status=400))
    assert (type(error), error.at_once) == (ParameterError, True)
    assert known.refuses_schema(schema)
    assert not known.refuses_schema(other)


TALK = (
    Message("assistant", ("Hi!",)),
    Message("user", ("One",)),
    Message("user", ("Two",)),
)


def refused(text):
    return InvalidRequestError(text, status=400)


@pytest.mark.parametrize(
    "text",
    [
        "System role not supported",
        "system_instruction is not supported by this model",
        "This model does not support system messages",
        "Developer instruction is not enabled for models/gemma-3",
    ],
)
def test_a_model_without_a_system_role(text):
    """What the system says becomes the user's, in whatever form the prompt is."""
    known, warnings = Parameters("m"), []
    error = known.learn_roles(Request("Hi", system="Be brief."), refused(text))
    assert (type(error), error.at_once) == (ParameterError, True)

    fitted = known.fit_roles(Request("Hi", system="Be brief."), warnings)
    assert (fitted.system, fitted.prompt) == ("", "Be brief.\n\nHi")
    assert warnings == ["m takes no system role: its text is the user's"]
    talk = known.fit_roles(Request(TALK, system="Be brief."), [])
    assert talk.messages[1].parts == ("Be brief.\n\n", "One")


@pytest.mark.parametrize(
    "text",
    [
        "Please ensure that multiturn requests alternate between user and model",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "First message must be from the user",
    ],
)
def test_a_model_whose_turns_must_alternate(text):
    """Turns of one role are joined, and the user's comes first."""
    known, warnings = Parameters("m"), []
    assert type(known.learn_roles(Request(TALK), refused(text))) is ParameterError

    fitted = known.fit_roles(Request(TALK), warnings)
    assert [(each.role, "".join(each.parts)) for each in fitted.messages] == [
        ("user", "Begin."),
        ("assistant", "Hi!"),
        ("user", "One\n\nTwo"),
    ]
    assert warnings == ["m takes turns that alternate: they were joined"]
    assert known.fit_roles(Request("Hi"), []) == Request("Hi")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request("Hi"), "System role not supported"),
        (Request("Hi", system="S"), "Conversation roles must alternate"),
        (Request(TALK), "The system is not supported on Sundays"),
        (Request(TALK, system="S"), "max_tokens is too large"),
    ],
)
def test_another_refusal_says_nothing_of_roles(request_, text):
    """It is what it was."""
    known = Parameters("m")
    assert known.learn_roles(request_, refused(text)).args == (text,)
    assert not known.knows_roles
