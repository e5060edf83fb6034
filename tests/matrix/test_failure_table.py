"""Every status, every fault of the connection, every SDK: docs/failures.md says what.

The tables there are the expectation; here is only how each fault is made.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from faultserver import FaultServer, faults
from faultserver.steps import Step
from wire import PROMPT, closed_port
from wired import WIRES, expired_credentials, loaded, settings

from flask_llm import LLMFactory
from flask_llm.resilience.circuit_breaker import CLOSED, State
from flask_llm.testing import FakeProvider
from flask_llm.types import LLMResponse

DOCUMENT = Path(__file__).parents[2] / "docs" / "failures.md"
REFUSED_PARAMETERS = {"anthropic": "thinking"}
# Those that take a temperature, where the default one takes none.
MODELS = dict.fromkeys(("gemini", "genai", "vertex"), "gemma-4-27b-it")
RESTS = {"5 min": 300.0, "1 h": 3600.0}
NONE = "–"  # noqa: RUF001  # as the document writes it

_SHORT = 0.04  # seconds for a provider that will be silent
_FILTERED = "Output blocked by content filtering policy"

# What is not simply a status.
STEPS = {
    "`201`, empty": faults.status(201, body=""),
    "`400`, a web page": faults.html(400),
    "`400`, a parameter that the model does not take": faults.by_request(
        lambda attempt: faults.unsupported(
            REFUSED_PARAMETERS.get(attempt.wire, "temperature")
        )
    ),
    "`400`, content filter": faults.status(400, _FILTERED),
    "`403`, which does not say why": faults.status(403, body=""),
    "`403`, a web page": faults.html(403),
    "a key that is not valid (`401`, `400`)": faults.bad_key(),
    "a retired model (`404`)": faults.unknown_model(),
    "`429`, a minute's limit": faults.rate_limited(),
    "`429`, a web page": faults.html(429),
    "`429`, back in 2 s": faults.rate_limited(2),
    "`429`, back in 17 s": faults.rate_limited(17),
    "a day's quota, a spend limit (`429`, `400`)": faults.day_quota(),
    "the credit used up (`429`, `400`)": faults.billing(),
    "`498`, Cohere's list of denied words": faults.status(498),
    "`502`, a web page": faults.html(502),
    "`503`, empty": faults.status(503, body=""),
    "`503`, a list": faults.status(503, body=[{"error": {"message": "busy"}}]),
    "`503`, back in 2 s": faults.status(503, retry_after=2),
    "`503`, back in 17 s": faults.status(503, retry_after=17),
    # Not asked, since the address is another one.
    "refused": faults.OK,
    "refused, by Ollama's address": faults.OK,
    "reset before an answer": faults.reset_before_headers,
    "closed without an answer": faults.close_without_answer,
    "no answer at all": faults.hang,
    "a first byte that comes too late": faults.slow_first_byte(5),
    "headers that drip in": faults.drip_headers(0.001),
    "a body that drips in": faults.drip(0.01),
    "a body that stalls": faults.stall_body,
    "a body that is cut": faults.cut_body,
    "a body that is cut by a reset": faults.cut_body_reset,
    "the token server refuses (`400`)": faults.bad_key(),
    "the token server fails (`503`)": faults.status(503),
    "the token server closes without an answer": faults.close_without_answer,
    "the token server is silent": faults.hang,
    "an empty body": faults.empty_body,
    "a web page": faults.html(),
    "a body that is no gzip, though it says so": faults.status(
        200, headers={"content-encoding": "gzip"}
    ),
    "broken JSON": faults.malformed_body,
    "`null`": faults.status(200, body="null"),
    "another JSON object": faults.wrong_json,
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

    def __str__(self) -> str:
        return f"{self.provider} {self.fault}"

    @property
    def wire(self) -> str:
        """Which API has the fault."""
        of_tokens = self.fault.startswith("the token server")
        return "oauth" if of_tokens else WIRES[self.provider]

    @property
    def is_unheard(self) -> bool:
        """Whether no request can arrive."""
        return self.fault.startswith("refused")

    @property
    def is_silent(self) -> bool:
        """Whether a timeout of the caller's has to end it; a `408` comes at once."""
        return self.reason.startswith("timeout") and "`" not in self.fault

    @property
    def attempts(self) -> dict[str, int]:
        """How often the provider is asked with each preset, if it may be twice."""
        found = {"yes": 2, "at once": 2, "no": 1}.get(self.again)
        if found:
            return {"patient": found, "web": found}
        return {name: 1 + (name == self.again) for name in ("patient", "web")}


def rows() -> Iterator[Row]:
    """Read the tables of six columns: a row for each provider that has the fault."""
    for line in DOCUMENT.read_text().splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if len(cells) != 6 or cells[0] in {"fault", "---"}:
            continue
        fault, usual, others, *rest = cells
        cells_of = dict.fromkeys(WIRES, usual) | dict(_except(others))
        for provider, said in cells_of.items():
            if said != NONE:
                kind, _, reason = said.partition(": ")
                yield Row(fault, provider, kind, reason, *rest)


