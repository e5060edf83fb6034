"""Records as rows of the tables, and rows as records."""

from collections.abc import Iterable, Iterator
from typing import Any
from sqlalchemy import RowMapping, String, Table

from ...signals import CircuitChanged
from ...types import Attempt
from .. import aggregates as tally
from ..records import CallRecord
from ..source import Failure
from ..aggregates import Tally
from .tables import SUMS, attempts, calls, circuits

Row = dict[str, Any]

_COUNTED = ("input_tokens", "output_tokens", "total_tokens")
_CALL = tuple(column.name for column in calls.columns)
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
        row = each.as_dict()
        counted = row.pop("usage") or {}
        row |= {name: counted.get(name) for name in _COUNTED}
        row |= {"call_id": record.call_id, "position": position}
        row["finished_at"] = record.started_at + each.started_s + each.latency_s
        yield _cut(attempts, row)


def sum_rows(table: tally.Table, records: Iterable[CallRecord]) -> list[Row]:
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
    fields = {name: row[name] for name in Attempt.__slots__ if name != "usage"}
    counted = {name: row[name] for name in _COUNTED}
    known = None not in counted.values()
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
