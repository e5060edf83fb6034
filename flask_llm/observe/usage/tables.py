"""The tables of the usage log."""

from typing import Any
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, text

from .. import aggregates as tally
from ..records import CLOSED, SUCCESS

VERSION = 1
"""Of the tables. One that is newer belongs to a newer Flask-LLM."""

metadata = MetaData()
"""All tables, for Alembic: ``target_metadata = [db.metadata, metadata]``."""

# Characters that are kept. PostgreSQL refuses longer ones, so rows are cut first.
_ID = 32
_NAME = 200
_PURPOSE = 100
_NUMBER = 128
_WORD = 40
_SENTENCE = 500
_STORY = 2000


def _required(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


def _text(length: int) -> String:
    """Return the type of a text; MySQL would else overlook case and accents."""
    exact = String(length, collation="utf8mb4_bin")
    return String(length).with_variant(exact, "mysql", "mariadb")


calls = Table(
    "flask_llm_calls",
    metadata,
    Column("call_id", _text(_ID), primary_key=True),
    _required("started_at", Double),
    _required("finished_at", Double),
    _required("purpose", _text(_PURPOSE)),
    Column("request_id", _text(_NUMBER)),
    _required("provider", _text(_NAME)),
    Column("model", _text(_NAME)),
    _required("outcome", _text(_WORD)),
    Column("error", _text(_STORY)),
    _required("fallback", Boolean),
    _required("streamed", Boolean),
    _required("latency_s", Double),
    Column("first_token_s", Double),
    _required("input_tokens", BigInteger),
    _required("output_tokens", BigInteger),
    _required("cost_usd", Double),
    _required("unpriced", Boolean),
    Index("flask_llm_calls_finished_at", "finished_at"),
)
"""One row for each call: the fields of `CallRecord`."""

attempts = Table(
    "flask_llm_attempts",
    metadata,
    Column("call_id", _text(_ID), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("finished_at", Double),
    _required("provider", _text(_NAME)),
    _required("outcome", _text(_WORD)),
    _required("latency_s", Double),
    Column("error", _text(_SENTENCE)),
    Column("status", Integer),
    Column("retry_after_s", Double),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("model", _text(_NAME)),
    _required("started_s", Double),
    _required("skipped", Boolean),
    Column("cost_usd", Double),
    Column("cost_note", _text(_SENTENCE)),
)
"""One row for each attempt of a call, in the order of `position`."""

# Written out, since SQLite uses a partial index only for the very same condition.
failed = text(f"outcome NOT IN ('{SUCCESS}', '{CLOSED}') AND NOT skipped")
"""Which attempts a provider is to blame for."""

Index(
    "flask_llm_attempts_failed",
    attempts.c.provider,
    attempts.c.finished_at.desc(),
    sqlite_where=failed,
    postgresql_where=failed,
)


def _sums(table: tally.Table, name: str) -> Table:
    """Return the table of the sums of a `tally.Table`."""
    dimensions = {"purpose": _PURPOSE, "outcome": _WORD}
    keys = [
        Column(each, _text(dimensions.get(each, _NAME)), primary_key=True)
        for each in table.dimensions
    ]
    measures = [_required(each, _kind(each)) for each in table.measures]
    return Table(
        name,
        metadata,
        Column("step", Integer, primary_key=True, autoincrement=False),
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        *keys,
        *measures,
    )


def _kind(measure: str) -> Any:
    """Return the type of a measure's column."""
    if measure in {"cost_usd", "latency_s"}:
        return Double
    return BigInteger if measure.endswith("_tokens") else Integer


SUMS = {
    tally.CALLS: _sums(tally.CALLS, "flask_llm_call_sums"),
    tally.ATTEMPTS: _sums(tally.ATTEMPTS, "flask_llm_attempt_sums"),
}
"""The tables of sums."""

circuits = Table(
    "flask_llm_circuit_changes",
    metadata,
    Column("change_id", _text(_ID), primary_key=True),
    _required("provider", _text(_NAME)),
    _required("at", Double, index=True),
    Column("until", Double),
    Column("kind", _text(_WORD)),
    Column("reason", _text(_SENTENCE)),
    Column("status", Integer),
)
"""One row for each circuit that opened or closed, by each process that has seen it."""

schema = Table(
    "flask_llm_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)
"""The version of these tables, in one row."""
