"""A shared store that is slow, down or full: no prompt waits, none fails."""

import gc
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from real_time import AT_ONCE_S

from flask_llm.resilience.circuit_breaker import CLOSED, Circuit
from flask_llm.resilience.clock import SYSTEM, SystemClock
from flask_llm.resilience.storage.base import MemoryStorage
from flask_llm.resilience.storage.replicated import Job, ReplicatedStorage
from flask_llm.resilience.storage.sqlite import SqliteStorage

OPEN = Circuit(5, 900.0, 1100.0, reason="overloaded", openings=1)


class Clock:
    """Time that stands still; only a wait that is in vain moves it on."""

    def __init__(self):
        self.now = 1000.0
        self.patient = True
        self.waits = []

    def monotonic(self):
        return self.now

    time = monotonic

    def sleep(self, seconds, /):
        self.now += seconds

    def wait(self, signal, seconds, /):
        self.waits.append(seconds)
        if signal.acquire(timeout=60.0 if self.patient else 0.0):
            return True
        self.now += seconds
        return False


class Remote(MemoryStorage):
    """A store elsewhere, which can fail, be slow, or not come back at all."""

    def __init__(self, clock):
        super().__init__(clock)
        self.calls = []
        self.fault = None
        self.takes = 0.0
        self.open = threading.Event()
        self.open.set()

    def read(self, keys):
        self._called(f"read {' '.join(keys)}")
        return super().read(keys)

    def update(self, key, change):
        self._called(f"update {key}")
        return super().update(key, change)

    def _called(self, call):
        self.calls.append(call)
        self._clock.now += self.takes
        self.open.wait(60.0)
        if self.fault:
            raise self.fault


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def remote(clock):
    remote = Remote(clock)
    yield remote
    remote.open.set()


@pytest.fixture
def store(remote, clock, caplog):
    caplog.set_level(logging.INFO, "flask_llm")
    store = ReplicatedStorage(remote, "redis", clock)
    yield store
    # What a stuck worker says when it is let go belongs to this test's log.
    remote.open.set()
    jobs = store._links.get().worker._jobs
    while jobs and jobs.qsize():
        time.sleep(0.001)
    if jobs:
        settle(store)


@pytest.fixture
def connected(store, remote):
    """Return the store after its first probe."""
    store.read(["claude"])
    settle(store)
    remote.calls.clear()
    return store


def settle(store):
    """Let the worker do what is queued."""
    job = Job(lambda: None, lambda error: None)
    store._links.get().worker.submit(job)
    assert job.wait(SYSTEM, 60.0)


def failed_once_more(circuit):
    return replace(circuit, failures=circuit.failures + 1, since=1000.0)


def hang(remote, clock):
    remote.open.clear()
    clock.patient = False


# While all is well


def test_memory_answers_while_it_is_fresh(connected, remote, clock):
    """Within half a second nobody asks the remote store again."""
    clock.waits.clear()
    clock.now += 0.5

    assert connected.read(["claude"]) == [CLOSED]
    assert remote.calls == clock.waits == []


def test_what_others_wrote_is_seen_after_half_a_second(connected, remote, clock):
    """Memory that is older asks first, and one question serves all keys."""
    MemoryStorage.update(remote, "claude", lambda _: OPEN)
    clock.now += 0.51

    assert connected.read(["claude", "gemini"]) == [OPEN, CLOSED]
    assert remote.calls == ["read claude gemini"]
    assert clock.waits[-1] == pytest.approx(0.02)


def test_a_new_key_is_asked_for_at_once(connected, remote):
    """That other keys are fresh says nothing of this one."""
    MemoryStorage.update(remote, "local", lambda _: OPEN)

    assert connected.read(["claude", "local"]) == [CLOSED, OPEN]


def test_many_readers_share_one_question(connected, remote, clock):
    """Twenty prompts that come at once make one look at the store."""
    remote.open.clear()
    clock.waits.clear()
    clock.now += 1.0
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(connected.read, ["claude"])]
        while not clock.waits:  # two at the very same moment may both ask
            time.sleep(0.001)
        answers += [pool.submit(connected.read, ["claude"]) for _ in range(19)]
        while len(clock.waits) < 20:
            time.sleep(0.001)
        remote.open.set()
        assert [answer.result() for answer in answers] == [[CLOSED]] * 20
    assert remote.calls == ["read claude"]


