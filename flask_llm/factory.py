"""The factory: arguments become a request, and a call of the chain answers it.

Flask runs each async view in a loop of its own, which ends with the request, and a
client of an async SDK would be bound to the first of them. So a thread makes the very
call that code without a loop makes: every provider works, and what a call knows of its
app, its request and its limits is the same. The threads are not those of the loop's
executor, for which a loop waits at its end.
"""

import logging
import math
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from functools import partial, wraps
from inspect import Signature, signature
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
)

from .config.parsers import tags
from .config.reader import Reader
from .config.settings import LLMConfig
from .config.state_url import counters_of, store_of
from .fallback.builder import ChainBuilder
from .fallback.call import Call
from .fallback.chain import Chain
from .fallback.health import CircuitBreakers, detailed, plain
from .fallback.pricing import Prices
from .fallback.probe import tried
from .fallback.provider_handle import ProviderHandle
from .fallback.routing import ROUTINGS
from .fallback.stream import LLMStream, OnInterrupt, StreamingCall
from .filters import Filters
from .providers.base import LLMProvider
from .providers.registry import Registry
from .resilience.bulkhead import Bulkhead
from .resilience.clock import SYSTEM, Clock
from .resilience.deadline import Deadline
from .resilience.retry import RetryPolicy
from .resilience.stream_reader import Cancellation, callers_cancellation
from .resilience.thread_pool import Job, ThreadPool
from .schema import Schema
from .types import Attempt, CallContext, LLMResponse, Message, Request, require

if TYPE_CHECKING:
    from asyncio import Future

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_WORKERS = ThreadPool(SYSTEM)


class AsyncLLMStream(AsyncIterator[str]):
    """A streamed answer for coroutines: an `LLMStream` for ``async for``.

    Use it in an ``async with`` block, or call `aclose`. A task that is cancelled while
    it waits for a text closes the stream: it stops at its provider at once.
    """

    def __init__(self, stream: LLMStream, cancellation: Cancellation) -> None:
        self._stream = stream
        self._cancellation = cancellation
        # A thread that was left by its task may still be at it.
        self._in_use = threading.Lock()

    @classmethod
    async def opened(cls, function: Callable[[], LLMStream]) -> Self:
        """Return the stream that a function returns.

        Args:
            function: Asks for the stream; called in a thread.
        """
        cancellation = Cancellation()
        return cls(await _cancellable(cancellation, function), cancellation)

    @property
    def response(self) -> LLMResponse | None:
        """The answer of the whole call when there is no text to come, else None."""
        return self._stream.response

    @property
    def text(self) -> str:
        """What has come so far, since the last `Restart`."""
        return self._stream.text

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try so far in order, skipped providers included."""
        return self._stream.attempts

    @property
    def provider_name(self) -> str:
        """The provider that answers, or was asked last."""
        return self._stream.provider_name

    async def __anext__(self) -> str:
        """Return the next text.

        Raises:
            StopAsyncIteration: There is no more.
            StreamInterrupted: The answer has broken off after some text.
        """
        text = await _cancellable(self._cancellation, self._next)
        if text is None:
            raise StopAsyncIteration
        return text

    async def aclose(self) -> None:
        """Stop the answer at its provider, at once; does nothing when it is over."""
        if self.response is None:
            self._cancellation.cancel()
            await _in_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _next(self) -> str | None:
        with self._in_use:
            text = self._stream.wait(math.inf)
            if text is None:  # it is over, or somebody has cut it
                self._stream.close()
            return text

    def _close(self) -> None:
        with self._in_use:
            self._stream.close()


def awaited(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Return a method for coroutines that does what another one does.

    Args:
        method: What a thread shall call. It runs to its end even if its task is
            cancelled, which stops waiting for it at once.
    """

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_thread(partial(_own(self, method), *args, **kwargs))

    return _described(call, "Do the same for a coroutine", signature(method))


def streamed(
    method: Callable[Concatenate[S, P], LLMStream],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, AsyncLLMStream]]:
    """Return a method for coroutines that streams what another one does.

    Args:
        method: What a thread shall call. A task that is cancelled meanwhile stops it.
    """

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncLLMStream:
        function = partial(_own(self, method), *args, **kwargs)
        return await AsyncLLMStream.opened(function)

    shape = signature(method).replace(return_annotation=AsyncLLMStream)
    return _described(call, "Return an `AsyncLLMStream`", shape)


def _own(owner: S, method: Callable[Concatenate[S, P], T]) -> Callable[P, T]:
    """Return a method of an object, which its class may have changed."""
    own: Callable[P, T] = getattr(owner, method.__name__)
    return own


