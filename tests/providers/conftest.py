"""The time that a provider's SDK is told, and the clock that it looks at."""

import math
import socket
import time

import pytest
import requests.sessions

pytest.register_assert_rewrite("chat_contract", "google_chat_contract")


class Sockets:
    """What clients' sockets are told to wait; a test can let their time run fast.

    Attributes:
        told: Seconds, in order: to connect, to send, to receive.
        most: So many seconds they really wait, whatever they are told from now on.
    """

    def __init__(self) -> None:
        self.told: list[float] = []
        self.most = math.inf


@pytest.fixture
def sockets(monkeypatch):
    found, settimeout = Sockets(), socket.socket.settimeout

    def tell(self, seconds):
        if seconds:
            found.told.append(seconds)
            seconds = min(seconds, found.most)
        settimeout(self, seconds)

    monkeypatch.setattr(socket.socket, "settimeout", tell)
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
