"""Whether the other end of a request still listens, which no server tells by itself."""

import select
import sys
from collections.abc import Mapping
from typing import Any

# How gunicorn and Werkzeug call the connection in a WSGI environment.
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")

# What the system has of these; none of them waits for anything to be read.
_GONE = 0
for _name in ("POLLRDHUP", "POLLHUP", "POLLERR"):
    _GONE |= getattr(select, _name, 0)


class Client:
    """Who has sent a request.

    One that has only closed its own direction counts as gone, as for most proxies.

    Args:
        environ: The request's WSGI environment. With no socket in it that is known
            here, the client counts as there.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        found = (environ[each] for each in _SOCKETS if each in environ)
        self._socket = next(found, None)

    def is_gone(self) -> bool:
        """Return whether it has closed the connection; never waits."""
        if self._socket is None or not _GONE:
            return False
        if self._socket.fileno() < 0:  # the server has closed it
            return True
        # Not select(), which takes no number above 1023.
        poll = _poll()
        poll.register(self._socket.fileno(), _GONE)
        return bool(poll.poll(0))


def _poll() -> Any:
    """Return the system's own poll object: gevent's knows no hang-up."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original("select", "poll")() if monkey else select.poll()
