"""The time that a provider's SDK is told, and the clock that it looks at."""

import math
import socket
import time
import weakref

import pytest
import requests.sessions

from flask_llm.providers.answers import AFTER_END_S

pytest.register_assert_rewrite("chat_contract", "google_chat_contract")


class Sockets:
    """What clients' sockets are told to wait; a test can let their time run fast.

    Attributes:
        told: Seconds, in order: to connect, to send, to receive.
    """

    def __init__(self, settimeout) -> None:
        self.told: list[float] = []
        self._settimeout = settimeout
        self._most = math.inf
        self._open = weakref.WeakSet()

    def last(self) -> float:
        """Return what they are told last, but for what comes behind a whole answer."""
        return [each for each in self.told if each > AFTER_END_S][-1]

    def tell(self, sock: socket.socket, seconds: float | None) -> None:
        """Do what `sock.settimeout` does, but let it wait no longer than it may."""
        if seconds:
            self.told.append(seconds)
            self._open.add(sock)
            seconds = min(seconds, self._most)
        self._settimeout(sock, seconds)

    def hurry(self, seconds: float = 0.05) -> None:
        """Let them wait no longer from now on, whatever they are told."""
        self._most = seconds
        for each in self._open:
            if each.fileno() >= 0:
                self._settimeout(each, seconds)


@pytest.fixture
def sockets(monkeypatch):
    found = Sockets(socket.socket.settimeout)

    def settimeout(self, seconds):
        found.tell(self, seconds)

    monkeypatch.setattr(socket.socket, "settimeout", settimeout)
    return found


@pytest.fixture
def later(monkeypatch):
    """Return what turns on the clock that providers and SDKs look at, by seconds."""
    turned = []

    def turnable(clock):
        return lambda: clock() + sum(turned)

    monkeypatch.setattr(time, "monotonic", turnable(time.monotonic))
    # Bound when requests was imported.
    clock = requests.sessions.preferred_clock
    monkeypatch.setattr(requests.sessions, "preferred_clock", turnable(clock))
    return turned.append
