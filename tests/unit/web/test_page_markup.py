"""The dashboard's markup, without a browser: nothing inline, nothing unescaped."""

import html
import re
from functools import cache

import page_reports
import pytest
from page_app import app_showing
from page_markup import CANARY, Elements, app_page, poisoned, shown, words

from flask_llm.signals import generation_finished
from flask_llm.web import formats
from flask_llm.web.formats import FORMATS, UNKNOWN, seconds, share

STATES = ["serving", "fallback", "empty", "single", "down", "resting", "crowded"]
STATES += ["troubled"]


@cache
def elements(state):
    """Return what is in the page of a state."""
    return Elements(shown(state)).found


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_inline(state):
    """The page keeps what its Content-Security-Policy promises."""
    for tag, attributes in elements(state):
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "script":
            assert attributes.get("src") or attributes["type"] == "application/json"


@pytest.mark.parametrize("state", STATES)
def test_each_id_is_there_once(state):
    """The script finds by it what it brings up to date, and so do labels."""
    found = [known["id"] for _, known in elements(state) if "id" in known]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_the_same_live_parts(state):
    """What is not there could not be replaced when there is news."""

    def parts(state):
        return {known.get("id") for _, known in elements(state) if "data-live" in known}

    assert parts(state) == parts("serving")
    assert None not in parts(state)


def test_foreign_text_stays_text():
    """Whatever providers, models, purposes and errors say, none of it is markup."""
    report = page_reports.fallback()
    charts = report["charts"]
    report |= {key: poisoned(report[key]) for key in ("headline", "chain", "breakdown")}
    report |= {key: poisoned(report[key]) for key in ("recent", "openings", "source")}
    report["chain"][0]["name"] = report["openings"][0]["provider"] = CANARY
    report["charts"] = charts | {
        key: {CANARY: next(iter(charts[key].values()))} for key in ("calls", "cost")
    }
    page = app_page(report)

    assert page.count("&lt;img src=x") > 50
    assert "<img src=x" not in page
    assert "\\u003cimg src=x" in page  # in the JSON
    assert "49" not in re.findall(r"onerror=alert\(1\).{0,30}", page)[0]


def test_the_sentence_on_top():
    """It stands as the page's one first heading, with a countdown that can tick."""
    page = shown("fallback")
    heading = re.search("<h1>(.*?)</h1>", page, re.DOTALL)[1]
    assert (
        words(heading)
        == "Serving from claude: gemini's circuit is open (429), next try in 18 s"
    )
    assert f'data-until="{page_reports.BACK}"' in heading
    assert page.count("<h1") == 1


def test_what_each_card_says():
    """Model, state, countdown, times, errors and what to do about them."""
    page = shown("fallback")
    known = page_reports.fallback()["chain"][0]
    card = page[page.index('class="card') :].partition("</li>")[0]
    for each in (
        "1 gemini",
        "resting, next try in 18 s",
        "primary · gemini-3-flash",
        "What to do: Its quota is used up for now; if this happens often, raise",
        words(
            f"Attempts{known['attempts']:,} Errors{share(known['error_rate'])}"
            f" p50{seconds(known['p50_s'])} p95{seconds(known['p95_s'])}"
        ),
        "s ago: quota exceeded (429)",
        "Test Reset",
    ):
        assert each in words(card)


def test_only_an_open_circuit_can_be_reset():
    """A provider that works has nothing to reset."""
    assert shown("fallback").count("/reset") == 1
    assert "/reset" not in shown("serving")


def test_the_recent_calls():
    """Each has its path, in signs and in words, and leads to its detail."""
    page = shown("fallback")
    assert page.count('href="/llm/dashboard/calls/') == 50
    assert "gemini failed: quota exceeded (429), then claude answered" in page


def test_an_unknown_price_is_no_zero():
    """Cost whose price is not known says so."""
    unpriced = page_reports.fallback()["tiles"]["unpriced"]
    page = shown("fallback")
    assert f"and {unpriced} calls of unknown price" in page
    assert "No price is known for SmolLM2-135M-Instruct: set LLM_PRICES" in words(page)
    assert re.search('<p id="unpriced"[^>]* hidden', shown("serving"))


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_price_list_is_advised_where_it_is_missing(monkeypatch, is_installed):
    """Who has it needs a price of their own."""
    monkeypatch.setattr(formats, "installed", lambda name: is_installed)
    page = shown("fallback")

    assert "set <code>LLM_PRICES</code>" in page
    assert ("Flask-LLM[prices]" in page) is not is_installed


