"""Gemini on Vertex AI, and where its credentials come from."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...config.parsers import shown, text
from ...errors import AuthError, ProviderError, UnavailableError
from ...resilience.clock import PerProcess
from ...types import Request
from ..base import Retirement
from . import chat
from .auth import Bearer, StaleTokenError, TokenRequest
from .genai import GenaiProvider

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_LOGIN = "run gcloud auth application-default login"

_KINDS = ("service_account", "authorized_user")
_NOTHING = "the credentials file holds no service account or authorized user"

# A search of the environment may ask the metadata server, in vain for a second.
_ABSENT_S = 60.0


class Source:
    """Where a provider's credentials come from.

    Args:
        given: The path of a file, a google.auth object, or None for Application Default
            Credentials.
    """

    def __init__(self, given: object) -> None:
        self._given = given
        self._absent: tuple[float, UnavailableError] | None = None

    @property
    def is_given(self) -> bool:
        """Whether they need not be looked for, which may ask the metadata server."""
        return self._given is not None

    def fault(self) -> str:
        """Return why the file, if it is one, cannot be used; or "". Asks nobody."""
        return _fault_of(self._given) if isinstance(self._given, str) else ""

    def load(self, setting: str, seconds: float) -> Bearer:
        """Return the credentials.

        Args:
            setting: The key of the setting, for an advice.
            seconds: How long it may take, for the metadata server of Google Cloud.

        Raises:
            UnavailableError: There are none.
        """
        if self._given is None:
            return Bearer(self._ambient(setting, seconds), _LOGIN)
        from google.auth import credentials

        is_path = isinstance(self._given, str)
        found = _of_file(str(self._given), setting) if is_path else self._given
        scoped = credentials.with_scopes_if_required(found, _SCOPES)  # type: ignore[no-untyped-call]  # google.auth has few
        return Bearer(scoped, f"renew {setting}")

    def _ambient(self, setting: str, seconds: float) -> Any:
        """Return Application Default Credentials; their absence is believed a while."""
        if self._absent and time.monotonic() - self._absent[0] < _ABSENT_S:
            raise self._absent[1].copy()
        try:
            return _look_up(seconds)
        except UnavailableError as exc:
            advice = f"{_LOGIN}, or set {setting}"
            error = exc.copy(reason="no Google Cloud credentials", advice=advice)
        self._absent = time.monotonic(), error
        raise error.copy()


def _look_up(seconds: float) -> Any:
    """Return what Google's libraries find in the environment."""
    from google import auth
    from google.auth.exceptions import DefaultCredentialsError

    request: Any = TokenRequest(seconds)
    try:
        credentials, _ = auth.default(scopes=_SCOPES, request=request)
    except (DefaultCredentialsError, ProviderError) as exc:
        raise UnavailableError(exc) from None
    return credentials


def _fault_of(path: str) -> str:
    """Return why a file cannot be used, or ""; it is read once until it changes."""
    try:
        changed = Path(path).stat().st_ctime_ns
    except (OSError, ValueError):
        return "no credentials file"
    return "" if _holds_credentials(path, changed) else _NOTHING


@lru_cache(maxsize=64)
def _holds_credentials(path: str, changed: int) -> bool:  # noqa: ARG001  # for the cache
    """Return whether a file says that it is of a kind that can be used."""
    try:
        return json.loads(Path(path).read_text("utf-8"))["type"] in _KINDS
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _of_file(path: str, setting: str) -> Any:
    """Return the credentials in a file: a service account's or a user's."""
    from google.oauth2 import credentials, service_account

    kinds: dict[str, Any] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": credentials.Credentials.from_authorized_user_info,
    }
    try:
        written = json.loads(Path(path).read_text("utf-8"))
        return kinds[written["type"]](written)
    except (OSError, ValueError, LookupError, TypeError) as exc:
        # Without its text, which might repeat what is in the file.
        raise UnavailableError(
            type(exc).__name__, reason=_NOTHING, advice=f"check {setting}"
        ) from None


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

    def prepare(self) -> None:
        """Make the SDK ready by a client with a key: ours may ask for a token."""
        GenaiProvider("of-no-use", model=self.model).prepare()
        if self._source.is_given:
            self._client.get()

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
        return chat.version(model.name) is not None

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
