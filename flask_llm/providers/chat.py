"""How a model is asked through an SDK: translate, call, translate back."""

import logging
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import InvalidRequestError
from ..types import LLMResponse, Request
from .parameters import tell_once
from .sdk import SdkProvider

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
    of_streams: ClassVar[Mapping[str, Any]] = MappingProxyType({})

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
        response = self._ask(
            lambda client: self._read(self._send(client, request, optional)), optional
        )
        response.metadata["warnings"] = warnings
        return response

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
            error = self._failure(exc, optional)
        else:
            response.metadata["warnings"] = warnings
            return response
        raise error  # outside the except block, as in `_ask`

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
        optional, warnings = self._parameters.fit(
            {**self._optional(request), **further}
        )
        for sentence in self._adapted(request):
            tell_once(logging.WARNING, sentence)
            warnings.append(sentence)
        if self.schema_parameter not in optional:
            request = request.instructed()
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
