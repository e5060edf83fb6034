"""Gemini by the SDK google-generativeai.

The SDK takes an error in it for an empty answer, reads it byte by byte, and trips over
a line break behind it. So the body is read here, and given to the SDK by the element.
"""

import json
import logging
import re
import warnings
from codecs import iterdecode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ...config.parsers import installed, one_of
from ...config.settings import ProviderSettings
from ...errors import BadAnswerError, ProviderError, TransientError
from ...types import Request
from .. import classify, internals
from ..classify import MALFORMED, status_of
from ..parameters import tell_once
from ..sdk import SdkProvider
from ..transport import restrain
from . import chat
from .chat import GoogleProvider, ParsedPart, contents
from .genai import GenaiProvider

_EITHER = (
    f'{GenaiProvider.requirement}; or "Flask-LLM[gemini]" for the older SDK, which'
    " needs protobuf below 6"
)


class GeminiProvider(GoogleProvider):
    """Gemini, by Google's Generative Language API with an API key.

    Uses the REST transport: its connections can be patched by gevent, and its errors
    carry the HTTP headers. Uses the SDK's service client: its `GenerativeModel` shows
    each chunk of a stream only when the next has come. Google's documentation of
    Gemini 3.6 deprecates `temperature`, since low values can make a model loop: it is
    not sent to this and later ones.

    Configured with the setting `sdk` "google-genai", or where only that is installed,
    the name stands for a `GenaiProvider`.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Google's.
        timeout: Seconds that one attempt may take.
        thinking: As for `GenaiProvider`; but this SDK knows nothing of thinking, so
            anything except "auto" only leads to a warning.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.
    """

    name = "gemini"
    module = "google.generativeai"
    distribution = "google-generativeai"
    requirement = '"Flask-LLM[gemini]"'
    options = {  # noqa: RUF012  # never changed
        "sdk": one_of(distribution, GenaiProvider.distribution),
        "thinking": chat.parse_thinking,
    }

    schema_parameter = "response_schema"
    # Candidate.FinishReason of generativelanguage v1beta. LANGUAGE, OTHER, a malformed
    # function call and reasons newer than the SDK, which read 0, leave no good answer.
    finished = {1: "stop", 2: "length"}  # noqa: RUF012  # never changed
    blocked = frozenset({3, 4, 7, 8, 9, 11})

    @property
    def ended(self) -> str:  # type: ignore[override]  # it names its own setting
        """What to say of the SDK, whose support has ended."""
        return (
            f"{self.distribution} is no longer supported by Google, and keeps protobuf"
            f" below 6: set {self._switch}"
            f", after pip install {GenaiProvider.requirement}"
        )

    @property
    def _switch(self) -> str:
        return f"{self.setting('sdk')}={GenaiProvider.distribution}"

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> SdkProvider:
        """Make the provider from its settings, on top of the SDK that they name."""
        usual = cls if installed(cls.module) else GenaiProvider
        configured = settings.options
        options = {"sdk": usual.distribution, **configured}
        old = options.pop("sdk") == cls.distribution
        settings = replace(settings, options=options)
        if old:
            return super().from_config(settings)
        provider = GenaiProvider.from_config(settings)
        if "sdk" not in configured and not installed(GenaiProvider.module):
            provider.requirement = _EITHER  # type: ignore[misc]  # of this one only
        return provider

    def _import(self) -> Any:
        return _import_sdk()

    def _connect(self) -> Any:
        self._import()
        tell_once(logging.WARNING, self.ended)
        from google.ai.generativelanguage import GenerativeServiceClient

        # genai.configure() would be one key for the whole process.
        service = GenerativeServiceClient(
            transport="rest", client_options=self._options()
        )
        tame(service.transport, self.max_answer_bytes)
        return service

    def _adapted(self, request: Request) -> list[str]:  # noqa: ARG002  # the same for all
        if self.thinking == "auto":
            return []
        why = f"thinking is left to {self.model} by {self.distribution}"
        return [f"{why} (set {self._switch})"]

    def _dialect(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        from ..schema_dialects import openapi

        return openapi(schema)

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked = self._asked(request, optional)
        # Without "retry": None a 503 is repeated for ten minutes.
        return client.generate_content(
            asked, retry=None, timeout=self._seconds(request)
        )

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked = self._asked(request, optional)
        return _closed_at_the_end(
            client.stream_generate_content(
                asked, retry=None, timeout=self._silence(request)
            )
        )

    def _asked(self, request: Request, optional: dict[str, Any]) -> dict[str, Any]:
        """Return the SDK's request."""
        model = self.model if "/" in self.model else f"models/{self.model}"
        config = {"max_output_tokens": request.max_tokens} | optional
        if schema := optional.get(self.schema_parameter):
            config[self.schema_parameter] = _message_of(schema)
        asked = {
            "model": model,
            "contents": contents(request),
            "generation_config": config,
        }
        if request.system:
            asked["system_instruction"] = {"parts": [{"text": request.system}]}
        return asked

    def _facts(self, answer: Any) -> ParsedPart:
        candidate = chat.candidate(answer)
        # Not its truth: an empty message has none.
        there = candidate is not None
        parts = candidate.content.parts if there else ()
        return ParsedPart(
            # Not `.text`: it raises where there is none, and joins with line breaks.
            "".join(part.text for part in parts if part.text),
            int(candidate.finish_reason) if there else None,
            answer.model_version,
            chat.usage(answer.usage_metadata),
        )

    def _thought(self, facts: ParsedPart) -> bool:  # noqa: ARG002  # the SDK does not know
        return True

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # has no list
        from google.ai.generativelanguage import ModelServiceClient

        service = ModelServiceClient(transport="rest", client_options=self._options())
        tame(service.transport, self.max_answer_bytes)
        found = service.list_models(retry=None, timeout=self.timeout)
        return [
            each.name.removeprefix("models/")
            for page in self._in_time(found.pages)
            for each in page.models
            if "generateContent" in each.supported_generation_methods
        ]

    def _options(self) -> dict[str, Any]:
        return {
            "api_key": self._api_key,
            # Always given: else GOOGLE_API_USE_MTLS_ENDPOINT would have a say in where
            # the key goes.
            "api_endpoint": self.base_url or self.address,
            # Else GOOGLE_CLOUD_UNIVERSE_DOMAIN would decide where the key goes.
            "universe_domain": "googleapis.com",
        }

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the reason and RetryInfo out of Google's details."""
        if status_of(exc) is None:
            return super().explain(exc)
        # The SDK puts its own address before Google's message.
        message = re.sub(r"^POST \S+: ", "", str(getattr(exc, "message", exc)))
        return chat.explain(exc, getattr(exc, "details", None), message)


def _import_sdk() -> Any:
    """Import the SDK without its two import warnings, and without hiding any other."""
    # For good, not within catch_warnings, which threads must not share.
    for message in (
        r"\s*All support for the `google\.generativeai`",
        r"You are using a (non-supported )?Python version .*",
    ):
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)
    import google.generativeai

    return google.generativeai


