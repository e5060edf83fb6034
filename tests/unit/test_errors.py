import base64
import json
import logging
import pickle
from urllib.parse import quote

import pytest

from flask_llm import errors
from flask_llm.errors import (
    BY_KIND,
    MARK,
    ConfigurationError,
    ProviderError,
    QuotaError,
    SchemaError,
    StreamInterrupted,
    redact,
)
from flask_llm.types import Attempt

# Design §5: what follows from each kind.
TABLE = {
    "unknown": (False, True),
    "quota": (False, True),
    "transient": (True, True),
    "auth": (False, True),
    "model_not_found": (False, True),
    "context_length": (False, True),
    "invalid_request": (False, True),
    "content_blocked": (False, False),
    "bad_answer": (False, True),
    "busy": (False, True),
    "deadline": (False, False),
    "closed": (False, False),
    "cooldown": (False, True),
    "unavailable": (False, True),
}


@pytest.mark.parametrize(("kind", "answers"), TABLE.items())
def test_each_class_answers_for_itself(kind, answers):
    """The table of the design is what the classes say."""
    cls = BY_KIND.get(kind, ProviderError)

    assert cls.kind == kind
    assert (cls.retryable, cls.fallbackable) == answers


def test_no_kind_is_missing_from_the_table():
    """A new class needs a row."""
    assert {*BY_KIND, ProviderError.kind} == set(TABLE)


def test_only_a_refused_key_is_logged_as_an_error():
    """A wrong key needs a person; everything else is a warning."""
    severe = [kind for kind, cls in BY_KIND.items() if cls.severity == logging.ERROR]

    assert severe == ["auth"]


def test_the_tree_is_drawn_in_the_module():
    """The drawing at the top of the module names every class of it."""
    for cls in (ConfigurationError, ProviderError, *BY_KIND.values()):
        assert cls.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (QuotaError(), "quota exceeded"),
        (QuotaError("60 a minute"), "quota exceeded: 60 a minute"),
        (QuotaError("x", advice="pay"), "quota exceeded (pay): x"),
        (QuotaError("x", reason=""), "x"),
    ],
)
def test_text_is_reason_advice_and_detail(error, text):
    """What is ours comes first, the provider's own words last."""
    assert str(error) == text


def test_copy_changes_only_what_it_is_told():
    """A copy keeps class, status and Retry-After."""
    error = QuotaError("a", status=429, retry_after=7.0, advice="wait")
    copy = error.copy(provider="gemini", detail="b")

    changed = {"provider": "gemini", "detail": "b"}
    for name in ("reason", "advice", "status", "retry_after", "provider", "detail"):
        assert getattr(copy, name) == changed.get(name, getattr(error, name))
    assert copy.args == ("b",)
    assert type(copy) is QuotaError


@pytest.mark.parametrize(
    "error",
    [
        QuotaError("a", status=429, retry_after=7.0, provider="gemini"),
        ConfigurationError(["LLM_TIMEOUT is wrong"]),
        SchemaError("no", answer="{}", correctable=True, provider="gemini"),
    ],
)
def test_errors_survive_pickling(error):
    """A worker in another process must be able to hand them back."""
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (
        type(error),
        str(error),
        vars(error),
    )


def test_configuration_error_lists_every_fault():
    """All faults are seen at once, a line each, and can be read by a program."""
    error = ConfigurationError(["A is wrong", "B is wrong"])

    assert error.faults == ("A is wrong", "B is wrong")
    assert str(error).splitlines()[1:] == ["  - A is wrong", "  - B is wrong"]
    assert isinstance(error, ValueError)


def test_an_interruption_survives_pickling():
    """With its text, why, and every attempt."""
    error = QuotaError("60 a minute", provider="gemini", retry_after=7.0)
    attempts = (Attempt("gemini", "quota", 0.5, "quota exceeded"),)
    copy = pickle.loads(pickle.dumps(StreamInterrupted("one ", error, attempts)))

    assert (copy.text, copy.attempts) == ("one ", attempts)
    assert vars(copy.error) == vars(error)
    assert str(copy) == "gemini broke off its answer: quota exceeded: 60 a minute"


def test_only_a_model_s_own_word_may_be_taken_elsewhere():
    """LLM_FALLBACK_ON_BLOCKED concerns no closed stream and no deadline."""
    final = {kind for kind, cls in BY_KIND.items() if not cls.fallbackable}

    assert final == {"content_blocked", "closed", "deadline"}
    assert {kind for kind in final if BY_KIND[kind].of_model} == {"content_blocked"}


def test_a_closed_stream_says_nothing_of_its_provider():
    """Neither that it works nor that it does not."""
    cls = BY_KIND["closed"]

    assert (cls.alive, cls.trips, cls.silent, cls.cooldown) == (False,) * 3 + (0.0,)


KEY_ = "sk-ant-api03-Ab/cD+eF0123456789ghIJ"


@pytest.mark.parametrize(
    "form",
    [
        quote(KEY_, safe=""),
        quote(KEY_),
        KEY_.upper(),
        KEY_.lower(),
        json.dumps(KEY_)[1:-1].replace("/", "\\/"),
        base64.b64encode(KEY_.encode()).decode(),
        base64.b64encode(f"user:{KEY_}:x".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{KEY_}".encode()).decode(),
        KEY_[:25],
        KEY_[:30] + "…",
    ],
)
def test_other_forms_of_a_key(form):
    """However a server writes it back; of base64 the ends say nothing."""
    text = redact(f"Your key {form} is wrong", [KEY_])
    assert MARK in text
    for size in range(12, len(form) + 1):
        for at in range(4, len(form) - size - 3):
            assert form[at : at + size] not in text


def test_what_is_no_key_stays():
    """Neither the public beginning of one, nor other words."""
    text = "Keys begin with sk-ant-api03- and have 35 characters"
    assert redact(text, [KEY_]) == text
