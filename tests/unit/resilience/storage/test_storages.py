"""What every store does, wherever it keeps its circuits."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from flask_llm.resilience.circuit_breaker import CLOSED, BreakerPolicy, Circuit, State
from flask_llm.resilience.storage.sqlite import SqliteStorage, make_private

POLICY = BreakerPolicy()


def resting(seconds=30.0):
    now = time.time()
    return Circuit(5, now, now + seconds, reason="overloaded", openings=1)


def failed_once_more(circuit):
    return replace(circuit, failures=circuit.failures + 1, since=time.time())


def test_what_was_written_is_read(store):
    """All that is known of a provider comes back, and nothing of others changes."""
    circuit = resting()

    assert store.update("claude", lambda _: circuit) == circuit
    assert store.read(["gemini", "claude", "local"]) == [CLOSED, circuit, CLOSED]


def test_no_keys_no_circuits(store):
    """An empty chain is no special case."""
    assert store.read([]) == []


def test_a_change_gets_what_is_stored(store):
    """Whoever opens the store later goes on where the former one was."""
    store.update("claude", failed_once_more)

    assert store.update("claude", failed_once_more).failures == 2
    assert store.decide("claude", failed_once_more).failures == 3


def test_another_one_sees_it(open_store):
    """What one writes, one that opens the store afterwards reads."""
    circuit = resting()
    open_store().decide("claude", lambda _: circuit)

    assert open_store().read(["claude"]) == [circuit]


def test_a_closed_circuit_is_forgotten(store, request):
    """A store of healthy providers is empty."""
    store.update("claude", lambda _: resting())
    store.decide("claude", lambda _: CLOSED)

    assert store.read(["claude"]) == [CLOSED]
    if "redis" in request.node.callspec.id:
        keys = request.getfixturevalue("redis_client").keys("flask-llm:circuit:claude")
        assert keys == []


def test_a_change_that_fails_changes_nothing(store):
    """An exception out of a change leaves the store as it was, and usable."""

    def fails(circuit):
        raise ZeroDivisionError

    store.update("claude", failed_once_more)
    with pytest.raises(ZeroDivisionError):
        store.update("claude", fails)

    assert store.update("claude", failed_once_more).failures == 2


def test_no_failure_is_lost_among_threads(open_store):
    """Many threads that count failures at once count them all."""
    store = open_store()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.decide("claude", failed_once_more), range(80)))

    assert store.read(["claude"])[0].failures == 80
    assert open_store().read(["claude"])[0].failures == 80


def test_one_of_many_wins_a_claim(store):
    """Of twenty threads that want to probe a provider, exactly one does."""
    store.update("claude", lambda _: resting())

    def claims(_):
        won = []

        def change(circuit):
            new = POLICY.claimed(circuit, time.time(), 30.0)
            won[:] = [new is not None]
            return new or circuit

        store.decide("claude", change)
        return won

    with ThreadPoolExecutor(20) as pool:
        assert sum(map(sum, pool.map(claims, range(20)))) == 1


@pytest.mark.parametrize("ahead", [-5.0, 5.0])
def test_hosts_agree_on_the_end_of_a_rest(open_store, ahead):
    """The end is a moment, not a duration: a skewed clock does not shift it."""
    circuit = open_store().decide("claude", lambda _: resting())
    (seen,) = open_store(ahead).read(["claude"])

    assert seen == circuit
    assert POLICY.state(seen, circuit.until - 0.1) is State.OPEN
    assert POLICY.state(seen, circuit.until) is State.HALF_OPEN


def test_what_is_stale_is_closed(open_store):
    """A day after its end a rest is forgotten, and no minute earlier."""
    circuit = open_store().decide("claude", lambda _: resting(0.0))

    assert open_store(ahead=86_340.0).read(["claude"]) == [circuit]
    late = open_store(ahead=86_401.0)
    assert late.read(["claude"]) == [CLOSED]
    assert late.decide("claude", lambda known: known) == CLOSED


@pytest.mark.parametrize("seconds", [1e30, 1e300])
def test_a_rest_without_end_can_be_stored(store, seconds):
    """A clock that is very wrong fails no write."""
    circuit = replace(resting(), until=seconds)

    assert store.decide("claude", lambda _: circuit) == circuit
    assert store.read(["claude"]) == [circuit]


@pytest.mark.parametrize("open_store", ["sqlite", "redis"], indirect=True)
def test_text_that_makes_no_sense_is_a_closed_circuit(open_store, request):
    """What another version wrote, or nobody, is no reason to fail."""
    text = '{"until": "x"}'
    open_store().decide("claude", lambda _: resting())
    if "redis" in request.node.callspec.id:
        redis_client = request.getfixturevalue("redis_client")
        redis_client.set("flask-llm:circuit:claude", text)
    else:
        db = sqlite3.connect(request.getfixturevalue("tmp_path") / "llm.db")
        with db:
            db.execute("UPDATE flask_llm_circuits SET circuit = ?", (text,))
        db.close()
    store = open_store()

    assert store.read(["claude"]) == [CLOSED]
    assert store.decide("claude", failed_once_more).failures == 1
    assert open_store().read(["claude"])[0].failures == 1


def test_redis_forgets_by_itself(redis_server, redis_client):
    """What nobody reads any more does not stay for ever."""
    from flask_llm.resilience.storage.redis import RedisStorage

    RedisStorage(redis_server.url).update("claude", lambda _: resting(30.0))

    assert 86_429_000 < redis_client.pttl("flask-llm:circuit:claude") <= 86_430_000


def test_sqlite_sweeps_what_is_stale(tmp_path):
    """Rows of providers that were taken out of the chain go away."""
    store = SqliteStorage(tmp_path / "llm.db")
    store.update("gone", lambda _: Circuit(failures=1, since=time.time() - 86_399.9))
    store._clock = type("Later", (), {"time": lambda: time.time() + 700.0})
    store._clock.monotonic = time.monotonic
    store.update("claude", lambda _: resting())

    db = sqlite3.connect(tmp_path / "llm.db")
    assert db.execute("SELECT key FROM flask_llm_circuits").fetchall() == [("claude",)]
    db.close()


def test_a_writer_waits_for_another_one(tmp_path, monkeypatch):
    """SQLite's write lock is held for moments; who finds it taken tries again."""
    monkeypatch.setattr("flask_llm.resilience.storage.sqlite._BUSY", 60.0)
    store = SqliteStorage(tmp_path / "llm.db")
    store.read(["claude"])
    other = sqlite3.connect(
        tmp_path / "llm.db", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.update, "claude", failed_once_more)
        with pytest.raises(TimeoutError):
            written.result(timeout=0.03)
        assert store.read(["claude"]) == [CLOSED]  # readers need no lock
        other.execute("COMMIT")
        assert written.result(timeout=60).failures == 1
    other.close()


