"""A draft on the page, in a real browser: it comes word by word, whoever writes it."""

import queue

import pytest
from flask import Response
from serving import served

from example_app import broken, create_app
from example_app.report import TINY_MODEL
from flask_llm import LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.providers.local import LocalProvider
from flask_llm.signals import generation_finished
from flask_llm.testing import Delay, FakeProvider
from flask_llm.web import sse

pytestmark = pytest.mark.slow

WORDS = ["Dear", " Priya,", " we", " have", " got", " <b>it</b>."]
REPLY = "".join(WORDS)
PATIENCE_MS = 120_000  # of a real model on a busy machine
CARD = ".mail:target .card"

# Keeps each text that the draft has had.
WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const text = document.querySelector(".mail:target .draft")?.textContent;
    if (text) window.seen.push(text);
  }).observe(document.querySelector(".reading"), { childList: true, subtree: true });
}"""


def typist(name="typist", rests=None):
    """Return a provider that types a reply, and rests for long before a word."""
    pauses = [60 if number == rests else 0.05 for number in range(len(WORDS))]
    pieces = [Delay(*each) for each in zip(pauses, WORDS, strict=True)]
    return FakeProvider(pieces, name=name)


def app_of(primary, *fallbacks, **config):
    chain = {"LLM_PRIMARY_PROVIDER": primary, "LLM_FALLBACK_PROVIDERS": [*fallbacks]}
    return create_app(chain | config)


def begin(page, choice=""):
    """Ask for a draft."""
    page.evaluate(WATCH)
    page.select_option("#primary", choice)
    page.click(".mail:target button[data-streams]")


def drafted(chromium, app, choice=""):
    """Return the card of a finished draft, the texts it had, and the complaints."""
    found = []

    def play(page):
        page.set_default_timeout(PATIENCE_MS)
        begin(page, choice)
        page.wait_for_selector(f"{CARD}:not([aria-busy])")
        found[:] = page.inner_text(CARD), page.evaluate("window.seen")

    with served(app) as address:
        complaints = chromium.visit(address, play, "/#charged-twice")
    return *found, complaints


def test_a_draft_comes_word_by_word(chromium):
    """The page shows each piece when it comes, as text, and in the end who wrote it."""
    card, seen, complaints = drafted(chromium, app_of(typist()))

    assert len(set(seen)) >= 4
    assert all(REPLY.startswith(each) for each in seen)
    assert "Draft, not sent" in card
    assert REPLY in card
    assert "No answer from" not in card
    assert "Provider\ntypist" in card
    assert complaints == []


def test_what_is_known_of_a_draft(chromium):
    """Model and tokens are shown, where the provider tells them."""
    usage = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}
    known = {"model": "big-1", "usage": usage}
    answer = LLMResponse(True, REPLY, "fake", None, known)
    card, _, complaints = drafted(chromium, app_of(FakeProvider(answer)))

    assert "Model\nbig-1" in card
    assert "Tokens\n12 + 3" in card
    assert TINY_MODEL not in card
    assert complaints == []


def test_a_draft_that_is_cut_does_not_look_finished(chromium):
    """One that ends at `max_tokens` says so, with the text that there is."""
    cut = LLMResponse(True, REPLY, "fake", None, {"finish_reason": "length"})
    card, _, complaints = drafted(chromium, app_of(FakeProvider(cut)))

    assert card.startswith("Draft, cut short")
    assert REPLY in card
    assert "not sent" not in card
    assert complaints == []


def test_a_cut_draft_without_a_script():
    """The page that comes back says so, too."""
    cut = LLMResponse(True, REPLY, "fake", None, {"finish_reason": "length"})
    page = app_of(FakeProvider(cut)).test_client().post("/mails/charged-twice/draft")
    assert "Draft, cut short" in page.text


def test_a_long_draft_is_seen_whole_on_a_phone(chromium):
    """Nothing of it is hidden in a box whose scrollbar a phone does not show."""
    hidden = "(box) => box.scrollHeight - box.clientHeight"

    def play(page):
        page.set_viewport_size({"width": 390, "height": 844})
        begin(page)
        page.get_by_text("Draft, not sent").wait_for()
        draft = page.locator(f"{CARD} .draft")
        assert draft.evaluate("(box) => box.clientHeight") > 844
        assert draft.evaluate(hidden) <= 1

    with served(app_of(FakeProvider("One more line.\n" * 60))) as address:
        assert chromium.visit(address, play, "/#charged-twice") == []


def test_with_the_primary_out_of_quota_the_fallback_answers(chromium):
    """The switch breaks the primary, and the page says who answers instead."""
    app = app_of(typist("first"), typist("second"))
    card, seen, complaints = drafted(chromium, app, "quota")

    assert "second answers. No answer from:" in card
    assert "broken-first: quota exceeded" in card
    assert REPLY in card
    assert all(REPLY.startswith(each) for each in seen)
    assert complaints == []


def test_with_a_primary_that_breaks_off_the_draft_begins_anew(chromium):
    """What had come is shown, then thrown away, and the page says so."""
    app = app_of(typist("first"), typist("second"))
    card, seen, complaints = drafted(chromium, app, "midway")

    assert any(each.startswith("Thank you for your") for each in seen)
    assert "A draft broke off, and second began anew. No answer from:" in card
    assert "broken-first: quota exceeded" in card
    assert REPLY in card
    assert "Thank you" not in card
    assert complaints == []


def test_the_stop_button_stops(chromium):
    """The text so far stays, and the provider's answer is ended, not only hidden."""
    app = app_of(typist(rests=3))
    found, ended = [], queue.SimpleQueue()
    tell = generation_finished.connect_via(app)
    hear = tell(lambda _, event: ended.put(event.response.metadata["error_kind"]))

    def play(page):
        begin(page)
        page.get_by_text("Dear Priya, we", exact=True).wait_for()
        page.click(f"{CARD} button")
        page.wait_for_selector(f"{CARD}:not([aria-busy])")
        found.append(page.inner_text(CARD))
        found.append(page.is_visible(f"{CARD} button"))

    with served(app) as address:
        complaints = chromium.visit(address, play, "/#charged-twice")
        assert ended.get(timeout=30) == "closed"
    generation_finished.disconnect(hear)
    assert found == ["Draft, stopped\n\nDear Priya, we", False]
    assert complaints == []


