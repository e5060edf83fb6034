"""Google's token server, which makes a fresh access token of a refresh token."""

from typing import Any

from ..messages import Answer, Failure
from .base import TEXT, Wire, waiting

_KINDS = {400: "invalid_request", 401: "invalid_client", 429: "rate_limit_exceeded"}


class OAuth(Wire):
    name = "oauth"
    ending = "/token"

    def unary(self, answer: Answer) -> dict[str, Any]:
        return {
            "access_token": "fresh-token",
            "expires_in": 3599,
            "token_type": "Bearer",
        }

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        kind = _KINDS.get(code, "invalid_request" if code < 500 else "internal_failure")
        return _error(
            code, kind, message or TEXT.get(code, "Unknown error"), retry_after
        )

    def bad_key(self) -> Failure:
        text = "Token has been expired or revoked."
        return _error(400, "invalid_grant", text)


def _error(
    code: int, kind: str, text: str, retry_after: float | None = None
) -> Failure:
    body = {"error": kind, "error_description": text}
    return Failure(code, body, waiting(retry_after))
