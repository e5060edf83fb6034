"""Cohere's chat, version 2, through the `cohere` SDK."""

import re
from collections.abc import Generator
from typing import Any

from . import classify
from ..errors import ContentBlockedError, ProviderError, TransientError
from ..types import LLMResponse, Request
from ..wording import MALFORMED
from .chat import ChatProvider
from .cohere_answers import Events, answered, blocks, events_of
from .cohere_schema import cohere_schema
from .completion import message_of
from .messages import chat_messages, image_url
from .transport import client_options, cuttable, without_user
from .thinking import HELD, SHORT, words_or_tokens

# "A request or response contains a deny-listed token", by the API's own description;
# its class in the SDK is called InvalidTokenError.
_DENY_LISTED = 498

_REDIRECT = 300

_MOST_STOPS = 5  # the chain ends the answer at the others

_parse_thinking = words_or_tokens("auto", "off", least=1)


class CohereProvider(ChatProvider):
    """Cohere's models, by its Chat API, version 2.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Cohere's; a "/v1" or "/v2" at its end is dropped,
            since the SDK adds its own.
        timeout: Seconds that one attempt may take.
        thinking: "off"; "auto", which is off in calls of reasoning models with
            `max_tokens` below 4096 and the model's own habit in others; or the most
            tokens to think with. All but "auto" is sent to models too whose name does
            not say "reasoning".

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.
    """

    name = "cohere"
    module = "cohere"
    distribution = "cohere"
    requirement = '"Flask-LLM[cohere]"'
    api_key_names = ("COHERE_API_KEY", "CO_API_KEY")
    default_model = "command-a-03-2025"
    address = "https://api.cohere.com"
    options = {"thinking": _parse_thinking}  # noqa: RUF012  # never changed
    schema_parameter = "response_format"

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        thinking: str | int = "auto",
    ) -> None:
        super().__init__(api_key, model=model, base_url=base_url, timeout=timeout)
        self.thinking = _parse_thinking(thinking)

    def _import(self) -> Any:
        # The package itself imports nothing until it is asked for a name.
        from cohere import client_v2

        return client_v2

    def _connect(self) -> Any:
        import httpx
        from cohere import ClientV2

        address = self.base_url or self.address
        return ClientV2(
            self._api_key,
            # Always given: else CO_API_URL would decide where the key goes.
            base_url=re.sub(r"/v[12]/*$", "", without_user(address)),
            timeout=self.timeout,
            httpx_client=cuttable(httpx.Client(**client_options("httpx", address))),
            log_warning_experimental_features=False,
        )

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if config := self._thinking_config(request.max_tokens):
            optional["thinking"] = config
        if request.stop:
            optional["stop_sequences"] = list(request.stop[:_MOST_STOPS])
        if request.schema and (schema := cohere_schema(request.schema.json)):
            optional["response_format"] = {"type": "json_object", "schema": schema}
        return optional

    def _thinking_config(self, max_tokens: int) -> dict[str, Any] | None:
        """Return the `thinking` of a request, or None for the model's own habit."""
        if isinstance(self.thinking, int):
            budget = self.thinking if self.thinking < max_tokens else max_tokens // 2
            return {"type": "enabled", "token_budget": max(1, budget)}
        is_short = "reasoning" in self.model and max_tokens < SHORT
        if self.thinking == "off" or is_short:
            return {"type": "disabled"}
        return None

    def _adapted(self, request: Request) -> list[str]:
        if isinstance(self.thinking, str) or self.thinking < request.max_tokens:
            return []
        return [HELD]

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return client.chat(**self._asked(request, self._seconds(request)), **optional)

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked = self._asked(request, self._silence(request))
        return events_of(client.with_raw_response.chat_stream(**asked, **optional))

    def _asked(self, request: Request, seconds: float) -> dict[str, Any]:
        """Return the arguments of a call that every model takes."""
        return {
            "model": self.model,
            "max_tokens": request.max_tokens,
            # With a schema too the model must be told, by the API's documentation.
            "messages": chat_messages(request.instructed(), image_url),
            "request_options": _within(seconds),
        }

    def _read(self, answer: Any) -> LLMResponse:
        return answered(answer).response(self.name, self.model, self._remedy())

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        answer = Events(events)
        yield from answer.texts()
        return answer.said.response(self.name, self.model, self._remedy())

    def _list(self, client: Any) -> list[str]:
        found = client.models.list(
            endpoint="chat", page_size=1000, request_options=_within(self.timeout)
        )
        return [each.name for each in found.models]

    def _remedy(self) -> str:
        """Return the setting that would keep the model from thinking, if one would."""
        if self.thinking == "off" or self._parameters.refuses("thinking.disabled"):
            return ""
        return f"{self.setting('thinking')}=off"

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the API's own message: `str(exc)` is all headers."""
        status = getattr(exc, "status_code", None)
        if status is None:
            return super().explain(exc)
        if status < _REDIRECT:  # an answer, though a broken one
            return TransientError(type(exc).__name__, reason=MALFORMED)
        detail = message_of(getattr(exc, "body", None)) or type(exc).__name__
        if status == _DENY_LISTED or blocks(detail):
            return ContentBlockedError(detail, status=status)
        return classify.from_exception(exc, detail=detail)


def _within(seconds: float) -> dict[str, float]:
    """Return the options of a request that may take so long, and is sent once."""
    # Version 7.0 knows only the longer name, and takes no `max_retries` for a client.
    return {"timeout": seconds, "timeout_in_seconds": seconds, "max_retries": 0}
