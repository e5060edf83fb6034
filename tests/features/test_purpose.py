"""The purpose of a call: what the code says, else the endpoint's name."""

import asyncio
from inspect import signature

import pytest
from flask import Flask

from flask_llm import FlaskLLM, LLMFactory
from flask_llm.testing import FakeProvider
from flask_llm.web import AppFactory

CALLS = {
    "generate_content": LLMFactory.generate_content,
    "stream_content": LLMFactory.stream_content,
    "generate_content_async": LLMFactory.generate_content_async,
    "stream_content_async": LLMFactory.stream_content_async,
    "stream_response": AppFactory.stream_response,
}


@pytest.fixture
def app():
    app = Flask("testapp")
    app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider(*["hi"] * 9)
    app.config["LLM_FALLBACK_PROVIDERS"] = []
    FlaskLLM(app)
    return app


def told(llm, how, purpose):
    """Return the purpose that a call ends up with."""
    match how:
        case "generate_content":
            return llm.generate_content("hi", purpose=purpose).metadata["purpose"]
        case "stream_content":
            with llm.stream_content("hi", purpose=purpose) as stream:
                return stream.origin.purpose
        case "generate_content_async":
            response = asyncio.run(llm.generate_content_async("hi", purpose=purpose))
            return response.metadata["purpose"]
        case "stream_content_async":
            return asyncio.run(of_async_stream(llm, purpose))


async def of_async_stream(llm, purpose):
    async with await llm.stream_content_async("hi", purpose=purpose) as stream:
        async for _ in stream:
            pass
    return stream.response.metadata["purpose"]


@pytest.mark.parametrize("given", [None, ""])
@pytest.mark.parametrize("how", [each for each in CALLS if each != "stream_response"])
def test_nothing_said_is_the_endpoint(app, how, given):
    """A helper may hand on what it was given, also if that was nothing."""
    with app.test_request_context():
        assert told(app.llm, how, given) == ""
        assert told(app.llm, how, "greet") == "greet"

    @app.get("/")
    def inbox():
        return told(app.llm, how, given)

    assert app.test_client().get("/").text == "inbox"


@pytest.mark.parametrize("given", [None, ""])
def test_nothing_said_of_a_streamed_response_is_the_endpoint(app, given, caplog):
    """A response of events is a call like the others."""

    @app.get("/")
    def draft():
        return app.llm.stream_response("hi", purpose=given)

    with caplog.at_level("INFO", "flask_llm"):
        app.test_client().get("/").get_data()
    seen = {each.llm_purpose for each in caplog.records if hasattr(each, "llm_purpose")}
    assert seen == {"draft"}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_takes_none_for_its_purpose(call):
    """Type checkers read it from the signature: nobody has to write `or ""`."""
    purpose = signature(call).parameters["purpose"]

    assert purpose.annotation == str | None
    assert purpose.default is None


@pytest.mark.parametrize("wrong", [7, 0, False, ["greet"], b"greet"])
def test_a_purpose_that_is_no_text_is_a_mistake(app, wrong):
    """Also one that is as good as nothing: only None and "" say nothing."""
    with pytest.raises(TypeError, match="purpose must be str"):
        app.llm.generate_content("hi", purpose=wrong)
