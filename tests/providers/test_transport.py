"""The connection of a stream, cut from another thread while it waits for bytes."""

import os
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from shutil import which

import pytest
import wire
from real_time import AT_ONCE_S

from flask_llm.providers.transport import body_hooks, cancellable
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation

MUST_RUN = "FLASK_LLM_CI" in os.environ
PIECE = b"the first piece of an answer"


class Server(wire.Stub):
    """A stub, behind HTTPS if it has a certificate, which sees clients hang up."""

    certificate = None

    def __init__(self, answer):
        super().__init__(answer, keep_alive=True)
        self.waits, self.left = threading.Event(), threading.Event()

    def finish_request(self, request, client_address):
        if not self.certificate:
            super().finish_request(request, client_address)
            return
        with _behind(self.certificate, request) as encrypted:
            super().finish_request(encrypted, client_address)

    @property
    def url(self):
        scheme = "https" if self.certificate else "http"
        return super().url.replace("http", scheme, 1)


class TlsProxy(Server):
    """A proxy's end of a tunnel, and the server behind it."""

    def finish_request(self, request, client_address):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += request.recv(1)
        assert head.startswith(b"CONNECT ")
        request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        super().finish_request(request, client_address)

    @property
    def proxy(self):
        return super().url.replace("https", "http")


def _behind(certificate, connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context.wrap_socket(connection, server_side=True)


def _await_the_end(handler):
    handler.server.waits.set()
    try:
        rest = handler.connection.recv(1)
    except OSError:  # TLS misses its last word
        rest = b""
    if not rest:
        handler.server.left.set()
    handler.close_connection = True


def silence(handler, received):
    """Say nothing, not even headers."""
    _await_the_end(handler)


def one_piece(handler, received):
    """Begin an answer, then say nothing more."""
    handler.send(200, {"Content-Length": "1000"}, PIECE)
    _await_the_end(handler)


class Reader(threading.Thread):
    """Reads a stream in a thread of its own, as the relay does."""

    def __init__(self, client, url, cancellation):
        super().__init__(daemon=True)
        self.client, self.url, self.cancellation = client, url, cancellation
        self.got, self.error = b"", None
        self.some = threading.Event()

    def run(self):
        current_cancellation.set(self.cancellation)
        try:
            with self.client.stream("POST", self.url, json={}) as response:
                for piece in response.iter_raw():
                    self.got += piece
                    self.some.set()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            self.error = error

    def cancel(self):
        """Cut the line; return whether the thread has noticed at once."""
        self.cancellation.cancel()
        return self.ends()

    def ends(self):
        """Return whether the thread ends, long before it has waited in vain."""
        self.join(AT_ONCE_S)
        return not self.is_alive()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not (which("openssl") or MUST_RUN):
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", "-", "-out", "-"]
    done = subprocess.run(
        [*request.split(), *names, *files], capture_output=True, check=True
    )
    file.write_bytes(done.stdout)
    return file


@pytest.fixture(params=["httpx", "httpx2"])
def library(request):
    return request.param


@pytest.fixture(params=["http", "https"])
def server(request):
    """Yield a server of either scheme."""
    with Server(silence) as server:
        if request.param == "https":
            server.certificate = request.getfixturevalue("certificate")
        yield server


@pytest.fixture
def connect(library):
    """Return what makes clients as the providers do."""
    made = []

    def connect(certificate=None, **options):
        usual = {"event_hooks": body_hooks(library), "trust_env": False, "timeout": 60}
        if certificate:
            usual["verify"] = ssl.create_default_context(cafile=str(certificate))
        made.append(cancellable(import_module(library).Client(**usual | options)))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@contextmanager
def reading(client, url):
    """Yield a thread that reads a stream."""
    reader = Reader(client, url, Cancellation())
    reader.start()
    yield reader
    assert reader.cancel()


def open_connections(client):
    return [
        each for each in client._transport._pool.connections if not each.is_closed()
    ]


class TestCut:
    def test_while_it_waits_for_headers(self, connect, server):
        """The thread gets an error at once, and the server sees the client leave."""
        client = connect(server.certificate)
        with reading(client, server.url) as reader:
            assert server.waits.wait(AT_ONCE_S)
            assert reader.cancel()
            assert server.left.wait(AT_ONCE_S)
        assert "Error" in type(reader.error).__name__

    def test_in_the_middle_of_a_body(self, connect, server):
        """What had come is there, the rest is an error at once."""
        server.answer = one_piece
        client = connect(server.certificate)
        with reading(client, server.url) as reader:
            assert reader.some.wait(AT_ONCE_S)
            assert server.waits.wait(AT_ONCE_S)
            assert reader.cancel()
            assert server.left.wait(AT_ONCE_S)
        assert reader.got == PIECE
        assert "Error" in type(reader.error).__name__

    def test_before_the_request_is_sent(self, connect, server):
        """Nobody waits for the answer to a request that nobody wants any more."""
        client, cancellation = connect(server.certificate), Cancellation()
        cancellation.cancel()
        reader = Reader(client, server.url, cancellation)
        reader.start()
        assert reader.ends()
        assert "Error" in type(reader.error).__name__

    @pytest.mark.parametrize("answer", [silence, one_piece])
    def test_a_used_connection(self, connect, server, answer):
        """A stream on a connection that had served another request is cut as well."""
        server.answer = wire.in_turn(wire.reply("{}"), answer)
        client = connect(server.certificate)
        client.post(f"{server.url}/first", json={}).raise_for_status()
        with reading(client, server.url) as reader:
            assert server.waits.wait(AT_ONCE_S)
            assert reader.cancel()
        first, second = server.received
        assert first.connection == second.connection

    @pytest.mark.parametrize("answer", [silence, one_piece])
    def test_the_client_works_afterwards(self, connect, server, answer):
        """The next request gets a fresh connection; the other is gone."""
        server.answer = wire.in_turn(answer, wire.reply("{}"))
        client = connect(server.certificate)
        with reading(client, server.url) as reader:
            assert server.waits.wait(AT_ONCE_S)
            reader.cancel()
        assert open_connections(client) == []
        assert client.post(server.url, json={}).status_code == 200
        first, second = server.received
        assert first.connection != second.connection
        assert len(open_connections(client)) == 1

    def test_through_a_proxy(self, connect, certificate):
        """The request inside a tunnel has the line, not only the tunnel's own."""
        with TlsProxy(one_piece) as server:
            server.certificate = certificate
            client = connect(certificate, proxy=server.proxy)
            with reading(client, server.url) as reader:
                assert reader.some.wait(AT_ONCE_S)
                assert reader.cancel()
                assert server.left.wait(AT_ONCE_S)
        assert reader.got == PIECE

    def test_only_its_own_stream(self, connect, server):
        """Of two streams of one client the other goes on waiting."""
        both = threading.Event()

        def answer(handler, received):
            if len(handler.server.received) == 2:
                both.set()
            silence(handler, received)

        server.answer = answer
        client = connect(server.certificate)
        with reading(client, server.url) as one, reading(client, server.url) as other:
            assert both.wait(AT_ONCE_S)
            assert one.cancel()
            other.join(0.05)
            assert other.is_alive()


class TestUncut:
    def test_a_stream_that_is_over_keeps_its_connection(self, connect, server):
        """To cut its line then is too late, and costs the pool nothing."""
        server.answer = wire.reply("{}")
        client = connect(server.certificate)
        with reading(client, server.url) as reader:
            assert reader.ends()
        assert (reader.got, reader.error) == (b"{}", None)
        reader.cancellation.cancel()
        assert client.post(server.url, json={}).status_code == 200
        first, second = server.received
        assert first.connection == second.connection

    def test_a_later_request_is_not_cut(self, connect, server):
        """The line of a stream that is over cannot end who has its connection now."""
        late = threading.Event()

        def answer(handler, received):
            handler.server.waits.set()
            late.wait(AT_ONCE_S)
            wire.reply("{}")(handler, received)

        server.answer = wire.in_turn(wire.reply("{}"), answer)
        client = connect(server.certificate)
        with reading(client, f"{server.url}/first") as first:
            assert first.ends()
        with reading(client, server.url) as second:
            assert server.waits.wait(AT_ONCE_S)
            first.cancellation.cancel()
            late.set()
            assert second.ends()
        assert (second.got, second.error) == (b"{}", None)
        assert len({each.connection for each in server.received}) == 1

    def test_a_body_that_drips(self, connect, server, later):
        """A stream may take its time whatever its type; no other body may."""

        def answer(handler, received):
            handler.send(200, {"Content-Length": "3"}, b"")
            for byte in b"...":
                later(25)
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)

        server.answer = answer
        client = connect(server.certificate)
        with reading(client, server.url) as reader:
            assert reader.ends()
        assert (reader.got, reader.error) == (b"...", None)
        without = Reader(client, server.url, None)
        without.start()
        assert without.ends()
        assert type(without.error).__name__ == "ReadTimeout"


