"""The contract's checks of failures, keys and forks."""

import base64
import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest

from ..errors import ProviderError
from ..providers.base import LLMProvider
from ..types import LLMResponse
from . import server as replies
from .checks import PROMPT, REFUSAL, TEXT, WiredTests, check_failure
from .server import Answer, Received, StubServer, closed_port

HTML = "<html><body><h1>Welcome to the hotel's network</h1></body></html>"

# What any server, gateway or proxy may say: status, body and the kind that it means.
ERRORS: Mapping[str, tuple[Any, ...]] = {
    "plain 400": (400, REFUSAL, "invalid_request"),
    "plain 401": (401, REFUSAL, "auth"),
    "plain 402": (402, REFUSAL, "quota"),
    "plain 403": (403, REFUSAL, "auth"),
    "plain 404": (404, REFUSAL, "model_not_found"),
    "plain 408": (408, REFUSAL, "transient"),
    "plain 413": (413, REFUSAL, "context_length"),
    "plain 422": (422, REFUSAL, "invalid_request"),
    "plain 429": (429, REFUSAL, "quota"),
    "429 of a gateway": (429, {"error": "slow down"}, "quota"),
    "plain 500": (500, REFUSAL, "transient"),
    "502 web page": (502, HTML, "transient"),
    "503 empty": (503, "", "transient"),
    "plain 504": (504, REFUSAL, "transient"),
    "plain 529": (529, REFUSAL, "transient"),
}

# Bodies that come with status 200 and are no answer; more columns: headers.
NO_ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "web page as JSON": (200, HTML),
    "web page": (200, HTML, {"Content-Type": "text/html"}),
    "empty body": (200, ""),
    "null": (200, "null"),
    "broken JSON": (200, '{"id": "1'),
}

# An SDK that retries would do it at once.
_AGAIN = {"Retry-After": "0", "x-should-retry": "true"}


class FailureTests(WiredTests):
    """The tests of failures.

    Attributes:
        errors: Errors in the API's own words.
    """

    errors: Mapping[str, tuple[Any, ...]] = MappingProxyType({})

    def rows(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows of each test that runs once for each, by its argument."""
        return {
            "failed": {**ERRORS, **self.errors},
            "unanswered": NO_ANSWERS,
            "fault": {
                "reset": replies.reset,
                "closed": replies.close,
                "half a body": replies.half(self.answer(TEXT)),
            },
        }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test with such an argument once for each row."""
        for argument, rows in self.rows().items():
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, list(rows.values()), ids=list(rows))

    def test_status(self, failed: tuple[Any, ...]) -> None:
        """Each error status becomes its kind."""
        status, body, kind, *_ = failed
        with StubServer(replies.reply(body, status)) as server:
            response = self.call(server.url)
        assert not response.success, f"status {status} must be no success"
        told = response.metadata["error_kind"]
        assert told == kind, (
            f"status {status} must mean {kind!r}, not {told!r}: raise the SDK's own"
            f" exception, or keep the status in the error's text ({response.error})"
        )

    @pytest.mark.parametrize("status", [401, 408, 429, 500, 503, 529, "reset"])
    def test_no_retries(self, status: int | str) -> None:
        """One attempt is one request, whatever the server suggests."""
        answer = (
            replies.reply(REFUSAL, status, _AGAIN)
            if isinstance(status, int)
            else replies.reset
        )
        with StubServer(answer) as server:
            self.call(server.url)
            sent = len(server.received)
        assert sent == 1, f"one attempt made {sent} requests: switch off other retries"

    def test_no_answer(self, unanswered: tuple[Any, ...]) -> None:
        """A success status without an answer in it is no success."""
        status, body, *headers = unanswered
        with StubServer(replies.reply(body, status, *headers)) as server:
            response = self.call(server.url)
        assert not response.success, f"{body!r} is no answer, but became a success"

    def test_fault(self, fault: Answer) -> None:
        """A fault of the connection is transient."""
        with StubServer(fault) as server:
            self.assert_transient(self.call(server.url))

    def test_refused(self) -> None:
        """A refused connection is transient."""
        self.assert_transient(self.call(closed_port()))

    def assert_transient(self, response: LLMResponse) -> None:
        """Check that a call failed so that the chain tries again."""
        assert not response.success, "without a whole answer there is no success"
        kind = response.metadata["error_kind"]
        told = f"a lost connection must mean 'transient', not {kind!r}"
        assert kind == "transient", f"{told}: {response.error}"

    def test_failure_shape(self) -> None:
        """It raises, or returns a failure of the documented shape."""
        with StubServer(replies.reply(REFUSAL, 503)) as server:
            provider = self.make(server.url, self.key)
            error = response = None
            try:
                response = provider.generate_content(PROMPT)
            except Exception as exc:  # noqa: BLE001  # of whatever kind: see test_status
                error = exc
        if error is None:
            check_failure(response, provider)
        elif isinstance(error, ProviderError):
            copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
            assert str(copy) == str(error), "a ProviderError must survive pickle"
            told = f"{vars(error)} {error!r}"
            assert self.key not in told, "a ProviderError must not hold the key"

    def test_answer_after_trouble(self) -> None:
        """The attempt after a failed one is answered, with one request for each."""
        good = replies.reply(self.answer(TEXT))
        answer = replies.in_turn(replies.reply(REFUSAL, 503), replies.reset, good)
        with StubServer(answer) as server:
            response = self.call(server.url, tries=3)
            sent = len(server.received)
        assert response.content == TEXT, f"it must recover: {response.error}"
        tries = len(response.attempts)
        assert sent == tries, f"{tries} attempts made {sent} requests"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirect(self, status: int) -> None:
        """A redirect to another host takes the key nowhere."""
        with StubServer(replies.reply(self.answer(TEXT))) as other:
            elsewhere = {"Location": f"{other.url}/elsewhere"}
            with StubServer(replies.reply("", status, elsewhere)) as server:
                response = self.call(server.url)
                assert server.received, "the request never arrived"
            for each in other.received:
                assert self.key not in str(each), (
                    "a redirect took the key to another host: switch redirects off"
                )
        assert not response.success, "a redirect must not be followed: switch that off"


