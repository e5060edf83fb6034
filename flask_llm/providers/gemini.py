"""Gemini, through the `google-generativeai` SDK, or else through its successor."""

import json
import logging
import re
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from .. import classify
from ..carried import status_of
from ..config import ProviderSettings
from ..errors import ProviderError
from ..packages import installed
from ..parsers import one_of
from ..types import LLMResponse, Request
from . import google
from .base import Retirement
from .genai import GenaiProvider
from .parameters import tell_once
from .requests import restrain
from .sdk import SdkProvider
from .thinking import used_up

# Candidate.FinishReason of generativelanguage v1beta. LANGUAGE, OTHER, a malformed
# function call and reasons newer than the SDK (which read 0) leave no usable answer.
_FINISHED = {1: "stop", 2: "length"}
_BLOCKED = {3, 4, 7, 8, 9, 11}

_REDIRECTED = range(300, 400)

# requests keeps ten connections and logs a warning for each one beyond.
_CONNECTIONS = 100


class GeminiProvider(SdkProvider):
    """Gemini, by Google's Generative Language API with an API key.

    Uses the REST transport: its connections can be patched by gevent, and its errors
    carry the HTTP headers. Google's documentation of Gemini 3.6 deprecates
    `temperature`, since low values can make a model loop: it is not sent to this and
    later ones.

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
    requirement = "google-generativeai"
    api_key_names = google.API_KEY_NAMES
    default_model = google.DEFAULT_MODEL
    options = {  # noqa: RUF012  # never changed
        "sdk": one_of(distribution, GenaiProvider.distribution),
        "thinking": google.parse_thinking,
    }

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
        self.thinking = google.parse_thinking(thinking)

    @property
    def ended(self) -> str:  # type: ignore[override]  # it names its own setting
        """What to say of the SDK, whose support has ended."""
        return (
            f"{self.distribution} is no longer supported by Google: set {self._switch}"
            f", after pip install {GenaiProvider.requirement}"
        )

    @property
    def _switch(self) -> str:
        return f"{self.setting('sdk')}={GenaiProvider.distribution}"

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> SdkProvider:
        """Make the provider from its settings, on top of the SDK that they name."""
        usual = cls if installed(cls.module) else GenaiProvider
        options = {"sdk": usual.distribution, **settings.options}
        old = options.pop("sdk") == cls.distribution
        settings = replace(settings, options=options)
        if old:
            return super().from_config(settings)
        return GenaiProvider.from_config(settings)

    def retirement(self) -> Retirement | None:
        """Return when its model ends, if Google has said so."""
        return google.retirement(self.model)

    def _import(self) -> Any:
        return _import_sdk()

    def _connect(self) -> Any:
        genai = self._import()
        tell_once(logging.WARNING, self.ended)
        from google.ai.generativelanguage import GenerativeServiceClient

        service = GenerativeServiceClient(
            transport="rest", client_options=self._options()
        )
        _restrain(service.transport)
        model = genai.GenerativeModel(self.model)
        # genai.configure() would be one key for the whole process.
        model._client = service  # noqa: SLF001  # the package is frozen
        return model

    def _refused(self) -> Collection[str]:
        return google.refused(self.model)

    def _adapted(self, request: Request) -> list[str]:  # noqa: ARG002  # the same for all
        if self.thinking == "auto":
            return []
        why = f"thinking is left to {self.model} by {self.distribution}"
        return [f"{why} (set {self._switch})"]

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return client.generate_content(
            request.prompt,
            generation_config={"max_output_tokens": request.max_tokens} | optional,
            # Without "retry": None a 503 is repeated for ten minutes.
            request_options={"retry": None, "timeout": self._seconds(request)},
        )

    def _read(self, answer: Any) -> LLMResponse:
        candidate = google.candidate(answer)
        # Not `.text`: it raises where there is none, and joins parts with line breaks.
        text = "".join(part.text for part in candidate.content.parts if part.text)
        finish = int(candidate.finish_reason)
        google.check(finish, _FINISHED, _BLOCKED)
        if not text and _FINISHED[finish] == "length":
            raise used_up(thought=True)
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": answer._result.model_version or self.model,  # noqa: SLF001  # not on the wrapper
                "usage": google.usage(answer.usage_metadata),
                "finish_reason": _FINISHED[finish],
            },
        )

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # has no list
        from google.ai.generativelanguage import ModelServiceClient

        service = ModelServiceClient(transport="rest", client_options=self._options())
        _restrain(service.transport)
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
            "api_endpoint": self.base_url or google.HOME,
            # Else GOOGLE_CLOUD_UNIVERSE_DOMAIN would decide where the key goes.
            "universe_domain": "googleapis.com",
        }

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the reason and RetryInfo out of Google's details."""
        if status_of(exc) is None:
            return super().explain(exc)
        # The SDK puts its own address before Google's message.
        message = re.sub(r"^POST \S+: ", "", str(getattr(exc, "message", exc)))
        return google.explain(exc, getattr(exc, "details", None), message)


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


def _restrain(transport: Any) -> None:
    """Keep the transport from repeating requests and from taking the key astray."""
    session = transport._session  # noqa: SLF001  # the package is frozen
    # A 401 would be sent three times, to refresh credentials that an API key has not.
    session._max_refresh_attempts = 0  # noqa: SLF001  # no argument reaches it
    # A redirect to another host would carry the key along in x-goog-api-key.
    session.max_redirects = 0
    restrain(session, _CONNECTIONS)
    session.hooks["response"].append(_make_readable)


def _make_readable(response: Any, **_: Any) -> None:
    """Give the SDK an error body of the shape it expects; else it loses the status.

    Google's own streams, gateways and proxies send lists, texts and other objects.
    """
    if response.status_code in _REDIRECTED:
        # The SDK would look for an answer in it.
        raise classify.from_status(response.status_code)
    if response.ok:
        return
    try:
        body = response.json()
    except ValueError:  # no JSON, which the SDK can take
        return
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        body = {"error": {"message": str(body)}}
    response._content = json.dumps(body).encode()  # noqa: SLF001  # requests has no setter
