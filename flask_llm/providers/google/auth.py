"""How the token of Google Cloud credentials is renewed.

google.auth would renew it by itself, but a request of its own may take two minutes and
is sent up to three times. Here one is sent, within the seconds of the attempt.
"""

import logging
import time
from typing import Any

from ...errors import AuthError, ProviderError, TimedOutError, TransientError
from .. import classify
from ..classify import MALFORMED
from ..retry_hints import retry_after_of
from ..transport import restrain

# What google.auth takes for a reason to ask again: statuses, and words of OAuth 2.0.
_PASSING = (408, 429)
_PASSING_WORDS = (b"internal_failure", b"server_error", b"temporarily_unavailable")

_SECRETS = ("token", "refresh_token", "client_secret", "id_token")


class StaleTokenError(AuthError):
    """The API did not take a token, and another one can be got: it is tried at once."""

    retryable = True
    at_once = True
    cooldown = 0.0
    severity = logging.WARNING
    reason = "access token refused"


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
        self._second: str | None = None  # got in the place of a refused one

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
        return [each for each in (self._refused, *held) if isinstance(each, str)]

    def refuse(self, token: str) -> bool:
        """Note that the API did not take a token, so that it is renewed.

        Args:
            token: The one that was sent; a thread may have renewed it meanwhile.

        Returns:
            Whether it is worth asking with another one.
        """
        self._refused = token
        return token != self._second and self._is_renewable()

    def accept(self) -> None:
        """Note that the API took the token."""
        self._second = None

    def _is_renewable(self) -> bool:
        """Return whether there is more than a bare token, which some users put in."""
        held = self._credentials
        renewable = getattr(held, "refresh_token", True)
        return bool(renewable or getattr(held, "refresh_handler", None))

    def renew(self, seconds: float) -> None:
        """Make sure of a valid token; two threads may do so at once.

        Args:
            seconds: How long it may take.

        Raises:
            AuthError: The credentials are refused, or cannot be renewed.
            TransientError: The token server did not answer, or not properly.
        """
        refused = self.token is not None and self.token == self._refused
        if self._credentials.valid and not refused:
            return
        from google.auth.exceptions import RefreshError

        request = TokenRequest(seconds)
        try:
            self._credentials.refresh(request)
        except RefreshError as exc:
            raise self._fault(exc, request) from None
        # Some servers repeat a token while it is valid: it is marked once only.
        self._refused, self._second = None, self.token if refused else None

    def _fault(self, exc: Exception, request: "TokenRequest") -> ProviderError:
        """Return what a refused renewal means."""
        words = str(exc.args[0]) if exc.args else ""
        if request.status is None:
            # Nobody was asked: it has nothing to be renewed with.
            return AuthError(words, reason="credentials expired", advice=self.advice)
        if request.status < 300:  # noqa: PLR2004  # a success without a token
            return TransientError(words, reason=MALFORMED)
        return AuthError(words, reason="credentials refused", advice=self.advice)


class TokenRequest:
    """How google.auth asks: within some seconds, once, and without being led astray.

    Args:
        seconds: For all that it is used for.

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
        """Send a request, as google.auth wants it sent; return its answer.

        Raises:
            ProviderError: There is none that tells of the credentials.
        """
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
    restrain(session)
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
            retry_after=retry_after_of(response.headers),
        )
