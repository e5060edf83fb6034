"""Which series the charts of the dashboard have, and in which colors."""

import page_reports

from flask_llm.web.charts import COLORS, NOT_ANSWERED, chart_data, charts


def drawn(report, key="calls"):
    return next(each for each in charts(report) if each.key == key)


def colors(report, key="calls"):
    return [(each.name, each.color) for each in drawn(report, key).series]


def test_a_provider_keeps_its_color():
    """Its place in the chain decides, whoever else was asked in this time."""
    report = page_reports.fallback()
    assert colors(report)[:2] == [("gemini", 1), ("claude", 2)]
    del report["charts"]["calls"]["gemini"]
    assert colors(report)[0] == ("claude", 2)


def test_a_provider_that_left_the_chain_is_still_drawn():
    """It comes after those that are in it."""
    report = page_reports.fallback()
    report["charts"]["calls"] |= {"retired": [1] * len(report["charts"]["at"])}
    assert ("retired", 4) in colors(report)


def test_calls_that_nobody_answered_stand_above_the_others():
    """They have the color of what went wrong, however many providers there are."""
    report = page_reports.fallback()
    assert colors(report)[-1] == (NOT_ANSWERED, "failed")
    many = {f"p{n}": [1] * len(report["charts"]["at"]) for n in range(12)}
    report["charts"]["calls"] |= many
    assert colors(report)[-2:] == [("others", COLORS), (NOT_ANSWERED, "failed")]


def test_failures_are_told_in_words():
    """The legend has no codes; a kind that a later version knows is no exception."""
    report = page_reports.fallback()
    lines = report["charts"]["errors"]
    lines |= dict.fromkeys(
        ("model_not_found", "of_tomorrow", "unknown"), lines["quota"]
    )
    assert {name for name, _ in colors(report, "errors")} == {
        *("content blocked", "quota exceeded", "temporary failure"),
        *("model not found", "of tomorrow", "failed"),
    }


def test_a_series_too_many_joins_the_others():
    """There are never more series than colors, and no number is lost."""
    report = page_reports.fallback()
    size = len(report["charts"]["at"])
    report["charts"]["cost"] = {f"model-{n}": [n] * size for n in range(12)}
    series = drawn(report, "cost").series

    assert len(series) == COLORS
    assert len({each.color for each in series}) == COLORS
    assert series[0].name == "model-5"
    assert (series[-1].name, series[-1].values[0]) == ("others", 0 + 1 + 2 + 3 + 4)
    assert sum(each.total for each in series) == sum(range(12)) * size


def test_a_chain_longer_than_the_colors_draws_who_was_asked():
    """No series of others appears where nobody else was asked."""
    report = page_reports.fallback()
    asked = {name for name, _ in colors(report)}
    report["chain"] = [report["chain"][0] | {"name": f"p{n}"} for n in range(12)]
    assert {name for name, _ in colors(report)} == asked


def test_the_table_leaves_out_times_without_anything():
    """It begins with the latest time, and has a column for each series."""
    report = page_reports.empty()
    at = report["charts"]["at"]
    report["charts"]["calls"] = {"gemini": [0] * len(at), "claude": [0] * len(at)}
    report["charts"]["calls"]["claude"][3] = 5
    report["charts"]["calls"]["gemini"][7] = 2
    assert drawn(report).rows == [(at[7], [2, 0]), (at[3], [0, 5])]


def test_the_script_gets_what_the_tables_show():
    """Series and colors are the same, in the same order."""
    report = page_reports.fallback()
    data = chart_data(report)
    for chart in charts(report):
        told = data["charts"][chart.key]["series"]
        assert [(each["name"], each["color"]) for each in told] == [
            (each.name, each.color) for each in chart.series
        ]
        assert all(len(each["values"]) == len(data["at"]) for each in told)
    assert data["openings"] == report["openings"]
