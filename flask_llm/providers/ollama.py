"""Ollama, which loads a model when it is first asked."""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..config.parsers import duration, installed, one_of, seconds, whole
from ..errors import (
    BadAnswerError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    TransientError,
    UnavailableError,
    text_of,
)
from ..resilience.stream_reader import current_cancellation
from ..types import LLMResponse, Message, Request, counted
from . import classify, internals
from .answers import billed, cut_short, used_up
from .base import explained
from .classify import MALFORMED
from .error_bodies import words_of
from .internals import UNCUT
from .schema_dialects import plain
from .sdk import ChatProvider
from .transport import allow, cancellable, own_times, without_user

_FINISHED = {"stop": "stop", "length": "length"}


def asked_for(request: Request, optional: dict[str, Any]) -> dict[str, Any]:
    """Return a request as arguments of the SDK's `chat`.

    Args:
        request: What is asked for.
        optional: What of it the model takes.

    Raises:
        InvalidRequestError: A picture is an address, which Ollama would not fetch.
    """
    options = {"num_predict": request.max_tokens, **optional}
    system = [{"role": "system", "content": request.system}] if request.system else []
    return {
        "messages": [*system, *map(_turn, request.messages)],
        # Called so here too, since refusals speak of thinking.
        "think": options.pop("thinking", None),
        "format": options.pop("format", None),
        "options": options,
    }


def split_at_line_feeds(response: Any) -> None:
    """Have the lines of a response end where the server ends them; a hook of httpx.

    By itself httpx ends them at U+0085, U+2028 and U+2029 too, which may stand in the
    middle of a text in JSON.

    Args:
        response: What httpx has received.
    """
    response.iter_lines = partial(_lines, response)


def _lines(response: Any) -> Iterator[str]:
    rest = b""
    for data in response.iter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        yield from (each.decode() for each in lines)
    if rest:
        yield rest.decode()


def _turn(message: Message) -> dict[str, Any]:
    if any(image.url for image in message.images):
        raise InvalidRequestError(reason="takes images as data only")
    images = [image.data for image in message.images]
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    return {**turn, "images": images} if images else turn


class Reading:
    """Reads an answer that comes as one chunk or as many.

    Args:
        remedy: The setting that would keep the model from thinking, if one helps.
    """

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy
        self._has_text = False
        self._has_thought = False

    def texts(self, chunks: Iterable[Any]) -> Generator[str, None, dict[str, Any]]:
        """Yield the texts; thinking is none.

        Args:
            chunks: What the SDK returned.

        Returns:
            What the last chunk tells, for the metadata.

        Raises:
            BadAnswerError: It is incomplete, or was used up before any text.
        """
        for chunk in chunks:
            if text := self._text(chunk.message):
                yield text
            if chunk.done:
                return self._metadata(chunk)
        raise cut_short(blank=not self._has_text)

    def whole(self, answer: Any) -> tuple[str, dict[str, Any]]:
        """Return the text of an answer in one piece, and what it tells.

        Raises:
            BadAnswerError: It is incomplete, or was used up before any text.
        """
        return self._text(answer.message), self._metadata(answer)

    def _text(self, message: Any) -> str:
        text: str = message.content or ""
        self._has_text = self._has_text or bool(text.strip())
        self._has_thought = self._has_thought or bool(message.thinking)
        return text

    def _metadata(self, last: Any) -> dict[str, Any]:
        finish = last.done_reason if last.done else None
        usage = counted(last.prompt_eval_count, last.eval_count)
        with billed(usage):
            if finish not in _FINISHED:
                incomplete = f"incomplete answer (done reason: {finish})"
                raise BadAnswerError(reason=incomplete)
            if finish == "length" and not self._has_text:
                raise used_up(thought=self._has_thought, remedy=self._remedy)
        return {
            "model": last.model,
            "usage": usage,
            "finish_reason": _FINISHED[finish],
        }


def unread(exc: Exception) -> ProviderError:
    """Return the error for an answer that could not be read.

    It holds the words of the body's `error`, if it has one, and nothing of an answer,
    which pydantic would quote.

    Args:
        exc: What the SDK raised, by pydantic or otherwise.
    """
    return answered(_message_in(exc), type(exc).__name__)


def answered(message: str, detail: str = "") -> ProviderError:
    """Return the error for one that came with status 200.

    Args:
        message: Its words, by which it is known; empty if it has none.
        detail: What to tell in their place.
    """
    if not message:
        return TransientError(detail, reason=MALFORMED)
    error = classify.from_text(message)
    if type(error) is ProviderError:
        return BadAnswerError(message, reason="answered with an error")
    return error


def _message_in(exc: Exception) -> str:
    """Return the words of the error that stands where an answer should be, or ""."""
    errors = getattr(exc, "errors", None)
    for fault in errors() if errors else ():
        # The whole body lacks a field. Deeper ones are an answer's.
        if fault["type"] == "missing" and len(fault["loc"]) == 1:
            return words_of(fault["input"].get("error"))
    return ""


