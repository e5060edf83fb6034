"""What is wrong with a provider in plain words, and what to do about it."""

from ...errors import BY_KIND, ProviderError

_MEANINGS = {
    "quota": "Its quota is used up for now",
    "transient": "It did not work when it was asked last",
    "auth": "Its key is refused",
    "model_not_found": "It does not have this model",
    "context_length": "The prompt was too long for it",
    "invalid_request": "It refused the request",
    "content_blocked": "It declined to answer",
    "bad_answer": "Its answer was of no use",
    "busy": "It has as many calls as it is allowed",
    "unavailable": "It is not set up",
}
_UNKNOWN = "It failed"

_ITS_WORDS = (
    "read its own words in response.error of a call that nobody answered, or with"
    " LLM_LOG_CONTENT=true in the log at level DEBUG"
)

_REMEDIES = {
    "context_length": "shorten the prompt, or choose a model with a longer context",
    "content_blocked": "LLM_FALLBACK_ON_BLOCKED=on asks the next provider then",
    "invalid_request": _ITS_WORDS,
    "bad_answer": _ITS_WORDS,
    "unavailable": "the line above says what it needs",
}
"""For kinds of which the errors themselves advise nothing."""


def advice(kind: str | None, hint: str | None = None) -> str:
    """Return a sentence: what is wrong, and what to do about it.

    Args:
        kind: The kind of the error.
        hint: What the error itself advises, such as "set ANTHROPIC_API_KEY".
    """
    kind = kind or ProviderError.kind
    told = hint or remedy(kind) or "see its last error"
    return f"{_MEANINGS.get(kind, _UNKNOWN)}; {told}."


def remedy(kind: str) -> str:
    """Return what can be done about errors of a kind; empty if that is not known."""
    return BY_KIND.get(kind, ProviderError).remedy or _REMEDIES.get(kind, "")
