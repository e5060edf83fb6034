"""Stands before a PostgreSQL, and can lose its answers to commits."""

import socket
import threading
from contextlib import suppress


class Proxy:
    """Stands before a server, and can swallow the answers to commits.

    Attributes:
        port: Where it listens.
        swallow: To how many commits it will cut the connection instead of answering.
    """

    def __init__(self, port):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._target = port
        self._open = []
        self._threads = []
        self.swallow = 0

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._server.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in self._open:
            each.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            cut = threading.Event()
            for args in ((client, server, cut), (server, client, cut)):
                thread = threading.Thread(target=self._pass, args=args, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pass(self, one, other, cut):
        while data := _received(one):
            if cut.is_set():
                break  # what the server said to the commit
            if b"COMMIT\0" in data and self.swallow:
                self.swallow -= 1
                cut.set()
            try:
                other.sendall(data)
            except OSError:
                break
        for each in (one, other):
            with suppress(OSError):  # it is closed already
                each.shutdown(socket.SHUT_RDWR)


def _received(connection):
    try:
        return connection.recv(65536)
    except OSError:
        return b""
