"""Language models for Flask apps that may not fall over."""

from .extension import FlaskLLM, current_llm
from .factory import LLMFactory
from .providers.base import LLMProvider
from .types import LLMResponse

__all__ = ["FlaskLLM", "LLMFactory", "LLMProvider", "LLMResponse", "current_llm"]
