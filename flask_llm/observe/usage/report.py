"""What `flask llm usage` tells: figures of calls."""

from dataclasses import dataclass
from typing import Literal

By = Literal["provider", "model", "purpose", "day"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What some calls were; shares and times are those of the dashboard.

    Attributes:
        name: Which calls.
        calls: How many. Of a provider or model: how many asked it.
        closed: How many of them their caller has left: nobody's failure or merit.
        attempts: How often they asked somebody; who was skipped does not count.
        answered: How many got an answer. Of a provider or model: from it.
        answered_share: The same as a share of those that were not closed; None of none.
        by_fallback: How many answers came from another provider than the first.
        by_fallback_share: The same as a share of the answers; None of none.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the answers.
        cost_usd: What that cost, as far as it is known; None if nothing of it is.
        unpriced: How many have tokens whose cost is not known.
        p95_s: Seconds that 95 % of those that were answered did not exceed. Of a
            provider or model: that 95 % of its answers did not.
    """

    name: str
    calls: int = 0
    closed: int = 0
    attempts: int = 0
    answered: int = 0
    answered_share: float | None = None
    by_fallback: int = 0
    by_fallback_share: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    unpriced: int = 0
    p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a time.

    Attributes:
        since: Its beginning in seconds since 1970.
        until: Its end, which is not in it.
        rows: Figures, one by one.
        total: Those of all calls of that time, however they are told apart.
    """

    since: float
    until: float
    rows: list[Figures]
    total: Figures
