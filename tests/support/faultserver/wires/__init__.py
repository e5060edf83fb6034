"""The APIs that the server speaks, and what else their SDKs ask for."""

from ..messages import Attempt
from .anthropic import Anthropic
from .base import Wire
from .cohere import Cohere
from .gemini import Gemini
from .oauth import OAuth
from .ollama import Ollama
from .openai import OpenAI
from .vertex import Vertex

__all__ = ["CHATS", "WIRES", "Wire", "name_of"]


def _by_name(*wires: Wire) -> dict[str, Wire]:
    return {each.name: each for each in wires}


# The first that knows an address has it: Vertex before Gemini.
CHATS = _by_name(Anthropic(), OpenAI(), Vertex(), Gemini(), Ollama(), Cohere())
WIRES = CHATS | _by_name(OAuth())


def name_of(attempt: Attempt) -> str:
    """Return the API that a request is for, or "" if none has its address."""
    return next((name for name, wire in WIRES.items() if wire.matches(attempt)), "")
