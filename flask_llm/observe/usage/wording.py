"""What went wrong with the database, in a few words without a secret."""

from ...errors import text_of
from ...redact import redact

_LONGEST = 160


class WrongVersion(Exception):  # noqa: N818  # it says what is the matter
    """The tables belong to another version of Flask-LLM."""


def why(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return what went wrong in one line.

    Args:
        error: What was raised; of SQLAlchemy's it is the driver's that counts, since
            theirs also has the statement.
        secrets: What it must not hold.
    """
    cause = getattr(error, "orig", None) or error
    text = " ".join(redact(text_of(cause), secrets).split())[:_LONGEST]
    if isinstance(cause, WrongVersion | TimeoutError) and text:
        return text
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
