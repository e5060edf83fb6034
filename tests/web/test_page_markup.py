"""The dashboard's markup, without a browser: nothing inline, nothing unescaped."""

import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import page_reports
import pytest
from page_app import app_showing

import flask_llm.web
from flask_llm.signals import generation_finished
from flask_llm.web.formats import FORMATS

STATIC = Path(flask_llm.web.__file__).parent / "static"
STATES = ["serving", "fallback", "empty", "single", "down", "resting", "crowded"]
CANARY = "\"'><img src=x onerror=alert(1)></script>{{ 7*7 }}"


class Elements(HTMLParser):
    """The start tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def shown(state):
    made = getattr(page_reports, state)
    response = app_showing(made).test_client().get("/llm/dashboard")
    assert response.status_code == 200
    return response.text


def call_page(made=page_reports.call):
    client = app_showing(page_reports.serving, call=made).test_client()
    return client.get("/llm/dashboard/calls/5f0c").text


def words(markup):
    """Return the text of some markup, with single spaces."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", markup)).split())


def poisoned(value):
    """Return a report whose every text from outside is the canary."""
    ours = {"state", "level", "kind", "outcome", "role", "name", "call_id"}
    if isinstance(value, dict):
        return {
            key: each if key in ours else poisoned(each) for key, each in value.items()
        }
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return CANARY if isinstance(value, str) else value


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_inline(state):
    """The page keeps what its Content-Security-Policy promises."""
    for tag, attributes in Elements(shown(state)).found:
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "script":
            assert attributes.get("src") or attributes["type"] == "application/json"


@pytest.mark.parametrize("state", STATES)
def test_each_id_is_there_once(state):
    """The script finds by it what it brings up to date, and so do labels."""
    found = [known["id"] for _, known in Elements(shown(state)).found if "id" in known]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_the_same_live_parts(state):
    """What is not there could not be replaced when there is news."""

    def parts(text):
        found = Elements(text).found
        return {known.get("id") for _, known in found if "data-live" in known}

    assert parts(shown(state)) == parts(shown("serving"))
    assert None not in parts(shown(state))


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
    page = app_showing(lambda: report).test_client().get("/llm/dashboard").text

    assert page.count("&lt;img src=x") > 50
    assert "<img src=x" not in page
    assert "\\u003cimg src=x" in page  # in the JSON
    assert "49" not in re.findall(r"onerror=alert\(1\).{0,30}", page)[0]


def test_foreign_text_stays_text_on_the_page_of_a_call():
    """The errors there are a provider's, and the request's number is anybody's."""
    page = call_page(lambda: poisoned(page_reports.call()))
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") > 5


def test_the_sentence_on_top():
    """It stands as the page's one first heading, with a countdown that can tick."""
    page = shown("fallback")
    heading = re.search("<h1>(.*?)</h1>", page, re.DOTALL)[1]
    assert (
        words(heading)
        == "Serving from claude: gemini's circuit is open (429), next try in 18 s"
    )
    assert f'data-until="{page_reports.NOW + 18}"' in heading
    assert page.count("<h1") == 1


def test_what_each_card_says():
    """Model, state, countdown, times, errors and what to do about them."""
    page = shown("fallback")
    card = page[page.index('class="card') :].partition("</li>")[0]
    for each in (
        "1 gemini",
        "resting, next try in 18 s",
        "primary · gemini-3-flash",
        "What to do: Wait, or raise the quota",
        "Attempts1,702 Errors6.4 % p500.78 s p952.3 s",
        "Last error 12 s ago: quota exceeded (429)",
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
    assert page.count('href="/llm/dashboard/calls/') == 18
    assert "gemini failed: quota exceeded (429), then claude answered" in page


def test_an_unknown_price_is_no_zero():
    """Cost whose price is not known says so."""
    page = shown("serving")
    assert "and 4 calls of unknown price" in page
    assert '$0<abbr class="more" title="and tokens whose price is not known">' in page


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
    page = app_showing(lambda: report).test_client().get("/llm/dashboard").text
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


def test_the_page_of_a_call():
    """Each try stands in its time, with its error in words."""
    page = call_page()
    for each in (
        "claude answered after 2.2 s, as a fallback",
        "0.22 s, began after 0.91 s",
        "quota exceeded; it asked to be left alone for 31 s",
        "412 tokens in, 58 out · $0.00058",
    ):
        assert each in words(page)
    bars = re.findall(r'class="fill" x="(\d+)" y="0" width="(\d+)"', page)
    assert bars == [("1", "191"), ("423", "102"), ("525", "6"), ("526", "474")]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("content_blocked", "No answer after 2.2 s: content blocked"),
        ("closed", "Stopped by the caller after 2.2 s"),
    ],
)
def test_the_page_of_a_call_without_an_answer(outcome, said):
    """It says why there is none; that the caller left is no failure."""
    page = call_page(lambda: page_reports.call() | {"outcome": outcome})
    assert said in words(page)
    assert ("is-error" in page) == (outcome != "closed")


def test_the_vendored_files_are_the_published_ones():
    """Nobody has changed them; the note beside them tells their hashes."""
    folder = STATIC / "vendor"
    told = dict(
        re.findall(r"`(uPlot\S+)` \| `(\w{64})`", (folder / "README.md").read_text())
    )
    found = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in folder.iterdir()
        if each.name != "README.md"
    }
    assert found == told
    assert "(v1.6.32)" in (folder / "uPlot.iife.min.js").read_text()


def test_our_scripts_write_no_markup():
    """They set texts only, so that no text can become an element."""
    for script in STATIC.glob("*.js"):
        text = script.read_text()
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text
        )
