"""The providers, and what authors of one of their own need beside `LLMProvider`."""

from ..config import parsers
from ..resilience.clock import PerProcess
from ..resilience.stream_reader import current_cancellation

__all__ = ["PerProcess", "current_cancellation", "parsers"]
