"""Spans as a test looks at them."""

import threading

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor


class Traces(SpanProcessor):
    """Keeps every span, in the order in which they began.

    Attributes:
        open: Those that nobody has ended, by their number.
    """

    def __init__(self):
        self._all = []
        self._lock = threading.Lock()
        self.open = {}

    def on_start(self, span, parent_context=None):
        with self._lock:
            self._all.append(span)
            self.open[span.context.span_id] = span

    def on_end(self, span):
        with self._lock:
            del self.open[span.context.span_id]

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._all)

    def named(self, name) -> list[ReadableSpan]:
        return [each for each in self._all if each.name == name]

    def children(self, span) -> list[ReadableSpan]:
        return [each for each in self._all if parent_of(each) == span.context.span_id]

    @property
    def tree(self) -> list:
        """Each root as (name, children), a span without any as its name."""
        return [self._branch(each) for each in self._all if each.parent is None]

    def _branch(self, span):
        children = [self._branch(each) for each in self.children(span)]
        return (span.name, children) if children else span.name

    @property
    def text(self) -> str:
        """All that the spans say."""
        return "\n".join(each.to_json() for each in self._all)


def parent_of(span):
    return span.parent and span.parent.span_id


def outcome(span) -> tuple:
    """Return how a span says that it ended: status, error type, description."""
    status = span.status
    kind = span.attributes.get("error.type")
    return status.status_code.name, kind, status.description


def events(span) -> list[tuple]:
    """Return the events of a span: name, provider, and what else they say."""
    said = []
    for each in span.events:
        attributes = dict(each.attributes)
        provider = attributes.pop("flask_llm.provider")
        said.append((each.name, provider, attributes))
    return said