def _described(function: Callable[P, T], does: str, shape: Signature) -> Callable[P, T]:
    """Give a wrapper a name, a text and a signature of its own."""
    name = function.__name__
    function.__name__ = f"{name}_async"
    function.__qualname__ = f"{function.__qualname__}_async"
    function.__signature__ = shape  # type: ignore[attr-defined]  # where inspect looks
    function.__doc__ = f"{does}: with the arguments of `{name}`, to be awaited."
    return function


async def _cancellable(cancellation: Cancellation, function: Callable[[], T]) -> T:
    """Return what a function returns; cut a stream that it waits for when cancelled."""

    def call() -> T:
        callers_cancellation.set(cancellation)
        return function()

    try:
        return await _in_thread(call)
    except BaseException:
        cancellation.cancel()
        raise


async def _in_thread(function: Callable[[], T]) -> T:
    """Return what a function returns that a thread calls in a copy of this context."""
    import asyncio  # takes 12 ms, which an app without a loop need not spend

    loop = asyncio.get_running_loop()
    ended: Future[Job[T]] = loop.create_future()

    def hand_over(job: Job[T]) -> None:
        if not ended.cancelled():
            ended.set_result(job)

    def done(job: Job[T]) -> None:
        # If the loop has ended this raises, in a thread where nobody hears it.
        loop.call_soon_threadsafe(hand_over, job)

    _WORKERS.submit(function, done)
    return (await ended).result()


# Beyond this a deadline is none; threads cannot wait for much longer either.
_LONGEST_S = 86_400.0 * 30


def _checked(routing: str) -> str:
    if routing not in ROUTINGS:
        raise ValueError(f"routing must be {' or '.join(ROUTINGS)}, not {routing!r}")
    return routing


def tags_of(only: str | Sequence[str]) -> frozenset[str]:
    """Return the tags of an argument that may be a single one.

    Raises:
        TypeError: It is neither a text nor a list of texts.
    """
    require("only", only, str, list, tuple, set, frozenset)
    for each in () if isinstance(only, str) else only:
        require("only", each, str)
    try:
        return tags(only)
    except ValueError as fault:
        raise TypeError(f"only {fault}") from None


