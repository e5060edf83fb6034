"""Whether an attempt has a span of its own already."""

from contextvars import ContextVar

has_span: ContextVar[bool] = ContextVar("has_span", default=False)
"""Whether what is asked here has a span that tells all: an SDK which makes spans by
itself, as anthropic's does, shall make no second one beside it."""
