import json
import pickle

import pytest

from flask_llm import LLMResponse
from flask_llm.errors import ProviderError, QuotaError
from flask_llm.types import Attempt, Request, Usage


def test_response_has_the_documented_fields_in_order():
    """Code written against the documents may pass all five by position."""
    response = LLMResponse(True, "hi", "gemini", None, {"model": "m"})

    assert vars(response) == {
        "success": True,
        "content": "hi",
        "provider_name": "gemini",
        "error": None,
        "metadata": {"model": "m"},
        "parsed": None,
    }


@pytest.mark.parametrize("given", [{}, {"metadata": None}])
def test_metadata_is_an_own_dict_and_never_none(given):
    """Two responses without metadata must not share one dict."""
    first, second = (LLMResponse(True, "hi", "x", **given) for _ in range(2))
    first.metadata["model"] = "m"

    assert second.metadata == {}


def test_conveniences_read_the_metadata():
    """`model`, `usage` and `attempts` are typed views of plain data."""
    attempt = {"provider": "gemini", "outcome": "quota", "latency_s": 0.1}
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    metadata = {"model": "m", "usage": usage, "attempts": [attempt]}
    response = LLMResponse(True, "hi", "x", metadata=metadata)

    assert response.model == "m"
    assert response.usage == Usage(3, 4, 7)
    assert response.attempts == (Attempt("gemini", "quota", 0.1),)
    assert json.loads(json.dumps(response.metadata)) == metadata


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}, "many"])
def test_usage_is_none_where_the_provider_tells_none(usage):
    """A stranger's provider may use a shape of its own."""
    assert LLMResponse(True, "hi", "x", metadata={"usage": usage}).usage is None


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "total_tokens"])
@pytest.mark.parametrize("odd", [None, "7", True, 7.0, [7], -1, 10**12], ids=repr)
def test_a_count_that_makes_no_sense_is_no_usage(name, odd):
    """Whoever adds tokens up may do so without looking."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, name: odd}
    response = LLMResponse(True, "hi", "x", metadata={"usage": usage})

    assert (response.usage, response.usage_told) == (None, None)


def test_unwrap_returns_the_text():
    """A caller who wants an exception on failure gets plain text on success."""
    assert LLMResponse(True, "hi", "x").unwrap() == "hi"


def test_unwrap_raises_the_error_of_its_kind():
    """The exception's class tells the kind, its text is the response's error."""
    failed = LLMResponse(False, "", "x", "used up", {"error_kind": "quota"})

    with pytest.raises(QuotaError, match=r"^used up$") as caught:
        failed.unwrap()
    assert caught.value.provider == "x"


def test_unwrap_of_a_plain_failure_raises_the_base_class():
    """A response made by a provider of the three-method contract has no kind."""
    with pytest.raises(ProviderError) as caught:
        LLMResponse(False, "", "x", "boom").unwrap()
    assert type(caught.value) is ProviderError


def test_response_survives_pickling():
    """Celery and multiprocessing carry responses across processes."""
    response = LLMResponse(True, "hi", "x", metadata={"model": "m"})

    assert pickle.loads(pickle.dumps(response)) == response


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((None,), "prompt must be str or list or tuple, not NoneType"),
        ((b"hi",), "prompt must be str or list or tuple, not bytes"),
        (("hi", "0"), "temperature must be int or float, not str"),
        (("hi", True), "temperature must be int or float, not bool"),
        (("hi", 0.0, 1.5), "max_tokens must be int, not float"),
        (("hi", 0.0, True), "max_tokens must be int, not bool"),
    ],
)
def test_request_refuses_wrong_types(arguments, text):
    """A wrong type is the caller's programming error, told by name."""
    with pytest.raises(TypeError, match=f"^{text}$"):
        Request(*arguments)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("hi",), None),
        (("hi", 2, 2**31 - 1), None),
        ((" \n",), "prompt is empty"),
        (("\ud800",), "surrogate"),
        (("hi", -0.1), "temperature must be from 0 to 100"),
        (("hi", float("nan")), "temperature must be from 0 to 100"),
        (("hi", 10**400), "temperature must be from 0 to 100"),
        (("hi", 0.0, 10**5000), "max_tokens must be from 1 to"),
        (("hi", float("inf")), "temperature must be from 0 to 100"),
        (("hi", 0.0, 0), "max_tokens must be from 1 to"),
        (("hi", 0.0, 2**31), "max_tokens must be from 1 to"),
    ],
)
def test_request_knows_values_that_no_provider_takes(arguments, fault):
    """Such values never reach a provider, and are no exception either."""
    found = Request(*arguments).fault

    assert found is None if fault is None else fault in found


def test_usage_is_told_as_it_is_or_not_at_all():
    """What is no count of tokens is no bill."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}

    assert LLMResponse(True, "", "x", metadata={"usage": usage}).usage_told == usage
    for odd in (None, {}, {"tokens": 3}, "7"):
        assert LLMResponse(True, "", "x", metadata={"usage": odd}).usage_told is None


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"system": None}, "system must be str, not NoneType"),
        ({"stop": "x"}, "stop must be tuple, not str"),
        ({"stop": (1,)}, "stop must be str, not int"),
    ],
)
def test_request_refuses_wrong_types_of_more_than_a_prompt(named, text):
    """Told by name too."""
    with pytest.raises(TypeError, match=f"^{text}$"):
        Request("hi", **named)


def test_request_knows_stop_texts_that_no_provider_takes():
    """An empty one would end every answer before it began."""
    assert Request("hi", stop=("x", "")).fault == "stop holds an empty text"
    assert "surrogate" in Request("hi", stop=("\ud800",)).fault
    assert "surrogate" in Request("hi", system="\ud800").fault


def test_a_correction_ends_with_the_user():
    """The wrong answer is the assistant's turn, and no prefill."""
    request = Request("Count.", system="Be exact.").corrected("one two", "no JSON")

    assert [each.role for each in request.messages] == ["user", "assistant", "user"]
    assert "no JSON" in request.messages[-1].text
    assert (request.system, request.fault) == ("Be exact.", None)


@pytest.mark.parametrize(("told", "cost"), [(0.25, 0.25), (0.0, 0.0), ("1", None)])
def test_cost_is_a_number_or_none(told, cost):
    """A provider's own metadata may hold anything under the name."""
    assert LLMResponse(True, "hi", "x", metadata={"cost_usd": told}).cost_usd == cost
    assert LLMResponse(True, "hi", "x").cost_usd is None