def _message_of(schema: dict[str, Any]) -> Any:
    """Return a schema as the SDK takes it, whose types are written in capitals."""
    from google.generativeai.protos import Schema

    def shouted(part: dict[str, Any]) -> dict[str, Any]:
        kind = part.get("type")  # a property of this name is a schema
        return part | {"type": kind.upper()} if isinstance(kind, str) else part

    shouting = json.dumps(json.loads(json.dumps(schema), object_hook=shouted))
    return Schema.from_json(shouting, ignore_unknown_fields=True)


def _closed_at_the_end(chunks: Any) -> Iterator[Any]:
    """Yield the chunks of a stream, which has another word for `close`."""
    try:
        yield from chunks
    finally:
        chunks.cancel()


_BETWEEN = " \t\r\n,"

_parsed = json.JSONDecoder().raw_decode


class Elements:
    """An urllib3 response whose `stream`, which requests reads, yields whole elements.

    Args:
        raw: The response.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, size: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yield the body, each element as soon as it is there.

        Args:
            size: How much of the body to read at once.
            decode_content: Whether to undo the compression.

        Raises:
            GoogleAPICallError: There is an error in the list, as if it had come alone.
            BadAnswerError: The list does not end.
            TransientError: It is no such list.
        """
        mark = b"["
        for element in _elements(self._raw.stream(size, decode_content=decode_content)):
            yield mark + element.encode()
            mark = b","
        yield b"[]" if mark == b"[" else b"]"


