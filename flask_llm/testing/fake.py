"""For the tests of an app: a provider that says what it is told to."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from ..clock import SYSTEM, Clock
from ..config import ProviderSettings
from ..providers.base import LLMProvider
from ..types import LLMResponse, Request


@dataclass(frozen=True, slots=True)
class Delay:
    """A step of a script that takes time.

    Attributes:
        seconds: How long it takes.
        step: What happens then.
    """

    seconds: float
    step: "Step" = "ok"


Step = str | LLMResponse | Exception | type[Exception] | Callable[[str], str] | Delay
"""One step of a script: a text or a response to return, an exception (or its class) to
raise, a function from prompt to text, or a `Delay` before one of these."""


class FakeProvider(LLMProvider):
    """A provider with a script, which reaches no network and records its calls.

    An object of it can stand in a chain where a name would::

        fake = FakeProvider(QuotaError(), "spam")
        llm = LLMFactory(fake, [FakeProvider("ham", name="second")])

    or in an app's configuration: ``app.config["LLM_PRIMARY_PROVIDER"] = fake``.

    Args:
        *script: One step for each call; the last one repeats. Without any, "ok".
        name: Its name in the chain.
        available: What `is_available` says; may be changed later.
        clock: Where a `Delay` is waited for.

    Attributes:
        calls: What it was asked, in order.
    """

    needs_key = False

    def __init__(
        self,
        *script: Step,
        name: str = "fake",
        available: bool = True,
        clock: Clock = SYSTEM,
    ) -> None:
        self.name = name
        self.available = available
        self.calls: list[Request] = []
        self._script = script or ("ok",)
        self._clock = clock
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> Self:
        """Make one that answers "ok", for a class registered under a name."""
        return cls(name=settings.name)

    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        """Record the call and play the next step of the script.

        Args:
            prompt: Recorded in `calls`.
            temperature: Recorded in `calls`.
            max_tokens: Recorded in `calls`.

        Returns:
            The scripted answer.

        Raises:
            Exception: The scripted one.
        """
        with self._lock:
            self.calls.append(Request(prompt, temperature, max_tokens))
            step = self._script[min(len(self.calls), len(self._script)) - 1]
        return self._play(step, prompt)

    def get_provider_name(self) -> str:
        """Return its name in the chain."""
        return self.name

    def is_available(self) -> bool:
        """Return `available`."""
        return self.available

    def _play(self, step: Step, prompt: str) -> LLMResponse:
        if isinstance(step, Delay):
            self._clock.sleep(step.seconds)
            return self._play(step.step, prompt)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, type):
            raise step()
        if isinstance(step, LLMResponse):
            return replace(step, metadata=dict(step.metadata))
        text = step if isinstance(step, str) else step(prompt)
        return LLMResponse(success=True, content=text, provider_name=self.name)
