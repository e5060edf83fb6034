"""An app behind a real server, for clients that are no test client."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from flask import Flask
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@contextmanager
def served(app: Flask) -> Iterator[tuple[str, int]]:
    """Serve an app, a thread for each request; yield host and port.

    When it returns, all requests are over.
    """
    server = make_server("127.0.0.1", 0, _closing_files(app), threaded=True)
    server.daemon_threads = False  # else nobody would wait for them
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[:2]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _closing_files(app: Flask) -> "WSGIApplication":
    """Close files at once; Werkzeug leaves them open where a browser hangs up."""

    def read(file: BinaryIO, _size: int = 0) -> list[bytes]:
        with file:
            return [file.read()]

    def answer(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        environ["wsgi.file_wrapper"] = read
        return app(environ, start_response)

    return answer
