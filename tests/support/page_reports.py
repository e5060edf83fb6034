"""The states of the dashboard's page: real reports of made-up calls."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, wraps
from typing import Any

from page_numbers import BACK, MODELS, NOW, Hour, Told, failed, skipped
from standings import chain, no_key, standing
from standings import resting as rested

from flask_llm.observe.aggregates import About
from flask_llm.web.report import in_full, report

Report = dict[str, Any]

SETTINGS = [
    ("LLM_PRIMARY_PROVIDER", "gemini", "app.config", False),
    ("LLM_FALLBACK_PROVIDERS", "claude, local", "environment", False),
    ("GOOGLE_API_KEY", "set", "environment", True),
    ("ANTHROPIC_API_KEY", "set", "environment", True),
    ("LLM_STATE_URL", "redis://:***@cache:6379/0", "environment", False),
    ("LLM_USAGE", "on", "app.config", False),
    ("LLM_TIMEOUT", "30", "default", False),
    ("LLM_MAX_RETRIES", "5", "default", False),
    ("LLM_RETRY_PRESET", "patient", "default", False),
    ("LLM_DEADLINE", "none", "default", False),
]

_USAGE = About("usage", since=NOW - 12 * 86_400)


def settings() -> list[dict[str, Any]]:
    """Return the rows of a configuration."""
    names = ("key", "value", "source", "secret")
    return [dict(zip(names, row, strict=True)) for row in SETTINGS]


def ready(name: str) -> dict[str, Any]:
    """Return an entry of the chain that could be asked."""
    return standing(name, model=MODELS[name])


def rests(name: str, until: float) -> dict[str, Any]:
    """Return an entry whose circuit is open."""
    return rested(
        name, until, model=MODELS[name], reason="circuit open: quota exceeded"
    )


def kept(made: Callable[..., Report]) -> Callable[..., Report]:
    """Make a report once, and hand out copies, which a test may change."""
    once = cache(made)
    return wraps(made)(lambda *args: deepcopy(once(*args)))


WELL = chain(*map(ready, MODELS))
TIRED = chain(rests("gemini", BACK), ready("claude"), ready("local"), current="claude")


@cache
def _hour(*, is_tired: bool) -> Hour:
    hour = Hour(rests=is_tired)
    hour.memory.said = _USAGE
    return hour


@kept
def serving(name: str = "1h") -> Report:
    """Return a day like any other: the primary answers."""
    return _hour(is_tired=False).report(WELL, name)


@kept
def fallback(name: str = "1h") -> Report:
    """Return the primary's quota being used up: the fallback answers."""
    return _hour(is_tired=True).report(TIRED, name)


@kept
def empty(name: str = "1h") -> Report:
    """Return an app that has just been set up."""
    return report(
        Told(), chain(ready("gemini"), ready("claude")), name, NOW, is_shared=True
    )


@kept
def single() -> Report:
    """Return a chain of one provider."""
    return _hour(is_tired=False).report(chain(ready("gemini")))


@kept
def down() -> Report:
    """Return what is left while the usage log cannot be read."""
    memory = Told()
    why = "connection to the server at db:5432 failed: Connection refused"
    memory.said = About("usage", error=why, lost=3)
    return report(memory, TIRED, "1h", NOW, is_shared=True)


@kept
def resting() -> Report:
    """Return a chain in which nobody can be asked."""
    hour = Hour(rests=True)
    for number in range(6):
        tries = (skipped("gemini"), failed("claude", "transient", "timeout"))
        hour.add(NOW - 1 + number / 10, *tries, skipped("local", "unavailable"))
    claude = rests("claude", NOW + 42) | {"kind": "transient", "status": None}
    last = no_key("local") | {"reason": "no model file"}
    last |= {"model": MODELS["local"], "advice": 'pip install "Flask-LLM[local]"'}
    return hour.report(chain(rests("gemini", NOW + 60), claude, last, current="claude"))


@kept
def troubled() -> Report:
    """Return a log that cannot be written, and models without a price."""
    made = serving()
    made["source"] |= {"write_error": "the disk is full", "waiting": 1234, "lost": 1}
    made["tiles"] |= {"cost_usd": None, "unpriced": 2200}
    made["tiles"] |= {"unpriced_models": [MODELS["gemini"]]}
    made["charts"]["cost"] = {}
    for part in ("breakdown", "recent"):
        made[part] = [row | {"cost_usd": None} for row in made[part]]
    return made | {"note": "This is the view of process <4711>."}


@kept
def crowded() -> Report:
    """Return eight providers, long names and huge numbers, whatever they mean."""
    made = fallback()
    names = [f"claude:a-model-with-a-very-long-name-that-goes-on-{n}" for n in range(8)]
    card = made["chain"][1] | {"attempts": 10**9}
    made["chain"] = [card | {"name": name, "model": name} for name in names]
    calls, cost = made["charts"]["calls"], made["charts"]["cost"]
    made["charts"]["calls"] = dict.fromkeys(names, calls["gemini"])
    made["charts"]["cost"] = {
        f"{name}-{n}": cost[MODELS["gemini"]] for name in names for n in (1, 2)
    }
    tokens = {"input_tokens": 10**15, "output_tokens": 10**14}
    huge = tokens | {"calls": 10**12, "cost_usd": 1.23e9, "unpriced": 10**9}
    made["tiles"] |= huge | {"p95_s": 4000.0, "unpriced_models": names}
    purpose = "a_purpose_without_any_place_to_break_it_" * 3
    dear = huge | {"purpose": purpose, "model": names[0]}
    made["breakdown"] = [row | dear for row in made["breakdown"]]
    step = {"outcome": "transient", "status": 503, "skipped": False}
    for row in made["recent"]:
        row["path"] = [step | {"provider": name} for name in names]
    return made


def growing() -> Callable[[], Report]:
    """Return a maker of reports that have one more call each time."""
    hour, moments = Hour(rests=True), iter(range(100_000))

    def made() -> Report:
        hour.add(
            NOW - 1 + next(moments) / 100_000, skipped("gemini"), hour.answer("claude")
        )
        return hour.report(TIRED)

    return made


@kept
def call() -> Report:
    """Return a call of `fallback`: two failures of gemini, then claude answers."""
    return in_full(_hour(is_tired=True).opening()) | {"request_id": "req-7a1c"}


@kept
def lost_call() -> Report:
    """Return a call that nobody has answered."""
    calls = _hour(is_tired=True).memory.recent(500)
    return in_full(next(each for each in calls if each.outcome != "success"))