def test_an_update_does_not_wait(connected, remote, clock):
    """Memory has the change at once, the remote store when it gets to it."""
    clock.waits.clear()
    remote.open.clear()

    assert connected.update("claude", lambda _: OPEN) == OPEN
    assert connected.read(["claude"]) == [OPEN]
    assert clock.waits == []
    remote.open.set()
    settle(connected)
    assert remote.read(["claude"]) == [OPEN]


def test_the_sum_of_all_processes_replaces_the_own_count(connected, remote):
    """Three failures elsewhere and one here are four."""
    MemoryStorage.update(remote, "claude", lambda _: Circuit(3, 900.0))

    assert connected.update("claude", failed_once_more).failures == 1
    settle(connected)
    assert connected.read(["claude"])[0].failures == 4


def test_an_older_answer_replaces_no_newer_change(connected, remote):
    """What is queued behind an answer is not undone by it."""
    remote.open.clear()
    connected.update("claude", lambda _: OPEN)
    job = connected._refresh(connected._links.get(), ["claude"], 1000.0)
    connected.update("claude", lambda _: CLOSED)
    remote.open.set()
    assert job.wait(SYSTEM, 60.0)

    assert connected.read(["claude"]) == [CLOSED]
    settle(connected)
    assert remote.read(["claude"]) == [CLOSED]


def test_the_remote_store_decides(connected, remote):
    """Where one process may win, the change runs there and nowhere else."""
    MemoryStorage.update(remote, "claude", lambda _: OPEN)
    seen = []

    def claims(circuit):
        seen.append(circuit)
        return replace(circuit, probe_until=1030.0)

    decided = connected.decide("claude", claims)
    assert decided == replace(OPEN, probe_until=1030.0)
    assert seen == [OPEN]
    assert connected.read(["claude"]) == remote.read(["claude"]) == [decided]


# The first moments


def test_what_must_reach_all_does_before_it_returns(connected, remote):
    """A command that ends with it cannot leave the writing to a thread."""
    remote.update("claude", lambda _: OPEN)
    connected.update("claude", lambda _: OPEN)
    settle(connected)
    remote.calls.clear()
    assert connected.settle("claude", lambda _: CLOSED) == CLOSED

    assert remote.calls == ["update claude"]
    assert MemoryStorage.read(remote, ["claude"]) == [CLOSED]
    assert connected.read(["claude"]) == [CLOSED]


def test_what_must_reach_all_and_does_not_is_an_error(connected, remote):
    """It is done here; who asked for it is told, without a password."""
    connected.update("claude", lambda _: OPEN)
    settle(connected)
    remote.fault = ConnectionError("refused")

    with pytest.raises(OSError, match=r"^LLM_STATE_URL: redis does not answer \(Conn"):
        connected.settle("claude", lambda _: CLOSED)
    assert connected.read(["claude"]) == [CLOSED]


def test_the_first_reader_sees_what_others_wrote(store, remote):
    """A new process begins with what is known."""
    remote.update("claude", lambda _: OPEN)

    assert store.read(["claude"]) == [OPEN]


def test_a_slow_handshake_is_no_outage(store, remote, clock, caplog):
    """To connect may take longer than an answer may, once; nobody waits for it."""
    hang(remote, clock)
    assert store.read(["claude"]) == [CLOSED]
    assert clock.waits == [pytest.approx(0.02)]
    store.read(["claude"])
    store.update("claude", lambda _: OPEN)
    assert sum(clock.waits) == pytest.approx(0.02)

    clock.patient = True
    remote.open.set()
    settle(store)
    assert store.read(["claude"]) == remote.read(["claude"]) == [OPEN]
    assert not caplog.records


def test_a_handshake_leaves_its_time_to_the_first_question(store, remote, clock):
    """A connection that took nearly all of the wait does not make the answer late."""
    remote.update("claude", lambda _: OPEN)
    remote.takes = 0.006  # three calls of the probe, then the question

    assert store.read(["claude"]) == [OPEN]
    assert clock.waits[-1] == pytest.approx(0.02)


def test_a_handshake_without_end_is_one(store, remote, clock, caplog):
    """A folder on a dead file server: the log says so after a second."""
    hang(remote, clock)
    for _ in range(3):
        store.read(["claude"])
        clock.now += 0.6

    (record,) = caplog.records
    assert "TimeoutError" in record.message