def test_a_stopped_draft_can_be_asked_for_again(chromium):
    """The buttons come back to life."""
    pieces = [WORDS[0], Delay(60, WORDS[1]), *WORDS[2:]]

    def play(page):
        begin(page)
        page.click(f"{CARD} button")
        page.get_by_text("Draft, stopped").wait_for()
        page.click(".mail:target button[data-streams]")
        page.get_by_text("Draft, not sent").wait_for()

    with served(app_of(FakeProvider(pieces, REPLY))) as address:
        assert chromium.visit(address, play, "/#charged-twice") == []


def test_no_answer(chromium):
    """The page says so, and who has failed."""
    card, seen, _ = drafted(chromium, app_of(FakeProvider(QuotaError())))

    assert card.startswith("No model could answer")
    assert "fake: quota exceeded" in card
    assert "No model can answer now." in card
    assert ".env" not in card
    assert seen == []


def test_what_to_do_without_any_key(chromium):
    """Whoever has just installed the app is told where the keys belong."""
    card, _, _ = drafted(chromium, app_of("gemini", "claude"))

    assert "gemini: not available" in card
    assert ".env" in card


def test_a_primary_that_breaks_off_without_a_fallback(chromium):
    """A draft that is cut is not taken for a whole one."""
    card, _, complaints = drafted(chromium, app_of(typist("alone")), "midway")

    assert card.startswith("Draft, incomplete")
    assert "Thank you for your message." in card
    assert "The answer broke off." in card
    assert complaints == []


def test_a_connection_that_breaks_off(chromium):
    """Without a last event the draft is not whole, whatever has come."""
    app = app_of(typist())
    start = sse.event("start", {"provider": "x", "failed": []})
    cut = Response(start, content_type="text/event-stream")
    app.view_functions["inbox.draft"] = lambda mail_id: cut

    def play(page):
        begin(page)
        page.get_by_text("The connection broke off.").wait_for()

    with served(app) as address:
        assert chromium.visit(address, play, "/#charged-twice") == []


def test_the_other_button_still_sorts(chromium):
    """Classify shows its card and marks the mail in the list."""

    def play(page):
        page.select_option("#primary", "quota")
        page.click(".mail:target button.primary")
        page.wait_for_selector('[data-chip="charged-twice"] .is-payment')
        page.click(f"{CARD} summary")
        assert "broken-first: quota exceeded" in page.inner_text(CARD)

    app = app_of(FakeProvider(name="first"), FakeProvider("payment", name="second"))
    with served(app) as address:
        assert chromium.visit(address, play, "/#charged-twice") == []


@pytest.mark.local
def test_the_real_model_drafts(chromium):
    """Without any key the model in the process writes, and is called what it is."""
    if not LocalProvider().is_available():
        pytest.skip(f"no local model: {LocalProvider().unavailable_reason()}")
    app = create_app({"LLM_TIMEOUT": 120, "LLM_DEADLINE": 120})
    card, seen, complaints = drafted(chromium, app, "quota")

    assert len(set(seen)) >= 4
    assert "local answers" in card
    assert "SmolLM2-135M" in card
    assert TINY_MODEL in card
    assert complaints == []


def test_the_switch_without_a_script():
    """The form sends it along, and the page that comes back still shows it."""
    app = app_of(FakeProvider(name="first"), FakeProvider("payment", name="second"))
    page = app.test_client().post(
        "/mails/charged-twice/classify", data={"primary": "quota"}
    )
    assert "broken-first: quota exceeded" in page.text
    assert '<option value="quota" selected>' in page.text


def test_a_made_up_choice_changes_nothing():
    """What a visitor sends is one of the choices, or ignored."""
    app = app_of(FakeProvider("payment"))
    with app.app_context():
        assert broken.chain("rm -rf") is app.llm
        assert broken.chain("") is app.llm


def test_a_broken_chain_is_made_once():
    """Its connections and models are kept from one request to the next."""
    app = app_of(FakeProvider("payment"))
    with app.app_context():
        assert broken.chain("quota") is broken.chain("quota")
