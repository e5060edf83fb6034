"""What is wrong with a provider in plain words, and what to do about it."""

from ...errors import BY_KIND, ProviderError

_MEANINGS = {
    "quota": "Its quota is used up for now",
    "transient": "It does not work at the moment",
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

_REMEDIES = {
    "context_length": "shorten the prompt, or choose a model with a longer context",
    "invalid_request": "see the call for what it did not accept",
    "content_blocked": "LLM_FALLBACK_ON_BLOCKED=on asks the next provider then",
    "bad_answer": "see the call for what was wrong with it",
    "unavailable": "see the reason",
}
"""For kinds of which the errors themselves advise nothing."""


def advice(kind: str | None, hint: str | None = None) -> str:
    """Return a sentence: what is wrong, and what to do about it.

    Args:
        kind: The kind of the error.
        hint: What the error itself advises, such as "set ANTHROPIC_API_KEY".
    """
    kind = kind or ProviderError.kind
    usual = BY_KIND.get(kind, ProviderError).remedy or _REMEDIES.get(kind)
    remedy = hint or usual or "see its last error"
    return f"{_MEANINGS.get(kind, _UNKNOWN)}: {remedy}."
