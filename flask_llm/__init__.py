"""Language models for Flask apps that may not fall over."""

from .errors import StreamInterrupted
from .extension import FlaskLLM, current_llm
from .factory import LLMFactory
from .fallback.stream import LLMStream, Restart
from .providers.base import LLMProvider
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