class KeyTests(WiredTests):
    """The tests of where a key goes, and where it must not come out."""

    @pytest.fixture
    def meanwhile(self) -> Callable[[], object]:
        """Return what others do with the SDK before each call of two keys."""
        return lambda: None

    def assert_sent(self, key: str, received: Received) -> None:
        """Check that a request carries a key; the place for one that is signed."""
        assert key in str(received.headers), "the request must carry the key"

    def test_key_in_headers_only(self, echo: StubServer, provider: LLMProvider) -> None:
        """The key travels in a header; an address is written into logs everywhere."""
        provider.generate_content(PROMPT)
        assert echo.received, "no request arrived"
        for each in echo.received:
            self.assert_sent(self.key, each)
            assert self.key not in each.path, "the key must not be in the address"
            assert self.key.encode() not in each.body, "the key must not be in the body"

    def test_key_in_no_answer(
        self, caplog: pytest.LogCaptureFixture, provider: LLMProvider
    ) -> None:
        """The key is in no response, no log at any level, and no `repr`."""
        caplog.set_level("DEBUG")
        response = provider.generate_content(PROMPT)
        self.assert_no_key(f"{provider!r} {provider}", "repr() of the provider")
        self.assert_no_key(_all_of(response), "the response")
        self.assert_no_key(_all_of(caplog), "the log")

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 503])
    def test_echoed_key(self, caplog: pytest.LogCaptureFixture, status: int) -> None:
        """A server that repeats the request's headers brings the key out nowhere."""

        def answer(handler: Any, received: Received) -> None:
            error = {"error": {"message": f"refused: {received.headers}"}}
            replies.reply(error, status)(handler, received)

        caplog.set_level("DEBUG")
        with StubServer(answer) as server:
            response = self.call(server.url)
        assert not response.success, "an error's body is no answer"
        keep = "the error: keep the key in `api_key`, where the chain looks for it"
        self.assert_no_key(_all_of(response), keep)
        self.assert_no_key(_all_of(caplog), "the log")

    def assert_no_key(self, text: str, where: str) -> None:
        """Check that a text does not hold the key, plain or in Base64."""
        hidden = base64.b64encode(self.key.encode()).decode()
        found = self.key in text or hidden in text
        assert not found, f"the key must not be in {where}"

    def test_without_key(self, echo: StubServer) -> None:
        """Without its key it refuses to be made, or is unavailable and says why."""
        try:
            provider = self.make(echo.url, "")
        except Exception:  # noqa: BLE001  # an SDK's own way of saying so
            return
        if not provider.needs_key:
            return
        told = "is_available() must be False without a key (or set needs_key = False)"
        assert provider.is_available() is False, told
        why: object = provider.unavailable_reason()
        assert isinstance(why, str), "unavailable_reason() must be text"
        assert why.strip(), "unavailable_reason() must say what is missing"

    def test_malformed_key(self, echo: StubServer) -> None:
        """A key that no header can carry is refused, and nothing is sent."""
        try:
            provider = self.make(echo.url, f"{self.key}\r\nX-Injected: 1")
        except Exception:  # noqa: BLE001  # refused when made: the better way
            return
        response = self.ask_in_chain(provider)
        assert not response.success, "a key with a line break must be refused"
        assert not echo.received, "a request went out with a malformed key"

    def test_two_keys(self, echo: StubServer, meanwhile: Callable[[], object]) -> None:
        """Providers with different keys, used by many threads in turn, never mix."""
        keys = ["key-of-the-first", "key-of-the-second"]
        providers = {key: self.make(echo.url, key) for key in keys}
        prompts = [f"{key} {number}" for number in range(20) for key in keys]

        def ask(prompt: str) -> str:
            meanwhile()
            return self.content(providers[prompt.split(maxsplit=1)[0]], prompt)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, prompts))
        assert answers == [f"echo: {each}" for each in prompts], "answers got mixed up"
        assert len(echo.received) == len(prompts), "one call must make one request"
        for each in echo.received:
            self.assert_sent(self.sent_prompt(each).split()[0], each)


