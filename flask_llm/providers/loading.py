"""How long to wait for a server that may have to load its model first."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

from ..errors import ProviderError, TransientError, UnavailableError
from ..line import current_line

T = TypeVar("T")

# How long Ollama keeps a model that nobody asks, unless told otherwise.
_USUAL_KEEP_ALIVE_S = 300.0

# A server that was reached said nothing: httpx's name for it.
_SILENT = "ReadTimeout"

# So much of the time for loading was all of it, for who watches another clock.
_MOST = 0.9


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
        explain: Tells what an exception of the SDK means.
    """

    def __init__(
        self,
        usual: float,
        longest: float,
        keep_alive: float | None,
        explain: Callable[[Exception], ProviderError],
    ) -> None:
        self._usual = usual
        self._longest = longest
        self._explain = explain
        kept = _USUAL_KEEP_ALIVE_S if keep_alive is None else keep_alive
        self._kept = math.inf if kept < 0 else kept
        self._loaded_until = -math.inf
        self._in_vain_until = -math.inf

    def patience(self) -> float:
        """Return the seconds that an attempt may take now."""
        short = time.monotonic() < max(self._loaded_until, self._in_vain_until)
        return self._usual if short else self._longest

    def watch(self, call: Callable[[], T], patience: float) -> T:
        """Return what a call returns, and note what comes of it.

        Args:
            call: Waits for an answer.
            patience: For how many seconds.

        Raises:
            Exception: What the call raises.
        """
        try:
            answer = call()
        except Exception as exc:
            self._failed(exc, patience)
            raise
        self._answered()
        return answer

    def watch_stream(
        self, begin: Callable[[], Generator[T, None, None]], patience: float
    ) -> Generator[T, None, None]:
        """Yield what a call streams; the model is loaded once there is some of it.

        Args:
            begin: Waits for the first of it when that is asked for.
            patience: For how many seconds.

        Raises:
            Exception: What the stream raises.
        """
        waits_for, begun = patience, time.monotonic()
        try:
            with closing(begin()) as chunks:
                for chunk in chunks:
                    waits_for = 0.0
                    self._answered()
                    yield chunk
        except Exception as exc:
            line = current_line.get()
            if line is None or not line.is_cut:
                self._failed(exc, waits_for)
            # Whoever leaves says nothing of the model, but for who waited for it.
            elif waits_for and time.monotonic() - begun >= self._longest * _MOST:
                self._hurry()
            raise

    def _answered(self) -> None:
        self._loaded_until = time.monotonic() + self._kept
        self._in_vain_until = -math.inf

    def _failed(self, exc: Exception, patience: float) -> None:
        """Note a failure; a mere refusal does not unload a model."""
        if isinstance(self._explain(exc), TransientError | UnavailableError):
            self._loaded_until = -math.inf
        if type(exc).__name__ == _SILENT and patience >= self._longest:
            self._hurry()

    def _hurry(self) -> None:
        self._in_vain_until = time.monotonic() + self._longest
