"""Where Google Cloud credentials come from: a file, an object or the environment."""

import json
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ProviderError, UnavailableError
from .google.auth import Bearer, TokenRequest

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