# Outages


def test_an_outage_is_logged_once_and_without_the_address(
    connected, remote, clock, caplog
):
    """One warning, whatever goes on; the class of the error and nothing it says."""
    remote.fault = ConnectionError("redis://:secret@host")
    clock.now += 1.0
    for _ in range(20):
        connected.read(["claude"])
        connected.update("claude", failed_once_more)
        connected.decide("claude", failed_once_more)
        settle(connected)
        clock.now += 1.0

    assert connected.read(["claude"])[0].failures == 40
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == (
        "LLM_STATE_URL: redis does not answer (ConnectionError); each process keeps "
        "its own state until it does"
    )


def test_an_answer_that_comes_late_is_an_outage(connected, remote, clock, caplog):
    """One prompt waits 20 ms; the next ones not at all, and nothing is queued."""
    hang(remote, clock)
    clock.now += 0.6
    clock.waits.clear()

    for _ in range(1000):
        connected.read(["claude"])
        connected.update("claude", lambda _: OPEN)
        connected.decide("claude", lambda circuit: circuit)
    assert clock.waits == [pytest.approx(0.02)]
    assert connected._links.get().worker._jobs.qsize() <= 1
    assert connected.read(["claude"]) == [OPEN]
    assert "TimeoutError" in caplog.text


def test_a_worker_stuck_for_ever_costs_nothing(connected, remote, clock):
    """Not more than one probe waits behind an operation that never ends."""
    hang(remote, clock)
    threads = set(threading.enumerate())  # those of other tests may end meanwhile
    for _ in range(1000):
        clock.now += 1.0
        connected.read(["claude"])
        connected.update("claude", failed_once_more)

    assert connected._links.get().worker._jobs.qsize() <= 2
    assert set(threading.enumerate()) - threads == set()


def test_updates_alone_find_out_too(connected, remote, caplog):
    """A queue that only grows is an outage; it is bounded."""
    remote.open.clear()
    for _ in range(1000):
        connected.update("claude", failed_once_more)

    assert connected._links.get().worker._jobs.qsize() <= 256
    assert connected.read(["claude"])[0].failures == 1000
    assert "(Full)" in caplog.text


