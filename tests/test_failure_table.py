"""Every status, every fault of the connection, every SDK: docs/failures.md says what.

The table there is the expectation; here is only how each fault is made.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from faultserver import FaultServer, faults
from faultserver.steps import Step
from wire import PROMPT, closed_port

from flask_llm import LLMFactory
from flask_llm.circuit import CLOSED
from flask_llm.testing import FakeProvider
from flask_llm.types import LLMResponse

DOCUMENT = Path(__file__).parents[1] / "docs" / "failures.md"
WIRES = {"claude": "anthropic", "gemini": "gemini"}
REFUSED_PARAMETERS = {"anthropic": "thinking", "gemini": "temperature"}
RESTS = {"5 min": 300.0, "1 h": 3600.0}
NONE = "–"  # noqa: RUF001  # as the document writes it

_SHORT = 0.06  # seconds for a provider that will be silent
_FILTERED = "Output blocked by content filtering policy"

# What is not simply a status.
STEPS = {
    "`201`, empty": faults.status(201, body=""),
    "`400`, a web page": faults.html(400),
    "`400`, a parameter that the model does not take": faults.by_request(
        lambda attempt: faults.unsupported(REFUSED_PARAMETERS[attempt.wire])
    ),
    "`400`, content filter": faults.status(400, _FILTERED),
    "a key that is not valid (`401`, `400`)": faults.bad_key(),
    "a retired model (`404`)": faults.unknown_model(),
    "`429`, a minute's limit": faults.rate_limited(),
    "`429`, a web page": faults.html(429),
    "`429`, back in 2 s": faults.rate_limited(2),
    "`429`, back in 17 s": faults.rate_limited(17),
    "a day's quota, a spend limit (`429`, `400`)": faults.day_quota(),
    "the credit used up (`429`, `400`)": faults.billing(),
    "`502`, a web page": faults.html(502),
    "`503`, empty": faults.status(503, body=""),
    "`503`, a list": faults.status(503, body=[{"error": {"message": "busy"}}]),
    "`503`, back in 2 s": faults.status(503, retry_after=2),
    "`503`, back in 17 s": faults.status(503, retry_after=17),
    "refused": faults.OK,  # but not asked: the address is another one
    "reset before an answer": faults.reset_before_headers,
    "closed without an answer": faults.close_without_answer,
    "no answer at all": faults.hang,
    "a first byte that comes too late": faults.slow_first_byte(5),
    "headers that drip in": faults.drip_headers(0.001),
    "a body that drips in": faults.drip(0.01),
    "a body that stalls": faults.stall_body,
    "a body that is cut": faults.cut_body,
    "a body that is cut by a reset": faults.cut_body_reset,
    "an empty body": faults.empty_body,
    "a web page": faults.html(),
    "broken JSON": faults.malformed_body,
    "`null`": faults.status(200, body="null"),
    "another JSON object, for claude": faults.wrong_json,
    "another JSON object, for gemini": faults.wrong_json,
    "a prompt that is too long (`400`)": faults.context_length(),
    "a prompt that is blocked": faults.content_filter("prompt"),
    "an answer that is blocked": faults.content_filter("answer"),
    "thinking only": faults.thought_only,
    "an empty text": faults.empty_text,
    "an answer that does not say how it ended": faults.missing_terminator,
}


class Row(NamedTuple):
    """A fault, and what the document says of it for one provider.

    Attributes:
        again: Whether the same provider is asked again: "yes", "no", or how.
        following: Whether the next provider is asked.
        rests: How long this one then rests.
    """

    fault: str
    provider: str
    kind: str
    reason: str
    again: str
    following: str
    rests: str

    @property
    def attempts(self) -> dict[str, int]:
        """How often the provider is asked with each preset, if it may be twice."""
        found = {"yes": 2, "at once": 2, "no": 1}.get(self.again)
        if found:
            return {"patient": found, "web": found}
        return {name: 1 + (name == self.again) for name in ("patient", "web")}


def rows() -> Iterator[Row]:
    """Read the tables that have a column for each provider."""
    for line in DOCUMENT.read_text().splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if len(cells) != 6 or cells[0] in {"fault", "---"}:
            continue
        for provider, cell in zip(WIRES, cells[1:3], strict=True):
            if cell != NONE:
                kind, _, reason = cell.partition(": ")
                yield Row(cells[0], provider, kind, reason, *cells[3:])


ROWS = list(rows())


def step_of(fault: str) -> Step:
    """Return how a fault is made: a bare status, or one that has a name."""
    if fault in STEPS:
        return STEPS[fault]
    (status,) = re.fullmatch(r"`(\d{3})`", fault).groups()
    if status.startswith("3"):
        elsewhere = {"location": "http://127.0.0.1:9/elsewhere"}
        return faults.status(int(status), body="", headers=elsewhere)
    return faults.status(int(status), body="" if status == "204" else None)


class Trial:
    """A call to a provider that has a fault, with another provider behind it."""

    def __init__(self, row, server, clock, **settings):
        self.behind = FakeProvider("hi", name="behind")
        wire = WIRES[row.provider]
        server.script(wire, step_of(row.fault))
        prefix = f"LLM_{row.provider.upper()}"
        config = {
            "GOOGLE_API_KEY": "AIza-made-up-0123456789",
            "ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
            f"{prefix}_BASE_URL": server.url,
            f"{prefix}_TIMEOUT": _SHORT if row.reason == "timeout" else 5,
        }
        if row.fault == "refused":
            config[f"{prefix}_BASE_URL"] = closed_port()
        if row.reason.startswith("temperature"):
            config["LLM_GEMINI_MODEL"] = "gemma-4-27b-it"  # which takes one
        factory = LLMFactory(
            row.provider, [self.behind], config=config | settings, clock=clock
        )
        before = len(server.attempts(wire))
        self.response: LLMResponse = factory.generate_content(
            PROMPT, temperature=0.5, max_tokens=300
        )
        chain = factory._chain
        (self.entry, _) = chain.entries
        self.rest = chain.breaker.rest_of(self.entry)
        self.circuit = chain.breaker.look()[row.provider]
        self.attempts = [
            each for each in self.response.attempts if each.provider == row.provider
        ]
        if row.fault != "refused":
            server.arrived(before + len(self.attempts), wire)
        self.requests = len(server.attempts(wire)) - before


@pytest.fixture(scope="module")
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch, tmp_path_factory):
    """Keep each new client from reading the system's certificates, for 40 ms."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


