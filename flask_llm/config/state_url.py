"""`LLM_STATE_URL`: what it may say, and the store it names.

No fault repeats the address: it may hold a password.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..resilience.clock import SYSTEM, Clock
from ..resilience.limits import Counters, MemoryCounters, SharedCounters
from ..resilience.storage.base import MemoryStorage, Storage
from .parsers import is_folder, text

_SQLITE = "sqlite:///"


def state_url(value: Any) -> str:
    """Parse the address of a store; connects to nothing.

    Raises:
        ValueError: With the second half of a sentence that begins with the key.
    """
    url = text(value)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(
            f"must begin with memory://, {_SQLITE} or redis:// (also rediss://, unix://)"
        )
    check, _ = _SCHEMES[scheme]
    check(url)
    return url


def store_of(url: str, clock: Clock = SYSTEM) -> Storage:
    """Return the store that an address names; it connects on first use.

    Args:
        url: What `state_url` returned.
        clock: The time as the store sees it.
    """
    _, make = _SCHEMES[url.partition("://")[0]]
    return make(url, clock)


def counters_of(url: str, clock: Clock = SYSTEM) -> Counters:
    """Return the counters of limits beside a store; they connect on first use.

    Args:
        url: What `state_url` returned.
        clock: The time of this process, and of a file.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return MemoryCounters(clock)
    if scheme == "sqlite":
        from ..resilience.storage.sqlite import SqliteCounters

        return SharedCounters(SqliteCounters(_path(url), clock), "sqlite", clock)
    from ..resilience.storage.redis import RedisCounters

    return SharedCounters(RedisCounters(url), "redis", clock)


def _check_memory(url: str) -> None:
    if url != "memory://":
        raise ValueError("must be memory:// and nothing behind it")


def _check_sqlite(url: str) -> None:
    if not url.startswith(_SQLITE) or url in {_SQLITE, f"{_SQLITE}:memory:"}:
        raise ValueError(f"must name a file, as in {_SQLITE}llm.db")
    path = _path(url)
    if is_folder(path):
        raise ValueError("names a folder; it must name a file")
    if not is_folder(path.parent):
        raise ValueError(
            "names a file in a folder that does not exist, or is closed to this process"
        )


def _check_redis(url: str) -> None:
    if find_spec("redis") is None:
        raise ValueError(
            'is for redis, which is not installed: pip install "Flask-LLM[redis]"'
        )
    try:
        urlsplit(url).port  # noqa: B018  # parsed on access
    except ValueError:
        raise ValueError("is no address: see its host, port and brackets") from None


def _memory(_: str, clock: Clock) -> Storage:
    return MemoryStorage(clock)


def _sqlite(url: str, clock: Clock) -> Storage:
    from ..resilience.storage.replicated import ReplicatedStorage
    from ..resilience.storage.sqlite import SqliteStorage

    return ReplicatedStorage(SqliteStorage(_path(url), clock), "sqlite", clock)


def _redis(url: str, clock: Clock) -> Storage:
    from ..resilience.storage.redis import RedisStorage
    from ..resilience.storage.replicated import ReplicatedStorage

    secrets = tuple(filter(None, [urlsplit(url).password, urlsplit(url).query]))
    return ReplicatedStorage(RedisStorage(url, clock), "redis", clock, secrets=secrets)


def _path(url: str) -> Path:
    # Absolute now: a server may change its folder later.
    return Path(url.removeprefix(_SQLITE)).absolute()


_SCHEMES = {
    "memory": (_check_memory, _memory),
    "sqlite": (_check_sqlite, _sqlite),
    "redis": (_check_redis, _redis),
    "rediss": (_check_redis, _redis),
    "unix": (_check_redis, _redis),
}
