"""Ollama's own API, through the `ollama` SDK."""

from collections.abc import Generator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelNotFoundError, ProviderError, UnavailableError
from ..packages import installed
from ..config.parsers import lasting, one_of, seconds, whole
from ..types import LLMResponse, Request
from . import internals
from .base import explained
from .chat import ChatProvider
from .schema_dialects import plain
from .transport import allow, client_options, cuttable, own_times, without_user
from .internals import UNCUT
from .loading import Loading
from .ollama_chat import Reading, asked_for, split_at_line_feeds
from .ollama_errors import absent, told_by

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
        usual = {"auth": self._authorize} | client_options("httpx", address)
        hooks = own_times("httpx")
        hooks["response"] = [*hooks["response"], split_at_line_feeds]
        client = self._import().Client(
            # Always given: else OLLAMA_HOST would decide where the prompt goes.
            without_user(address),
            timeout=self.timeout,
            **usual | {"event_hooks": hooks},
        )
        if inner := internals.get(client, "_client", UNCUT):
            cuttable(inner)
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
        text, told = self._reading().whole(answer)
        return self._response(text, told)

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        told = yield from self._reading().texts(events)
        return self._response("", told)

    def _reading(self) -> Reading:
        helps = self.thinking != "off"
        return Reading(f"{self.setting('thinking')}=off" if helps else "")

    def _response(self, text: str, told: dict[str, Any]) -> LLMResponse:
        known = told | {"model": told["model"] or self.model}
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
            or told_by(exc)
            or super().explain(exc)
        )
        # Another address has no such path, and says nothing of a model.
        if isinstance(error, ModelNotFoundError) and "model" in error.detail:
            return error.copy(advice=f"ollama pull {self.model}")
        return error
