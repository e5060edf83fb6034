"""The providers, and what authors of one of their own need beside `LLMProvider`."""

from ..config import parsers
from ..config.settings import ProviderSettings
from ..resilience.clock import PerProcess
from ..resilience.stream_reader import current_cancellation
from .base import Retirement

__all__ = [
    "PerProcess",
    "ProviderSettings",
    "Retirement",
    "current_cancellation",
    "parsers",
]
