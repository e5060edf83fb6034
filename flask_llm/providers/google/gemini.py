"""Gemini, through the `google-generativeai` SDK, or else through its successor."""

import json
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...carried import status_of
from ...config.settings import ProviderSettings
from ...errors import ProviderError
from ...packages import installed
from ...config.parsers import one_of
from ...types import Request
from .. import google_rest as google
from .genai import GenaiProvider
from .chat import GoogleProvider, Said, contents
from ..parameters import tell_once
from ..sdk import SdkProvider

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
    requirement = "google-generativeai"
    options = {  # noqa: RUF012  # never changed
        "sdk": one_of(distribution, GenaiProvider.distribution),
        "thinking": google.parse_thinking,
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

    def _import(self) -> Any:
        return _import_sdk()

    def _connect(self) -> Any:
        self._import()
        tell_once(logging.WARNING, self.ended)
        from google.ai.generativelanguage import GenerativeServiceClient

        from ..google_session import tame

        # genai.configure() would be one key for the whole process.
        service = GenerativeServiceClient(
            transport="rest", client_options=self._options()
        )
        tame(service.transport)
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

    def _said(self, answer: Any) -> Said:
        candidate = google.candidate(answer)
        # Not its truth: an empty message has none.
        there = candidate is not None
        parts = candidate.content.parts if there else ()
        return Said(
            # Not `.text`: it raises where there is none, and joins with line breaks.
            "".join(part.text for part in parts if part.text),
            int(candidate.finish_reason) if there else None,
            answer.model_version,
            google.usage(answer.usage_metadata),
        )

    def _thought(self, said: Said) -> bool:  # noqa: ARG002  # the SDK does not know
        return True

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # has no list
        from google.ai.generativelanguage import ModelServiceClient

        from ..google_session import tame

        service = ModelServiceClient(transport="rest", client_options=self._options())
        tame(service.transport)
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


def _message_of(schema: dict[str, Any]) -> Any:
    """Return a schema as the SDK takes it, whose types are written in capitals."""
    from google.generativeai.protos import Schema

    def shouted(part: dict[str, Any]) -> dict[str, Any]:
        kind = part.get("type")  # a property of this name is a schema
        return part | {"type": kind.upper()} if isinstance(kind, str) else part

    said = json.dumps(json.loads(json.dumps(schema), object_hook=shouted))
    return Schema.from_json(said, ignore_unknown_fields=True)


def _closed_at_the_end(chunks: Any) -> Iterator[Any]:
    """Yield the chunks of a stream, which has another word for `close`."""
    try:
        yield from chunks
    finally:
        chunks.cancel()
