"""What our own providers owe beyond the public contract: exact kinds, texts and waits.

A test of the same name as one of `ProviderContract` replaces it by a sharper one.
"""

import gzip
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any

import pytest
import wire
from fake_clock import FakeClock
from real_time import AT_ONCE_S
from wire import Received, Row

from flask_llm import LLMFactory
from flask_llm.errors import ProviderError, TimedOutError, UsedUpError
from flask_llm.testing import ProviderContract
from flask_llm.testing.checks import CONFIG
from flask_llm.testing.failure_checks import ERRORS
from flask_llm.types import Request

# What proxies and gateways say, the same for every provider.
STATUSES = {
    "429 of a gateway": Row(429, {"error": "slow down"}, "quota", "quota exceeded"),
    "502 web page": Row(502, wire.HTML, "transient", "server error 502"),
    "503 empty": Row(503, "", "transient", "server error 503"),
}
NO_ANSWERS = {
    "web page as JSON": Row(200, wire.HTML, "transient", "malformed answer"),
    "web page": Row(
        200, wire.HTML, "transient", "malformed answer", {"Content-Type": "text/html"}
    ),
    "empty body": Row(200, "", "transient", "malformed answer"),
    "null": Row(200, "null", "transient", "malformed answer"),
    "broken JSON": Row(200, '{"id": "1', "transient", "malformed answer"),
    "deep JSON": Row(200, '{"a": ' * 50_000, "transient", "malformed answer"),
}

_PATIENT_S = 60  # where an answer comes, or nothing shall wait for so long
_SHORT_S = 0.05  # where nothing comes
_DRIP_S = 0.2  # where a byte comes every 50 ms


def each(rows: Mapping[str, Any], check: Callable[[Any], None]) -> None:
    """Check every row, and tell all that is wrong with the names of the rows."""
    wrong = []
    for name, row in rows.items():
        try:
            check(row)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
        except BaseException as error:
            error.add_note(f"in the row {name!r}")
            raise
    assert not wrong, "\n\n".join(wrong)