def _except(cell: str) -> Iterator[tuple[str, str]]:
    """Read who says what, as in "gemini, genai: auth: …; ollama: unavailable: …"."""
    for each in filter(None, cell.split("; ")):
        names, _, said = each.partition(": ")
        for name in names.split(", "):
            assert name in WIRES, f"{name!r} in {cell!r} is no provider"
            yield name, said


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

    def __init__(self, row, server, clock, **further):
        self.behind = FakeProvider("hi", name="behind")
        server.script(row.wire, step_of(row.fault))
        url = closed_port() if row.is_unheard else server.url
        self.reason = row.reason.replace("ADDRESS", url)
        seconds = _SHORT if row.is_silent else 60
        own = {}
        if row.reason.startswith("temperature") and row.provider in MODELS:
            own["model"] = MODELS[row.provider]
        if row.wire == "oauth":
            own["credentials"] = expired_credentials(url)
        config = settings(row.provider, url, seconds, **own) | further
        factory = LLMFactory(row.provider, [self.behind], config=config, clock=clock)
        before = len(server.attempts(row.wire))
        self.response: LLMResponse = factory.generate_content(
            PROMPT, temperature=0.5, max_tokens=300
        )
        chain = factory._chain
        (self.entry, _) = chain.handles
        self.circuit = chain.breakers.snapshot()[row.provider]
        is_open = chain.breakers.state(self.circuit) is State.OPEN
        self.rest = (
            chain.breakers.error_of(self.entry, self.circuit) if is_open else None
        )
        self.attempts = [
            each for each in self.response.attempts if each.provider == row.provider
        ]
        if not row.is_unheard:
            server.arrived(before + len(self.attempts), row.wire)
        self.requests = len(server.attempts(row.wire)) - before


@pytest.fixture(scope="module")
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


def trials() -> Iterator[object]:
    """Yield each row with each preset; the core has a telling part of them.

    With the one preset, each fault and each kind of failure of each provider; with the
    other, the faults whose rows tell the presets apart.
    """
    seen: set[tuple[str, ...]] = set()
    for row in ROWS:
        for preset in ("patient", "web"):
            facts = {("fault", row.fault), (row.provider, row.kind)}
            if preset == "web":
                facts = (
                    {("web", row.fault)} if row.again in {"patient", "web"} else set()
                )
            marks = [] if facts - seen else [pytest.mark.matrix]
            seen |= facts
            yield pytest.param(row, preset, marks=marks, id=f"{row}-{preset}")


@pytest.mark.parametrize(("row", "preset"), list(trials()))
def test_failure(row, preset, server, clock):
    """Each fault has its kind and reason, goes to whom it should, and has its rest."""
    further = {"LLM_RETRY_PRESET": preset, "LLM_MAX_RETRIES": 2}
    trial = Trial(row, server, clock, **further)
    assert trial.attempts[0].outcome == row.kind
    assert _is_reason(trial.attempts[0].error, trial.reason)

    count = row.attempts[preset]
    assert len(trial.attempts) == count
    assert trial.requests == (0 if row.is_unheard else count)
    assert len(clock.waits) == (0 if row.again == "at once" else count - 1)

    assert_rests(trial, row)
    assert bool(trial.behind.calls) == (row.following == "yes")
    if row.following == "if allowed":
        allowed = Trial(row, server, clock, LLM_FALLBACK_ON_BLOCKED=True, **further)
        assert allowed.behind.calls


def assert_rests(trial: Trial, row: Row) -> None:
    """Fail unless the provider rests as long as the document says."""
    if row.rests == NONE:
        assert trial.circuit == CLOSED
    elif row.rests == "after 5":
        assert (trial.circuit.failures, trial.rest) == (len(trial.attempts), None)
    else:
        told = trial.attempts[-1].retry_after_s
        expected = told if row.rests == "as reported" else RESTS[row.rests]
        assert trial.rest.retry_after == expected


def _is_reason(error: str, reason: str) -> bool:
    """Return whether an error has that reason, perhaps with advice behind it."""
    return error == reason or error.startswith(f"{reason} (")


def test_table_is_whole():
    """Each provider and each fault is in the document, and no word is unknown."""
    assert set(WIRES) == set(LLMFactory.PROVIDER_REGISTRY) - {"local"}  # has no wire
    named = {each.fault for each in ROWS}
    assert set(STEPS) <= named
    statuses = {400, 401, 402, 403, 404, 408, 409, 413, 422, 500, 501, 502, 503, 504}
    assert {f"`{each}`" for each in {*statuses, 529}} <= named
    assert {each.again for each in ROWS} == {"yes", "no", "at once", "patient", "web"}
    assert {each.following for each in ROWS} == {"yes", "if allowed"}
    assert {each.rests for each in ROWS} == {NONE, "after 5", "as reported", *RESTS}
