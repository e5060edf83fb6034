"""Tags: a prompt that may go to some providers reaches no other, whatever fails."""

import json

import pytest
from fake_clock import FakeClock
from faultserver import FaultServer, faults
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_llm import FlaskLLM, LLMFactory
from flask_llm.errors import ConfigurationError
from flask_llm.types import Request

NAMES = ["one", "two", "three", "four"]


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def endpoints(server, tags):
    """Return endpoints of Claude's, each at a path of its own, with its tags."""
    return {
        name: {
            "provider": "claude",
            "base_url": f"{server.url}/{name}",
            "api_key": f"sk-ant-made-up-{name}-000",
            "tags": tags[name],
        }
        for name in NAMES
    }


def factory_of(server, tags, **config):
    config = {
        "LLM_PROVIDERS": endpoints(server, tags),
        "LLM_RETRY_DELAY": 0,
        "LLM_MAX_RETRIES": 2,
        **config,
    }
    return LLMFactory(NAMES[0], NAMES[1:], config=config, clock=FakeClock())


def asked(server):
    """Return the endpoints that have seen a request."""
    return {each.path.split("/")[1] for each in server.attempts("anthropic")}


FAULTS = [*map(faults.status, (503, 429, 400)), faults.reset_before_headers]
EU = {"one": "eu", "two": "us", "three": "eu,fast", "four": ""}


TAGS = st.lists(st.sampled_from(["eu", "fast", "us"]), max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    tags=st.fixed_dictionaries(dict.fromkeys(NAMES, TAGS)),
    only=st.sets(st.sampled_from(["eu", "fast"]), min_size=1),
    steps=st.lists(st.sampled_from([*FAULTS, faults.OK]), max_size=6),
    how=st.sampled_from(["whole", "stream", "schema"]),
)
def test_no_prompt_reaches_a_server_without_the_tags(tags, only, steps, how):
    """Whoever fails, and however it is asked for."""
    with FaultServer() as server:
        server.script("anthropic", *steps)
        factory = factory_of(server, tags)
        if how == "stream":
            with factory.stream_content("hello", only=[*only]) as stream:
                list(stream)
            response = stream.response
        else:
            schema = {"type": "object"} if how == "schema" else None
            response = factory.generate_content("hello", only=[*only], schema=schema)
        allowed = {name for name in NAMES if only <= {*tags[name]}}
        assert asked(server) <= allowed
        assert {each.provider for each in response.attempts} <= allowed
        if not allowed:
            assert response.metadata["error_kind"] == "unavailable"


def test_nobody_has_the_tag(server):
    """It fails before anything is sent, and says why."""
    response = factory_of(server, EU).generate_content("hello", only="mars")
    why = "No provider was asked: no provider of the chain has the tags 'mars'"
    assert (response.success, response.error) == (False, why)
    assert response.metadata["error_kind"] == "unavailable"
    assert not asked(server)


@pytest.mark.parametrize(
    ("purpose", "only", "reached"),
    [
        ("draft", (), "three"),
        ("draft", "fast", "three"),
        ("draft", "us", None),
        ("other", (), "one"),
        ("other", "us", "two"),
    ],
)
def test_a_call_narrows_what_its_purpose_allows(server, purpose, only, reached):
    """And never widens it."""
    purposes = {"draft": {"only": ["eu", "fast"], "deadline": 20}}
    factory = factory_of(server, EU, LLM_PURPOSES=purposes)
    response = factory.generate_content("hello", purpose=purpose, only=only)
    assert (response.provider_name if response.success else None) == reached
    assert asked(server) == ({reached} if reached else set())


def test_a_purpose_has_a_deadline(server):
    """Unless a call has one of its own."""
    factory = factory_of(server, EU, LLM_PURPOSES='{"draft": {"deadline": 20}}')
    assert factory._of_purpose("draft", (), None) == ((), 20.0)
    assert factory._of_purpose("draft", (), 5) == ((), 5)
    assert factory._of_purpose("else", "eu", None) == ("eu", None)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("output", [False, True])
def test_a_filter_cannot_widen_it(server, streamed, output):
    """What it returns is asked of the same providers."""
    factory = factory_of(server, EU)
    factory.prompt_filter(lambda request: Request(request.prompt + "!"))
    if output:
        factory.output_filter(lambda response: response)
    if streamed:
        with factory.stream_content("hello", only="us") as stream:
            assert "".join(stream)
        response = stream.response
    else:
        response = factory.generate_content("hello", only="us")
    assert response.provider_name == "two"
    assert asked(server) == {"two"}


def test_the_purpose_of_a_view_counts(server):
    """In a request it is the endpoint, also for streams to a browser."""
    app = Flask("testapp")
    app.config |= {
        "LLM_PROVIDERS": endpoints(server, EU),
        "LLM_PRIMARY_PROVIDER": "one",
        "LLM_FALLBACK_PROVIDERS": NAMES[1:],
        "LLM_PURPOSES": json.dumps({"private": {"only": "us"}}),
    }
    FlaskLLM(app, authorize=lambda: True)

    @app.get("/private")
    def private():
        return app.llm.stream_response("hello")

    assert "text" in app.test_client().get("/private").text
    assert asked(server) == {"two"}


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({"draft": "eu"}, "must have a dict of settings for 'draft'"),
        ({"draft": {"tag": "eu"}}, "has an unknown setting 'tag' for 'draft' (known:"),
        ({"draft": {"deadline": 0}}, "['draft']['deadline'] must be seconds"),
        ({"draft": {"only": "e u"}}, "['draft']['only'] must be words separated by"),
        ("x", "is no valid JSON"),
    ],
)
def test_what_is_wrong_is_told_at_the_start(written, fault):
    """A typo would let a prompt go where it must not."""
    with pytest.raises(ConfigurationError) as caught:
        LLMFactory("claude", [], config={"LLM_PURPOSES": written})
    assert f"LLM_PURPOSES {fault}" in str(caught.value)


@pytest.mark.parametrize("odd", [7, {"eu": 1}, ["eu", 7], "e u", None])
def test_a_wrong_argument(server, odd):
    """It is a mistake of the caller's."""
    with pytest.raises(TypeError, match="only"):
        factory_of(server, EU).generate_content("hello", only=odd)