def _all_of(subject: LLMResponse | pytest.LogCaptureFixture) -> str:
    """Return all that somebody could read of a response, or of what was logged."""
    if isinstance(subject, LLMResponse):
        return f"{subject!r} {vars(subject)}"
    records = (f"{each.getMessage()} {each.args}" for each in subject.records)
    return "\n".join([subject.text, *records])


# A child that hangs ends itself; the inner one first, so that the outer can tell.
_SECONDS = 60


class Child:
    """A forked process that does one thing and ends.

    Args:
        work: What it does there.
        seconds: How long that may take.
    """

    def __init__(self, work: Callable[[], object], seconds: int = _SECONDS) -> None:
        self._reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of every fork beside other threads, and a test has some:
            # a lock that one of them holds would stay locked in the child. This child
            # shares no work with them, and the alarm below ends it if it hangs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _work_and_exit(work, writing, seconds)
        os.close(writing)

    def end(self) -> str:
        """Wait for its end; return what went wrong, or "" if nothing did."""
        with os.fdopen(self._reading, "rb") as pipe:
            told = pipe.read().decode(errors="replace")
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return "it hung"
        return told or ("" if status == 0 else f"it ended with wait status {status}")


def _work_and_exit(work: Callable[[], object], writing: int, seconds: int) -> None:
    """Do the work and end the process, past the test runner's own clean-up."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, the parent is told
        os.write(writing, traceback.format_exc()[-4000:].encode())
    os._exit(0)


def across_a_fork(parent: Callable[[], object], child: Callable[[], object]) -> str:
    """Work before a fork, in the child twice, and after it.

    Not at the same time: two processes that share a connection would take each other's
    answers and hang, where the connections seen by the server tell more. All of it runs
    in a process of its own: what it leaves open warns nobody in this one.

    Args:
        parent: What the process does that forks.
        child: What its child does.

    Returns:
        What went wrong, or "".
    """

    def work() -> None:
        parent()
        told = Child(lambda: [child(), child()], _SECONDS // 2).end()
        assert not told, f"in the child: {told}"
        parent()

    return Child(work).end()
