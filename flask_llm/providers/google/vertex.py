"""Gemini on Google Cloud (Vertex AI), through the `google-genai` SDK."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import AuthError, ProviderError
from ...config.parsers import shown, text
from ...process import PerProcess
from ...types import Request
from .. import google_rest as google
from ..base import Retirement
from .genai import GenaiProvider
from .auth import Bearer, StaleTokenError
from ..google_credentials import Source

_EVERYWHERE = "global"
_CONTINENTS = ("eu", "us")

# What Google calls a token that is too old.
_TOO_OLD = "ACCESS_TOKEN_EXPIRED"


def _parse_project(value: Any) -> str:
    """Parse a project's id or number; it becomes a part of an address."""
    if not re.fullmatch(r"[\w.:-]+", name := str(value).strip(), re.ASCII):
        raise ValueError(
            f"must be the id of a Google Cloud project, not {shown(value)}"
        )
    return name


def _parse_location(value: Any) -> str:
    """Parse a location; it becomes a part of a host's name."""
    if not re.fullmatch(r"[a-z0-9-]+", name := str(value).strip().lower()):
        raise ValueError(f"must be a location such as europe-west4, not {shown(value)}")
    return name


def _parse_credentials(value: Any) -> Any:
    """Parse credentials: the path of a file, or an object of google.auth."""
    if callable(getattr(value, "refresh", None)):
        return value
    try:
        path = text(value)
    except ValueError:
        kind = type(value).__name__
        raise ValueError(
            f"must be the path of a JSON file, or a google.auth object, not {kind}"
        ) from None
    if path.startswith("{"):
        raise ValueError("must be the path of a file, not its content")
    return str(Path(path).expanduser())


class VertexProvider(GenaiProvider):
    """Gemini on Google Cloud, with its credentials instead of an API key.

    Google's own environment variables GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION
    count where the settings say nothing.

    Args:
        api_key: Not used.
        model: Model instead of the default one.
        base_url: Address instead of the location's own.
        timeout: Seconds that one attempt may take, a renewal of the token included.
        thinking: As for `GenaiProvider`.
        project: The id of the project that pays.
        location: Where the model runs; "global" unless set.
        credentials: The path of a JSON file with a service account's key or a user's
            credentials, or a Credentials object of google.auth. Without it Application
            Default Credentials are looked up, as Google's libraries do.

    Raises:
        ValueError: An argument is none of these.
    """

    name = "vertex"
    needs_key = False
    api_key_names = ()
    options = {  # noqa: RUF012  # never changed
        **GenaiProvider.options,
        "project": _parse_project,
        "location": _parse_location,
        "credentials": _parse_credentials,
    }
    other_keys = {  # noqa: RUF012  # never changed
        "project": "GOOGLE_CLOUD_PROJECT",
        "location": "GOOGLE_CLOUD_LOCATION",
    }
    api_version = "v1beta1"

    def __init__(  # noqa: PLR0913  # each is a setting
        self,
        api_key: str = "",  # noqa: ARG002  # the place that every provider has for it
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        thinking: str | int = "auto",
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
    ) -> None:
        super().__init__(
            model=model, base_url=base_url, timeout=timeout, thinking=thinking
        )
        project = project or os.environ.get("GOOGLE_CLOUD_PROJECT", "").strip()
        self.project = _parse_project(project) if project else ""
        location = location or os.environ.get("GOOGLE_CLOUD_LOCATION", "").strip()
        self.location = _parse_location(location or _EVERYWHERE)
        self._source = Source(
            None if credentials is None else _parse_credentials(credentials)
        )
        self._bearer = PerProcess(self._load)

    def _lacks(self) -> str:
        if not self.project:
            return f"no Google Cloud project: set {self.setting('project')}"
        fault = self._source.fault()
        return fault and f"{fault}: check {self.setting('credentials')}"

    def retirement(self) -> Retirement | None:
        """Return None: Google Cloud's dates are its own, and not known here."""
        return None

    def _load(self) -> Bearer:
        return self._source.load(self.setting("credentials"), self.timeout)

    @property
    def address(self) -> str:  # type: ignore[override]  # its location tells
        """Google's address for its location."""
        if self.location == _EVERYWHERE:
            return "https://aiplatform.googleapis.com"
        if self.location in _CONTINENTS:
            return f"https://aiplatform.{self.location}.rep.googleapis.com"
        return f"https://{self.location}-aiplatform.googleapis.com"

    def _account(self) -> dict[str, Any]:
        return {
            "vertexai": True,
            "project": self.project,
            "location": self.location,
            "credentials": self._bearer.get(),
        }

    def _secrets(self) -> list[str]:
        bearer = self._bearer.made()
        return super()._secrets() + (bearer.secrets() if bearer else [])

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        bearer = self._bearer.get()
        seconds, started = self._seconds(request), time.monotonic()
        bearer.renew(seconds)
        left = seconds - (time.monotonic() - started)
        answer = super()._send(client, replace(request, timeout=left), optional)
        bearer.accept()
        return answer

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        bearer = self._bearer.get()
        bearer.renew(self._silence(request))
        return _accepted(super()._open(client, request, optional), bearer)

    def _list(self, client: Any) -> list[str]:
        self._bearer.get().renew(self.timeout)
        return super()._list(client)

    def _generates(self, model: Any) -> bool:
        # Google Cloud's list does not say what its models can do.
        return google.version(model.name) is not None

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error; a refusal names what to look at, since there is no key."""
        error = super().explain(exc)
        if isinstance(exc, ProviderError) or not isinstance(error, AuthError):
            return error
        if error.status != 401:  # noqa: PLR2004  # it knows who asks
            advice = f"check {self.setting('project')} and the account's roles in it"
            return error.copy(reason="access denied", advice=advice)
        bearer = self._bearer.get()
        token = _sent_with(exc)
        if token and bearer.refuse(token):
            return StaleTokenError(
                error.detail, status=error.status, advice=bearer.advice
            )
        too_old = _TOO_OLD in str(getattr(exc, "details", None))
        reason = f"credentials {'expired' if too_old else 'refused'}"
        return error.copy(reason=reason, advice=bearer.advice)


def _accepted(chunks: Any, bearer: Bearer) -> Iterator[Any]:
    """Yield the chunks of a stream; the first shows that the API took the token."""
    with closing(chunks):
        for chunk in chunks:
            bearer.accept()
            yield chunk


def _sent_with(exc: Any) -> str:
    """Return the token of the request that the SDK's exception is about.

    An address with a password has that sent in its place; an error within a stream
    does not know.
    """
    if not hasattr(exc.response, "request"):
        return ""
    scheme, _, token = exc.response.request.headers["authorization"].partition(" ")
    return token if scheme == "Bearer" else ""
