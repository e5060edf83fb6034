"""Language models for Flask apps that may not fall over."""

from .errors import StreamInterrupted
from .extension import FlaskLLM, current_llm
from .factory import LLMFactory
from .providers.base import LLMProvider
from .stream import LLMStream, Restart
from .types import LLMResponse

__all__ = [
    "FlaskLLM",
    "LLMFactory",
    "LLMProvider",
    "LLMResponse",
    "LLMStream",
    "Restart",
    "StreamInterrupted",
    "current_llm",
]
