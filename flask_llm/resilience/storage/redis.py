"""Circuits in Redis: for many hosts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..circuit_breaker import CLOSED, Circuit
from ..clock import SYSTEM, Clock, PerProcess
from .base import Change, Storage, unless_stale

if TYPE_CHECKING:
    from redis import Redis

_PREFIX = "flask-llm:circuit:"
_TIMEOUT = 1.0
_TRIES = 100
_LONGEST_KEPT = 7 * 86_400


class RedisStorage(Storage):
    """Circuits in Redis, one text under each key; Redis forgets the stale ones.

    Args:
        url: A redis://, rediss:// or unix:// address. Its query can set what
            `redis.Redis` takes, such as another socket_timeout.
        clock: Says when circuits are stale.
    """

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        # Here, not at the first prompt: it takes longer than a prompt may wait.
        import redis

        self._redis = redis
        self._url = url
        self._clock = clock
        self._client = PerProcess(self._connected)

    def read(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys, in one command."""
        if not keys:
            return []
        texts = self._client.get().mget([_PREFIX + key for key in keys])
        return [self._loaded(text) for text in texts]

    def update(self, key: str, change: Change) -> Circuit:
        """Change one circuit; again with the newer one if somebody was faster."""
        name = _PREFIX + key
        with self._client.get().pipeline() as pipe:
            for _ in range(_TRIES):
                pipe.watch(name)
                known = self._loaded(pipe.get(name))
                circuit = change(known)
                if circuit == known:
                    return circuit
                pipe.multi()
                if circuit == CLOSED:
                    pipe.delete(name)
                else:
                    pipe.set(name, circuit.dumps(), px=self._kept_for(circuit))
                try:
                    pipe.execute()
                except self._redis.WatchError:
                    continue
                return circuit
        raise TimeoutError(f"others were faster {_TRIES} times")

    def _loaded(self, text: str | bytes | None) -> Circuit:
        return unless_stale(Circuit.loads(text), self._clock.time())

    def _kept_for(self, circuit: Circuit) -> int:
        """Return milliseconds; a wrong clock's infinity is cut."""
        left = min(_LONGEST_KEPT, circuit.stale_at() - self._clock.time())
        return max(1, int(left * 1000))

    def _connected(self) -> "Redis":
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return self._redis.Redis.from_url(
            self._url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # Whoever waits here has no time for a second try.
            retry=Retry(NoBackoff(), 0),
        )
