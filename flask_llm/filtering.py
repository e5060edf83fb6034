"""What looks at every prompt and every answer of an app, and what follows from it."""

import logging
import traceback
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple, TypeVar

from .errors import BadAnswerError, InvalidRequestError, LLMError, ProviderError
from .types import LLMResponse, Request

log = logging.getLogger("flask_llm")

S = TypeVar("S", Request, LLMResponse)

PromptFilter = Callable[[Request], Request]
"""Gets a request and returns it, or a changed one; may raise `Rejected`."""

OutputFilter = Callable[[LLMResponse], LLMResponse]
"""Gets an answer and returns it, or a changed one; may raise `Rejected`."""

_Function = TypeVar("_Function", bound=Callable[..., object])
_Prompt = TypeVar("_Prompt", bound=PromptFilter)
_Output = TypeVar("_Output", bound=OutputFilter)


class Rejected(LLMError):  # noqa: N818  # it is a decision, not a fault
    """What a filter raises to refuse a prompt or an answer, with the reason."""


class Filters:
    """The filters of an app, in the order in which they were added.

    Args:
        parents: Filters that come before these, such as those of all apps; what is
            added to them later counts too.
    """

    def __init__(self, parents: "Iterable[Filters]" = ()) -> None:
        self._parents = tuple(parents)
        self._lock = Lock()
        # Replaced as a whole, so that a call under way goes through a list of its own.
        self._prompt: tuple[PromptFilter, ...] = ()
        self._output: tuple[OutputFilter, ...] = ()

    def prompt_filter(self, function: _Prompt) -> _Prompt:
        """Add a function that looks at every prompt; to be used as a decorator.

        Args:
            function: Gets the `Request` and returns it, or a changed one; may raise
                `Rejected`.

        Returns:
            The function.
        """
        _require_filter(function, _PROMPT)
        with self._lock:
            self._prompt = (*self._prompt, function)
        return function

    def output_filter(self, function: _Output) -> _Output:
        """Add a function that looks at every answer; to be used as a decorator.

        Args:
            function: Gets the `LLMResponse` and returns it, or a changed one; may raise
                `Rejected`.

        Returns:
            The function.
        """
        _require_filter(function, _OUTPUT)
        with self._lock:
            self._output = (*self._output, function)
        return function

    @property
    def has_output(self) -> bool:
        """Whether anything looks at the answers."""
        return bool(self._output) or any(each.has_output for each in self._parents)

    def ask(self, request: Request) -> Request:
        """Return a request as the prompt filters leave it.

        Args:
            request: What the caller asks for.

        Raises:
            ProviderError: A filter refused it (`InvalidRequestError`), or failed.
        """
        for parent in self._parents:
            request = parent.ask(request)
        return _through(self._prompt, request, _PROMPT)

    def check(self, response: LLMResponse) -> LLMResponse:
        """Return an answer as the output filters leave it.

        Args:
            response: A provider's answer.

        Raises:
            BadAnswerError: A filter rejected it, or failed.
        """
        for parent in self._parents:
            response = parent.check(response)
        return _through(self._output, response, _OUTPUT)


class _Side(NamedTuple):
    """Which way a text goes.

    Attributes:
        name: What the filters of this side are called.
        refused: What a refusal is called.
        error: What a refusal means.
        failure: What it means if a filter fails: the app is to blame, not the prompt.
    """

    name: str
    refused: str
    error: type[ProviderError]
    failure: type[ProviderError]


_PROMPT = _Side("prompt", "prompt refused", InvalidRequestError, ProviderError)
_OUTPUT = _Side("output", "answer rejected", BadAnswerError, BadAnswerError)


def only_for(*sides: str) -> Callable[[_Function], _Function]:
    """Return a decorator for a function that is no filter of the other sides.

    Args:
        sides: "prompt", "output", or nothing for a function that makes a filter.
    """

    def mark(function: _Function) -> _Function:
        function.sides = sides  # type: ignore[attr-defined]  # read below
        return function

    return mark


def _require_filter(function: object, side: _Side) -> None:
    """Raise unless a function may be a filter of a side.

    Raises:
        TypeError: It is none; tells what is.
    """
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(f"a filter must be a function, not {kind}")
    sides = getattr(function, "sides", (side.name,))
    if side.name not in sides:
        name = getattr(function, "__name__", "it")
        advice = f"filters the {sides[0]} only" if sides else "makes a filter: call it"
        raise TypeError(f"{name} {advice}")


def _through(functions: Iterable[Callable[[S], S]], seen: S, side: _Side) -> S:
    for function in functions:
        result = _result(function, seen, side)
        # Raised here, it carries no trace of an exception that may quote the text.
        if isinstance(result, ProviderError):
            raise result
        seen = result
    return seen


def _result(function: Callable[[S], S], seen: S, side: _Side) -> S | ProviderError:
    name = getattr(function, "__name__", type(function).__name__)
    try:
        result = function(seen)
    except Rejected as why:
        return side.error(why, reason=f"{side.refused} by {name}")
    except Exception as error:  # noqa: BLE001  # it is the app's own code
        _log_failure(f"The {side.name} filter {name}", error)
    else:
        if isinstance(result, type(seen)):
            return result
        kind = type(result).__name__
        log.error("The %s filter %s returned a %s", side.name, name, kind)
    return side.failure(reason=f"{side.name} filter {name} failed")


def _log_failure(who: str, error: Exception) -> None:
    """Log where a filter failed; the exception's own text may quote the prompt."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed: %s\n%s", who, type(error).__name__, lines)
