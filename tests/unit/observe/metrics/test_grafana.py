"""The dashboard and the documentation name what a real run shows."""

import json
import re
from pathlib import Path

import pytest
from scraped import answer, make_app, samples

from flask_llm.errors import QuotaError, TransientError
from flask_llm.observe.metrics import definitions as families
from flask_llm.observe.metrics import exposition
from flask_llm.testing import FakeProvider

DOCS = Path(__file__).parents[4] / "docs"
BOARD = json.loads((DOCS / "grafana" / "flask-llm.json").read_text())
PAGE = (DOCS / "metrics.md").read_text()
PANELS = [each for each in BOARD["panels"] if each["type"] != "row"]

# What Prometheus itself adds, and what the text format has besides.
FOREIGN = {"job", "instance", "le"}

METRIC = re.compile(r"\b((?:flask_llm|gen_ai)_\w+)(\{[^}]*\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@pytest.fixture(scope="module")
def shown():
    """Every sample's name with its labels' values, of a run in which all happens."""
    prices = {"m": {"input": 1, "output": 5}}
    app = make_app(
        FakeProvider(TransientError(), answer(cached=1), QuotaError(), name="a"),
        FakeProvider(answer(model="unpriced"), ["one ", "two"], name="b"),
        LLM_PRICES=prices,
        LLM_BREAKER_FAILURES=0,
    )
    for purpose in ("classify", "draft"):
        app.llm.generate_content("x", purpose=purpose)
    list(app.llm.stream_content("x", purpose="draft"))
    found: dict[str, dict[str, set[str]]] = {}
    for each in samples(exposition(app)[0].decode()):
        labels = found.setdefault(each.name, {})
        for name, value in each.labels.items():
            labels.setdefault(name, set()).add(value)
    return found


def expressions():
    """Return every expression of the dashboard and of the documentation's rules."""
    of_panels = [t["expr"] for each in PANELS for t in each["targets"]]
    variables = [v for v in BOARD["templating"]["list"] if v["type"] == "query"]
    of_rules = re.findall(r"(?m)^ +expr: (.*)$", PAGE)
    return [*of_panels, *(each["definition"] for each in variables), *of_rules]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_there_is(expression, shown):
    """Its metrics, its labels, and the values that labels are compared with."""
    used = METRIC.findall(expression.replace("label_values(", ""))
    names = [name for name, _ in used if name in shown]
    assert names, expression
    known = set().union(*(shown[name] for name in names)) | FOREIGN
    for name, matchers in used:
        if not name.startswith("gen_ai_") or name not in known:
            assert name in shown, name
        for label, _, value in MATCHER.findall(matchers):
            assert label in {*shown[name], *FOREIGN}, (name, label)
            if "$" not in value and value:
                assert set(value.split("|")) & VALUES[label], (label, value)
    for labels in GROUPED.findall(expression):
        assert set(re.findall(r"\w+", labels)) <= known, labels


VALUES = {
    "outcome": {"success", "closed"},
    "state": set(families.STATES),
    "le": {"+Inf"},
}


def test_every_metric_is_on_the_dashboard(shown):
    """None is counted in vain."""
    told = " ".join(expressions())

    assert not [each.name for each in families.COUNTED if each.name not in told]


def test_a_trial_does_not_reset_the_alert_of_a_rest():
    """It looks back further than a trial lasts, in which a provider rests not."""
    (rule,) = re.findall(r"alert: LLMProviderRests\n +expr: (.*)\n", PAGE)

    looked_back = re.search(
        r"max_over_time\(flask_llm_circuit_state{.*?}\[5m\]\)", rule
    )
    assert looked_back, rule


def test_states_of_several_hosts_are_not_added_up():
    """Half-open on one and open on another is no third state."""
    (panel,) = (each for each in PANELS if each["title"] == "Circuits")
    (target,) = panel["targets"]
    weighted = re.sub(r"flask_llm_circuit_state{.*?state=(.*?)}", r"\1", target["expr"])

    assert (
        weighted == 'max by (provider) ("half-open" or 2 * "open" or 3 * "unavailable")'
    )
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    texts = {int(n): each["text"] for n, each in mapping["options"].items()}
    assert [texts[n] for n in range(4)] == list(families.STATES)


class TestImport:
    def test_the_dashboard_can_be_imported(self):
        """Its id is the importer's, its uid stays, and Grafana can migrate it."""
        assert BOARD["id"] is None
        assert re.fullmatch(r"[\w-]{1,40}", BOARD["uid"])
        assert BOARD["schemaVersion"] >= 36
        assert BOARD["title"] == "Flask-LLM"

    def test_every_query_asks_the_chosen_data_source(self):
        """Whatever it is called where the dashboard is imported."""
        (source,) = (
            v for v in BOARD["templating"]["list"] if v["type"] == "datasource"
        )
        assert (source["name"], source["query"]) == ("datasource", "prometheus")
        wanted = {"type": "prometheus", "uid": "${datasource}"}
        queries = [v for v in BOARD["templating"]["list"] if v["type"] == "query"]
        for each in (*PANELS, *queries, *(t for p in PANELS for t in p["targets"])):
            assert each["datasource"] == wanted, each

    def test_variables_that_are_used_are_there(self):
        """And none is there for nothing."""
        known = {each["name"] for each in BOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD)))

        assert {each for each in used if not each.startswith("__")} == known

    def test_panels_have_their_places(self):
        """Each has an id, a title and a sentence, and none covers another."""
        assert len({each["id"] for each in BOARD["panels"]}) == len(BOARD["panels"])
        taken: set[tuple[int, int]] = set()
        for each in BOARD["panels"]:
            place = each["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, each["title"]
            taken |= cells
        for each in PANELS:
            assert each["title"]
            assert each["description"].endswith(".")
            letters = [target["refId"] for target in each["targets"]]
            assert len(set(letters)) == len(letters) > 0

    def test_brackets_are_closed(self):
        """As far as that can be told without Prometheus."""
        for each in expressions():
            plain = re.sub(r'"[^"]*"', "", each)
            for opened, closed in ("()", "{}", "[]"):
                assert plain.count(opened) == plain.count(closed), each


class TestPage:
    def test_the_table_is_the_code(self):
        """Every metric with its labels and its words, in the code's order."""
        rows = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE)
        told = [
            (name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
            for name, kind, labels, text in rows
        ]
        assert told == [
            (each.name, each.kind, each.labels, each.text)
            for each in (*families.COUNTED, *families.SEEN)
        ]

    def test_the_run_shows_every_metric(self, shown):
        """With just these labels."""
        for each in (*families.COUNTED, *families.SEEN):
            name = f"{each.name}_bucket" if each.kind == "histogram" else each.name
            assert set(shown[name]) == {
                *each.labels,
                *(["le"] if each.kind == "histogram" else []),
            }
