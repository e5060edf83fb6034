"""How long to wait for a server that may have to load its model first."""

import math
import time

from ..errors import ProviderError, TransientError, UnavailableError

# How long Ollama keeps a model that nobody asks, unless told otherwise.
_USUAL_KEEP_ALIVE_S = 300.0


class Loading:
    """Remembers whether a model is loaded, or was waited for in vain.

    An attempt that waited for it in vain is the last one for a while to wait so long:
    until an answer comes, or as much time has passed again. Many threads use it without
    a lock, since each assignment makes sense by itself.

    Args:
        usual: Seconds for an answer of a model that is loaded.
        longest: Seconds for an attempt that may have to load it.
        keep_alive: Seconds that the server keeps a model that nobody asks; below 0 for
            ever, None for its own habit.
    """

    def __init__(self, usual: float, longest: float, keep_alive: float | None) -> None:
        self._usual = usual
        self._longest = longest
        kept = _USUAL_KEEP_ALIVE_S if keep_alive is None else keep_alive
        self._kept = math.inf if kept < 0 else kept
        self._loaded_until = -math.inf
        self._in_vain_until = -math.inf

    def patience(self) -> float:
        """Return the seconds that an attempt may take now."""
        short = time.monotonic() < max(self._loaded_until, self._in_vain_until)
        return self._usual if short else self._longest

    def answered(self) -> None:
        """Note that the model is loaded."""
        self._loaded_until = time.monotonic() + self._kept
        self._in_vain_until = -math.inf

    def failed(self, error: ProviderError, waited: float) -> None:
        """Note a failure; a mere refusal does not unload a model.

        Args:
            error: What went wrong.
            waited: Seconds for which a server that was there said nothing.
        """
        if isinstance(error, TransientError | UnavailableError):
            self._loaded_until = -math.inf
        if waited >= self._longest:
            self._in_vain_until = time.monotonic() + self._longest
