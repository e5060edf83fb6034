"""Circuits in Redis: for many hosts."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..circuit_breaker import CLOSED, Circuit
from ..clock import SYSTEM, Clock, PerProcess
from ..limits import BUCKETS, Charge, Counters, Rate, Refused
from .base import Change, Storage, unless_stale

if TYPE_CHECKING:
    from redis import Redis

_PREFIX = "flask-llm:circuit:"
_COUNTER = "flask-llm:limit:"
_COUNTERS_TIMEOUT = 2.0
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
        return _connected(self._url, _TIMEOUT)


def _connected(url: str, seconds: float) -> "Redis":
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        # Whoever waits here has no time for a second try.
        retry=Retry(NoBackoff(), 0),
    )


# Each window is a hash of its buckets. The time is that of the server, for all hosts.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local buckets = {}
for i, key in ipairs(KEYS) do
  local seconds, most, amount = tonumber(ARGV[3*i-2]), tonumber(ARGV[3*i-1]),
    tonumber(ARGV[3*i])
  local width = seconds / PARTS
  local counted, numbers, used = {}, {}, 0
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local bucket = tonumber(all[j])
    if (bucket + 1) * width + seconds <= now then
      redis.call('HDEL', key, all[j])
    else
      counted[bucket] = tonumber(all[j + 1])
      numbers[#numbers + 1] = bucket
      used = used + counted[bucket]
    end
  end
  if amount > most then return {'never', i} end
  table.sort(numbers)
  local untilthen = now
  for _, bucket in ipairs(numbers) do
    if used + amount <= most then break end
    used = used - counted[bucket]
    untilthen = (bucket + 1) * width + seconds
  end
  if untilthen > now then return {tostring(untilthen - now), i} end
  buckets[i] = math.floor(now / width)
end
for i, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, buckets[i], ARGV[3*i])
  redis.call('PEXPIRE', key, math.ceil(ARGV[3*i-2] * 1000 * (1 + 2 / PARTS)))
end
return buckets
""".replace("PARTS", str(BUCKETS))

# Only what is still there: a window that is gone stays so.
_CORRECT = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  redis.call('HSET', KEYS[1], ARGV[1], math.max(0, known + ARGV[2]))
end
"""


_USED = """
local time = redis.call('TIME')
local now, used, seconds = time[1] + time[2] / 1000000, 0, tonumber(ARGV[1])
local all = redis.call('HGETALL', KEYS[1])
for j = 1, #all, 2 do
  if (tonumber(all[j]) + 1) * seconds / PARTS + seconds > now then
    used = used + tonumber(all[j + 1])
  end
end
return used
""".replace("PARTS", str(BUCKETS))


class RedisCounters(Counters):
    """Counters of limits in Redis, by the clock of its server.

    Args:
        url: As of `RedisStorage`.
    """

    def __init__(self, url: str) -> None:
        import redis  # noqa: F401  # here, not at the first prompt

        self._url = url
        self._client = PerProcess(lambda: _connected(url, _COUNTERS_TIMEOUT))

    def take(self, charges: Sequence[Charge]) -> list[int]:
        """Take from several windows, or from none, in one script."""
        keys = [_COUNTER + each.key for each in charges]
        values = [
            each
            for one in charges
            for each in (one.rate.seconds, one.rate.most, one.amount)
        ]
        found: Any = self._client.get().eval(_TAKE, len(keys), *keys, *values)
        if isinstance(found[0], bytes):
            wait = math.inf if found[0] == b"never" else float(found[0])
            raise Refused(charges[found[1] - 1].key, wait)
        return [int(each) for each in found]

    def correct(self, charge: Charge, bucket: int, more: int) -> None:
        """Add to what was taken, or give some of it back."""
        key = _COUNTER + charge.key
        self._client.get().eval(_CORRECT, 1, key, bucket, more)

    def used(self, key: str, rate: Rate) -> int:
        """Return what was taken of a window."""
        found: Any = self._client.get().eval(_USED, 1, _COUNTER + key, rate.seconds)
        return int(found)