class WireContract(ProviderContract):
    """The tests of our own providers over the wire; a subclass states its facts.

    It also says what an `answer` is, by default with the text `wire.ANSWER`, and where
    the `sent_prompt` is.

    Attributes:
        name: The provider's name.
        provider_class: The provider.
        key: A key of the provider's kind.
        key_setting: The setting that holds it.
        key_header: The header that carries it, and how: "{}" stands for the key.
        path: Where requests go with the default model.
        known: What `metadata` must say of a good answer with a request-id.
        answers: Answers of other shapes: body, content and finish reason.
        no_usage: Good answers that leave usage out.
        statuses: Error statuses.
        exhausted: Names of those that minutes will not cure.
        no_answers: Success statuses without a usable text.
        trouble: An error after which the same request may succeed.
        echo_of_key: An error whose message begins with the key.
        leaks: Bodies that hold the key.
    """

    name: str
    provider_class: type
    key: str
    key_setting: str
    key_header: tuple[str, str]
    path: str
    known: Mapping[str, object]
    answers: Mapping[str, tuple[object, str, str]]
    no_usage: Mapping[str, object]
    statuses: Mapping[str, Row]
    exhausted: Collection[str]
    no_answers: Mapping[str, Row]
    trouble: Row
    echo_of_key: Row
    leaks: Mapping[str, object]

    def make(self, url, key):
        # A server of one's own may do without a key, the provider's may not.
        return self.provider_class(key, base_url=url if key else None)

    @staticmethod
    def hang_up(client: Any) -> None:
        """Close a client's idle connections, where the garbage collector complains."""

    def rows(self):
        return {
            "answered": self.answers,
            "usageless": self.no_usage,
            "fault": {
                "reset": (wire.reset, "connection error"),
                "closed": (wire.close, "connection error"),
                "half a body": (wire.half(self.answer()), "connection error"),
                "read timeout": (wire.hang, "timeout"),
            },
        }

    def failed(self) -> dict[str, Row]:
        """Return the answers with an error status."""
        plain = {name: Row(*row) for name, row in ERRORS.items()}
        return plain | STATUSES | self.statuses

    def assert_sent(self, key: str, received: Received) -> None:
        header, value = self.key_header
        assert received.headers[header] == value.format(key)

    @pytest.fixture
    def ask(self, clock):
        """Ask the provider at an address, through the whole of the factory."""
        return partial(self.asked, clock)

    def asked(self, clock, url, max_tokens=300, **settings):
        """Return the response to a call through the whole of the factory."""
        prefix = f"LLM_{self.name.upper()}"
        config = {
            self.key_setting: self.key,
            f"{prefix}_BASE_URL": url,
            f"{prefix}_TIMEOUT": _PATIENT_S,
            "LLM_MAX_RETRIES": 3,
        }
        changes = {f"{prefix}_{each}": value for each, value in settings.items()}
        factory = LLMFactory(self.name, [], config=config | changes, clock=clock)
        return factory.generate_content(
            wire.PROMPT, temperature=0.25, max_tokens=max_tokens
        )

    def test_answer(self, httpserver, ask, clock):
        """An answer comes with text and everything known about it, for one request."""
        headers = {"request-id": "req_011CSHoE"}
        wire.serve(httpserver, Row(200, self.answer(), headers=headers))
        response = ask(httpserver.url_for(""))
        assert response.success
        assert response.error is None
        assert response.content == wire.ANSWER
        assert response.provider_name == self.name
        assert response.metadata == self.known | {
            "finish_reason": "stop",
            "attempts": response.metadata["attempts"],
            "latency_s": 0.0,
            "error_kind": None,
            "call_id": response.metadata["call_id"],
            "purpose": "",
            "cost_usd": response.cost_usd,
            "cost_note": response.metadata["cost_note"],
        }
        assert [each.outcome for each in response.attempts] == ["success"]
        assert len(httpserver.log) == 1
        assert clock.waits == []

    def test_answers(self, httpserver, ask, answered):
        """Only text makes the content; a cut answer says so."""
        body, content, finish = answered
        wire.serve(httpserver, Row(200, body))
        response = ask(httpserver.url_for(""))
        assert response.content == content
        assert response.metadata["finish_reason"] == finish
        cut = ["the answer is cut at max_tokens"] if finish == "length" else []
        assert response.metadata["warnings"] == self.known["warnings"] + cut
        assert len(httpserver.log) == 1

    def test_usage_unknown(self, httpserver, ask, usageless):
        """An answer without complete usage is an answer; its usage is None."""
        wire.serve(httpserver, Row(200, usageless))
        response = ask(httpserver.url_for(""))
        assert response.content == wire.ANSWER
        assert response.usage is None

    def test_status(self, httpserver):
        """Each error status becomes its kind, and is repeated only by the chain."""

        def check(row: Row) -> None:
            response, story = self.told(httpserver, row)
            assert row.says in response.error
            assert "POST http" not in response.error  # Google's SDK begins so
            assert story == wire.failure(row.kind, row.status, row.told)

        each(self.failed(), check)

    def told(self, httpserver, row: Row) -> tuple[Any, dict]:
        """Return the response to a call that is answered so, and its story."""
        httpserver.clear()
        wire.serve(httpserver, row)
        clock = FakeClock()
        response = self.asked(clock, httpserver.url_for(""))
        return response, wire.story(response, clock, len(httpserver.log))

    def test_used_up(self, httpserver):
        """What minutes do not bring back is told apart from a rate limit."""
        used_up = {"plain 402", *self.exhausted}
        quotas = {n: row for n, row in self.failed().items() if row.kind == "quota"}
        assert quotas.keys() >= used_up

        def check(named: tuple[str, Row]) -> None:
            name, row = named
            httpserver.clear()
            wire.serve(httpserver, row)
            provider = self.provider_class(self.key, base_url=httpserver.url_for(""))
            with pytest.raises(ProviderError) as caught:
                provider.generate_content(wire.PROMPT)
            assert (type(caught.value) is UsedUpError) == (name in used_up)

        each({named[0]: named for named in quotas.items()}, check)

    def test_no_answer(self, httpserver):
        """A success status without a usable text is no success."""

        def check(row: Row) -> None:
            response, story = self.told(httpserver, row)
            assert row.says in response.error
            assert story == wire.failure(row.kind)

        each(NO_ANSWERS | self.no_answers, check)

    def test_fault(self, ask, clock, fault):
        """Each fault of the connection is transient."""
        answer, says = fault
        seconds = _SHORT_S if answer is wire.hang else _PATIENT_S
        with wire.Stub(answer) as stub:
            response = ask(stub.url, TIMEOUT=seconds)
            assert f"{self.name}: {says}" in response.error
            assert wire.arrived(stub, 3)
            story = wire.story(response, clock, 3)
        assert story == wire.failure("transient")

    def test_compressed(self):
        """A long compressed body, as the real servers send it, is read to its end."""
        text = "".join(map(str, range(60_000)))
        body = gzip.compress(wire.encoded(self.answer(text)))
        answer = wire.reply(body, headers={"Content-Encoding": "gzip"})
        with wire.Stub(answer) as stub:
            provider = self.provider_class(self.key, base_url=stub.url)
            assert provider.generate_content(wire.PROMPT).content == text

    @pytest.mark.parametrize(
        ("chunked", "keep_alive"),
        [
            (True, True),
            (False, False),
            pytest.param(True, False, marks=pytest.mark.matrix),
            pytest.param(False, True, marks=pytest.mark.matrix),
        ],
    )
    def test_drip(self, chunked, keep_alive):
        """A body that drips in ends with the attempt's time, however it is sent."""
        drip = wire.drip(self.answer(), chunked=chunked)
        with wire.Stub(drip, keep_alive=keep_alive) as stub:
            self.assert_timed_out(stub)

    def test_stall(self, sockets, later):
        """What the headers took is no longer there for the body."""
        stall = wire.stall(self.answer())

        def answer(*args):
            later(40)
            sockets.hurry(_SHORT_S)
            stall(*args)

        with wire.Stub(answer, keep_alive=True) as stub:
            self.assert_timed_out(stub, _PATIENT_S)
        assert sockets.told[-1] == pytest.approx(_PATIENT_S - 40, abs=AT_ONCE_S)

    def assert_timed_out(self, stub, seconds: float = _DRIP_S) -> None:
        """Check that an attempt of so many seconds at the most has timed out."""
        provider = self.provider_class(self.key, base_url=stub.url, timeout=_PATIENT_S)
        provider.warm_up(full=True)
        started = time.perf_counter()
        with pytest.raises(TimedOutError) as caught:
            provider.answer(Request(wire.PROMPT, timeout=seconds))
        took = time.perf_counter() - started
        assert _SHORT_S * 0.95 < took < AT_ONCE_S
        assert (caught.value.reason, caught.value.status) == ("timeout", None)
        assert pickle.loads(pickle.dumps(caught.value)).silent

    @pytest.mark.parametrize(("own", "given"), [(50, 20), (20, 50), (20, None)])
    def test_time_of_an_attempt(self, sockets, own, given):
        """An attempt takes no longer than the provider's time, nor than its own."""
        with wire.Stub(wire.hang) as stub:
            provider = self.provider_class(self.key, base_url=stub.url, timeout=own)
            provider.warm_up(full=True)
            sockets.hurry(_SHORT_S)
            with pytest.raises(TimedOutError):
                provider.answer(Request(wire.PROMPT, timeout=given))
        assert sockets.told[-1] == pytest.approx(20, abs=1)

    def test_time_of_each_attempt(self, sockets, later):
        """A short attempt leaves nothing of its time to the next, on one connection."""
        echo = wire.echo(self.answer, self.sent_prompt)
        with wire.Stub(lambda *args: (later(9), echo(*args)), keep_alive=True) as stub:
            provider = self.provider_class(self.key, base_url=stub.url, timeout=50)
            provider.answer(Request("first", timeout=20))
            assert max(sockets.told[1:]) == pytest.approx(20, abs=1)
            sockets.told.clear()
            assert provider.answer(Request("second")).content == "echo: second"
            assert max(sockets.told) == pytest.approx(50, abs=1)
            self.hang_up(provider._client.get())
        assert len({each.connection for each in stub.received}) == 1

    def check_deadline(self, provider, prompt, max_tokens):
        """Return the response to a call with a short time, if it is back at once."""
        factory = LLMFactory(provider, [], config=CONFIG)
        started = time.monotonic()
        response = factory.generate_content(prompt, 0.0, max_tokens, deadline=_SHORT_S)
        assert time.monotonic() - started < AT_ONCE_S
        return response

    def test_warm_up(self):
        """Warming up imports the SDK; only the whole of it makes the client."""
        provider = self.provider_class(self.key, base_url=wire.closed_port())
        provider.warm_up(full=False)
        assert self.provider_class.module in sys.modules
        assert not provider._client._made
        provider.warm_up(full=True)
        assert provider._client._made

    def test_refused(self, ask, clock):
        """A refused connection is transient."""
        response = ask(wire.closed_port())
        assert f"{self.name}: connection error" in response.error
        # Nobody is there to count.
        assert wire.story(response, clock, 3) == wire.failure("transient")

    def test_retry_after_date(self, httpserver, ask):
        """A Retry-After that is a date becomes the seconds until then."""
        headers = {"Retry-After": formatdate(time.time() + 120, usegmt=True)}
        wire.serve(httpserver, self.statuses["429"]._replace(headers=headers))
        (attempt,) = ask(httpserver.url_for("")).attempts
        assert attempt.outcome == "quota"
        assert attempt.retry_after_s == pytest.approx(120, abs=10)

    def test_answer_after_trouble(self, httpserver, ask, clock):
        """A server that recovers is asked no more often than it takes."""
        bad = httpserver.expect_ordered_request(self.path, method="POST")
        bad.respond_with_json(self.trouble.body, self.trouble.status)
        good = httpserver.expect_ordered_request(self.path, method="POST")
        good.respond_with_json(self.answer())
        response = ask(httpserver.url_for(""))
        assert response.content == wire.ANSWER
        assert [each.outcome for each in response.attempts] == ["transient", "success"]
        assert len(httpserver.log) == 2
        assert clock.waits == [5.0]

    def test_redacted(self, httpserver, ask):
        """A key in the provider's own words leaves its mark, and they stay readable."""
        wire.serve(httpserver, self.echo_of_key)
        response = ask(httpserver.url_for(""))
        assert self.echo_of_key.says in response.error
        assert self.key not in repr(response)

    def test_error_of_its_own(self, httpserver):
        """Used directly it raises our error only: nothing of it leads to the key."""

        def check(row: Row) -> None:
            httpserver.clear()
            wire.serve(httpserver, row)
            provider = self.provider_class(self.key, base_url=httpserver.url_for(""))
            with pytest.raises(ProviderError) as caught:
                provider.generate_content(wire.PROMPT)
            error = caught.value
            assert error.provider == self.name
            assert error.__cause__ is None
            assert error.__context__ is None
            assert self.key not in f"{error} {error!r} {vars(error)}"
            assert self.key not in "".join(traceback.format_exception(error))
            assert self.key.encode() not in pickle.dumps(error)
            copy = pickle.loads(pickle.dumps(error))
            assert (type(copy), vars(copy)) == (type(error), vars(error))

        rows = {
            f"{status} {name}": Row(status, leak)
            for status in (200, 400, 401, 403, 503)
            for name, leak in self.leaks.items()
        }
        each(rows, check)

    def test_password_of_base_url(self, httpserver, caplog):
        """A password in the address is in no error and in no log, but it is sent."""
        caplog.set_level("DEBUG")
        wire.serve(httpserver, Row(503, ""))
        url = httpserver.url_for("").replace("//", "//proxy:hunter22@")
        with pytest.raises(ProviderError) as caught:
            self.provider_class(self.key, base_url=url).generate_content(wire.PROMPT)
        assert "hunter22" not in f"{caught.value} {caught.value!r} {caplog.text}"
        (request, _) = httpserver.log[0]
        assert request.authorization.password == "hunter22"

    def test_malformed_key(self):
        """A key that no header can carry is refused at once, and not repeated."""
        with pytest.raises(ValueError, match="line break") as caught:
            self.provider_class(f"{self.key}\n{self.key}")
        assert self.key not in f"{caught.value} {caught.value!r}"

    def test_key_from_a_file(self, echo):
        """A key with the line end of a secret file is used without it."""
        provider = self.provider_class(f"{self.key}\n", base_url=echo.url)
        assert provider.generate_content("hi").content == "echo: hi"
        self.assert_sent(self.key, echo.received[0])

    def check_connections(self, received):
        """A child process never uses its parent's connection; each keeps its own."""
        super().check_connections(received)
        assert len({each.connection for each in received}) == 2