# Nobody listens, or there is no such host: the SDK's exception, and in streams httpx's.
_ABSENT = {"ConnectionError", "ConnectError"}

# What the SDK says is the status of an error within a stream.
_IN_STREAM = -1


def absent(exc: Exception, address: str, setting: str) -> UnavailableError | None:
    """Return the error for a server that is not there; None if it is.

    Args:
        exc: What the SDK raised.
        address: Where the server should be.
        setting: The setting that says so.
    """
    if type(exc).__name__ not in _ABSENT:
        return None
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]  # without user and password
    return UnavailableError(
        text_of(exc.__context__ or exc),
        reason=f"no server at {parts.scheme}://{host}",
        advice=f"start it with `ollama serve`, or set {setting}",
    )


def from_server(exc: Any) -> ProviderError | None:
    """Return the error that the server's own words tell of; None if there are none.

    Args:
        exc: What the SDK raised.
    """
    message = words_of(getattr(exc, "error", None))
    if getattr(exc, "status_code", None) == _IN_STREAM:
        return answered(message)
    if isinstance(exc, ValueError | TypeError):  # pydantic's quotes the answer
        return unread(exc)
    # The SDK's exception has no headers, and where the error's body is no object it is
    # an AttributeError: httpx's holds all.
    refusal = exc.__context__
    if type(refusal).__name__ == "HTTPStatusError":
        return classify.from_exception(refusal, detail=message)
    return None


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
            cancellation = current_cancellation.get()
            if cancellation is None or not cancellation.is_cancelled:
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


# Models that the server hands on to ollama.com have such names: "glm-5:cloud".
_HOSTED = (":cloud", "-cloud")


