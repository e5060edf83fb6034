"""Five providers in a chain, over their real SDKs: four fail in four different ways."""

import logging

import pytest
from faultserver import FaultServer, faults
from wire import ANSWER, PROMPT
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory

FIVE = ("claude", "openai", "cohere", "ollama", "vertex")

# What the first four do, one after the other, and what is said of it.
WAYS = [
    (faults.status(529), ["transient"] * 2, "server error 529", 529),
    (faults.rate_limited(17), ["quota"], "quota exceeded", 429),
    (faults.cut_body, ["transient"] * 2, "connection error", None),
    (faults.unknown_model(), ["model_not_found"], "model not found", 404),
]
EACH_ORDER = pytest.mark.parametrize(
    "names", [FIVE[turn:] + FIVE[:turn] for turn in range(5)], ids=" ".join
)


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(FIVE):
        yield


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def chain(server, names, clock) -> LLMFactory:
    """Return a factory over all of them, of whom four fail."""
    for name, (step, *_) in zip(names, WAYS, strict=False):
        server.script(WIRES[name], step)
    config = {"LLM_RETRY_PRESET": "web"}
    for name in names:
        config |= settings(name, server.url)
    return LLMFactory(names[0], list(names[1:]), config=config, clock=clock)


@EACH_ORDER
def test_fifth_answers(server, clock, names):
    """The fifth answers, and the response tells what each of the others did."""
    response = chain(server, names, clock).generate_content(PROMPT)

    assert (response.success, response.content) == (True, ANSWER)
    assert response.provider_name == names[-1]
    assert response.metadata["usage"]["total_tokens"] == 19
    assert response.metadata["error_kind"] is None
    told = [
        (name, outcome, reason, status)
        for name, (_, outcomes, reason, status) in zip(names, WAYS, strict=False)
        for outcome in outcomes
    ]
    *failed, last = response.attempts
    assert [
        (each.provider, each.outcome, each.error.partition(" (")[0], each.status)
        for each in failed
    ] == told
    assert (last.provider, last.outcome) == (names[-1], "success")
    for name in names:
        asked = sum(each.provider == name for each in response.attempts)
        assert len(server.attempts(WIRES[name])) == asked


@EACH_ORDER
def test_log(server, clock, caplog, names):
    """The log says why each was left, and for whom."""
    caplog.set_level(logging.INFO, "flask_llm")
    chain(server, names, clock).generate_content(PROMPT)

    told = [each for each in caplog.messages if "switching to" in each]
    assert len(told) == len(WAYS)
    for line, name, following, (_, _, reason, _) in zip(
        told, names, names[1:], WAYS, strict=False
    ):
        assert line.startswith(f"{name} {reason}")
        assert line.endswith(f", switching to {following}")


def test_nobody_answers(server, clock):
    """If the fifth fails as well, the error names all five and their reasons."""
    server.script(WIRES[FIVE[-1]], faults.bad_key())
    response = chain(server, FIVE, clock).generate_content(PROMPT)

    assert not response.success
    assert response.metadata["error_kind"] == "auth"
    reasons = [*(reason for _, _, reason, _ in WAYS), "credentials refused"]
    for name, reason in zip(FIVE, reasons, strict=True):
        assert f"{name}: {reason}" in response.error
