"""Gemini, through the `google-genai` SDK and an API key."""

import math
import warnings
from collections.abc import Generator, Iterator
from typing import Any, ClassVar

from ...errors import ProviderError, TransientError
from ...types import LLMResponse, Request
from ..answers import HELD, SHORT
from ..classify import MALFORMED, status_of
from ..transport import cancellable, without_user
from . import chat
from .chat import GoogleProvider, ParsedPart, contents

# Seconds after which the server ends a stream, where the SDK would tell it those of a
# silence. The chain has limits of its own.
_LONGEST_STREAM = 3600


class GenaiProvider(GoogleProvider):
    """Gemini, by Google's Generative Language API with an API key.

    Google's documentation of Gemini 3.6 deprecates `temperature`, since low values can
    make a model loop: it is not sent to this and later ones. The environment variables
    that the SDK reads by itself change neither key nor address nor API.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Google's.
        timeout: Seconds that one attempt may take.
        thinking: "auto", which is as little as the model allows in calls with
            `max_tokens` below 4096 and the model's own habit in others; "off", which is
            as little as the model allows in all; "minimal", "low", "medium" or "high";
            or, for Gemini 2.5, the most tokens to think with. What a model does not
            take is learned from its refusals.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.

    Attributes:
        api_version: The version of Google's API that is asked.
    """

    name = "genai"
    module = "google.genai"
    distribution = "google-genai"
    requirement = '"Flask-LLM[google-genai]"'
    options = {"thinking": chat.parse_thinking}  # noqa: RUF012  # never changed
    api_version: ClassVar[str] = "v1"

    schema_parameter = "response_json_schema"
    _can_rehearse = True
    finished = {"STOP": "stop", "MAX_TOKENS": "length"}  # noqa: RUF012  # never changed
    blocked = frozenset(
        {
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "MODEL_ARMOR",
        }
    )

    def _import(self) -> Any:
        # It warns of each word that is newer than itself, such as a finish reason.
        warnings.filterwarnings("ignore", module=r"google\.genai\._common")
        return super()._import()

    def _connect(self) -> Any:
        genai = self._import()
        from google.genai.client import DebugConfig

        return genai.Client(
            http_options=self._http_options(),
            # Else GOOGLE_GENAI_CLIENT_MODE could have recorded answers replayed.
            debug_config=DebugConfig(
                client_mode=None, replays_directory=None, replay_id=None
            ),
            **self._account(),
        )

    def _http_options(self) -> dict[str, Any]:
        from httpx2 import Client

        address = self.base_url or self.address
        # Without `retry_options` nothing is repeated.
        return {
            # Always given: else GOOGLE_GEMINI_BASE_URL and GOOGLE_VERTEX_BASE_URL
            # would decide where the key goes, and GOOGLE_GENAI_API_VERSION what to.
            "base_url": without_user(address),
            "api_version": self.api_version,
            # `client_args` would leave the choice of the class to
            # GOOGLE_GENAI_HTTP_CLIENT.
            "httpx_client": cancellable(Client(**self._http("httpx2", address))),
        }

    def _account(self) -> dict[str, Any]:
        """Return the arguments of the client that say who asks, and which service."""
        return {"vertexai": False, "api_key": self._api_key}

    def _optional(self, request: Request) -> dict[str, Any]:
        return super()._optional(request) | chat.thinking(
            self.thinking, self.model, request.max_tokens, self._parameters.refuses
        )

    def _adapted(self, request: Request) -> list[str]:
        if isinstance(self.thinking, int) and self.thinking > request.max_tokens // 2:
            return [HELD]
        return []

    def _dialect(self, schema: dict[str, Any]) -> dict[str, Any]:
        return schema

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        limits = _within(self._seconds(request))
        return client.models.generate_content(**self._asked(request, optional, limits))

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        limits = _within(self._silence(request))
        limits["headers"] = {"X-Server-Timeout": str(_LONGEST_STREAM)}
        # The request is made when the first chunk is asked for.
        return client.models.generate_content_stream(
            **self._asked(request, optional, limits)
        )

    def _asked(
        self, request: Request, optional: dict[str, Any], limits: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments of the SDK's call."""
        from google.genai.types import Content

        config: dict[str, Any] = {
            "max_output_tokens": request.max_tokens,
            "http_options": limits,
            # Each of these could turn one call into several requests.
            "automatic_function_calling": {"disable": True},
            "automatic_continuation": False,
        }
        if request.system:
            config["system_instruction"] = request.system
        for name, value in optional.items():
            thinks = name.startswith("thinking_")
            place = config.setdefault("thinking_config", {}) if thinks else config
            place[name] = value
        turns = [Content(**each) for each in contents(request)]
        return {"model": self.model, "contents": turns, "config": config}

    def _facts(self, answer: Any) -> ParsedPart:
        if not (answer.candidates or answer.usage_metadata or answer.prompt_feedback):
            # An empty body and JSON of any other kind come back as an empty answer.
            raise TransientError(reason=MALFORMED)
        candidate, told = chat.candidate(answer), answer.usage_metadata
        finish = candidate and candidate.finish_reason
        # Not `.text`, which warns of what is no text.
        parts = (candidate and candidate.content and candidate.content.parts) or ()
        return ParsedPart(
            "".join(part.text for part in parts if part.text and not part.thought),
            finish and finish.name,
            answer.model_version,
            chat.usage(told),
            answer.response_id,
            getattr(told, "thoughts_token_count", None) or 0,
        )

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        return (yield from super()._follow(_streamed(events)))

    def _remedy(self, facts: ParsedPart) -> str:
        # A short call of "auto" has been told to think as little as it can already.
        short = self.thinking == "auto" and facts.thoughts < SHORT
        told = self.thinking == "off" or short
        if told or not chat.least_thinking(self.model, self._parameters.refuses):
            return ""
        return f"{self.setting('thinking')}=off"

    def _list(self, client: Any) -> list[str]:
        limits = {"http_options": _within(self.timeout), "page_size": 1000}
        return [
            each.name.rpartition("/")[2]
            for each in self._in_time(client.models.list(config=limits))
            if each.name and self._generates(each)
        ]

    def _generates(self, model: Any) -> bool:
        """Return whether a model of the list can be asked for text."""
        return "generateContent" in (model.supported_actions or ())

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the reason and RetryInfo out of Google's details."""
        if type(exc).__name__ == "UnknownApiResponseError":
            # Its text is what came in a stream, of a model that may tell of quotas.
            return TransientError(reason=MALFORMED)
        if status_of(exc) is None:
            return super().explain(exc)
        return chat.explain(exc, _details(exc), getattr(exc, "message", ""))


def _streamed(chunks: Iterator[Any]) -> Iterator[Any]:
    """Yield the chunks of a stream; the SDK takes a JSON body for one, too."""
    for chunk in chunks:
        if "json" in chunk.sdk_http_response.headers.get("content-type", ""):
            raise TransientError(reason=MALFORMED)
        yield chunk


def _within(seconds: float) -> dict[str, Any]:
    """Return the `http_options` of a call that may take so long."""
    # In milliseconds; 0 would mean for ever.
    return {"timeout": max(1, math.ceil(seconds * 1000))}


def _details(exc: Exception) -> object:
    """Return the details of the body's `error`, whatever shape the body has."""
    body = getattr(exc, "details", None)
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("details") if isinstance(error, dict) else None
