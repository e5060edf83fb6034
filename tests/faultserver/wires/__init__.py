"""The APIs that the server speaks."""

from .anthropic import Anthropic
from .base import Wire
from .cohere import Cohere
from .gemini import Gemini
from .ollama import Ollama
from .openai import OpenAI

__all__ = ["WIRES", "Wire", "wire_at"]

WIRES = {
    each.name: each for each in (Anthropic(), OpenAI(), Gemini(), Ollama(), Cohere())
}


def wire_at(path: str) -> Wire | None:
    """Return the API that has an address, whatever stands before or behind it."""
    address = path.partition("?")[0]
    return next((each for each in WIRES.values() if each.matches(address)), None)
