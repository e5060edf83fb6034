"""Our words for the kinds of errors, where a page would show a code."""

from ..errors import BY_KIND, ProviderError

_REASONS = {kind: error.reason for kind, error in BY_KIND.items()}
_REASONS[ProviderError.kind] = ProviderError.reason


def reason(kind: str) -> str:
    """Return our words for the kind of an error: "quota exceeded".

    Args:
        kind: One that is known, or any word: a usage log may hold a later version's.
    """
    return _REASONS.get(kind) or kind.replace("_", " ")
