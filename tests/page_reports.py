"""Reports for tests of the dashboard's page: its states, written by hand.

Their numbers only look like those of calls; the real ones have tests of their own.
"""

from typing import Any

from page_numbers import NOW, Report, busy, entry, headline, quiet, step

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


def settings() -> list[dict[str, Any]]:
    """Return the rows of a configuration."""
    names = ("key", "value", "source", "secret")
    return [dict(zip(names, row, strict=True)) for row in SETTINGS]


def serving(name: str = "1h") -> Report:
    """Return a day like any other: the primary answers."""
    made = busy(name, rests=False)
    gemini = entry("gemini", role="primary", current=True, attempts=2214)
    gemini |= {"error_rate": 0.0031, "p50_s": 0.78, "p95_s": 2.31}
    made["chain"] = [
        gemini,
        entry("claude", attempts=7, error_rate=0.0, p50_s=1.1, p95_s=2.9),
    ]
    made["chain"].append(entry("local"))
    made["headline"] = headline("ok", "Serving from gemini")
    made["openings"] = []
    made["breakdown"] = made["breakdown"][::2]
    del made["charts"]["errors"]["quota"]
    return made


def fallback(name: str = "1h") -> Report:
    """Return the primary's quota being used up: the fallback answers."""
    made = busy(name, rests=True)
    wrong = {"at": NOW - 12, "kind": "quota", "text": "quota exceeded", "status": 429}
    gemini = entry(
        "gemini", role="primary", state="open", until=NOW + 18, attempts=1702
    )
    gemini |= {"reason": "circuit open: quota exceeded", "last_error": wrong}
    gemini |= {"advice": "Wait, or raise the quota of your Google project."}
    gemini |= {"error_rate": 0.064, "p50_s": 0.78, "p95_s": 2.31}
    claude = entry("claude", current=True, attempts=521, error_rate=0.0019)
    claude |= {"p50_s": 1.12, "p95_s": 2.94}
    claude["last_error"] = {
        "at": NOW - 1820,
        "kind": "transient",
        "text": "timeout",
        "status": None,
    }
    made["chain"] = [gemini, claude, entry("local")]
    text = "Serving from claude: gemini's circuit is open (429), next try in 18 s"
    made["headline"] = headline("warning", text, NOW + 18)
    return made


def empty(name: str = "1h") -> Report:
    """Return an app that has just been set up."""
    made = quiet(name)
    made["chain"] = [entry("gemini", role="primary", current=True), entry("claude")]
    made["headline"] = headline("idle", "Ready: gemini will be asked first")
    return made


def single() -> Report:
    """Return a chain of one provider."""
    made = serving()
    made["chain"] = made["chain"][:1]
    del made["charts"]["calls"]["claude"]
    return made


def down() -> Report:
    """Return what is left while the usage log cannot be read."""
    made = quiet("1h") | {
        "chain": fallback()["chain"],
        "headline": fallback()["headline"],
    }
    for each in made["chain"]:
        each |= {"attempts": None, "error_rate": None, "p50_s": None, "p95_s": None}
    made["tiles"] = dict.fromkeys(made["tiles"])
    why = "connection to the server at db:5432 failed: Connection refused"
    made["source"] = {
        "kind": "usage",
        "text": "The usage log: postgresql://db/usage.",
        "since": None,
    }
    made["source"] |= {"error": why, "lost": 3}
    return made


def resting() -> Report:
    """Return a chain in which nobody can be asked."""
    made = fallback()
    for each in made["chain"]:
        each |= {
            "state": "open",
            "current": False,
            "until": NOW + 42,
            "reason": "circuit open: timeout",
        }
    made["chain"][2] |= {
        "state": "unavailable",
        "until": None,
        "reason": "no model file",
    }
    made["chain"][2]["advice"] = 'pip install "Flask-LLM[local]"'
    text = "Nobody can answer: every provider rests, next try in 42 s"
    made["headline"] = headline("error", text, NOW + 42)
    return made


def crowded() -> Report:
    """Return eight providers, long names and huge numbers."""
    made = fallback()
    names = [f"claude:a-model-with-a-very-long-name-that-goes-on-{n}" for n in range(8)]
    made["chain"] = [
        entry(name, model=name, attempts=10**9, last_error=None) for name in names
    ]
    made["charts"]["calls"] = dict.fromkeys(names, made["charts"]["calls"]["gemini"])
    made["charts"]["cost"] = {
        f"{name}-{n}": made["charts"]["cost"]["gemini-3-flash"]
        for name in names
        for n in (1, 2)
    }
    huge = {
        "calls": 10**12,
        "cost_usd": 1.23e9,
        "unpriced": 10**9,
        "input_tokens": 10**15,
    }
    made["tiles"] |= huge | {"output_tokens": 10**14, "p95_s": 4000.0}
    for row in made["breakdown"]:
        row |= {
            "purpose": "a_purpose_without_any_place_to_break_it_" * 3,
            "model": names[0],
        }
        row |= {
            "calls": 10**12,
            "input_tokens": 10**15,
            "output_tokens": 10**14,
            "cost_usd": 1e9,
        }
    for row in made["recent"]:
        row["path"] = [step(name, "transient", 503) for name in names]
    return made


def call() -> dict[str, Any]:
    """Return a call: one provider fails twice, the next one rests, the last answers."""
    shared = {"skipped": False, "retry_after_s": None}
    nothing = dict.fromkeys(("input_tokens", "output_tokens", "cost_usd", "cost_note"))
    tries = [
        {
            "provider": "gemini",
            "model": "gemini-3-flash",
            "outcome": "transient",
            "status": 503,
        }
        | {"error": "temporary failure", "started_s": 0.002, "latency_s": 0.41},
        {
            "provider": "gemini",
            "model": "gemini-3-flash",
            "outcome": "quota",
            "status": 429,
        }
        | {
            "error": "quota exceeded",
            "started_s": 0.91,
            "latency_s": 0.22,
            "retry_after_s": 31.0,
        },
        {"provider": "openai", "model": None, "outcome": "cooldown", "status": None}
        | {
            "error": "cooling down",
            "started_s": 1.13,
            "latency_s": 0.0,
            "skipped": True,
        },
        {
            "provider": "claude",
            "model": "claude-haiku-5-5",
            "outcome": "success",
            "status": None,
        }
        | {"error": None, "started_s": 1.131, "latency_s": 1.02}
        | {"input_tokens": 412, "output_tokens": 58, "cost_usd": 0.00058},
    ]
    return {
        "call_id": "5f0c1a2b3c4d5e6f70819203",
        "started_at": NOW - 2.2,
        "finished_at": NOW,
        "purpose": "classify_email",
        "request_id": "req-7a1c",
        "provider": "claude",
        "model": "claude-haiku-5-5",
        "outcome": "success",
        "error": None,
        "fallback": True,
        "streamed": True,
        "latency_s": 2.151,
        "first_token_s": 1.52,
        "input_tokens": 412,
        "output_tokens": 58,
        "cost_usd": 0.00058,
        "attempts": [nothing | shared | each for each in tries],
    }
