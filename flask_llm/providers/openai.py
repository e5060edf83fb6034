"""OpenAI, and servers that are compatible with it."""

import re
from collections.abc import Collection, Generator, Iterator
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..config.parsers import one_of
from ..errors import (
    BadAnswerError,
    ContentBlockedError,
    ModelNotFoundError,
    ProviderError,
    SchemaError,
    TransientError,
)
from ..types import LLMResponse, Request, counted
from . import classify, internals
from .answers import (
    SHORT,
    ParsedResponse,
    billed,
    cut_short,
    finish_of,
    until_whole,
)
from .base import Retirement
from .classify import MALFORMED, status_of
from .error_bodies import codes_of, fields_of, words_of
from .model_lifecycle import openai_ends
from .schema_dialects import strict
from .sdk import ChatProvider, chat_messages, image_url
from .transport import cancellable, without_user

# Where a model's thinking stands beside the text: vLLM, DeepSeek and llama.cpp have the
# first name, OpenRouter and Groq the other.
_THOUGHTS = ("reasoning_content", "reasoning")


class AnsweredError(Exception):
    """An error that came with status 200; has the attributes of openai's errors.

    Args:
        body: What the answer calls its `error`.
    """

    def __init__(self, body: Any) -> None:
        super().__init__()
        fields = body if isinstance(body, dict) else {}
        self.body = body
        code = fields.get("code")
        status = re.fullmatch(r"\d{3}", str(code), re.ASCII)
        self.code = int(status[0]) if status else code  # a number, or a word
        self.param = fields.get("param")


def completed(answer: Any) -> ParsedResponse:
    """Return what an answer in one piece holds.

    Args:
        answer: What the SDK returned, of whatever shape.

    Raises:
        AnsweredError: It is an error.
        ProviderError: It is not the text of a model, or not the whole of it.
    """
    choice = _choice(answer)
    message = choice.message
    with billed(usage_of(answer)):
        finish = finished(choice.finish_reason, message.refusal)
    text = text_in(message)
    return ParsedResponse(
        text=text,
        is_blank=not text.strip(),
        finish_reason=finish,
        usage=usage_of(answer),
        has_thought=has_thought(message) or has_counted_thought(answer),
        request_id=getattr(answer, "_request_id", None),
        model=answer.model,
    )


def finished(finish: str | None, refusal: str | None) -> str:
    """Return why an answer ended, if it is complete, or cut by `max_tokens`.

    Args:
        finish: The API's word for it.
        refusal: Why the model does not want to answer.

    Raises:
        ProviderError: It ended in another way.
    """
    if refusal:
        raise ContentBlockedError(refusal, reason="refused to answer")
    return finish_of(finish)


def text_in(message: Any) -> str:
    """Return the text of a message, or of a piece of one."""
    content = getattr(message, "content", None) or ""
    parts = [each.get("text") for each in _parts(message) if each.get("type") == "text"]
    texts: list[Any] = parts if isinstance(content, list) else [content]
    if not all(isinstance(each, str) for each in texts):
        raise TransientError(reason=MALFORMED)
    return "".join(texts)


def _parts(message: Any) -> list[dict[str, Any]]:
    """Return the parts of a content, which Mistral's models that think have."""
    content = getattr(message, "content", None)
    parts = content if isinstance(content, list) else []
    if not all(isinstance(each, dict) for each in parts):
        raise TransientError(reason=MALFORMED)
    return parts


def has_thought(message: Any) -> bool:
    """Return whether a message, or a piece of one, holds thinking."""
    kinds = [each.get("type") for each in _parts(message)]
    return "thinking" in kinds or any(
        getattr(message, name, None) for name in _THOUGHTS
    )


def has_counted_thought(answer: Any) -> bool:
    """Return whether the usage counts thinking."""
    details = getattr(answer.usage, "completion_tokens_details", None)
    return bool(getattr(details, "reasoning_tokens", None))


def usage_of(answer: Any) -> dict[str, int] | None:
    """Return the tokens, if they were counted."""
    told = answer.usage
    taken: Any = getattr(told, "prompt_tokens", None)
    given: Any = getattr(told, "completion_tokens", None)
    total = getattr(told, "total_tokens", None)
    details = _details(told)
    thought = details.get("reasoning_tokens")
    # xAI counts it beside the answer.
    if type(thought) is int and type(taken) is type(given) is int:
        given += thought if total == taken + given + thought else 0
    return counted(taken, given, total, details)


