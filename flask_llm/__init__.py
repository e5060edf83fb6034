"""Language models for Flask apps that may not fall over."""

from .errors import StreamInterrupted
from .extension import FlaskLLM, current_llm
from .factory import AsyncLLMStream, LLMFactory
from .fallback.stream import LLMStream, Restart
from .providers.base import LLMProvider
from .types import Attempt, Image, LLMResponse, Message, Request, Usage

__all__ = [
    "AsyncLLMStream",
    "Attempt",
    "FlaskLLM",
    "Image",
    "LLMFactory",
    "LLMProvider",
    "LLMResponse",
    "LLMStream",
    "Message",
    "Request",
    "Restart",
    "StreamInterrupted",
    "Usage",
    "current_llm",
]
