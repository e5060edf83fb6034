"""Providers that each break one promise, and the tests that must say so.

Run by `test_contract_catches.py`, in a pytest of its own. `caught_by` holds all the
tests that fail: a test more or less shows that the contract blames the wrong thing.
"""

import http.client
import json
import logging
import threading
import time
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from plain import PlainContract, PlainProvider

from flask_llm import LLMResponse
from flask_llm.errors import TransientError
from flask_llm.testing import FakeProvider, InProcessContract

log = logging.getLogger("mutant")

EVERY_CALL = (
    "test_answer_after_trouble",
    "test_fault",
    "test_in_a_chain",
    "test_refused",
    "test_status",
)
STREAMS = ("test_closed_stream", "test_stream")


class Anonymous(PlainProvider):
    """Has no name."""

    caught_by = ("test_name",)

    def get_provider_name(self):
        return ""


class Curious(PlainProvider):
    """Asks its server whether it is available, and waits for the answer."""

    caught_by = (
        *EVERY_CALL,
        *STREAMS,
        "test_available",
        "test_deadline",
        "test_malformed_key",
    )

    def is_available(self):
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=4.5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Raw(PlainProvider):
    """Hands the SDK's object on as metadata."""

    caught_by = ("test_answer_shape", "test_in_a_chain")

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        response = super().generate_content(prompt, temperature, max_tokens)
        response.metadata["raw"] = http.client
        return response


class Foreign(PlainProvider):
    """Counts tokens under the names of its own API."""

    caught_by = ("test_answer_shape",)

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        response = super().generate_content(prompt, temperature, max_tokens)
        response.metadata["usage"] = {"prompt_tokens": 3, "completion_tokens": 4}
        return response


class Untold(PlainProvider):
    """Returns nothing as the list of its models."""

    caught_by = ("test_list_of_models",)

    def list_models(self):
        return None


class Bound(PlainProvider):
    """Works only in the thread that made it."""

    caught_by = (
        *EVERY_CALL,
        *STREAMS,
        "test_conversation",
        "test_many_threads",
        "test_no_retries",
        "test_redirect",
        "test_two_keys",
    )

    def __init__(self, api_key, url):
        super().__init__(api_key, url)
        self.thread = threading.get_ident()

    def connect(self):
        if threading.get_ident() != self.thread:
            raise RuntimeError("wrong thread")
        return super().connect()


class Vague(PlainProvider):
    """Says nothing of the cause."""

    caught_by = (
        "test_status",
        "test_fault",
        "test_refused",
        "test_answer_after_trouble",
    )

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        response = super().generate_content(prompt, temperature, max_tokens)
        return response if response.success else LLMResponse(False, "", "plain", "no")


class Stubborn(PlainProvider):
    """Tries twice."""

    caught_by = ("test_no_retries", "test_answer_after_trouble")

    def ask(self, body):
        with suppress(Exception):
            return super().ask(body)
        return super().ask(body)


class Credulous(PlainProvider):
    """Takes any body for an answer."""

    caught_by = ("test_no_answer", "test_echoed_key")

    def ask(self, body):
        connection = self.connect()
        try:
            connection.request("POST", "/", json.dumps(body), self.headers())
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}")
        finally:
            connection.close()
        with suppress(Exception):
            return {"text": json.loads(text)["text"]}
        return {"text": text}


class Half(PlainProvider):
    """Puts the error where the text belongs."""

    caught_by = ("test_failure_shape",)

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        response = super().generate_content(prompt, temperature, max_tokens)
        response.content = response.content or f"Sorry! {response.error}"
        return response


class Unpicklable(PlainProvider):
    """Raises an error that no queue can carry."""

    caught_by = ("test_failure_shape",)

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        response = super().generate_content(prompt, temperature, max_tokens)
        if response.success or " 503 " not in response.error:
            return response
        error = TransientError(response.error)
        error.lock = threading.Lock()
        raise error


