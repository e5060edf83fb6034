"""Ollama's own API, through the `ollama` SDK."""

from typing import Any
from urllib.parse import urlsplit

from .. import classify
from ..errors import (
    BadAnswerError,
    ModelNotFoundError,
    ProviderError,
    UnavailableError,
    text_of,
)
from ..packages import installed
from ..parsers import lasting, one_of, seconds, whole
from ..types import LLMResponse, Request, counted
from .base import explained
from .completion import message_of
from .http import allow, client_options, own_times, without_user
from .loading import Loading
from .sdk import SdkProvider
from .thinking import used_up
from .unread import unread

_ADDRESS = "http://127.0.0.1:11434"

_FINISHED = {"stop": "stop", "length": "length"}

# A server that was reached said nothing: httpx's name for it.
_SILENT = "ReadTimeout"

# Nobody listens, or there is no such host: the SDK's exception, and httpx's own.
_ABSENT = {"ConnectionError", "ConnectError"}


class OllamaProvider(SdkProvider):
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
    options = {  # noqa: RUF012  # never changed
        "context": whole(256),
        "keep_alive": lasting,
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
        self.keep_alive = None if keep_alive is None else lasting(keep_alive)
        self.load_timeout = load_timeout
        self.thinking = self.options["thinking"](thinking)
        self.longest_attempt = max(timeout, load_timeout)
        self._loading = Loading(timeout, self.longest_attempt, self.keep_alive)

    def warm_up(self, *, full: bool) -> None:
        """Import the SDK, and have the server load the model.

        Args:
            full: Whether to load the model too, which takes up to `load_timeout`.
        """
        super().warm_up(full=full)
        if full:
            longest = self.longest_attempt
            # No messages at all is the API's way of asking for it.
            self._ask(lambda client: self._chat(client, longest, messages=[]))

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
        address = self.base_url or _ADDRESS
        # A user in the address stands in place of a key.
        usual = {"auth": self._authorize} | client_options("httpx", address)
        return self._import().Client(
            # Always given: else OLLAMA_HOST would decide where the prompt goes.
            without_user(address),
            timeout=self.timeout,
            **usual | {"event_hooks": own_times("httpx")},
        )

    def _authorize(self, request: Any) -> Any:
        """Send the key, and none that the SDK found in the environment by itself."""
        request.headers.pop("Authorization", None)
        if self._api_key:
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request

    def _seconds(self, request: Request) -> float:
        """Return how long the attempt may take, loading the model included."""
        patience = self._loading.patience()
        return patience if request.timeout is None else min(patience, request.timeout)

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if self.thinking != "auto":
            optional["thinking"] = self.thinking == "on"
        return optional

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        options = {"num_predict": request.max_tokens, **optional}
        return self._chat(
            client,
            self._seconds(request),
            messages=[{"role": "user", "content": request.prompt}],
            # Called so here too, since refusals speak of thinking.
            think=options.pop("thinking", None),
            options=options,
        )

    def _chat(
        self,
        client: Any,
        patience: float,
        *,
        options: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Any:
        """Call the SDK, and note what that says of the model."""
        size = {} if self.context is None else {"num_ctx": self.context}
        # To take a connection no model has to be loaded.
        allow(patience, connect=min(patience, self.timeout))
        try:
            answer = client.chat(
                model=self.model,
                # Also when it is only loaded: for another size it is loaded again.
                options=(options or {}) | size,
                keep_alive=self.keep_alive,
                **arguments,
            )
        except Exception as exc:
            waited = patience if type(exc).__name__ == _SILENT else 0.0
            self._loading.failed(explained(self, exc), waited)
            raise
        self._loading.answered()
        return answer

    def _read(self, answer: Any) -> LLMResponse:
        finish = answer.done_reason if answer.done else None
        if finish not in _FINISHED:
            raise BadAnswerError(reason=f"incomplete answer (done reason: {finish})")
        text = answer.message.content or ""
        if not text.strip() and finish == "length":
            remedy = "" if self.thinking == "off" else f"{self.setting('thinking')}=off"
            raise used_up(thought=bool(answer.message.thinking), remedy=remedy)
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": answer.model or self.model,
                "usage": counted(answer.prompt_eval_count, answer.eval_count),
                "finish_reason": finish,
            },
        )

    def _list(self, client: Any) -> list[str]:
        allow(self.timeout, connect=self.timeout)
        return [each.model for each in client.list().models]

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the server's own words."""
        if type(exc).__name__ in _ABSENT:
            return self._absent(exc)
        if isinstance(exc, ValueError | TypeError):  # pydantic's quotes the answer
            return self._advised(unread(exc))
        # The SDK's exception has no headers, and where the error's body is no object
        # it is an AttributeError: httpx's holds all.
        refusal = exc.__context__
        if type(refusal).__name__ == "HTTPStatusError":
            return self._refusal(refusal, getattr(exc, "error", None))
        return super().explain(exc)

    def _absent(self, exc: Exception) -> UnavailableError:
        """Return the error for a server that is not there."""
        address = urlsplit(self.base_url or _ADDRESS)
        host = address.netloc.rpartition("@")[2]  # without user and password
        return UnavailableError(
            text_of(exc.__context__ or exc),
            reason=f"no server at {address.scheme}://{host}",
            advice=f"start it with `ollama serve`, or set {self.setting('base_url')}",
        )

    def _refusal(self, exc: Any, told: Any) -> ProviderError:
        """Return the error of an HTTP status and what the server told with it."""
        return self._advised(classify.from_exception(exc, detail=message_of(told)))

    def _advised(self, error: ProviderError) -> ProviderError:
        """Return an error, with what to do if the server lacks the model."""
        # Another address has no such path, and says nothing of a model.
        if isinstance(error, ModelNotFoundError) and "model" in error.detail:
            return error.copy(advice=f"ollama pull {self.model}")
        return error
