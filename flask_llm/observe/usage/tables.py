"""The tables of the usage log, and how a record becomes a row."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    text,
)

from ...signals import CircuitChanged
from ...types import DETAILS, Attempt
from .. import aggregates
from ..aggregates import Failure, Tally
from ..records import CLOSED, SUCCESS, CallRecord

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


def _later(name: str, **options: Any) -> Column[Any]:
    """Return a column that older tables lack, and older workers do not write."""
    return Column(name, BigInteger, info={_LATER: True}, **options)


_LATER = "later"


def later(table: Table) -> list[Column[Any]]:
    """Return the columns of a table that may be missing: it may be an older one."""
    return [each for each in table.columns if _LATER in each.info]


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
    *map(_later, DETAILS),
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


def _sums(table: aggregates.Table, name: str) -> Table:
    """Return the table of the sums of a `aggregates.Table`."""
    dimensions = {"purpose": _PURPOSE, "outcome": _WORD}
    keys = [
        Column(each, _text(dimensions.get(each, _NAME)), primary_key=True)
        for each in table.dimensions
    ]
    measures = [
        _later(each, nullable=False, server_default="0")
        if each in aggregates.APART
        else _required(each, _kind(each))
        for each in table.measures
    ]
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
    aggregates.CALLS: _sums(aggregates.CALLS, "flask_llm_call_sums"),
    aggregates.ATTEMPTS: _sums(aggregates.ATTEMPTS, "flask_llm_attempt_sums"),
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


LATER = {each.name: later(each) for each in (attempts, *SUMS.values())}
"""Columns that older tables lack, by the name of their table."""

Row = dict[str, Any]

_COUNTED = ("input_tokens", "output_tokens", "total_tokens")
_CALL = tuple(column.name for column in calls.columns)
_ATTEMPT = tuple(name for name in Attempt.__slots__ if name != "usage")
_LONGEST = {
    table: {
        column.name: column.type.length or 0
        for column in table.columns
        if isinstance(column.type, String)
    }
    for table in (calls, attempts, circuits, *SUMS.values())
}


def call_row(record: CallRecord) -> Row:
    """Return the row of a call."""
    return _cut(calls, {name: getattr(record, name) for name in _CALL})


def attempt_rows(record: CallRecord) -> Iterator[Row]:
    """Yield the rows of a call's attempts."""
    for position, each in enumerate(record.attempts):
        row = {name: getattr(each, name) for name in _ATTEMPT}
        counted = each.usage or {}
        row |= {name: counted.get(name) for name in (*_COUNTED, *DETAILS)}
        row |= {"call_id": record.call_id, "position": position}
        row["finished_at"] = record.started_at + each.started_s + each.latency_s
        yield _cut(attempts, row)


def sum_rows(table: aggregates.Table, records: Iterable[CallRecord]) -> list[Row]:
    """Return the sums of calls, in the same order in every process.

    So no two of them each hold a row that the other one waits for.
    """
    sums = Tally()
    for record in records:
        sums.add(record)
    none = dict.fromkeys(table.measures, 0)
    rows = []
    for (step, at, values), measured in sums.rows(table).items():
        row: Row = dict(zip(table.dimensions, values, strict=True))
        row |= {"step": step, "at": at} | none | measured
        rows.append(_cut(SUMS[table], row))
    keys = ("step", "at", *table.dimensions)
    return sorted(rows, key=lambda row: [row[key] for key in keys])


def change_row(number: str, change: CircuitChanged) -> Row:
    """Return the row of a circuit that opened or closed, which has a number."""
    named = {name: getattr(change, name) for name in change._fields}
    return _cut(circuits, named | {"change_id": number})


def record_of(row: RowMapping, tried: Iterable[RowMapping]) -> CallRecord:
    """Return the call of a row and of its attempts' rows."""
    return CallRecord(**dict(row), attempts=tuple(map(attempt_of, tried)))


def attempt_of(row: RowMapping) -> Attempt:
    """Return the attempt of a row."""
    fields = {name: row[name] for name in _ATTEMPT}
    counted = {name: row[name] for name in _COUNTED}
    known = None not in counted.values()
    apart = ((name, row.get(name)) for name in DETAILS)
    counted |= {name: tokens for name, tokens in apart if tokens is not None}
    return Attempt(**fields, usage=counted if known else None)


def failure_of(row: RowMapping) -> Failure:
    """Return the failed attempt of a row."""
    return Failure(row["finished_at"], attempt_of(row))


def change_of(row: RowMapping) -> CircuitChanged:
    """Return the change of a row."""
    return CircuitChanged(**{name: row[name] for name in CircuitChanged._fields})


def _cut(table: Table, row: Row) -> Row:
    """Return a row whose texts any database takes."""
    for name, length in _LONGEST[table].items():
        value = row[name]
        if value is not None and not (len(value) <= length and value.isprintable()):
            row[name] = _storable(value)[:length]
    return row


def _storable(text: str) -> str:
    """Return a text without what PostgreSQL or UTF-8 do not know."""
    return text.replace("\0", "").encode(errors="replace").decode()