class Wanderer(PlainProvider):
    """Follows redirects, as urllib does, with all headers."""

    caught_by = ("test_redirect",)

    def ask(self, body):
        data, headers = json.dumps(body).encode(), self.headers()
        request = urllib.request.Request(self.url, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


class Visible(PlainProvider):
    """Puts the key into the address too."""

    caught_by = ("test_key_in_headers_only",)

    def path(self):
        return f"/generate?key={self.api_key}"


class Talkative(PlainProvider):
    """Logs its headers."""

    caught_by = ("test_key_in_no_answer", "test_echoed_key")

    def headers(self):
        log.debug("sending %s", super().headers())
        return super().headers()


class Shown(PlainProvider):
    """Shows its key in its repr."""

    caught_by = ("test_key_in_no_answer",)

    def __repr__(self):
        return f"Shown({self.api_key!r})"


class Leaky(PlainProvider):
    """Keeps its key where the chain cannot find it, and repeats it in an error."""

    caught_by = ("test_echoed_key",)

    def __init__(self, api_key, url):
        super().__init__("", url)
        self.token = api_key

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"}

    def is_available(self):
        return bool(self.token)


class Optimist(PlainProvider):
    """Says that it is available without a key."""

    caught_by = ("test_without_key",)

    def is_available(self):
        return True


class Tolerant(PlainProvider):
    """Makes something of a malformed key."""

    caught_by = ("test_malformed_key",)

    def headers(self):
        return {"Authorization": f"Bearer {self.api_key.split()[0]}"}


class Global(PlainProvider):
    """Sets its key for the whole process, as old SDKs do."""

    caught_by = ("test_two_keys",)
    current = ""

    def headers(self):
        Global.current = self.api_key
        time.sleep(0.002)
        return {"Authorization": f"Bearer {Global.current}"}


class Forgetful(PlainProvider):
    """Keeps the prompt of a call on itself."""

    caught_by = ("test_many_threads", "test_two_keys")

    def ask(self, body):
        self.body = body
        time.sleep(0.002)
        return super().ask(self.body)


class Inherited(PlainProvider):
    """Keeps a connection for each thread, also over a fork."""

    caught_by = ("test_fork",)

    def __init__(self, api_key, url):
        super().__init__(api_key, url)
        self.mine = threading.local()

    def ask(self, body):
        if not hasattr(self.mine, "connection"):
            self.mine.connection = self.connect()
        connection = self.mine.connection
        try:
            connection.request("POST", self.path(), json.dumps(body), self.headers())
            answer = connection.getresponse()
            text = answer.read().decode()
        except Exception:
            connection.close()
            raise
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status} {text}")
        return json.loads(text)


class Patient(PlainProvider):
    """Overrides `answer`, but not for the time that an attempt may take."""

    caught_by = ("test_time_of_an_attempt",)

    def answer(self, request):
        return self.generate_content(request.text)


class Counting(FakeProvider):
    """Says something else each time."""

    caught_by = ("test_fork", "test_many_threads", "test_stream")

    def __init__(self):
        super().__init__(lambda _: str(len(self.calls)))


class Sleepy(FakeProvider):
    """Takes its time to say, when it is first asked, that it is available."""

    caught_by = ("test_deadline",)
    seconds = 4.5

    def is_available(self):
        time.sleep(self.seconds)
        self.seconds = 0
        return True


class Deaf(FakeProvider):
    """Overrides `answer`, but knows no conversation."""

    caught_by = ("test_conversation", "test_picture")

    def answer(self, request):
        return self.generate_content(request.prompt.strip())


class Blind(FakeProvider):
    """Stumbles over pictures."""

    caught_by = ("test_picture",)

    def answer(self, request):
        if request.images:
            raise KeyError("image")
        return super().answer(request)


class Lossy(FakeProvider):
    """Streams words without the spaces between them."""

    caught_by = ("test_stream",)

    def __init__(self):
        super().__init__("one two three")

    def stream(self, request):
        for each in super().stream(request):
            yield each.strip()


class Clinging(FakeProvider):
    """Cannot be used again after a stream that nobody read to its end."""

    caught_by = ("test_closed_stream",)

    def __init__(self):
        super().__init__("word " * 500)  # more than is read ahead
        self.mine = threading.Lock()

    def stream(self, request):
        if not self.mine.acquire(timeout=0.05):
            raise RuntimeError("in use")
        response = yield from super().stream(request)
        self.mine.release()
        return response


class Quick(PlainContract):
    """The contract without what costs half a second and catches one mutant only."""

    test_deadline = None


class Inside(InProcessContract):
    """The contract of the mutants without a wire."""

    @pytest.fixture
    def provider(self):
        return self.provider_class()


def contract_of(mutant):
    """Return the contract that a mutant breaks."""
    if issubclass(mutant, FakeProvider):
        return Inside
    return PlainContract if "test_deadline" in mutant.caught_by else Quick


INSIDE = [Counting, Sleepy, Deaf, Blind, Lossy, Clinging]
MUTANTS = [*PlainProvider.__subclasses__(), *INSIDE]

for each in MUTANTS:
    name = f"Test{each.__name__}"
    globals()[name] = type(name, (contract_of(each),), {"provider_class": each})