class OllamaProvider(ChatProvider):
    """Any model that an Ollama server has pulled. Needs no key.

    Loading a model can take minutes. While it is not known to be loaded, an attempt has
    `load_timeout` seconds instead of `timeout`, if that is more; it is known from an
    answer until `keep_alive` has passed, or until the server fails. After one that
    waited so long in vain, attempts have `timeout` again until an answer comes, or
    `load_timeout` seconds have passed. A deadline still holds. Since the server gives
    up a load whose caller leaves, a model that loads more slowly than that has to be
    loaded before: by LLM_WARM_UP=full, by `ollama run`, or for good with
    LLM_OLLAMA_KEEP_ALIVE=-1.

    Ollama cuts prompts silently that are longer than its context (`num_ctx`), which is
    short unless it is told otherwise: set LLM_OLLAMA_CONTEXT.

    The SDK's environment variable OLLAMA_HOST changes nothing, but one that holds no
    address keeps the SDK from being imported. OLLAMA_API_KEY is the setting for the
    key, and without a key in the settings none is sent. A user and password in the
    address are sent, in place of a key.

    Args:
        api_key: For ollama.com, or a proxy that wants one.
        model: The model; there is no default, since a server has what was pulled.
        base_url: Address of the server, with its port.
        timeout: Seconds that one attempt may take.
        context: Tokens that prompt and answer may have together; None for the server's
            own number.
        keep_alive: How long the server keeps the model loaded after a call: seconds, or
            a duration such as "5m"; -1 for ever; None for the server's own habit.
        load_timeout: Seconds that an attempt may take that may have to load the model.
        thinking: "on", "off", or "auto" for the model's own habit.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `keep_alive` or
            `thinking` is none of these.
    """

    name = "ollama"
    module = "ollama"
    distribution = "ollama"
    requirement = '"Flask-LLM[ollama]"'
    api_key_names = ("OLLAMA_API_KEY",)
    needs_key = False
    default_model = ""
    address = "http://127.0.0.1:11434"
    schema_parameter = "format"
    options = {  # noqa: RUF012  # never changed
        "context": whole(256),
        "keep_alive": duration,
        "load_timeout": seconds(),
        "thinking": one_of("auto", "on", "off"),
    }

    def __init__(  # noqa: PLR0913  # its arguments are its settings
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        context: int | None = None,
        keep_alive: str | float | None = None,
        load_timeout: float = 300.0,
        thinking: str = "auto",
    ) -> None:
        super().__init__(api_key, model=model, base_url=base_url, timeout=timeout)
        self.context = context
        self.keep_alive = None if keep_alive is None else duration(keep_alive)
        self.load_timeout = load_timeout
        self.thinking = self.options["thinking"](thinking)
        self.longest_attempt = max(timeout, load_timeout)
        self._loading = Loading(
            timeout, self.longest_attempt, self.keep_alive, partial(explained, self)
        )

    def warm_up(self, *, full: bool) -> None:
        """Import the SDK, and have the server load the model.

        Args:
            full: Whether to load the model too, which takes up to `load_timeout`.
        """
        super().warm_up(full=full)
        if full:
            self._ask(self._load)

    def _lacks(self) -> str:
        if self.model:
            return ""
        return f"no model (set {self.setting('model')}, such as llama3.2)"

    def _connect_if_available(self) -> Any:
        """Connect, also without a model: its server can list those that it has."""
        if not installed(self.module):
            raise UnavailableError(reason=self.unavailable_reason())
        return self._connect()

    def _import(self) -> Any:
        try:
            return super()._import()
        except ValueError:  # the SDK connects a client of its own, to that address
            raise UnavailableError(
                reason="the SDK cannot read OLLAMA_HOST",
                advice="correct or unset it",
            ) from None

    def _connect(self) -> Any:
        address = self.base_url or self.address
        # A user in the address stands in place of a key.
        usual = {"auth": self._authorize} | self._http("httpx", address)
        hooks = own_times("httpx", self.max_answer_bytes)
        hooks["response"] = [*hooks["response"], split_at_line_feeds]
        client = self._import().Client(
            # Always given: else OLLAMA_HOST would decide where the prompt goes.
            without_user(address),
            timeout=self.timeout,
            **usual | {"event_hooks": hooks},
        )
        if inner := internals.get(client, "_client", UNCUT):
            cancellable(inner)
        return client

    def _authorize(self, request: Any) -> Any:
        """Send the key, and none that the SDK found in the environment by itself."""
        request.headers.pop("Authorization", None)
        if self._api_key:
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request

    def is_free(self) -> bool:
        """Return whether the model runs on a server of one's own.

        Not one of Ollama's cloud; and not where another server wants a key.
        """
        host = urlsplit(self.base_url or "").hostname or ""
        is_hosted = self.model.endswith(_HOSTED) or f".{host}".endswith(".ollama.com")
        return not (is_hosted or (self.base_url and self._api_key))

    def patience(self) -> float:
        """Return how many seconds an answer may take now to begin.

        Those are `timeout`, or `load_timeout` while the model may have to be loaded.
        """
        return self._loading.patience()

    def _seconds(self, request: Request) -> float:
        """Return how long the attempt may take, loading the model included."""
        patience = self.patience()
        return patience if request.timeout is None else min(patience, request.timeout)

    def _silence(self, request: Request) -> float:
        return self.patience() if request.timeout is None else request.timeout

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if request.stop:
            optional["stop"] = list(request.stop)
        if self.thinking != "auto":
            optional["thinking"] = self.thinking == "on"
        if request.schema and (schema := plain(request.schema.json)):
            optional[self.schema_parameter] = schema
        return optional

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked, patience = asked_for(request, optional), self._seconds(request)
        call = partial(self._chat, client, patience, **asked)
        return self._loading.watch(call, patience)

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked, patience = asked_for(request, optional), self._silence(request)
        begin = partial(self._chat, client, patience, stream=True, **asked)
        return self._loading.watch_stream(begin, patience)

    def _load(self, client: Any) -> Any:
        """Have the server load the model; no messages are the API's way of asking."""
        patience = self.longest_attempt
        call = partial(self._chat, client, patience, messages=[])
        return self._loading.watch(call, patience)

    def _chat(
        self,
        client: Any,
        patience: float,
        *,
        options: dict[str, Any] | None = None,
        **asked: Any,
    ) -> Any:
        size = {} if self.context is None else {"num_ctx": self.context}
        # To take a connection no model has to be loaded. A stream's request is
        # sent later, when its first chunk is asked for, with the same times.
        allow(patience, connect=min(patience, self.timeout))
        return client.chat(
            model=self.model,
            # Also when it is only loaded: for another size it is loaded again.
            options=(options or {}) | size,
            keep_alive=self.keep_alive,
            **asked,
        )

    def _read(self, answer: Any) -> LLMResponse:
        text, metadata = self._reading().whole(answer)
        return self._response(text, metadata)

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        metadata = yield from self._reading().texts(events)
        return self._response("", metadata)

    def _reading(self) -> Reading:
        helps = self.thinking != "off"
        return Reading(f"{self.setting('thinking')}=off" if helps else "")

    def _response(self, text: str, metadata: dict[str, Any]) -> LLMResponse:
        known = metadata | {"model": metadata["model"] or self.model}
        return LLMResponse(
            success=True, content=text, provider_name=self.name, metadata=known
        )

    def _list(self, client: Any) -> list[str]:
        allow(self.timeout, connect=self.timeout)
        return [each.model for each in client.list().models]

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the server's own words."""
        address = self.base_url or self.address
        error = (
            absent(exc, address, self.setting("base_url"))
            or from_server(exc)
            or super().explain(exc)
        )
        # Another address has no such path, and says nothing of a model.
        if isinstance(error, ModelNotFoundError) and "model" in error.detail:
            return error.copy(advice=f"ollama pull {self.model}")
        return error