def test_probes_come_at_growing_intervals(connected, remote, clock):
    """After 1, 2, 4 seconds and so on, at most every minute."""
    remote.fault = ConnectionError()
    clock.now = start = 1100.0
    probes = []
    connected.read(["claude"])
    settle(connected)
    for _ in range(250):
        remote.calls.clear()
        clock.now += 1.0
        connected.read(["claude"])
        settle(connected)
        if remote.calls:
            probes.append(clock.now - start)

    assert probes == [1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_a_store_that_comes_back_learns_what_it_missed(
    connected, remote, clock, caplog
):
    """The longer rest wins, and the log says that all is well."""
    longer = replace(OPEN, until=1200.0)
    remote.fault = ConnectionError()
    connected.update("claude", lambda _: OPEN)
    connected.update("gemini", lambda _: OPEN)
    settle(connected)
    remote.fault = None
    MemoryStorage.update(remote, "gemini", lambda _: longer)
    clock.now += 1.0
    connected.update("local", failed_once_more)
    settle(connected)

    assert remote.read(["claude", "gemini"]) == [OPEN, longer]
    assert remote.read(["local"])[0].failures == 1
    assert connected.read(["claude", "gemini"]) == [OPEN, longer]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[1] == "LLM_STATE_URL: redis answers again"


def test_a_store_at_the_edge_logs_seldom(connected, remote, clock, caplog):
    """A recovery that does not last is no new beginning."""
    for _ in range(600):
        remote.fault = ConnectionError()
        connected.update("claude", failed_once_more)
        settle(connected)
        remote.fault = None
        clock.now += 1.0
        connected.update("claude", failed_once_more)
        settle(connected)

    assert caplog.text.count("does not answer") <= 6 + 10  # 1, 2, 4 … 60, 60 s


def test_a_recovery_that_lasted_is_a_new_beginning(connected, remote, clock):
    """After a good minute the next outage is probed after a second again."""
    for _ in range(3):
        remote.fault = ConnectionError()
        connected.update("claude", failed_once_more)
        settle(connected)
        remote.fault = None
        clock.now += 60.0
        connected.update("claude", failed_once_more)
        settle(connected)
        clock.now += 60.0
    remote.fault = ConnectionError()
    connected.update("claude", failed_once_more)
    settle(connected)
    remote.calls.clear()
    clock.now += 1.0
    connected.read(["claude"])
    settle(connected)

    assert remote.calls == ["read (probe)"]


def test_a_slow_answer_is_no_recovery(connected, remote, clock, caplog):
    """A store that needs more than 20 ms would stop every prompt again."""
    remote.fault = ConnectionError()
    connected.update("claude", lambda _: OPEN)
    settle(connected)
    remote.fault, remote.takes = None, 0.021
    clock.now += 1.0
    connected.read(["claude"])
    settle(connected)

    assert "answers again" not in caplog.text
    assert "update claude" not in remote.calls[1:]


def test_a_store_that_cannot_write_has_not_recovered(connected, remote, clock, caplog):
    """A full disk still reads."""
    remote.fault = OSError()
    connected.update("claude", lambda _: OPEN)
    settle(connected)
    remote.fault = None
    remote.update = lambda key, change: 1 / 0
    clock.now += 1.0
    connected.read(["claude"])
    settle(connected)

    assert len(caplog.records) == 1


def test_a_decision_that_comes_late_is_taken_here(connected, remote, clock):
    """And what the remote store does afterwards neither counts nor happens."""
    won = []

    def claims(circuit):
        won[:] = [not circuit.probe_until]
        return replace(circuit, probe_until=1030.0)

    MemoryStorage.update(remote, "claude", lambda _: replace(OPEN, probe_until=1020.0))
    connected._links.get().memory.update("claude", lambda _: OPEN)
    hang(remote, clock)
    assert connected.decide("claude", claims).probe_until == 1030.0
    assert won == [True]

    remote.open.set()
    settle(connected)
    assert won == [True]
    assert MemoryStorage.read(remote, ["claude"])[0].probe_until == 1020.0


def test_a_process_without_threads_still_answers(store, monkeypatch, caplog):
    """The system may refuse a thread; memory needs none."""

    def refused(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)

    assert store.update("claude", lambda _: OPEN) == OPEN
    assert store.read(["claude"]) == [OPEN]
    assert "RuntimeError" in caplog.text


def test_the_thread_ends_with_its_store(remote, clock):
    """A test suite that makes many apps does not gather threads."""
    before = set(threading.enumerate())
    store = ReplicatedStorage(remote, "redis", clock)
    store.read(["claude"])
    (thread,) = set(threading.enumerate()) - before
    del store
    gc.collect()
    thread.join(60.0)

    assert not thread.is_alive()


@pytest.mark.parametrize("stuck", [False, True])
def test_the_process_ends_at_once_and_quietly(stuck, tmp_path):
    """A queued write has a moment left; a stuck one does not keep the process."""
    code = f"""if True:
        import time
        from pathlib import Path
        from flask_llm.resilience.circuit_breaker import Circuit
        from flask_llm.resilience.storage import replicated
        from flask_llm.resilience.storage.replicated import ReplicatedStorage
        from flask_llm.resilience.storage.sqlite import SqliteStorage
        remote = SqliteStorage(Path({str(tmp_path)!r}, "llm.db"))
        store = ReplicatedStorage(remote, "sqlite", patience=60.0)
        store.read(["claude"])
        if {stuck}:
            remote.update = lambda key, change: time.sleep(60)
        else:
            replicated._LAST_CHANCE = 60.0  # this machine may be busy
        store.update("claude", lambda _: Circuit(5, time.time(), time.time() + 30.0))
    """
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True
    )

    assert time.monotonic() - begin < AT_ONCE_S
    assert done.stderr == b""
    (seen,) = SqliteStorage(tmp_path / "llm.db").read(["claude"])
    assert seen.failures == (0 if stuck else 5)


# The real ones, broken


class Watch(SystemClock):
    """The machine's time, and how often somebody has waited for a store."""

    waits = 0

    def wait(self, signal, seconds, /):
        self.waits += 1
        return super().wait(signal, seconds)