GREENLETS = """if True:
    import gevent.monkey
    gevent.monkey.patch_all()
    import ssl, sys
    from importlib import import_module
    import gevent
    from gevent.event import Event
    from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
    from flask_llm.providers.transport import body_hooks, cancellable

    certificate, *urls = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate)

    def read(client, url, line, begun):
        current_cancellation.set(line)
        try:
            with client.stream("POST", url, json={}) as response:
                for piece in response.iter_raw():
                    print(piece.decode())
                    begun.set()
        except Exception as error:
            print("Error" in type(error).__name__)

    for library, url in zip(("httpx", "httpx2") * 2, urls):
        hooks = body_hooks(library)
        client = import_module(library).Client(
            event_hooks=hooks, verify=context, timeout=60
        )
        line, begun = Cancellation(), Event()
        reader = gevent.spawn(read, cancellable(client), url, line, begun)
        assert begun.wait(30)
        gevent.sleep(0.05)  # until it waits for more
        line.cancel()
        reader.join(AT_ONCE_S)
        print(reader.dead)
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("gevent") and not MUST_RUN, reason="needs gevent")
def test_greenlets(certificate):
    """Under gevent another greenlet cuts it, and the server sees that too."""
    code = GREENLETS.replace("AT_ONCE_S", str(AT_ONCE_S))
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(one_piece)) for _ in "1234"]
        for each in servers[2:]:
            each.certificate = certificate
        said = wire.python(code, str(certificate), *(each.url for each in servers))
        assert said == f"{PIECE.decode()}\nTrue\nTrue\n" * 4
        assert all(each.left.wait(AT_ONCE_S) for each in servers)