def test_a_writer_does_not_wait_for_ever(tmp_path, monkeypatch):
    """A process that was stopped inside a transaction is not waited for."""
    monkeypatch.setattr("flask_llm.resilience.storage.sqlite._BUSY", 0.02)
    store = SqliteStorage(tmp_path / "llm.db")
    store.read(["claude"])
    other = sqlite3.connect(tmp_path / "llm.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.update("claude", failed_once_more)
    other.close()
    assert store.update("claude", failed_once_more).failures == 1


def test_many_lost_races_end(redis_server, redis_client):
    """Somebody who changes a circuit all the time cannot keep others for ever."""
    from flask_llm.resilience.storage.redis import RedisStorage

    def interrupted(circuit):
        redis_client.incr("flask-llm:circuit:claude")
        return failed_once_more(circuit)

    with pytest.raises(TimeoutError):
        RedisStorage(redis_server.url).update("claude", interrupted)


def test_a_file_is_for_nobody_else_s_eyes(tmp_path):
    """One that is there keeps its mode, and a link to nothing is not followed."""
    made, kept, link = (tmp_path / name for name in ("made", "kept", "link"))
    kept.touch(0o640)
    kept.chmod(0o640)
    link.symlink_to(tmp_path / "target")
    for path in (made, kept):
        make_private(path)
    with pytest.raises(OSError, match="it is a link to a file that is not there"):
        make_private(link)

    assert [path.stat().st_mode & 0o777 for path in (made, kept)] == [0o600, 0o640]
    assert not (tmp_path / "target").exists()
