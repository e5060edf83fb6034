import pytest

from flask_llm.observe.aggregates import RANGES, Span
from flask_llm.signals import CircuitChanged
from flask_llm.web.report.series import openings

NOW = 10_000.0
SPAN = Span(6000.0, NOW, RANGES["1h"])  # points of 60 s: gaps below 6 s are none


def opened(at, until, provider="gemini", kind="quota"):
    return CircuitChanged(provider, at, until, kind, "in words", 429)


def closed(at, provider="gemini"):
    return CircuitChanged(provider, at)


def shown(*changes):
    found = openings(changes, SPAN)
    assert all(each["since"] < each["until"] for each in found)
    return [(each["provider"], each["since"], each["until"]) for each in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], []),
        ([opened(7000, 7100)], [(7000, 7100)]),
        # Clipped to the span, on both sides.
        ([opened(5000, 6100)], [(6000, 6100)]),
        ([opened(9900, 13_500)], [(9900, NOW)]),
        ([opened(5000, 5100)], []),
        # An answer ends it; an answer later, or out of the blue, ends nothing.
        ([opened(7000, 7100), closed(7050)], [(7000, 7050)]),
        ([opened(7000, 7100), closed(7200)], [(7000, 7100)]),
        ([closed(7000)], []),
        # Longer from now on, or anew at once after a failed probe: one rest.
        ([opened(7000, 7100), opened(7050, 7300)], [(7000, 7300)]),
        ([opened(7000, 7100), opened(7050, 7060)], [(7000, 7100)]),
        ([opened(7000, 7100), opened(7105, 7200)], [(7000, 7200)]),
        ([opened(7000, 7100), opened(7150, 7200)], [(7000, 7100), (7150, 7200)]),
        (
            [opened(7000, 7100), closed(7020), opened(7090, 7120)],
            [(7000, 7020), (7090, 7120)],
        ),
    ],
)
def test_rests_of_a_provider(changes, expected):
    """Clipped to the span and merged, as they really were."""
    assert shown(*changes) == [("gemini", *each) for each in expected]


def test_providers_rest_for_themselves():
    """Rests of two that overlap are two, in their order."""
    changes = [
        opened(7000, 7200, "gemini"),
        opened(7100, 7300, "claude"),
        closed(7150, "gemini"),
    ]

    assert shown(*changes) == [("gemini", 7000, 7150), ("claude", 7100, 7300)]


def test_a_rest_tells_its_kind():
    """That of the failure with which it began."""
    (rest,) = openings([opened(7000, 7100), opened(7050, 7200, kind="auth")], SPAN)

    assert rest["kind"] == "quota"
