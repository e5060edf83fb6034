"""What our own providers owe beyond the public contract: exact kinds, texts and waits.

A test of the same name as one of `ProviderContract` replaces it by a sharper one.
"""

import gzip
import pickle
import sys
import time
import traceback
from collections.abc import Collection, Mapping
from email.utils import formatdate
from typing import Any

import pytest
import wire
from wire import Received, Row

from flask_llm import LLMFactory
from flask_llm.errors import ProviderError, TimedOutError, UsedUpError
from flask_llm.testing import ProviderContract
from flask_llm.testing.failures import ERRORS
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
}


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
        plain = {name: Row(*row) for name, row in ERRORS.items()}
        return {
            "answered": self.answers,
            "usageless": self.no_usage,
            "failed": plain | STATUSES | self.statuses,
            "unanswered": NO_ANSWERS | self.no_answers,
            "fault": {
                "reset": (wire.reset, "connection error"),
                "closed": (wire.close, "connection error"),
                "half a body": (wire.half(self.answer()), "connection error"),
                "read timeout": (wire.hang, "timeout"),
            },
            "leak": self.leaks,
        }

    def assert_sent(self, key: str, received: Received) -> None:
        header, value = self.key_header
        assert received.headers[header] == value.format(key)

    @pytest.fixture
    def ask(self, clock):
        """Ask the provider at an address, through the whole of the factory."""
        prefix = f"LLM_{self.name.upper()}"

        def ask(url, max_tokens=300, **settings):
            config = {
                self.key_setting: self.key,
                f"{prefix}_BASE_URL": url,
                f"{prefix}_TIMEOUT": 5,
                "LLM_MAX_RETRIES": 3,
            }
            changes = {f"{prefix}_{each}": value for each, value in settings.items()}
            factory = LLMFactory(self.name, [], config=config | changes, clock=clock)
            return factory.generate_content(
                wire.PROMPT, temperature=0.25, max_tokens=max_tokens
            )

        return ask

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

    def test_status(self, httpserver, ask, clock, failed):
        """Each error status becomes its kind, and is repeated only by the chain."""
        wire.serve(httpserver, failed)
        response = ask(httpserver.url_for(""))
        assert failed.says in response.error
        assert "POST http" not in response.error  # Google's SDK begins so
        story = wire.story(response, clock, len(httpserver.log))
        assert story == wire.failure(failed.kind, failed.status, failed.told)

    def test_used_up(self, httpserver, failed):
        """What minutes do not bring back is told apart from a rate limit."""
        wire.serve(httpserver, failed)
        provider = self.provider_class(self.key, base_url=httpserver.url_for(""))
        with pytest.raises(ProviderError) as caught:
            provider.generate_content(wire.PROMPT)
        assert (type(caught.value) is UsedUpError) == (failed in self.used_up())

    def used_up(self) -> list[Row]:
        used_up = {"plain 402", *self.exhausted}
        return [row for name, row in self.rows()["failed"].items() if name in used_up]

    def test_no_answer(self, httpserver, ask, clock, unanswered):
        """A success status without a usable text is no success."""
        wire.serve(httpserver, unanswered)
        response = ask(httpserver.url_for(""))
        assert unanswered.says in response.error
        story = wire.story(response, clock, len(httpserver.log))
        assert story == wire.failure(unanswered.kind)

    def test_fault(self, ask, clock, fault):
        """Each fault of the connection is transient."""
        answer, says = fault
        seconds = 0.3 if answer is wire.hang else 5
        with wire.Stub(answer) as stub:
            response = ask(stub.url, TIMEOUT=seconds)
            assert f"{self.name}: {says}" in response.error
            story = wire.story(response, clock, len(stub.received))
        assert story == wire.failure("transient")

    def test_compressed(self):
        """A long compressed body, as the real servers send it, is read to its end."""
        text = "".join(map(str, range(60_000)))
        body = gzip.compress(wire.encoded(self.answer(text)))
        answer = wire.reply(body, headers={"Content-Encoding": "gzip"})
        with wire.Stub(answer) as stub:
            provider = self.provider_class(self.key, base_url=stub.url)
            assert provider.generate_content(wire.PROMPT).content == text

    @pytest.mark.parametrize("keep_alive", [True, False])
    @pytest.mark.parametrize("chunked", [True, False])
    def test_drip(self, chunked, keep_alive):
        """A body that drips in ends with the attempt's time, however it is sent."""
        drip = wire.drip(self.answer(), chunked=chunked)
        with wire.Stub(drip, keep_alive=keep_alive) as stub:
            assert 0.29 < self.seconds_of_silence(stub) < 0.55

    def test_stall(self):
        """What the headers took is no longer there for the body."""
        with wire.Stub(wire.stall(self.answer(), late=0.2), keep_alive=True) as stub:
            assert 0.29 < self.seconds_of_silence(stub) < 0.48

    def seconds_of_silence(self, stub) -> float:
        """Return how long an attempt of 0.3 s took, which must have timed out."""
        provider = self.provider_class(self.key, base_url=stub.url, timeout=5)
        provider.warm_up(full=True)
        started = time.monotonic()
        with pytest.raises(TimedOutError) as caught:
            provider.answer(Request(wire.PROMPT, timeout=0.3))
        assert (caught.value.reason, caught.value.status) == ("timeout", None)
        assert pickle.loads(pickle.dumps(caught.value)).silent
        return time.monotonic() - started

    @pytest.mark.parametrize(("own", "given"), [(5, 0.2), (0.2, 5), (0.2, None)])
    def test_time_of_an_attempt(self, own, given):
        """An attempt takes no longer than the provider's time, nor than its own."""
        with wire.Stub(wire.hang) as stub:
            provider = self.provider_class(self.key, base_url=stub.url, timeout=own)
            provider.warm_up(full=True)
            started = time.monotonic()
            with pytest.raises(TimedOutError):
                provider.answer(Request(wire.PROMPT, timeout=given))
        assert 0.19 < time.monotonic() - started < 0.6

    def test_time_of_each_attempt(self):
        """A short attempt leaves nothing of its time to the next, on one connection."""
        late = wire.echo(self.answer, self.sent_prompt)
        with wire.Stub(late, keep_alive=True) as stub:
            provider = self.provider_class(self.key, base_url=stub.url, timeout=5)
            provider.answer(Request("first", timeout=0.5))
            stub.answer = lambda *args: (time.sleep(0.7), late(*args))
            assert provider.answer(Request("second")).content == "echo: second"
            self.hang_up(provider._client.get())
        assert len({each.connection for each in stub.received}) == 1

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

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 503])
    def test_error_of_its_own(self, httpserver, status, leak):
        """Used directly it raises our error only: nothing of it leads to the key."""
        wire.serve(httpserver, Row(status, leak))
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