def _elements(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the elements of a list, which are objects, as texts."""
    text, ended = "", False
    listed = _opened(iterdecode(pieces, "utf-8"))
    for piece in listed:
        text += piece
        while not ended and (text := text.lstrip(_BETWEEN)):
            if ended := text[0] == "]":
                break
            found = _first(text)
            if found is None:  # the rest is still to come
                break
            element, end = found
            yield element
            text = text[end:]
    if not ended:
        raise _unended(text)


def _opened(texts: Iterator[str]) -> Iterator[str]:
    """Yield texts without the bracket that the first must begin with."""
    for text in texts:
        if begun := text.lstrip():
            if begun[0] != "[":
                break
            yield begun[1:]
            yield from texts
            return
    raise TransientError(reason=MALFORMED)


def _first(text: str) -> tuple[str, int] | None:
    """Return the object that a text begins with, and its end; None if it is not there.

    The object is as the SDK can read it.
    """
    if text[0] != "{":
        raise TransientError(reason=MALFORMED)
    try:
        value, end = _parsed(text)
    except ValueError:
        return None
    if "error" in value:
        raise _failure(value["error"])
    return json.dumps(value) if _translated(value) else text[:end], end


# Words that the SDK knows. It reads any other as 0, which means that nothing is wrong.
_BLOCK_REASONS = {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"}
_FINISH_REASONS = {
    *("STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL"),
}


def _translated(answer: dict[str, Any]) -> bool:
    """Put what is newer than the SDK into words that it knows; return whether it was.

    Nor does it know which parts of an answer are thoughts.
    """
    feedback, changed = answer.get("promptFeedback"), False
    if isinstance(feedback, dict):
        changed = _known(feedback, "blockReason", _BLOCK_REASONS, "OTHER")
    for each in chat.dicts(answer.get("candidates")):
        if each.get("finishReason") in GenaiProvider.blocked:
            changed |= _known(each, "finishReason", _FINISH_REASONS, "SAFETY")
        content = each.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        said = [part for part in chat.dicts(parts) if not part.get("thought")]
        if isinstance(content, dict) and isinstance(parts, list) and said != parts:
            content["parts"], changed = said, True
    return changed


def _known(fields: dict[str, Any], name: str, known: set[str], other: str) -> bool:
    word = fields.get(name)
    if not isinstance(word, str) or word in known or word.endswith("_UNSPECIFIED"):
        return False
    fields[name] = other
    return True


def _failure(error: Any) -> Exception:
    """Return what the SDK raises for an error that is the whole answer."""
    from google.api_core.exceptions import from_http_status

    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int):
        return TransientError(reason=MALFORMED)
    details = error.get("details")
    return from_http_status(  # type: ignore[no-any-return,no-untyped-call]  # has no types
        code,
        str(error.get("message", "")),
        details=details if isinstance(details, list) else [],
    )


def _unended(rest: str) -> Exception:
    """Return what a body means that ends before its list, by what it ends with."""
    if rest:
        return TransientError(reason=MALFORMED)
    return BadAnswerError(reason="stream without an end")


_REDIRECTED = range(300, 400)

# requests keeps ten connections and logs a warning for each one beyond.
_CONNECTIONS = 100


def tame(transport: Any, most: int) -> None:
    """Keep a transport from repeating requests and from taking the key astray.

    Its errors then tell their status, and its streams can be read as they come.

    Args:
        transport: The REST transport of one of Google's service clients.
        most: Bytes of an answer that are read.
    """
    session = internals.get(transport, "_session", "redirects take the key along")
    if session is None:
        return
    # A 401 would be sent three times, to refresh credentials that an API key has not.
    internals.replace(session, "_max_refresh_attempts", 0, "a 401 is sent three times")
    # A redirect to another host would carry the key along in x-goog-api-key.
    session.max_redirects = 0
    restrain(session, _CONNECTIONS, most)
    session.hooks["response"].append(_make_readable)


def _make_readable(response: Any, *, stream: bool = False, **_: Any) -> None:
    """Give the SDK a body of the shape it expects; else it loses errors.

    Google's own streams, gateways and proxies send lists, texts and other objects.
    """
    if response.status_code in _REDIRECTED:
        response.close()
        # The SDK would look for an answer in it.
        raise classify.from_status(response.status_code)
    if not response.ok:
        _make_error_readable(response)
    elif stream:
        response.raw = Elements(response.raw)
        response.encoding = "utf-8"
    elif _MAY_BE_NEWER.search(response.content):
        _make_answer_readable(response)


# What an answer may hold that the SDK does not know; a plain one is not parsed twice.
_MAY_BE_NEWER = re.compile(
    rb'"thought"|"blockReason"|"finishReason":\s{0,9}"(?!STOP"|MAX_TOKENS")'
)


def _make_answer_readable(response: Any) -> None:
    try:
        answer = response.json()
    except ValueError:
        return
    if isinstance(answer, dict) and _translated(answer):
        readable = json.dumps(answer).encode()
        internals.replace(response, "_content", readable, "new words pass unseen")


def _make_error_readable(response: Any) -> None:
    try:
        body = response.json()
    except ValueError:  # no JSON, which the SDK can take
        return
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        body = {"error": {"message": str(body)}}
    # requests has no setter.
    readable = json.dumps(body).encode()
    internals.replace(response, "_content", readable, "the text of some errors is lost")
