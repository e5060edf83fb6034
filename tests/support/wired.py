"""Each provider's settings to be asked at the fault server, over its real SDK."""

import gc
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from faultserver import FaultServer

from flask_llm import LLMFactory

# Which API each provider speaks.
WIRES = {
    "claude": "anthropic",
    "gemini": "gemini",
    "openai": "openai",
    "cohere": "cohere",
    "ollama": "ollama",
    "genai": "gemini",
    "vertex": "vertex",
}
_KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
    "GOOGLE_API_KEY": "AIza-made-up-0123456789",
    "OPENAI_API_KEY": "sk-made-up-0123456789",
    "COHERE_API_KEY": "co-made-up-0123456789",
}


def settings(name: str, url: str, seconds: float = 5, **further: Any) -> dict[str, Any]:
    """Return the configuration of one provider.

    Args:
        name: The provider's.
        url: Where it shall ask.
        seconds: How long an attempt may take.
        further: Settings of its own, in lower case and without its prefix.
    """
    found = {"base_url": url, "timeout": seconds, **_own(name, url, seconds)} | further
    prefix = f"LLM_{name.upper()}_"
    return _KEYS | {f"{prefix}{key.upper()}": value for key, value in found.items()}


def _own(name: str, url: str, seconds: float) -> dict[str, Any]:
    """Return what only this provider needs, or needs in another form."""
    if name == "openai":
        return {"base_url": f"{url}/v1"}
    if name == "ollama":
        return {"model": "llama3.2", "load_timeout": seconds}
    if name == "vertex":
        from google.oauth2.credentials import Credentials

        return {"project": "p", "credentials": Credentials(token="T")}
    return {}


def expired_credentials(url: str) -> Any:
    """Return Google Cloud's credentials whose token must be renewed first."""
    from google.oauth2.credentials import Credentials

    return Credentials(
        token="stale",
        refresh_token="1//refresh",
        client_id="id",
        client_secret="secret",
        token_uri=f"{url}/token",
        expiry=datetime(2020, 1, 1),  # noqa: DTZ001  # as google.auth wants it
    )


@contextmanager
def loaded(names: Iterable[str]) -> Iterator[None]:
    """Load SDKs, and keep the collector from walking over them."""
    with pytest.MonkeyPatch.context() as patch, FaultServer() as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name in names:
            factory = LLMFactory(name, [], config=settings(name, server.url))
            factory.warm_up(full=True)
        with warnings.catch_warnings():
            # The clients of earlier tests end here, whose sockets nobody has closed.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()
