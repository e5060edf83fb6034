"""What the reports of `page_reports` are made of: numbers like those of calls."""

import math
from typing import Any

NOW = 1_795_420_000.0
"""When the reports are made; a round time in November 2026."""

_SPANS = {
    "15m": (900, 15),
    "1h": (3600, 60),
    "24h": (86_400, 900),
    "7d": (604_800, 7200),
}
_MODELS = {
    "gemini": "gemini-3-flash",
    "claude": "claude-haiku-5-5",
    "local": "SmolLM2-135M-Instruct",
}

Report = dict[str, Any]

ROWS = [
    ("classify_email", "gemini", 1204, 0.9992, 1.21, 488_120, 21_904, 0.41, 0),
    ("classify_email", "claude", 302, 1.0, 1.84, 121_440, 5_210, 0.15, 0),
    ("draft_reply", "gemini", 481, 0.9958, 2.93, 402_311, 88_012, 0.62, 0),
    ("draft_reply", "claude", 190, 0.9947, 3.12, 160_220, 30_440, 0.61, 0),
    ("summarize_thread", "gemini", 40, 1.0, 4.4, 31_020, 2_100, 0.05, 0),
    ("summarize_thread", "claude", 22, 1.0, 4.9, 20_110, 1_240, 0.06, 0),
    ("", "local", 4, 1.0, 0.9, 1_200, 354, 0.0, 4),
]


def entry(name: str, **known: Any) -> dict[str, Any]:
    """Return a provider of the chain; by default one that works and was not asked."""
    usual = {
        "name": name,
        "model": _MODELS.get(name, f"{name}-1"),
        "role": "fallback",
        "current": False,
        "state": "closed",
        "reason": None,
        "advice": None,
        "until": None,
        "attempts": 0,
        "error_rate": None,
        "p50_s": None,
        "p95_s": None,
        "last_error": None,
    }
    return usual | known


def headline(level: str, text: str, until: float | None = None) -> dict[str, Any]:
    return {"level": level, "text": text, "until": until}


def quiet(name: str) -> Report:
    """Return the report of a time without any call."""
    length, width = _SPANS[name]
    since = (NOW - length) // width * width
    at = [since + width * number for number in range(int((NOW - since) // width) + 1)]
    text = "This process's calls of the last hour."
    numbers = (
        "answered",
        "by_fallback",
        "p95_s",
        "first_token_p50_s",
        "first_token_p95_s",
    )
    zeros = ("calls", "cost_usd", "unpriced", "input_tokens", "output_tokens")
    return {
        "generated_at": NOW,
        "range": {"name": name, "since": since, "until": NOW, "width_s": width},
        "source": {
            "kind": "memory",
            "text": text,
            "since": None,
            "error": None,
            "lost": 0,
        },
        "headline": headline("idle", "No calls yet"),
        "chain": [],
        "tiles": dict.fromkeys(numbers) | dict.fromkeys(zeros, 0),
        "charts": {
            "at": at,
            "calls": {},
            "latency": {"p50": [None] * len(at), "p95": [None] * len(at)},
        }
        | {"cost": {}, "errors": {}},
        "openings": [],
        "breakdown": [],
        "recent": [],
    }


def busy(name: str, *, rests: bool) -> Report:
    made = quiet(name)
    made["source"] |= {
        "kind": "usage",
        "text": "The usage log, with the calls of all workers.",
    }
    made["source"]["since"] = NOW - 12 * 86_400
    made["charts"] |= _charts(made["charts"]["at"], rests=rests)
    made["tiles"] = {
        "calls": 2221,
        "answered": 0.9977,
        "by_fallback": 0.232 if rests else 0.0032,
    }
    made["tiles"] |= {
        "cost_usd": 1.84,
        "unpriced": 4,
        "input_tokens": 1_204_311,
        "output_tokens": 148_020,
    }
    made["tiles"] |= {
        "p95_s": 2.62,
        "first_token_p50_s": 0.41,
        "first_token_p95_s": 1.18,
    }
    length = NOW - made["range"]["since"]
    made["openings"] = [
        {
            "provider": "gemini",
            "since": NOW - length * begin,
            "until": NOW - length * end,
            "kind": "quota",
        }
        for begin, end in ((0.62, 0.55), (0.22, 0.0))
    ]
    made["breakdown"] = [_row(*each) for each in ROWS]
    made["recent"] = [
        recent(number, *_path(number, rests=rests)) for number in range(18)
    ]
    return made


def recent(number: int, *path: dict[str, Any], **known: Any) -> dict[str, Any]:
    """Return a row of the recent calls."""
    usual = {
        "call_id": f"{number:024x}",
        "at": NOW - 7 * number - 2,
        "purpose": ("classify_email", "draft_reply", "summarize_thread")[number % 3],
        "outcome": path[-1]["outcome"],
        "provider": path[-1]["provider"],
        "model": _MODELS.get(path[-1]["provider"]),
        "path": list(path),
        "latency_s": 0.6 + (number * 7 % 23) / 9,
        "input_tokens": 380 + number * 37 % 900,
        "output_tokens": 40 + number * 13 % 200,
        "cost_usd": 0.0004 + number % 5 / 4000,
        "streamed": number % 3 == 1,
    }
    return usual | known


def step(
    provider: str, outcome: str = "success", status: int | None = None
) -> dict[str, Any]:
    skipped = outcome in {"cooldown", "unavailable"}
    return {
        "provider": provider,
        "outcome": outcome,
        "status": status,
        "skipped": skipped,
    }


def _path(number: int, *, rests: bool) -> list[dict[str, Any]]:
    if not rests:
        return [step("gemini")]
    if number == 9:
        return [step("gemini", "transient", 503)] * 2 + [
            step("claude", "transient"),
            step("local"),
        ]
    if number == 5:
        return [step("gemini", "cooldown"), step("claude", "content_blocked")]
    return [
        step("gemini", *(("quota", 429) if number % 4 == 1 else ("cooldown",))),
        step("claude"),
    ]


def _row(*values: Any) -> dict[str, Any]:
    names = ("purpose", "provider", "calls", "answered", "p95_s")
    names += ("input_tokens", "output_tokens", "cost_usd", "unpriced")
    row = dict(zip(names, values, strict=True))
    return row | {"model": _MODELS[row["provider"]]}


def _charts(at: list[float], *, rests: bool) -> Report:
    """Return charts with waves, as a day has them."""
    size = len(at)
    wave = [34 + 14 * math.sin(n / 6) + 6 * math.sin(n * 2.3) for n in range(size)]
    away = [
        rests and (0.38 <= n / size < 0.45 or n / size >= 0.78) for n in range(size)
    ]
    pairs = list(zip(wave, away, strict=True))
    first = [round(high * (0.06 if gone else 1)) for high, gone in pairs]
    second = [
        round(high * 0.9) if gone else n % 3 == 0
        for n, (high, gone) in enumerate(pairs)
    ]
    p50 = [
        0.72 + 0.12 * math.sin(n / 5) + 0.35 * gone for n, (_, gone) in enumerate(pairs)
    ]
    return {
        "calls": {"gemini": first, "claude": list(map(int, second))},
        "latency": {
            "p50": p50,
            "p95": [2.4 * each + 0.2 * math.sin(n) for n, each in enumerate(p50)],
        },
        "cost": {
            "gemini-3-flash": [each * 0.0007 for each in first],
            "claude-haiku-5-5": [each * 0.0016 for each in second],
        },
        "errors": {
            "quota": [gone * (3 + n % 3) for n, gone in enumerate(away)],
            "transient": [int(n % 11 == 4) for n in range(size)],
        },
    }
