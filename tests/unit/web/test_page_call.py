"""The page of one call: each try in its time, and what is known of it."""

import re

import page_reports
import pytest
from page_markup import call_page, poisoned, words

from flask_llm.web.formats import seconds

FAILED = page_reports.lost_call


def test_foreign_text_stays_text_on_the_page_of_a_call():
    """The errors there are a provider's, and the request's number is anybody's."""
    page = call_page(lambda: poisoned(page_reports.call()))
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") > 5


def test_each_try_stands_in_its_time():
    """With its error in words, and where its bar begins and ends."""
    call = page_reports.call()
    page = call_page(lambda: call)
    for each in (
        f"claude answered after {words(seconds(call['latency_s']))}, as a fallback",
        "0.22 s, began after 0.91 s",
        "quota exceeded; it asked to be left alone for 59 s",
        f"{call['input_tokens']} tokens in, {call['output_tokens']} out · $0.0",
    ):
        assert each in words(page)
    bars = re.findall(r'class="fill" x="(\d+)" y="0" width="(\d+)"', page)
    scale = 1000 / call["latency_s"]
    assert bars == [
        (f"{each['started_s'] * scale:.0f}", f"{each['latency_s'] * scale:.0f}")
        for each in call["attempts"]
    ]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("content_blocked", "No answer after 2.2 s: content blocked"),
        ("closed", "Stopped by the caller after 2.2 s"),
    ],
)
def test_the_page_of_a_call_without_an_answer(outcome, said):
    """It says why there is none; that the caller left is no failure."""
    told = {"outcome": outcome, "latency_s": 2.2}
    page = call_page(lambda: page_reports.call() | told)
    assert said in words(page)
    assert ("is-error" in page) == (outcome != "closed")


def test_a_failed_call_says_what_went_wrong_and_what_to_do():
    """In words, with the code that the documents name, and no row says nothing."""
    page = words(call_page(FAILED))
    for each in (
        "content blocked What to do: LLM_FALLBACK_ON_BLOCKED=on",
        "Outcomecontent blocked Kind of errorcontent_blocked",
    ):
        assert each in page
    for each in ("First token", "Answer", "Tokens", "Cost", "Request"):
        assert f" {each}" not in page.partition("Facts")[2]


def test_a_call_that_was_answered_needs_no_advice():
    """What failed on the way was made good by the chain."""
    assert "What to do" not in call_page()


def test_a_try_without_words_has_those_for_its_kind():
    """A usage log may have none for it."""
    call = FAILED()
    call["attempts"][-1] |= {"outcome": "model_not_found", "error": None}
    assert "model not found What to do: choose another model" in words(
        call_page(lambda: call)
    )