def check_broken(remote, fault, caplog, breaks, repairs):
    """Break a real store and repair it: nobody waits for it in between."""
    caplog.set_level(logging.INFO, "flask_llm")
    clock = Watch()
    # Patient, so that a store that is well is not taken for broken if it is slow.
    store = ReplicatedStorage(
        remote, "store", clock, patience=60.0, pauses=(0.02, 0.05)
    )

    def calls():
        key = f"new {time.monotonic()}"
        store.update(key, failed_once_more_now)
        store.read([key, "claude"])
        time.sleep(0.001)

    def until(is_up):
        end = time.monotonic() + 60.0
        while store._links.get().health.is_up is not is_up:
            assert time.monotonic() < end
            calls()

    until(True)
    breaks()
    with pytest.raises(fault):
        remote.update("by itself", failed_once_more_now)
    until(False)
    caplog.clear()
    clock.waits = 0
    store.update("claude", lambda _: Circuit(5, time.time(), time.time() + 30.0))
    for _ in range(50):
        calls()
    assert clock.waits == 0
    assert not caplog.records
    repairs()
    until(True)
    settle(store)
    assert store._remote.read(["claude"])[0].failures == 5
    assert store.read(["claude"])[0].failures == 5


def failed_once_more_now(circuit):
    return replace(circuit, failures=circuit.failures + 1, since=time.time())


def test_a_full_disk(tmp_path, caplog):
    """No file may grow: memory goes on, and the file gets it later."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    remote = SqliteStorage(tmp_path / "llm.db")
    try:
        fault = sqlite3.OperationalError
        check_broken(remote, fault, caplog, limit(1), limit(soft))
    finally:
        limit(soft)()


def test_a_file_that_becomes_read_only(tmp_path, caplog):
    """A read-only file is not taken for a store that works."""
    path = tmp_path / "llm.db"
    path.touch(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("root may write everything")
    path.chmod(0o600)
    remote = SqliteStorage(path)

    def breaks():
        remote._file.get().close()
        path.chmod(0o400)

    def repairs():
        for file in tmp_path.iterdir():  # SQLite made the others as the first one was
            file.chmod(0o600)

    fault = sqlite3.OperationalError
    check_broken(remote, fault, caplog, breaks, repairs)


def test_a_folder_that_goes_away(tmp_path, caplog):
    """A file server that is unmounted and mounted again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    remote = SqliteStorage(folder / "llm.db")

    def breaks():
        shutil.rmtree(folder)

    fault = sqlite3.OperationalError
    check_broken(remote, fault, caplog, breaks, folder.mkdir)


def test_a_file_that_is_deleted_is_made_anew(tmp_path):
    """Not written to as a ghost that no other process sees."""
    path = tmp_path / "llm.db"
    first = SqliteStorage(path)
    first.update("claude", failed_once_more_now)
    for file in tmp_path.iterdir():
        file.unlink()
    second = SqliteStorage(path)
    second.update("claude", failed_once_more_now)

    assert first.update("claude", failed_once_more_now).failures == 2
    assert second.read(["claude"])[0].failures == 2


def test_a_file_that_is_no_database(tmp_path, caplog):
    """Somebody wrote something else into it, then put it away."""
    path = tmp_path / "llm.db"

    def breaks():
        for file in tmp_path.iterdir():
            file.unlink()
        path.write_text("no database" * 1000)

    fault = sqlite3.DatabaseError
    check_broken(SqliteStorage(path), fault, caplog, breaks, path.unlink)


def test_sqlite_locked_by_a_stopped_process(tmp_path, caplog, monkeypatch):
    """A process that stands still inside its transaction stops nobody."""
    monkeypatch.setattr("flask_llm.resilience.storage.sqlite._BUSY", 0.1)
    path = tmp_path / "llm.db"
    other = sqlite3.connect(path, isolation_level=None)

    def breaks():
        other.execute("BEGIN IMMEDIATE")

    fault = sqlite3.OperationalError
    check_broken(SqliteStorage(path), fault, caplog, breaks, other.rollback)
    other.close()


def test_redis_without_memory(redis_server, redis_client, caplog):
    """Redis at its limit answers, but stores nothing."""
    from redis import ResponseError

    from flask_llm.resilience.storage.redis import RedisStorage

    def limit(size):
        return lambda: redis_client.config_set("maxmemory", size)

    store = RedisStorage(redis_server.url)
    check_broken(store, ResponseError, caplog, limit("1"), limit("0"))
    assert "secret" not in caplog.text


