"""Google Cloud credentials: where they come from, and how their token is renewed.

google.auth would renew it by itself, but a request of its own may take two minutes and
is sent up to three times. Here one is sent, within the seconds of the attempt.
"""

import json
import time
from pathlib import Path
from typing import Any

from .. import classify
from ..errors import (
    AuthError,
    ProviderError,
    TimedOutError,
    TransientError,
    UnavailableError,
)
from ..wording import MALFORMED
from .http import bound_requests, requests_adapter

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_LOGIN = "run gcloud auth application-default login"

# What google.auth takes for a reason to ask again: statuses, and words of OAuth 2.0.
_PASSING = (408, 429)
_PASSING_WORDS = (b"internal_failure", b"server_error", b"temporarily_unavailable")

_SECRETS = ("token", "refresh_token", "client_secret", "id_token")


class Bearer:
    """What the SDK is given as credentials: a token that never seems to be expired.

    So it never renews one by itself, which it would do with a lock held.

    Args:
        credentials: Those of google.auth.
        advice: What to do if they are refused.

    Attributes:
        advice: The same.
        expired: False, for the SDK.
    """

    expired = False

    def __init__(self, credentials: Any, advice: str) -> None:
        self._credentials = credentials
        self.advice = advice
        self._refused: str | None = None

    @property
    def token(self) -> str | None:
        """The access token."""
        return self._credentials.token  # type: ignore[no-any-return]  # no types there

    @property
    def quota_project_id(self) -> str | None:
        """The project that pays, where the credentials name one."""
        return getattr(self._credentials, "quota_project_id", None)

    def secrets(self) -> list[str]:
        """Return what must be in no text."""
        held = (getattr(self._credentials, name, None) for name in _SECRETS)
        return [each for each in held if isinstance(each, str)]

    def refuse(self) -> None:
        """Note that the API did not take the token, so that it is renewed."""
        self._refused = self.token

    def renew(self, seconds: float) -> None:
        """Make sure of a valid token; two threads may do so at once.

        Args:
            seconds: How long it may take.

        Raises:
            AuthError: The credentials are refused, or cannot be renewed.
            TransientError: The token server did not answer, or not properly.
        """
        if self._credentials.valid and self.token != self._refused:
            return
        from google.auth.exceptions import RefreshError

        request = _Request(seconds)
        try:
            self._credentials.refresh(request)
        except RefreshError as exc:
            raise self._fault(exc, request) from None

    def _fault(self, exc: Exception, request: "_Request") -> ProviderError:
        """Return what a refused renewal means."""
        words = str(exc.args[0]) if exc.args else ""
        if request.status is None:
            # Nobody was asked: it has nothing to be renewed with.
            return AuthError(words, reason="credentials expired", advice=self.advice)
        if request.status < 300:  # noqa: PLR2004  # a success without a token
            return TransientError(words, reason=MALFORMED)
        return AuthError(words, reason="credentials refused", advice=self.advice)


def load(source: object, setting: str, seconds: float) -> Bearer:
    """Return the credentials of a setting, or those of the environment.

    Args:
        source: The path of a file, a google.auth object, or None for Application
            Default Credentials.
        setting: The key of the setting.
        seconds: How long it may take, for the metadata server of Google Cloud.

    Raises:
        UnavailableError: There are none.
    """
    if source is None:
        return Bearer(_ambient(setting, seconds), _LOGIN)
    from google.auth import credentials

    found = _of_file(source, setting) if isinstance(source, str) else source
    scoped = credentials.with_scopes_if_required(found, _SCOPES)  # type: ignore[no-untyped-call]  # google.auth has few
    return Bearer(scoped, f"renew {setting}")


def _ambient(setting: str, seconds: float) -> Any:
    """Return Application Default Credentials."""
    from google import auth
    from google.auth.exceptions import DefaultCredentialsError

    request: Any = _Request(seconds)
    try:
        credentials, _ = auth.default(scopes=_SCOPES, request=request)
    except (DefaultCredentialsError, ProviderError) as exc:
        raise UnavailableError(
            exc,
            reason="no Google Cloud credentials",
            advice=f"{_LOGIN}, or set {setting}",
        ) from None
    return credentials


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
            type(exc).__name__,
            reason="the credentials file holds no service account or authorized user",
            advice=f"check {setting}",
        ) from None


class _Request:
    """How google.auth asks: within some seconds, once, and without being led astray.

    Attributes:
        status: That of the last answer; None before.
    """

    def __init__(self, seconds: float) -> None:
        from google.auth.transport.requests import Request

        self.status: int | None = None
        self._request = Request(_session())
        self._stop = time.monotonic() + seconds

    def __call__(
        self, url: str, method: str = "GET", timeout: float | None = None, **more: Any
    ) -> Any:
        from google.auth.exceptions import TransportError

        left = max(0.001, self._stop - time.monotonic())
        more |= {"timeout": min(left, timeout or left), "allow_redirects": False}
        try:
            response = self._request(url, method, **more)
        except TransportError as exc:
            raise _unreachable(exc) from None
        self.status = response.status
        _check(response)
        return response


def _session() -> Any:
    """Return a session of its own: hours are between two renewals."""
    from requests import Session

    session = Session()
    session.hooks["response"].append(bound_requests)
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests_adapter()())
    return session


def _unreachable(exc: Exception) -> TransientError:
    """Return the error for a token server that gives no answer."""
    from requests import Timeout

    cause = exc.__cause__ or exc
    if isinstance(cause, Timeout):
        return TimedOutError(cause, reason="timeout of the token server")
    return TransientError(cause, reason="token server unreachable")


def _check(response: Any) -> None:
    """Raise for an answer that says nothing of the credentials."""
    status, body = response.status, response.data
    if 300 <= status < 400:  # noqa: PLR2004  # a redirect
        raise classify.from_status(status)
    passing = status >= 500 or status in _PASSING  # noqa: PLR2004  # of HTTP
    if passing or (status >= 400 and any(word in body for word in _PASSING_WORDS)):  # noqa: PLR2004  # of HTTP
        raise TransientError(
            reason=f"token server error {status}",
            status=status,
            retry_after=classify.retry_after_of(response.headers),
        )
