"""The base of all providers that an SDK serves."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from contextvars import ContextVar
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from ..config.parsers import api_key as checked_key
from ..config.parsers import installed
from ..config.reader import setting_key
from ..config.settings import MAX_ANSWER_BYTES, ProviderSettings
from ..errors import (
    InvalidRequestError,
    ProviderError,
    TimedOutError,
    TransientError,
    UnavailableError,
    hidden_in,
    let_through,
    redact,
)
from ..resilience.clock import PerProcess
from ..resilience.stream_reader import callers_cancellation
from ..types import ROLES, Image, LLMResponse, Message, Request
from . import classify
from .base import NO_KEY, NO_LIST, LLMProvider, explained
from .classify import MALFORMED
from .parameters import Parameters, tell_once
from .transport import client_options, in_one_piece, rehearsing

T = TypeVar("T")

# How SDKs fail when an answer has a shape that they did not expect.
_STUMBLES = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    StopIteration,
    RecursionError,  # JSON that is nested too deeply
)


# Ways of asking that are kept, each with its own temperature and max_tokens.
_MOST_FITS = 64


class SdkProvider(LLMProvider):
    """A provider on top of an SDK: its facts, its client and its errors.

    An SDK's exception never leaves: it is translated into a `ProviderError` that holds
    copied text only. How a model is asked is told by the subclass `ChatProvider`.

    Args:
        api_key: The provider's key.
        model: Model instead of the default one.
        base_url: Address instead of the provider's own.
        timeout: Seconds that one attempt may take.

    Raises:
        ValueError: The key holds what no HTTP header can carry.

    Attributes:
        name: The provider's identifier; an endpoint of LLM_PROVIDERS has its own.
        module: The module whose presence says that the SDK is installed.
        distribution: The SDK's name on PyPI.
        requirement: What to `pip install` for it.
        max_answer_bytes: How much of an answer's body is read; of a stream eight times
            as much.
        renames: Other names of parameters, tried if a model refuses the first.
        ended: What to say of an SDK whose support has ended, and how to leave it.
    """

    name: str
    module: ClassVar[str]
    distribution: ClassVar[str] = ""
    requirement: ClassVar[str]
    renames: ClassVar[Mapping[str, str]] = MappingProxyType({})
    ended: ClassVar[str] = ""
    max_answer_bytes: int = MAX_ANSWER_BYTES

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._api_key = checked_key(api_key) if api_key.strip() else ""
        self.model = model or self.default_model or ""
        self.base_url = base_url
        self.timeout = timeout
        self._parameters = Parameters(self.model, self._refused(), self.renames)
        self._labels: Mapping[str, str] = {}
        self._fits: dict[tuple[float, int, int], tuple[dict[str, Any], list[str]]] = {}
        self._client = PerProcess(self._prepared)

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> "SdkProvider":
        """Make the provider from its settings."""
        provider = cls(
            settings.api_key,
            model=settings.model,
            base_url=settings.base_url,
            timeout=settings.timeout,
            **settings.options,
        )
        provider.name = settings.name
        provider._labels = settings.labels
        provider.max_answer_bytes = settings.max_answer_bytes
        return provider

    def list_models(self) -> list[str]:
        """Return the models that the provider offers for this key.

        Asks the provider's own list, which takes at most `timeout` seconds and costs
        nothing.

        Raises:
            ProviderError: There is no list; the subclass says why.
        """
        return sorted(self._ask(self._list))

    def _ask(
        self,
        ask: Callable[[Any], T],
        sent: Mapping[str, Any] = MappingProxyType({}),
    ) -> T:
        """Return what a function gets out of the client, or raise our own error.

        Args:
            ask: Calls the SDK.
            sent: The optional parameters that the request carries.
        """
        try:
            return ask(self._connected())
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their trees
            error = self._failure(exc, sent)
        # Outside the except block: the SDK's exception must not hang on as __context__,
        # since its request holds the key.
        raise error

    def _connected(self) -> Any:
        """Return the SDK's client, or raise our own error."""
        try:
            return self._client.get()
        except Exception as exc:  # noqa: BLE001  # an SDK's constructor may raise anything
            let_through(exc)
            error = _unconnected(exc)
        raise error

    def _failure(self, exc: Exception, sent: Mapping[str, Any]) -> ProviderError:
        """Return our own error for an SDK's, to be raised outside its except block.

        Args:
            exc: What the SDK raised.
            sent: The optional parameters that the request carried.
        """
        let_through(exc)
        error = self._parameters.learn(sent, explained(self, exc), exc)
        detail = redact(error.detail, self._secrets())
        error.__traceback__ = None  # would tie it to the SDK's frames, in a cycle
        return error.copy(provider=self.name, detail=detail)

    def warm_up(self, *, full: bool) -> None:
        """Import the SDK, which takes about a second, and connect.

        Args:
            full: Whether to make this process's client too.
        """
        self._import()
        if full:
            self.prepare()

    def prepare(self) -> None:
        """Import the SDK and make this process's client."""
        self._connected()

    def get_provider_name(self) -> str:
        """Return the provider's identifier."""
        return self.name

    def is_available(self) -> bool:
        """Return whether the SDK is installed and all is set up."""
        return installed(self.module) and not self._lacks()

    def unavailable_reason(self) -> str:
        """Return what is missing: the package, with its pip line, or a setting."""
        if not installed(self.module):
            name = self.distribution or self.module
            return f"{name} is not installed: pip install {self.requirement}"
        return self._lacks()

    def setting(self, name: str) -> str:
        """Return where one of its settings is written, or can be, for an advice."""
        return self._labels.get(name) or setting_key(self.name, name)

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error; an SDK that trips over an answer means a malformed one."""
        error = classify.from_exception(exc)
        if type(error) is ProviderError and isinstance(exc, _STUMBLES):
            return TransientError(type(exc).__name__, reason=MALFORMED)
        return error

    def _prepared(self) -> Any:
        """Return a client, and let who waits know that nothing is sent meanwhile."""
        if caller := callers_cancellation.get():
            caller.is_preparing = True  # until a request leaves
        return self._connect_if_available()

    def _connect_if_available(self) -> Any:
        """Connect, unless there is no key: some SDKs would look for one elsewhere."""
        if not self.is_available():
            raise UnavailableError(reason=self.unavailable_reason())
        return self._connect()

    def _http(self, library: str, address: str) -> dict[str, Any]:
        """Return the arguments of the HTTP client that asks for this provider."""
        return client_options(library, address, self.max_answer_bytes)

    def _secrets(self) -> list[str]:
        """Return what must be in no text: the key, and what an address may hold."""
        return [self._api_key, *hidden_in(self.base_url)]

    def _lacks(self) -> str:
        """Return what is not set up, without which it cannot be asked; or ""."""
        return NO_KEY if self._needs_key() and not self._api_key else ""

    def _needs_key(self) -> bool:
        """Return whether it cannot be asked without a key, set up as it is."""
        return self.needs_key

    def _import(self) -> Any:
        """Import the SDK and return its module."""
        return import_module(self.module)

    @abstractmethod
    def _connect(self) -> Any:
        """Return the SDK's client, its own retries switched off. Opens nothing yet."""

    def _refused(self) -> Collection[str]:
        """Return the optional parameters that the model is known not to take."""
        return ()

    def _in_time(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items of a list that comes in pages, for at most `timeout` seconds.

        Raises:
            TimedOutError: It goes on for longer.
        """
        stop = time.monotonic() + self.timeout
        for each in items:
            if time.monotonic() > stop:
                raise TimedOutError("the list has too many pages")
            yield each

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # a subclass's
        """Return the models that the provider offers, by the names it takes."""
        raise UnavailableError(reason=NO_LIST)


def _unconnected(exc: Exception) -> ProviderError:
    """Return the error for a client that could not even be made."""
    if isinstance(exc, ProviderError):
        return exc
    return UnavailableError(exc, reason=f"cannot be set up ({type(exc).__name__})")


class ChatProvider(SdkProvider):
    """A provider whose SDK takes conversations and streams the answers.

    A subclass states its facts, then says how to connect, how to send a request and
    how to read the answer, at once (`_send`, `_read`) and as it comes (`_open`,
    `_follow`).

    Attributes:
        schema_parameter: Name of the parameter in `_optional` that carries the schema.
            Where a model takes none the schema is told in words.
        of_streams: What a stream asks for besides that not every model takes.
    """

    schema_parameter: ClassVar[str] = ""
    # The option for thinking, and the parameter that switches it off.
    _thinking_parameter: tuple[str, str] = "thinking", "thinking.disabled"
    of_streams: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    # Whether a client made while `rehearsing` uses no network at all.
    _can_rehearse: ClassVar[bool] = False

    def prepare(self) -> None:
        """Make the client, and have one like it read an answer without a network.

        SDKs load the half of themselves with their first request and answer.
        """
        super().prepare()
        if self._can_rehearse:
            with rehearsing(), suppress(Exception):  # an empty object is no answer
                self._read(self._send(self._rehearsing(), Request("Hello"), {}))

    def _rehearsing(self) -> Any:
        """Return a client that is made while `rehearsing`, and makes no spans."""
        return self._connect()

    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        """Ask the model once.

        Args:
            prompt: The text to send.
            temperature: Randomness, from 0.0 upwards.
            max_tokens: The most tokens that the answer may have.

        Returns:
            The answer.

        Raises:
            ProviderError: There is none; the subclass says why.
            TypeError: An argument has the wrong type.
        """
        request = Request(prompt, temperature, max_tokens)
        if request.fault is not None:
            raise InvalidRequestError(reason=request.fault, provider=self.name)
        return self.answer(request)

    def answer(self, request: Request) -> LLMResponse:
        """Make one attempt.

        Args:
            request: What is asked for, and how long the attempt may take; one that
                has no `fault`.

        Returns:
            The answer.

        Raises:
            ProviderError: There is none; the subclass says why.
        """
        request, optional, warnings = self._fitted(request)
        token = in_one_piece.set(True)
        try:
            answer = self._send(self._connected(), request, optional)
            response = self._read(answer)
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their trees
            error = self._learned(self._failure(exc, optional), request, optional)
        else:
            if self._parameters.on_trial:
                self._parameters.settle(None)
            response.metadata["warnings"] = warnings
            return response
        finally:
            in_one_piece.reset(token)
        raise error  # outside the except block, as in `_ask`

    def stream(self, request: Request) -> Generator[str, None, LLMResponse]:
        """Make one attempt, handing out the text as it comes.

        Args:
            request: What is asked for; its `timeout` is how long the provider may be
                silent.

        Returns:
            What is known of the answer; its `content` is empty.

        Raises:
            ProviderError: There is none, or not the whole of it.
        """
        request, optional, warnings = self._fitted(request, self.of_streams)
        try:
            with closing(self._open(self._connected(), request, optional)) as events:
                response = yield from self._follow(events)
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their trees
            error = self._learned(self._failure(exc, optional), request, optional)
        else:
            if self._parameters.on_trial:
                self._parameters.settle(None)
            response.metadata["warnings"] = warnings
            return response
        raise error  # outside the except block, as in `_ask`

    def _learned(
        self, error: ProviderError, request: Request, optional: dict[str, Any]
    ) -> ProviderError:
        """Return the error of a request, after what it tells of the model."""
        known = self._parameters
        error = known.learn_roles(request, error)
        if request.schema and self.schema_parameter in optional:
            error = known.learn_schema(request.schema, error)
        if known.on_trial:
            known.settle(error)
        return error

    def _fitted(
        self, request: Request, further: Mapping[str, Any] = MappingProxyType({})
    ) -> tuple[Request, dict[str, Any], list[str]]:
        """Return a request as this model can take it, and what that leaves out.

        Args:
            request: What is asked for.
            further: Optional parameters besides those of the request.

        Returns:
            The request, the optional parameters, and a sentence for each thing that is
            not sent as asked for.
        """
        is_plain = not (request.stop or request.schema is not None or further)
        if not is_plain or self._parameters.knows_roles:
            return self._fitted_anew(request, further)
        # Without those it is the same for each prompt.
        key = (request.temperature, request.max_tokens, self._parameters.learned)
        fit = self._fits.get(key)
        if fit is None:
            if len(self._fits) >= _MOST_FITS:
                self._fits.clear()
            fit = self._fits[key] = self._fitted_anew(request, further)[1:]
        optional, warnings = fit
        # Copies, in case somebody changes what it is given.
        return request, dict(optional), [*warnings]

    def _fitted_anew(
        self, request: Request, further: Mapping[str, Any]
    ) -> tuple[Request, dict[str, Any], list[str]]:
        optional, warnings = self._parameters.fit(
            {**self._optional(request), **further}
        )
        for sentence in self._adapted(request):
            tell_once(logging.WARNING, sentence)
            warnings.append(sentence)
        if request.schema and self._parameters.refuses_schema(request.schema):
            optional.pop(self.schema_parameter, None)
        if request.schema is not None and self.schema_parameter not in optional:
            request = request.instructed()
        if self._parameters.knows_roles:
            request = self._parameters.fit_roles(request, warnings)
        return request, optional, warnings

    def _seconds(self, request: Request) -> float:
        """Return how long the attempt may take."""
        if request.timeout is None:
            return self.timeout
        return min(self.timeout, request.timeout)

    def _silence(self, request: Request) -> float:
        """Return how long the provider may be silent in a stream.

        The chain watches the clock; this only ends what nobody waits for any more.
        """
        return self.timeout if request.timeout is None else request.timeout

    def _optional(self, request: Request) -> dict[str, Any]:
        """Return what a request asks for that not every model takes, by its names."""
        return {"temperature": request.temperature}

    def _thinking_off(self) -> str:
        """Return the setting that would keep the model from thinking, if one would."""
        option, off = self._thinking_parameter
        if getattr(self, option) == "off" or self._parameters.refuses(off):
            return ""
        return f"{self.setting(option)}=off"

    def _adapted(self, request: Request) -> list[str]:  # noqa: ARG002  # a subclass's
        """Return a warning for each setting that this request had no room for."""
        return []

    @abstractmethod
    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        """Call the SDK once.

        Args:
            client: What `_connect` returned.
            request: What is asked for.
            optional: What of `_optional` this model takes.
        """

    @abstractmethod
    def _read(self, answer: Any) -> LLMResponse:
        """Check the shape of the SDK's answer and return it as ours.

        Raises:
            ProviderError: The answer is none that a caller can be given.
        """

    @abstractmethod
    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        """Call the SDK once, for a stream; its silences may last for `_silence`.

        Args:
            client: What `_connect` returned.
            request: What is asked for.
            optional: What of `_optional` this model takes.

        Returns:
            The SDK's stream, or a generator over it; its `close` ends the connection.
        """

    @abstractmethod
    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        """Yield the texts of what `_open` returned, and return what it told of itself.

        Returns:
            The response without content, if the stream was complete: its own end
            marker has come, and the finish reason is a good one.

        Raises:
            ProviderError: It is an error, blocked, used up before any text, or ends
                without its end marker.
        """


Picture = Callable[[Image], Any]


def chat_messages(
    request: Request, picture: Picture | None = None, *, with_system: bool = True
) -> list[dict[str, Any]]:
    """Return the `messages` of a request, what the system says before the others.

    Args:
        request: What is asked for.
        picture: Makes the content part of a picture; None for an API that takes none.
        with_system: Whether what the system says is among them.

    Raises:
        InvalidRequestError: There is a picture, but the API takes none.
    """
    messages: list[dict[str, Any]] = []
    if with_system and request.system:
        messages = [{"role": "system", "content": request.system}]
    if type(request.prompt) is str:
        return [*messages, {"role": ROLES[0], "content": request.prompt}]
    return messages + [_turn(each, picture) for each in request.messages]


def _turn(message: Message, picture: Picture | None) -> dict[str, Any]:
    content: Any = message.text
    if message.images:
        content = [_part(each, picture) for each in message.parts if _is_said(each)]
    return {"role": message.role, "content": content}


def _is_said(part: str | Image) -> bool:
    """Tell whether there is something; some APIs refuse an empty text."""
    return not isinstance(part, str) or bool(part.strip())


def _part(part: str | Image, picture: Picture | None) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if picture is None:
        raise InvalidRequestError(reason="takes no images")
    return picture(part)


def image_url(image: Image) -> dict[str, Any]:
    """Return the content part of a picture, its bytes as a "data:" address.

    Raises:
        InvalidRequestError: Nobody tells the type of the bytes.
    """
    if not image.url and not image.media_type:
        raise InvalidRequestError(reason="takes images of a known media_type only")
    return {"type": "image_url", "image_url": {"url": image.data_url}}


has_span: ContextVar[bool] = ContextVar("has_span", default=False)
"""Whether what is asked here has a span that tells all: an SDK which makes spans by
itself, as anthropic's does, shall make no second one beside it."""
