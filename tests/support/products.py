"""Whole products of parameters, of which the core has a telling part."""

import itertools
from collections.abc import Iterable

import pytest


def each_in_turn(names: str, *columns: Iterable[object]) -> pytest.MarkDecorator:
    """Return a parametrization by all combinations, most of them marked `matrix`.

    The core has as many as the longest column has values: each value of each column,
    and the shorter columns in all their combinations if there are enough.

    Args:
        names: Those of the parameters, with commas between them.
        columns: The values of each; a dictionary's keys are their ids.
    """
    values = [list(_named(each)) for each in columns]
    longest = max(map(len, values))
    strides, stride = [], 1
    for each in values:
        strides.append(1 if len(each) == longest else stride)
        stride *= 1 if len(each) == longest else len(each)
    telling = {
        tuple(turn // strides[n] % len(each) for n, each in enumerate(values))
        for turn in range(longest)
    }
    rows = []
    for place in itertools.product(*(range(len(each)) for each in values)):
        chosen = [each[n] for each, n in zip(values, place, strict=True)]
        marks = [] if place in telling else [pytest.mark.matrix]
        name = "-".join(name for name, _ in chosen)
        rows.append(pytest.param(*(v for _, v in chosen), marks=marks, id=name))
    return pytest.mark.parametrize(names, rows)


def _named(column: Iterable[object]) -> Iterable[tuple[str, object]]:
    """Return each value with its id."""
    if isinstance(column, dict):
        return column.items()
    return [(each if isinstance(each, str) else repr(each), each) for each in column]
