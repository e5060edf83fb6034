"""What of the calls is watched, and where that goes."""

from dataclasses import dataclass, field

from .config.parsers import Parser, flag, text, unless_none, whole
from .config.reader import Reader

@dataclass(frozen=True, slots=True)
class Observing:
    """Which observers are on.

    Attributes:
        log_content: Whether prompts and answers are logged, redacted.
        usage: Whether calls are written to a database.
        usage_url: Which one; "" for SQLite in the app's instance folder.
        usage_days: Days for which its rows are kept; None for ever.
        metrics: Whether there are Prometheus metrics.
        metrics_registry: The app's own registry for them; None for the extension's.
        traces: Whether there are OpenTelemetry spans.
        dashboard: Whether there is the dashboard.
    """

    log_content: bool = False
    usage: bool = False
    usage_url: str = field(default="", repr=False)
    usage_days: int | None = 90
    metrics: bool = False
    metrics_registry: object = None
    traces: bool = False
    dashboard: bool = True

    @classmethod
    def read(cls, reader: Reader) -> "Observing":
        """Return the settings; what is wrong stays in `reader.faults`."""
        usual = cls()
        usage_url = reader.read("LLM_USAGE_URL", text, usual.usage_url)
        registry = reader.read("LLM_METRICS_REGISTRY", _as_it_is, None)
        return cls(
            log_content=reader.read("LLM_LOG_CONTENT", flag, usual.log_content),
            usage=reader.read("LLM_USAGE", flag, bool(usage_url)),
            usage_url=usage_url,
            usage_days=reader.read(
                "LLM_USAGE_DAYS", unless_none(whole(1)), usual.usage_days
            ),
            metrics=reader.read("LLM_METRICS", flag, registry is not None),
            metrics_registry=registry,
            traces=reader.read("LLM_TRACES", flag, usual.traces),
            dashboard=reader.read("LLM_DASHBOARD", flag, usual.dashboard),
        )


_as_it_is: Parser[object] = lambda value: value  # noqa: E731  # that is all of it