def stops_of(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the stop texts of an argument that may be a single one.

    Raises:
        TypeError: It is neither a text nor a list of texts.
    """
    require("stop", stop, str, list, tuple)
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _limit(deadline: float) -> float | None:
    """Return the seconds of a call's own deadline; None for no limit.

    What is left of a caller's time may be nothing: that is a deadline too.
    """
    require("deadline", deadline, int, float)
    if deadline != deadline:  # noqa: PLR0124  # nan; math.isnan() takes no long int
        raise TypeError("deadline must be a number of seconds, not nan")
    return None if deadline > _LONGEST_S else float(max(0.0, deadline))


RequestContext = Callable[[], tuple[str, str | None]]
"""Returns the name and the number of the HTTP request that is being served."""

Routing = Literal["order", "cheapest", "spread"]
"""Who is asked first."""

Prompt = str | Sequence[Mapping[str, Any] | Message]
"""A text, or the messages of a conversation."""

log = logging.getLogger("flask_llm")


class LLMFactory:
    """Answers prompts from the first provider of a chain that can.

    Safe to share: threads never see each other's position in the chain. Nothing is
    connected before the first call.

    Args:
        primary_provider: The first provider: a registered name, "name:model", or an
            `LLMProvider` object. Default: LLM_PRIMARY_PROVIDER.
        fallback_providers: Those after it. Default: LLM_FALLBACK_PROVIDERS.
        config: Where the keys are looked up before the environment. Default: the
            current app's configuration inside an app context, else nothing.
        sender: Sender of the signals. Default: the factory itself.
        filters: Filters that come before its own.
        clock: Where time is read and waited for; the machine's by default.

    Raises:
        ConfigurationError: Something in the configuration is wrong. A missing key is
            not: that provider is unavailable.

    Attributes:
        PROVIDER_REGISTRY: Provider classes by name.
        request_context: Returns the name and the number of the HTTP request that is
            being served, "" and None outside of one: the purpose of a call that names
            none, and what its log lines carry. A Flask app's factory has one.
        config: The general settings in force.
        entries: The providers, in order.
        spare: The endpoints of LLM_PROVIDERS outside of the chain.
        sender: Sender of the signals: the Flask app, or the factory itself.
        filters: What may change or reject its prompts and answers.
        prompt_filter: Decorator that adds a filter of prompts; see `flask_llm.filters`.
        output_filter: Decorator that adds a filter of answers.
        notices: What is odd in the configuration, a sentence each.
    """

    PROVIDER_REGISTRY: ClassVar[Registry] = Registry()

    request_context: RequestContext | None = None

    def __init__(
        self,
        primary_provider: str | LLMProvider | None = None,
        fallback_providers: Iterable[str | LLMProvider] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        sender: object = None,
        filters: Filters | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        reader = Reader(config)
        self.config = LLMConfig.read(reader)
        registry = self.PROVIDER_REGISTRY.of_app(reader)
        builder = ChainBuilder(reader, self.config, registry)
        written = builder.written(primary_provider, fallback_providers)
        entries = builder.chain(written)
        self.spare = tuple(builder.spare(written))
        settings = [each.settings for each in (*entries, *self.spare) if each.settings]
        in_use = {each.name: each.api_key_name for each in settings}
        reader.finish(in_use, set(registry) - in_use.keys())
        self.notices = (*self.PROVIDER_REGISTRY.left_out, *reader.warnings)
        self._settings = tuple(reader.settings.values())
        self._clock = clock
        self.entries = tuple(entries)
        store = store_of(self.config.state_url, clock)
        self.filters = Filters(() if filters is None else (filters,))
        self.prompt_filter = self.filters.prompt_filter
        self.output_filter = self.filters.output_filter
        self.sender = self if sender is None else sender
        limited = any(each.rate or each.token_rate for each in settings)
        limited |= self.config.retry_budget is not None
        counters = counters_of(self.config.state_url, clock) if limited else None
        self._chain = Chain(
            entries,
            filters=self.filters,
            breakers=CircuitBreakers(
                entries, store, self.config.breaker, clock, self.sender
            ),
            sender=self.sender,
            prices=Prices(self.config.prices, clock),
            fallback_on_blocked=self.config.fallback_on_blocked,
            log_content=self.config.observing.log_content,
            clock=clock,
            counters=counters,
            retry_budget=self.config.retry_budget,
        )
        log.info("LLMFactory initialized with primary provider: %s", entries[0].name)

    @classmethod
    def register_provider(cls, name: str, provider_class: type[LLMProvider]) -> None:
        """Make a provider class known under a name, for every factory made later.

        Args:
            name: The name used in the configuration.
            provider_class: A subclass of `LLMProvider`.

        Raises:
            ValueError: The class does not inherit from `LLMProvider` or is incomplete,
                or the name could not stand in the configuration.
        """
        cls.PROVIDER_REGISTRY[name] = provider_class

    def generate_content(  # noqa: PLR0913  # what a call may ask for
        self,
        prompt: Prompt,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        deadline: float | None = None,
        *,
        system: str = "",
        stop: str | Sequence[str] = (),
        schema: type | Mapping[str, Any] | None = None,
        purpose: str | None = None,
        only: str | Sequence[str] = (),
        routing: Routing | None = None,
    ) -> LLMResponse:
        """Answer a prompt; whatever a provider does, this returns a response.

        A quota error moves on to the next provider at once. A transient error is
        retried on the same provider, with waits that double, before moving on. A
        provider that said when to come back, or failed repeatedly, is left out until
        then.

        Args:
            prompt: The text to send, or the messages of a conversation: dicts of
                "role" ("user", "assistant" or "system") and "content", the last one of
                the user. A content is a text, or a list of ``{"type": "text", "text"}``
                and ``{"type": "image", "data" or "url"}``.
            temperature: Randomness, from 0.0 upwards. Models that take none get none,
                and `metadata["warnings"]` says so.
            max_tokens: The most tokens that the answer may have.
            max_retries: The most attempts on one provider for transient errors.
                Default: LLM_MAX_RETRIES.
            retry_delay: Seconds of the first wait. Default: LLM_RETRY_DELAY.
            deadline: Seconds for the whole call: attempts, waits and fallbacks;
                ``math.inf`` for no limit. Default: LLM_DEADLINE.
            system: What the model is told before the conversation.
            stop: A text, or some, before which the answer ends.
            schema: A pydantic model class or a JSON schema that the answer must match.
                It is checked here; a model whose answer does not match is told why,
                once, before the next provider is asked. `LLMResponse.parsed` has it.
            purpose: What the answer is wanted for, such as "classify_email": a name
                of a few that the app has, for logs, costs and metrics. Default, and of
                None or "": in a request the name of its endpoint.
            only: A tag, or some, that a provider must have to be asked, besides those
                of the purpose in LLM_PURPOSES. Nobody else ever sees the prompt.
            routing: Who is asked first: "order", "cheapest" or "spread". Default:
                LLM_ROUTING.

        Returns:
            The answer with ``success=True``, or ``success=False`` and the `error`.

        Raises:
            TypeError: An argument has the wrong type.
        """
        origin = self._context_of(purpose)
        if self.config.purposes:
            only, deadline = self._of_purpose(origin.purpose, only, deadline)
        request = Request(
            prompt,  # type: ignore[arg-type]  # becomes messages
            temperature,
            max_tokens,
            system=system,
            stop=() if stop == () else stops_of(stop),
            schema=None if schema is None else Schema(schema),
            only=frozenset() if only == () else tags_of(only),
            origin=origin,
        )
        policy = self.config.retry
        if max_retries is not None or retry_delay is not None:
            policy = self._policy_of(max_retries, retry_delay)
        time = self._deadline_of(deadline)
        way = self.config.routing if routing is None else _checked(routing)
        return Call(self._chain, request, policy, time, way).run()

    def stream_content(  # noqa: PLR0913  # what a call may ask for
        self,
        prompt: Prompt,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        deadline: float | None = None,
        *,
        system: str = "",
        stop: str | Sequence[str] = (),
        on_interrupt: OnInterrupt = "raise",
        is_gone: Callable[[], bool] | None = None,
        purpose: str | None = None,
        only: str | Sequence[str] = (),
        routing: Routing | None = None,
    ) -> LLMStream:
        """Answer a prompt piece by piece; returns when the first text is there.

        Until then a failure goes to the next provider, as in `generate_content`, and if
        all fail the stream is empty and its `response` says why. Once a text has been
        handed out no other answer is joined to it. With an output filter, which has to
        see the whole answer, it comes in one piece.

        Args:
            prompt: As for `generate_content`, like the arguments that are not here.
            temperature: As for `generate_content`.
            max_tokens: As for `generate_content`.
            max_retries: As for `generate_content`.
            retry_delay: As for `generate_content`.
            deadline: Seconds for the whole call, until the last text.
            system: As for `generate_content`.
            stop: As for `generate_content`.
            on_interrupt: What follows when an answer breaks off after some text:
                "raise" for `StreamInterrupted`, or "restart" for a `Restart` among the
                texts, after which the next provider answers from the beginning.
            is_gone: Asked four times a second, while the first text is awaited,
                whether nobody wants it any more; then the call ends.
            purpose: As for `generate_content`.
            only: As for `generate_content`.
            routing: As for `generate_content`.

        Returns:
            An iterator over the texts, to be used in a `with` block or closed.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: `on_interrupt` is neither of these.
        """
        if on_interrupt not in {"raise", "restart"}:
            raise ValueError(
                f'on_interrupt must be "raise" or "restart", not {on_interrupt!r}'
            )
        origin = self._context_of(purpose)
        if self.config.purposes:
            only, deadline = self._of_purpose(origin.purpose, only, deadline)
        request = Request(
            prompt,  # type: ignore[arg-type]  # becomes messages
            temperature,
            max_tokens,
            system=system,
            stop=() if stop == () else stops_of(stop),
            only=frozenset() if only == () else tags_of(only),
            origin=origin,
        )
        policy = self._policy_of(max_retries, retry_delay)
        time, limits = self._deadline_of(deadline), self.config.limits
        way = self.config.routing if routing is None else _checked(routing)
        shape = (policy, time, limits, is_gone, way)
        call = StreamingCall(self._chain, request, *shape)
        return call.open(restarts=on_interrupt == "restart")

    generate_content_async = awaited(generate_content)
    stream_content_async = streamed(stream_content)

    def warm_up(self, *, full: bool = True) -> None:
        """Make the providers ready, so that the first prompt need not wait for it.

        Raises nothing: what cannot be made ready is logged, and fails when it is used.

        Args:
            full: Whether clients are made and the local model is loaded, which must
                happen in the process that uses them, after any fork. Else only the
                SDKs are imported, and the list of prices.
        """
        for entry in self._chain.handles:
            entry.warm_up(full=full)
            self._chain.prices.look_up(entry)

    def prepare(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Make SDKs and clients ready, so that a switch of providers is quick.

        It uses no network and loads no model. Raises nothing, as `warm_up`.

        Args:
            goes_on: Asked before each provider whether to make it ready too.
        """
        self._chain.prepare(goes_on)

    def after_first_answer(self, function: Callable[[], None] | None) -> None:
        """Have a function called when this process has its first answer.

        Args:
            function: Called in the thread of that call; what it raises is only logged.
        """
        self._chain.on_first_answer = function

    def expect_first_answer(self) -> None:
        """Take the next answer for the first one of this process, as after a fork."""
        self._chain.answered = ""

    @property
    def current_provider(self) -> LLMProvider:
        """The provider that answered last; the primary before that."""
        return self._chain.current.provider

    @property
    def bulkheads(self) -> Mapping[str, Bulkhead]:
        """What knows how many requests each provider has under way in this process."""
        return self._chain.bulkheads

    def get_provider_status(self, *, detail: bool = False) -> dict[str, Any]:
        """Return which providers could be asked, without asking any.

        Args:
            detail: Whether each provider also has a "reason", which says what is
                missing or until when its circuit is open, its "model", its "state"
                ("closed", "open", "half-open" or "unavailable"), the "until" of an open
                circuit in seconds since 1970, an "advice", and the "kind" and HTTP
                "status" of what opened it. What is not known, or not so, is None.

        Returns:
            A dict of "primary" (``{"name", "available"}``), "fallbacks" (a list of
            such) and "current", the provider that answered last, the primary before
            that.
        """
        entries, breakers = self._chain.handles, self._chain.breakers
        if detail:
            circuits = breakers.snapshot()
            each = [
                detailed(entry, breakers, circuits[entry.name]) for entry in entries
            ]
        else:
            each = [plain(entry) for entry in entries]
        primary, *fallbacks = each
        return {
            "primary": primary,
            "fallbacks": fallbacks,
            "current": self._chain.current.name,
        }

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The settings in force: "key", "value" as text, "source", and "secret".

        The source is "app.config", "environment", "default", a preset, an argument or
        a place in LLM_PROVIDERS. A secret's value is "set" or "not set"; an address is
        without its user, password and query.
        """
        links = (*self.entries, *self.spare)
        secrets = {secret for each in links for secret in each.secrets}
        return [each.shown(secrets) for each in self._settings]

    def test(self, name: str, deadline: float = 30.0) -> LLMResponse:
        """Ask one provider of the chain for two words, which costs a little money.

        Nobody else is asked in its place. An open circuit does not keep it from being
        asked, and a failure opens none. Filters, signals and numbers do not see it.

        Args:
            name: The provider, as the configuration names it.
            deadline: Seconds for all of it.

        Returns:
            The answer, or why there is none.

        Raises:
            LookupError: There is no such provider in the chain.
        """
        return tried(self._chain, self._entry(name), deadline)

    def reset(self, name: str) -> None:
        """Close a provider's circuit, so that the next call asks it.

        Where LLM_STATE_URL is shared, that is so in each process; else in this one.

        Args:
            name: The provider, as the configuration names it.

        Raises:
            LookupError: There is no such provider in the chain.
            OSError: The shared store does not answer; only this process knows it.
        """
        self._chain.breakers.reset(self._entry(name))

    def _entry(self, name: str) -> ProviderHandle:
        for entry in self.entries:
            if entry.name == name:
                return entry
        known = ", ".join(each.name for each in self.entries)
        raise LookupError(f"no provider {name!r} is in the chain (it has: {known})")

    def _context_of(self, purpose: str | None) -> CallContext:
        """Return the context of a call that begins now."""
        if purpose is not None:
            require("purpose", purpose, str)
        endpoint, request_id = "", None
        if self.request_context is not None:
            endpoint, request_id = self.request_context()
        return CallContext.new(purpose or endpoint, request_id, self._clock.time())

    def _of_purpose(
        self, purpose: str, only: str | Sequence[str], deadline: float | None
    ) -> tuple[Sequence[str], float | None]:
        """Return a call's tags and deadline, with those that its purpose gets."""
        own = self.config.purposes.get(purpose)
        if own is None:
            return only, deadline
        both = tuple(own.only | tags_of(only))
        return both, own.deadline if deadline is None else deadline

    def _policy_of(
        self, max_retries: int | None, retry_delay: float | None
    ) -> RetryPolicy:
        """Return when the same provider is asked again: the app's way, or a call's."""
        policy = self.config.retry
        if max_retries is not None:
            policy = replace(policy, max_attempts=max_retries)
        if retry_delay is not None:
            policy = replace(policy, delay=retry_delay)
        return policy

    def _deadline_of(self, seconds: float | None) -> Deadline:
        """Return the deadline of a call that begins now: the app's, or its own."""
        default = self.config.deadline
        if seconds is None:
            return Deadline(default, self._clock)
        limit = _limit(seconds)
        hurried = limit is not None and (default is None or limit < default)
        return Deadline(limit, self._clock, hurried=hurried)
