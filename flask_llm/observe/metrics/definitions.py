"""The metrics: names, labels, and how many values a label may have.

What OpenTelemetry's conventions for generative AI know has their name, as Prometheus
spells it, and counts each request to a provider; the others count whole calls.
Seconds, tokens and dollars stand in the names.
"""

from dataclasses import dataclass
from typing import Literal

from ...types import plain

# As the conventions advise, for all times of a client.
_REQUEST_S = tuple(0.01 * 2**power for power in range(14))

# A call may wait and ask again for minutes.
_CALL_S = tuple(0.01 * 2**power for power in range(16))

_WHAT_FOR = ("provider", "model", "purpose")

_GEN_AI = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "provider",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with all its series.

    Attributes:
        name: Its name; a counter's ends with "_total".
        kind: What it can do.
        labels: Names of its labels.
        text: What it counts.
        buckets: Upper bounds of a histogram's classes.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    labels: tuple[str, ...]
    text: str
    buckets: tuple[float, ...] = ()


CALLS = Metric(
    "flask_llm_calls_total",
    "counter",
    (*_WHAT_FOR, "outcome"),
    "Calls that are over, by who answered or was asked last; nobody is empty.",
)
FALLBACKS = Metric(
    "flask_llm_fallbacks_total",
    "counter",
    _WHAT_FOR,
    "Calls that another provider than the first has answered.",
)
UNPRICED = Metric(
    "flask_llm_unpriced_calls_total",
    "counter",
    _WHAT_FOR,
    "Calls with tokens whose cost is not known, and not in flask_llm_cost_usd_total.",
)
CALL_S = Metric(
    "flask_llm_call_duration_seconds",
    "histogram",
    ("purpose", "outcome"),
    "How long calls took, waits and fallbacks included.",
    _CALL_S,
)
FIRST_TOKEN_S = Metric(
    "flask_llm_call_time_to_first_token_seconds",
    "histogram",
    ("purpose",),
    "How long callers waited for the first text of streams, fallbacks included.",
    _CALL_S,
)
ATTEMPTS = Metric(
    "flask_llm_attempts_total",
    "counter",
    ("provider", "model", "outcome"),
    "Requests to providers; those that were skipped do not count.",
)
RETRIES = Metric(
    "flask_llm_retries_total",
    "counter",
    ("provider", "kind"),
    "Waits before the same provider was asked again, by what made it fail.",
)
COST = Metric(
    "flask_llm_cost_usd_total",
    "counter",
    _WHAT_FOR,
    "What tokens cost in US dollars, as far as their price is known.",
)
DETAILS = Metric(
    "flask_llm_token_details_total",
    "counter",
    (*_WHAT_FOR, "detail"),
    "What is known of tokens besides, such as those that a provider's cache had.",
)
REQUEST_S = Metric(
    "gen_ai_client_operation_duration_seconds",
    "histogram",
    (*_GEN_AI, "error_type"),
    "How long requests to providers took.",
    _REQUEST_S,
)
FIRST_CHUNK_S = Metric(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "histogram",
    _GEN_AI,
    "How long providers took until the first text of streams.",
    _REQUEST_S,
)
INPUT_TOKENS = Metric(
    "gen_ai_client_inference_usage_input_tokens_total",
    "counter",
    (*_GEN_AI, "gen_ai_token_modality", "purpose"),
    "Tokens of prompts.",
)
OUTPUT_TOKENS = Metric(
    "gen_ai_client_inference_usage_output_tokens_total",
    "counter",
    (*_GEN_AI, "gen_ai_token_modality", "purpose"),
    "Tokens of answers, hidden thinking included.",
)
IN_FLIGHT = Metric(
    "flask_llm_attempts_in_flight",
    "gauge",
    ("provider",),
    "Requests to providers that have not ended, also if nobody waits any longer.",
)
CIRCUIT = Metric(
    "flask_llm_circuit_state",
    "gauge",
    ("provider", "state"),
    "1 for the state that a provider is in, 0 for the others.",
)
REST_ENDS = Metric(
    "flask_llm_circuit_rest_ends_timestamp_seconds",
    "gauge",
    ("provider",),
    "When a provider's rest ends; in the past, or 0, if it does not rest.",
)
PROCESSES = Metric(
    "flask_llm_processes",
    "gauge",
    (),
    "Processes whose numbers these are; of one only without PROMETHEUS_MULTIPROC_DIR.",
)

COUNTED = (
    CALLS, FALLBACKS, UNPRICED, CALL_S, FIRST_TOKEN_S, ATTEMPTS, RETRIES, COST, DETAILS,
    REQUEST_S, FIRST_CHUNK_S, INPUT_TOKENS, OUTPUT_TOKENS,
)  # fmt: skip
"""What the signals report."""

SEEN = (IN_FLIGHT, CIRCUIT, REST_ENDS, PROCESSES)
"""What is looked up when somebody asks."""

STATES = ("closed", "half-open", "open", "unavailable")
"""States of a provider, as the status names them, from the best to the worst."""


OTHER = "other"
"""Stands for all values beyond the most."""


class Values:
    """The values of one label, in the order in which they come.

    Each makes series that stay for good, in the process and in Prometheus: so a label
    must not grow with what users or models write.

    Args:
        most: The most of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, None] = {}

    def __call__(self, value: str | None) -> str:
        """Return a value as one short line; "other" if there are too many already."""
        shown = plain(value or "")
        if shown in self._known:
            return shown
        if len(self._known) >= self._most:
            return OTHER
        self._known[shown] = None
        return shown
