"""A connection that another thread may cut."""

import contextvars
import subprocess
import sys

import pytest

from flask_llm.resilience.stream_reader import Cancellation, current_cancellation


def test_cutting_hangs_up():
    """Once a connection is there, it is ended at once."""
    cancellation, ended = Cancellation(), []
    cancellation.on_cancel(lambda: ended.append(1))
    assert (cancellation.is_cancelled, ended) == (False, [])
    cancellation.cancel()

    assert (cancellation.is_cancelled, ended) == (True, [1])


def test_a_connection_that_comes_too_late_is_hung_up():
    """A stream may be closed while its provider is still being connected to."""
    cancellation, ended = Cancellation(), []
    cancellation.cancel()
    cancellation.on_cancel(lambda: ended.append(1))

    assert ended == [1]


def test_the_last_connection_counts():
    """A redirect or a second try replaces the one before."""
    cancellation, ended = Cancellation(), []
    cancellation.on_cancel(lambda: ended.append("first"))
    cancellation.on_cancel(lambda: ended.append("second"))
    cancellation.cancel()

    assert ended == ["second"]


def test_an_ended_connection_is_no_error():
    """Shutting down what is closed already may fail."""
    cancellation = Cancellation()
    cancellation.on_cancel(lambda: 1 / 0)
    cancellation.cancel()
    cancellation.cancel()

    assert cancellation.is_cancelled


def test_who_ends_the_caller_is_heard():
    """Only errors are nobody's business."""

    def hang_up():
        raise KeyboardInterrupt

    cancellation = Cancellation()
    cancellation.on_cancel(hang_up)
    with pytest.raises(KeyboardInterrupt):
        cancellation.cancel()


def test_there_is_no_line_outside_of_streams():
    """So that a plain call attaches nothing."""
    assert contextvars.Context().run(current_cancellation.get) is None


def test_a_forked_child_does_not_end_its_parent_s_connection():
    """It shares the socket, but the stream is the parent's; its own it can cut."""
    code = """if True:
        import os, socket
        from flask_llm.resilience.stream_reader import Cancellation

        def connected():
            line, (mine, other) = Cancellation(), socket.socketpair()
            line.on_cancel(lambda: mine.shutdown(socket.SHUT_RDWR))
            return line, mine, other

        line, mine, other = connected()
        child = os.fork()
        if child == 0:
            line.cancel()
            own, _, far = connected()
            own.cancel()
            os._exit(0 if line.is_cancelled and far.recv(1) == b"" else 1)
        assert os.waitpid(child, 0)[1] == 0
        other.sendall(b"on")
        assert mine.recv(2) == b"on"
        line.cancel()
        assert other.recv(1) == b""
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
