"""What stands in the chain for a plug-in that cannot be loaded."""

from ..errors import UnavailableError
from ..types import LLMResponse
from .base import LLMProvider

class BrokenProvider(LLMProvider):
    """A provider that is never available, so that the app runs on with the others.

    Args:
        name: The chain entry.
        why: What is wrong with the plug-in.
    """

    needs_key = False

    def __init__(self, name: str, why: str) -> None:
        self._name = name
        self._why = why

    def generate_content(self, *_: object, **__: object) -> LLMResponse:
        """Raise, since there is nobody to ask.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError(reason=self._why)

    def get_provider_name(self) -> str:
        """Return the chain entry."""
        return self._name

    def is_available(self) -> bool:
        """Return False."""
        return False

    def unavailable_reason(self) -> str:
        """Return what is wrong with the plug-in."""
        return self._why