_DETAILS = {
    "prompt_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "completion_tokens_details": ("reasoning_tokens",),
}


def _details(told: Any) -> dict[str, object]:
    """Return which tokens a usage tells apart."""
    parts = {part: getattr(told, part, None) for part in _DETAILS}
    return {
        name: getattr(parts[part], name, None)
        for part, names in _DETAILS.items()
        if parts[part] is not None
        for name in names
    }


def code_of(body: Any) -> str | None:
    """Return what of an error body says without doubt what it is."""
    for fields in fields_of(body):
        if fields.get("reasons"):
            return "content_filter"  # OpenRouter's moderation: what it has found
    return next(filter(classify.knows, codes_of(body)), None)


def _choice(answer: Any) -> Any:
    """Return the first choice of an answer, or raise what it says instead."""
    check_error(answer)
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        # A web page with status 200 comes back as str, other JSON as all None.
        raise TransientError(reason=MALFORMED)
    choice = first_choice(choices)
    if not choices:
        raise BadAnswerError(reason="answer without a choice")
    check_error(choice)
    if getattr(choice, "message", None) is None:
        raise TransientError(reason=MALFORMED)
    return choice


def first_choice(choices: list[Any]) -> Any:
    """Return the choice that is the answer, of several answers; None if there is none.

    Some servers number their only one from 1, or leave the number out.
    """
    choices = [each for each in choices if each is not None]
    first = (each for each in choices if not getattr(each, "index", None))
    return next(first, choices[0] if choices else None)


def check_error(part: Any) -> None:
    """Raise what an answer, or a choice of it, says instead."""
    if error := getattr(part, "error", None):
        raise AnsweredError(error)