def test_a_cost_of_which_nothing_is_known():
    """It is no number, in the totals and in the table."""
    page = shown("troubled")
    assert f"Cost{UNKNOWN}2,200 calls of unknown price" in words(page)
    assert "No price is known for gemini-3-flash: set LLM_PRICES" in words(page)
    assert f'data-label="Cost">{UNKNOWN}</td>' in page


def test_no_secret_is_asked_for():
    """A key's row tells only that there is one."""
    assert re.search(r'<span class="secret">set<', shown("serving"))


def test_an_empty_page_shows_how_to_begin():
    """The lines that it shows do make a call."""
    page = shown("empty")
    found = re.search("<pre><code>(.*?)</code></pre>", page, re.DOTALL)[1]
    code = html.unescape(found)
    app, heard = app_showing(page_reports.empty), []

    def hear(_sender, event):
        heard.append(event.request.origin.purpose)

    with generation_finished.connected_to(hear, app), app.app_context():
        exec(code, {})
    assert heard == ["greeting"]
    assert len([line for line in code.splitlines() if line]) == 3


def test_an_empty_range_leads_to_an_older_one():
    """Whoever has calls, but none in this time, is not told how to begin."""
    report = page_reports.empty("15m")
    report["source"]["since"] = page_reports.NOW - 86_400
    page = app_page(report)
    assert "No calls in the last 15 minutes" in page
    assert "<pre>" not in page


def test_a_source_that_is_down():
    """The page says why, shows no number, and still has chain and sentence."""
    page = shown("down")
    assert "The numbers cannot be read." in page
    assert "Connection refused" in page
    assert "Serving from claude" in page
    assert "3 calls could not be written" in page
    assert re.search('<dl id="tiles"[^>]* hidden', page)


def test_a_log_that_cannot_be_written():
    """The page says why, and how many calls wait."""
    said = "cannot write to the usage log: the disk is full; 1,234 calls wait."
    assert said in words(shown("troubled"))
    assert "cannot write" not in shown("serving")


def test_a_note_stands_below_the_chain():
    """Quietly, and only if there is something to note."""
    page = shown("troubled")
    assert page.index("the view of process &lt;4711&gt;.") > page.index('id="test-3"')
    assert re.search('<p id="note"[^>]* hidden', shown("serving"))


def test_a_call_of_another_day_has_its_day():
    """A time alone would be taken for today's."""
    report = page_reports.serving()
    report["recent"][1]["at"] -= 86_400
    page = words(app_page(report))
    assert page.count(" UTC: the call in detail") == 50
    assert page.count("Nov 22, 07:4") == 1
    assert "Nov 23" not in page.partition("Recent calls")[2].partition("oldest")[0]


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        (lambda: page_reports.serving("1h"), "3"),
        (lambda: page_reports.serving("7d"), "30"),
        (page_reports.down, "15"),
    ],
)
def test_how_often_a_page_looks_again(made, seconds):
    """Seldom where little changes in a while, or where nothing can be read."""
    found = re.search('data-refresh="(.*?)"', app_page(made(), refresh_s=None))
    assert found[1] == seconds


def test_the_ranges_are_links():
    """They work by keyboard and without a script, and the current one is marked."""
    page = shown("serving")
    for name in ("15m", "1h", "24h", "7d"):
        assert f'href="/llm/dashboard?range={name}"' in page
    assert re.findall(r'range=(\w+)" aria-current="page"', page) == ["1h"]


def test_forms_carry_the_token_of_flask_wtf():
    """Where the app's templates have `csrf_token`, both actions send it along."""
    app = app_showing(page_reports.fallback)
    app.jinja_env.globals["csrf_token"] = lambda: "t0ken"
    page = app.test_client().get("/llm/dashboard").text
    assert page.count('name="csrf_token" value="t0ken"') == 4
    assert "csrf_token" not in shown("fallback")


def test_the_app_keeps_its_own_templates():
    """None of our formats is to be had in the app's own templates."""
    app = app_showing(page_reports.serving)
    known = [*app.jinja_env.globals.values(), *app.jinja_env.filters.values()]
    assert not [each for each in FORMATS.values() if each in known]
