"""A loopback server that speaks the APIs of language models, well or badly, as told.

    with FaultServer() as server:
        server.script("anthropic", faults.status(529), faults.OK)
        ...
        assert [each.abandoned for each in server.attempts("anthropic")] == [False] * 2

One asyncio loop in one thread serves hundreds of connections, so that deadlines,
abandoned calls and load can be tested against the SDKs' real network code.
"""

from . import faults
from .messages import Attempt
from .process import spawn
from .server import FaultServer

__all__ = ["Attempt", "FaultServer", "faults", "spawn"]