def each_row(test):
    names = [f"{each.provider} {each.fault}" for each in ROWS]
    return pytest.mark.parametrize("row", ROWS, ids=names)(test)


@pytest.mark.parametrize("preset", ["patient", "web"])
@each_row
def test_failure(row, preset, server, clock):
    """Each fault has its kind and its reason, and is taken to whom it should be."""
    settings = {"LLM_RETRY_PRESET": preset, "LLM_MAX_RETRIES": 2}
    trial = Trial(row, server, clock, **settings)
    assert trial.attempts[0].outcome == row.kind
    assert _is_reason(trial.attempts[0].error, row.reason)

    count = row.attempts[preset]
    assert len(trial.attempts) == count
    assert trial.requests == (0 if row.fault == "refused" else count)
    assert len(clock.waits) == (0 if row.again == "at once" else count - 1)

    assert bool(trial.behind.calls) == (row.following == "yes")
    if row.following == "if allowed":
        allowed = Trial(row, server, clock, LLM_FALLBACK_ON_BLOCKED=True, **settings)
        assert allowed.behind.calls


@each_row
def test_rest(row, server, clock):
    """After a single failure a provider rests as long as the document says."""
    trial = Trial(row, server, clock, LLM_MAX_RETRIES=1)
    (attempt,) = trial.attempts
    if row.rests == NONE:
        assert trial.circuit == CLOSED
    elif row.rests == "after 5":
        assert (trial.circuit.failures, trial.rest) == (1, None)
    else:
        told = attempt.retry_after_s if row.rests == "as told" else RESTS[row.rests]
        assert trial.rest.retry_after == told


def _is_reason(error: str, reason: str) -> bool:
    """Return whether an error has that reason, perhaps with advice behind it."""
    return error == reason or error.startswith(f"{reason} (")


def test_table_is_whole():
    """Every fault that can be made here is in the document, and no word is unknown."""
    named = {each.fault for each in ROWS}
    assert set(STEPS) <= named
    statuses = {400, 401, 402, 403, 404, 408, 409, 413, 422, 500, 501, 502, 503, 504}
    assert {f"`{each}`" for each in {*statuses, 529}} <= named
    assert {each.again for each in ROWS} == {"yes", "no", "at once", "patient", "web"}
    assert {each.following for each in ROWS} == {"yes", "if allowed"}
    assert {each.rests for each in ROWS} == {NONE, "after 5", "as told", *RESTS}