def test_redis_that_only_reads(redis_server, redis_client, caplog):
    """After a failover the former main server refuses writes."""
    from redis import ReadOnlyError

    from flask_llm.resilience.storage.redis import RedisStorage

    def breaks():
        redis_client.config_set("replica-read-only", "yes")
        redis_client.replicaof("127.0.0.1", "1")

    def repairs():
        redis_client.replicaof("NO", "ONE")

    store = RedisStorage(redis_server.url)
    check_broken(store, ReadOnlyError, caplog, breaks, repairs)


def test_redis_that_stands_still(redis_server, caplog):
    """A server that accepts connections and says nothing."""
    from redis import TimeoutError as Silence

    from flask_llm.resilience.storage.redis import RedisStorage

    store = RedisStorage(f"{redis_server.url}?socket_timeout=0.1")
    freeze, thaw = redis_server.freeze, redis_server.thaw
    check_broken(store, Silence, caplog, freeze, thaw)


def test_redis_that_dies_and_comes_back(redis_server, caplog):
    """It has forgotten everything; the processes tell it."""
    from redis import ConnectionError as Refused

    from flask_llm.resilience.storage.redis import RedisStorage

    store = RedisStorage(redis_server.url)
    kill, start = redis_server.kill, redis_server.start
    check_broken(store, Refused, caplog, kill, start)


def open_now(**more):
    """Return a circuit that no store takes for stale."""
    return Circuit(since=time.time(), until=time.time() + 5, rest=5.0, **more)


def test_a_reset_comes_after_what_is_queued():
    """Writes that are slow, and were made before it, do not undo it."""

    class Slow(MemoryStorage):
        def update(self, key, change):
            time.sleep(0.005)
            return super().update(key, change)

    remote = Slow()
    storage = ReplicatedStorage(remote, "slow", patience=60.0)
    storage.read(["claude"])
    for number in range(20):
        for _ in range(3):
            storage.update("claude", lambda _: open_now())
        assert storage.settle("claude", lambda _: CLOSED) == CLOSED
        last = f"written after {number}"
        storage.update(last, lambda _: open_now())
        while remote.read([last]) == [CLOSED]:
            time.sleep(0.001)
        assert remote.read(["claude"]) == storage.read(["claude"]) == [CLOSED]


def test_what_closed_during_an_outage_is_written_after_it():
    """Memory keeps no closed circuit, but others would go on waiting for its trial."""

    class Failing(MemoryStorage):
        fails = False

        def read(self, keys):
            if self.fails:
                raise OSError
            return super().read(keys)

        def update(self, key, change):
            if self.fails:
                raise OSError
            return super().update(key, change)

    remote = Failing()
    storage = ReplicatedStorage(remote, "x", patience=60.0, pauses=(0.0, 0.0))
    storage.read(["claude"])
    storage.decide("claude", lambda _: open_now())
    assert MemoryStorage.read(remote, ["claude"]) != [CLOSED]
    remote.fails = True
    for _ in range(3):
        storage.look(["claude"])  # finds out
    storage.update("claude", lambda _: CLOSED)
    remote.fails = False
    end = time.monotonic() + 60
    while MemoryStorage.read(remote, ["claude"]) != [CLOSED]:
        storage.look(["claude"])  # has it probed
        assert time.monotonic() < end
        time.sleep(0.005)
    assert storage.read(["claude"]) == [CLOSED]


@pytest.mark.parametrize(
    "end",
    [lambda _: CLOSED, lambda circuit: replace(circuit, trial=False)],
    ids=["closed", "released"],
)
def test_how_a_trial_ends_is_written_though_the_store_is_late(end):
    """Nobody waits for the next look at a store that is only busy."""

    class Late(MemoryStorage):
        def update(self, key, change):
            circuit = super().update(key, change)
            time.sleep(0.3)  # it is made by now, but nobody hears of it
            return circuit

    remote = Late()
    storage = ReplicatedStorage(remote, "late", patience=60.0, pauses=(60.0, 60.0))
    storage.read(["claude"])
    storage._patience = 0.1
    storage.decide("claude", lambda _: open_now(trial=True))
    assert not storage.is_up
    assert remote.read(["claude"])[0].trial
    storage.update("claude", end)

    limit = time.monotonic() + AT_ONCE_S
    while remote.read(["claude"]) != storage.read(["claude"]):
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert not remote.read(["claude"])[0].trial
