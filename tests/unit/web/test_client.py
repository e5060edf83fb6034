"""Whether the other end of a connection still listens."""

import resource
import socket
import subprocess
import sys

import pytest

from flask_llm.web.sse import Client


@pytest.fixture
def pair():
    """Return the two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("name", ["gunicorn.socket", "werkzeug.socket"])
def test_a_client_that_hangs_up_is_gone(pair, name):
    """The server's socket tells, whichever server it is."""
    ours, theirs = pair
    client = Client({name: ours})
    assert not client.is_gone()
    theirs.close()
    assert client.is_gone()


def test_what_a_client_sends_is_left_alone(pair):
    """Bytes that wait to be read, of a next request, are no farewell and stay."""
    ours, theirs = pair
    theirs.sendall(b"GET /")
    assert not Client({"werkzeug.socket": ours}).is_gone()
    assert ours.recv(9) == b"GET /"


def test_a_client_that_hangs_up_with_bytes_unread_is_gone(pair):
    """What it had sent before does not hide it."""
    ours, theirs = pair
    theirs.sendall(b"GET /")
    theirs.close()
    assert Client({"werkzeug.socket": ours}).is_gone()


def test_a_connection_that_was_reset_is_gone(pair):
    """A client that vanishes without a word counts too."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    assert Client({"gunicorn.socket": ours}).is_gone()


def test_a_socket_that_the_server_has_closed():
    """There is no number left to ask for, and nobody to write to."""
    with socket.socket() as ours:
        client = Client({"gunicorn.socket": ours})
    assert client.is_gone()


def test_without_a_socket_the_client_is_there():
    """Under another server only a write can tell."""
    assert not Client({}).is_gone()


def test_any_number_of_connections(pair):
    """A file number beyond what select() takes is asked for like any other."""
    ours, theirs = pair
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most <= 1100:
        pytest.skip("too few files may be open")
    import fcntl

    high = socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1080))
    with high:
        client = Client({"gunicorn.socket": high})
        assert not client.is_gone()
        theirs.close()
        assert client.is_gone()


@pytest.mark.slow
def test_under_gevent():
    """Its own poll knows no hang-up; the system's is asked."""
    pytest.importorskip("gevent")
    code = """if True:
        from gevent import monkey
        monkey.patch_all()
        import socket
        from flask_llm.web.sse import Client
        ours, theirs = socket.socketpair()
        client = Client({"gunicorn.socket": ours})
        assert not client.is_gone()
        theirs.close()
        assert client.is_gone()
    """
    subprocess.run([sys.executable, "-c", code], check=True)