class Chunks:
    """A chat completion as it comes.

    Args:
        stream: The SDK's stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._model: str | None = None
        self._usage: dict[str, int] | None = None
        self._finish: str | None = None
        self._refusal = ""
        self._has_thought = False
        self._is_blank = True
        self._is_numbered = False

    def texts(self) -> Iterator[str]:
        """Yield its texts; afterwards it has been `parsed`.

        Raises:
            AnsweredError: It says that it has failed.
            TransientError: It is no such stream.
        """
        for chunk in until_whole(self._stream, self._is_whole):
            choice = self._choice(_choices(chunk))
            self._note(chunk)
            if choice is not None:
                check_error(choice)
                if text := self._text(choice):
                    yield text
        if self._model is None:
            # A web page, or an answer in one piece: nothing of it is an event.
            raise TransientError(reason=MALFORMED)

    @property
    def parsed(self) -> ParsedResponse:
        """What all chunks were together.

        Raises:
            ProviderError: They were not the text of a model, or not the whole of it.
        """
        if self._finish is None and not self._refusal:
            raise cut_short(blank=self._is_blank)
        with billed(self._usage):
            finish = finished(self._finish, self._refusal)
        return ParsedResponse(
            text="",
            is_blank=self._is_blank,
            finish_reason=finish,
            usage=self._usage,
            has_thought=self._has_thought,
            request_id=self._stream.response.headers.get("x-request-id"),
            model=self._model,
        )

    def _is_whole(self) -> bool:
        return self._finish is not None

    def _choice(self, choices: list[Any]) -> Any:
        """Return the answer's piece in a chunk; None if it has none.

        TGI's number counts the pieces: it only tells answers apart where one was 0.
        """
        choice = first_choice(choices)
        number = getattr(choice, "index", None)
        self._is_numbered |= number == 0
        return None if self._is_numbered and number else choice

    def _note(self, chunk: Any) -> None:
        if chunk is None or not (chunk.choices or getattr(chunk, "usage", None)):
            return  # a sign of life that holds nothing
        self._model = getattr(chunk, "model", None) or self._model or ""
        self._usage = usage_of(chunk) or self._usage
        self._has_thought = self._has_thought or has_counted_thought(chunk)

    def _text(self, choice: Any) -> str:
        """Return the text of a piece, which thinking and a refusal are not."""
        piece = choice.delta
        self._finish = choice.finish_reason or self._finish
        if piece is None:
            return ""
        self._refusal += getattr(piece, "refusal", None) or ""
        self._has_thought = self._has_thought or has_thought(piece)
        text = text_in(piece)
        self._is_blank = self._is_blank and not text.strip()
        return text


def _choices(chunk: Any) -> list[Any]:
    """Return the pieces of a chunk; a sign of life, or the usage, has none."""
    choices = getattr(chunk, "choices", None)
    if isinstance(choices, list):
        return choices
    check_error(chunk)
    is_error = getattr(chunk, "object", None) == "error"
    if choices is None and not is_error and not isinstance(chunk, str):
        return []
    raise TransientError(reason=MALFORMED)


# By OpenAI's reasoning guide and its models' pages these think before they answer and
# take no temperature; the aliases of ChatGPT's models do not.
_THINKS = re.compile(r"(?:o\d|gpt-[56])(?!.*-chat)")

# Of them, those that cannot but think: all before gpt-5.1, codex, and some of gpt-6.
_MUST_THINK = re.compile(
    r"o\d|gpt-5(?:-|$)|.*codex|gpt-6(?:\.\d)?-astra|gpt-6\.1-sol|gpt-6\.2-"
)

_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_parse_reasoning = one_of("auto", "off", *_EFFORTS)

_SENT_ALONG = "headers of OPENAI_CUSTOM_HEADERS are sent along"

_MOST_STOPS = 4  # the chain ends the answer at the others

# The replacements that OpenAI names.
_SUCCESSORS = dict.fromkeys(
    ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"), "gpt-6-luna"
)


class OpenAIProvider(ChatProvider):
    """OpenAI's Chat Completions, or any server that speaks them.

    With a `base_url` it asks vLLM, LM Studio, llama.cpp, Groq, Together, OpenRouter,
    Azure's v1 endpoint and others. They need no key; without one no Authorization
    header is sent. Nothing is known of their models: what one refuses is learned.

    Reasoning models take no `temperature` and no `stop`: they are dropped,
    `metadata["warnings"]` says so in each answer, and the log once if they were asked
    for. The chain ends the answer where it should stop.

    The SDK's environment variables change nothing: neither address, key, organization,
    project nor headers. Those of the HTTP library do, as for every provider: proxies
    (HTTPS_PROXY, NO_PROXY) and certificates (SSL_CERT_FILE).

    Args:
        api_key: The key; may be missing with a `base_url` that is not OpenAI's.
        model: Model instead of the default one.
        base_url: Address instead of OpenAI's, with its "/v1".
        timeout: Seconds that one attempt may take.
        reasoning: How OpenAI's reasoning models think: "off" (those that cannot but
            think do with a "low" effort); "auto", which is off in calls with
            `max_tokens` below 4096 and the model's own habit in others; or an effort:
            "minimal", "low", "medium", "high", "xhigh" or "max". All but "auto" is sent
            to other models and addresses too.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `reasoning` is none
            of these.
    """

    name = "openai"
    module = "openai"
    distribution = "openai"
    requirement = '"Flask-LLM[openai]"'
    api_key_names = ("OPENAI_API_KEY",)
    default_model = "gpt-6.1-terra"
    options = {"reasoning": _parse_reasoning}  # noqa: RUF012  # never changed
    renames = MappingProxyType({"max_tokens": "max_completion_tokens"})
    schema_parameter = "response_format"
    _can_rehearse = True
    _thinking_parameter = "reasoning", "reasoning_effort.none"
    of_streams = MappingProxyType({"stream_options": {"include_usage": True}})
    address = "https://api.openai.com/v1"

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        reasoning: str = "auto",
    ) -> None:
        super().__init__(api_key, model=model, base_url=base_url, timeout=timeout)
        self.reasoning = _parse_reasoning(reasoning)

    def retirement(self) -> Retirement | None:
        """Return when OpenAI ends the model; other servers have ends of their own."""
        end = openai_ends().get(self.model)
        if end is None or not self._is_own():
            return None
        family = re.sub(r"-\d{4}-\d\d-\d\d$", "", self.model)
        return Retirement(end, _SUCCESSORS.get(family))

    def _connect(self) -> Any:
        from openai import DefaultHttpxClient, OpenAI

        address = self.base_url or self.address
        client = OpenAI(
            api_key=self._api_key,
            admin_api_key="",  # given, so that OPENAI_ADMIN_KEY is not read
            http_client=cancellable(
                DefaultHttpxClient(**self._http("httpx2", address))
            ),
            # Always given: else OPENAI_BASE_URL would decide where the key goes.
            base_url=without_user(address),
            timeout=self.timeout,
            max_retries=0,
        )
        # No argument keeps OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS
        # out: given as "" they would be sent as empty headers.
        client.organization = client.project = None
        internals.replace(client, "_custom_headers", {}, _SENT_ALONG)
        return client

    def _is_own(self) -> bool:
        """Return whether OpenAI itself is asked, in whichever region."""
        host = urlsplit(self.base_url or "").hostname or ""
        return not self.base_url or f".{host}".endswith(".api.openai.com")

    def _thinks(self) -> bool:
        """Return whether the model is known as a reasoning model."""
        return self._has_names() and bool(_THINKS.match(self.model))

    def _has_names(self) -> bool:
        """Return whether the names of OpenAI's models mean these models."""
        host = urlsplit(self.base_url or "").hostname or ""
        return self._is_own() or host.endswith(".azure.com")

    def _needs_key(self) -> bool:
        return self._is_own()

    def _refused(self) -> Collection[str]:
        refused = {
            "max_tokens": self._is_own() or self._thinks(),  # take the other name
            "temperature": self._thinks(),
            "stop": self._thinks(),
            "reasoning_effort.none": self._thinks() and _MUST_THINK.match(self.model),
        }
        return [name for name, is_refused in refused.items() if is_refused]

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request) | {"max_tokens": request.max_tokens}
        if effort := self._effort(request.max_tokens):
            optional["reasoning_effort"] = effort
        if request.stop:
            optional["stop"] = list(request.stop[:_MOST_STOPS])
        if request.schema and (schema := strict(request.schema.json)):
            named = {"name": request.schema.name, "schema": schema, "strict": True}
            optional["response_format"] = {"type": "json_schema", "json_schema": named}
        return optional

    def _effort(self, max_tokens: int) -> str | None:
        """Return the `reasoning_effort` of a request, or None for the model's habit."""
        if self.reasoning in _EFFORTS:
            return self.reasoning
        if self.reasoning == "auto" and not (self._thinks() and max_tokens < SHORT):
            return None
        return "low" if self._parameters.refuses("reasoning_effort.none") else "none"

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return self._create(client, request, timeout=self._seconds(request), **optional)

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        silence = self._silence(request)
        return self._create(client, request, timeout=silence, stream=True, **optional)

    def _create(self, client: Any, request: Request, **arguments: Any) -> Any:
        return client.chat.completions.create(
            model=self.model,
            messages=chat_messages(request, image_url),
            extra_headers=self._headers(),
            **arguments,
        )

    def _headers(self) -> dict[str, Any]:
        from openai import Omit

        return {} if self._api_key else {"Authorization": Omit()}

    def _read(self, answer: Any) -> LLMResponse:
        return completed(answer).response(self.name, self.model, self._thinking_off)

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        chunks = Chunks(events)
        yield from chunks.texts()
        return chunks.parsed.response(self.name, self.model, self._thinking_off)

    def _list(self, client: Any) -> list[str]:
        found = client.models.list(timeout=self.timeout, extra_headers=self._headers())
        return [each.id for each in self._in_time(found)]

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the API's own message and code."""
        body = getattr(exc, "body", None)
        if status_of(exc) is None:
            if body is None:
                return super().explain(exc)
            exc = AnsweredError(body)  # the SDK's own, from within a stream, has none
        # Without a message the body is a proxy's page: its class says enough.
        detail = words_of(body) or type(exc).__name__
        if (wrong := _wrong_json(body)) is not None:
            return SchemaError(detail, answer=wrong, correctable=True)
        error = classify.from_exception(exc, detail=detail, code=code_of(body))
        if type(error) is ProviderError and error.status is None:
            return BadAnswerError(detail, reason="answered with an error")
        is_bare = not urlsplit(self.base_url or self.address).path.strip("/")
        if isinstance(error, ModelNotFoundError) and is_bare and _is_of_path(detail):
            advice = f"{self.setting('base_url')} usually ends in /v1"
            return error.copy(reason="nothing at this address", advice=advice)
        return error


def _wrong_json(body: Any) -> str | None:
    """Return the answer that Groq has refused, since it is not the JSON asked for."""
    for fields in fields_of(body):
        if fields.get("code") == "json_validate_failed":
            return str(fields.get("failed_generation") or "")
    return None


def _is_of_path(detail: str) -> bool:
    """Return whether a 404 speaks of no model, so that the address may be wrong."""
    return "model" not in detail.lower()
