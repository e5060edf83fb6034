"""Bodies are read up to a size: no server fills the memory of an app."""

import pytest
from faultserver import FaultServer, faults
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory
from flask_llm.providers import transport

MOST = 200_000  # bytes, in place of some millions
LONG = "x" * 100 * MOST  # more than the sockets hold


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


@pytest.fixture(params=WIRES)
def ask(request, monkeypatch):
    """Return what lets a provider meet a step: the response, and the server's view."""
    monkeypatch.setattr(transport, "MOST_OF_AN_ERROR", MOST)
    with FaultServer() as server:
        config = settings(request.param, server.url) | {"LLM_MAX_RETRIES": 1}
        config["LLM_MAX_ANSWER_BYTES"] = MOST
        factory = LLMFactory(request.param, [], config=config)

        def ask(step, streamed=False):
            server.script(WIRES[request.param], step)
            asked = factory.stream_content if streamed else factory.generate_content
            response = asked("Why is the sky blue?")
            if streamed:
                "".join(response)
                response = response.response
            attempt = server.attempts(WIRES[request.param])[-1]
            assert attempt.wait()
            return response, attempt

        yield ask


def test_an_answer_that_is_too_large_is_malformed(ask):
    """One that is not is an answer, and the provider goes on working."""
    response, attempt = ask(faults.OK(text=LONG))
    assert attempt.abandoned
    assert response.metadata["error_kind"] == "transient"
    assert response.attempts[0].error == "malformed answer"
    text = "x" * (MOST // 2)
    response, attempt = ask(faults.OK(text=text))
    assert (response.content, attempt.abandoned) == (text, False)


def test_an_error_that_is_too_large_is_known_by_its_status(ask):
    """What comes behind its beginning says no more."""
    response, attempt = ask(faults.status(503, LONG))
    assert attempt.abandoned
    assert response.attempts[0].error == "server error 503"
    assert len(response.error) < 1000


def test_a_stream_that_is_too_large_is_cut(ask):
    """Its server sends an event without an end, which nobody would see."""
    response, attempt = ask(faults.OK(text=LONG), streamed=True)
    assert attempt.abandoned
    assert not response.success
    response, attempt = ask(faults.OK(text="x" * MOST), streamed=True)
    assert (len(response.content), attempt.abandoned) == (MOST, False)


def test_an_error_of_a_stream_that_is_too_large(ask):
    """It is told as that of a call."""
    response, attempt = ask(faults.status(503, LONG), streamed=True)
    assert attempt.abandoned
    assert response.attempts[0].error == "server error 503"
