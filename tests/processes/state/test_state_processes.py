"""Several processes on one store, as the workers of a server are."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from real_time import AT_ONCE_S

from flask_llm.config.state_url import store_of
from flask_llm.resilience.storage.replicated import ReplicatedStorage

pytestmark = pytest.mark.slow

# A machine that is busy may take its time: no answer comes too late, and none is lost.
HEAD = """if True:
    import os, sys, time
    from dataclasses import replace
    from flask_llm.resilience.circuit_breaker import Circuit
    from flask_llm.resilience.storage import replicated, sqlite
    from flask_llm.resilience.storage.replicated import ReplicatedStorage
    from flask_llm.config.state_url import store_of
    sqlite._BUSY = replicated._LAST_CHANCE = 60.0
    store = ReplicatedStorage(store_of(sys.argv[1])._remote, "patient", patience=60.0)
    def more(circuit):
        return replace(circuit, failures=circuit.failures + 1, since=time.time())
    def rests(circuit):
        return Circuit(5, time.time(), time.time() + 30.0, reason="overloaded")
"""


def start(url, code, **options):
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, url], stdout=subprocess.PIPE, **options
    )


def more(circuit):
    return replace(circuit, failures=circuit.failures + 1, since=time.time())


def test_another_process_sees_a_cooldown_within_a_second(url):
    """One process opens a circuit; the other one had just found it closed."""
    mine = ReplicatedStorage(store_of(url)._remote, "patient", patience=60.0)
    with start(
        url,
        """
    store.read(["claude"])
    sys.stdin.read(1)
    store.update("claude", rests)
    print("written", flush=True)
    time.sleep(60)
    """,
        stdin=subprocess.PIPE,
    ) as other:
        assert mine.read(["claude"])[0].until == 0.0
        other.stdin.write(b"x")
        other.stdin.flush()
        assert other.stdout.readline() == b"written\n"
        begin = time.monotonic()
        while not mine.read(["claude"])[0].until:
            assert time.monotonic() - begin < AT_ONCE_S
            time.sleep(0.01)
        other.kill()


def test_no_failure_is_lost_among_processes(url):
    """Three processes count at once; what the store holds is the sum."""
    count = """
    for _ in range(100):
        store._remote.update("claude", more)
    """
    processes = [start(url, count) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.stdout.close()

    assert store_of(url)._remote.read(["claude"])[0].failures == 300


def test_one_of_all_processes_wins_a_claim(url):
    """Each thread of each process wants the probe; one gets it."""
    claim = """
    from concurrent.futures import ThreadPoolExecutor
    from flask_llm.resilience.circuit_breaker import BreakerPolicy
    store.read(["claude"])
    def claims(_):
        won = []
        def change(circuit):
            new = BreakerPolicy().claimed(circuit, time.time(), 30.0)
            won[:] = [new is not None]
            return new or circuit
        store.decide("claude", change)
        return won
    with ThreadPoolExecutor(5) as pool:
        print(sum(map(sum, pool.map(claims, range(5)))))
    """
    processes = [start(url, claim) for _ in range(3)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 1


def test_kill_in_the_middle_of_writes(url):
    """What was written stays, and nobody finds a lock that is left behind."""
    mine = store_of(url)._remote
    for _ in range(4):
        write = """
    store._remote.update("gemini", rests)
    while True:
        store._remote.update("claude", more)
        print(store._remote.update("local", more).failures, flush=True)
        """
        with start(url, write) as writer:
            for _ in range(20):
                said = int(writer.stdout.readline())
            writer.kill()
            said = int((writer.stdout.read().split() or [said])[-1])
        begin = time.monotonic()
        mine.update("claude", more)
        claude, gemini, local = mine.read(["claude", "gemini", "local"])

        assert time.monotonic() - begin < AT_ONCE_S
        assert claude.failures > local.failures >= said
        assert gemini.reason == "overloaded"
        mine.update(
            "claude", lambda _, local=local: local
        )  # the two counts begin as one again


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_use(url):
    """A server that used the store before it made its workers: all of them write."""
    code = """
    import warnings  # since 3.12 of a fork with threads, which is what this is about
    warnings.simplefilter("ignore", DeprecationWarning)
    def up():
        store.read(["claude"])
        assert store._links.get().health.is_up
    up()
    children = []
    for _ in range(3):
        store.update("claude", more)  # the worker is busy while this forks
        child = os.fork()
        if not child:
            up()
            store.update("claude", more)
            sys.exit()
        children.append(child)
    store.update("claude", more)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    """
    with start(url, code, stderr=subprocess.PIPE) as process:
        _, noise = process.communicate(timeout=60)

    assert process.returncode == 0, noise
    assert noise == b""
    assert store_of(url)._remote.read(["claude"])[0].failures == 7


def test_fork_in_the_middle_of_a_transaction(tmp_path):
    """SQLite's locks are in tables of the process, which a child inherits."""
    code = """
    import threading
    begun, forking = threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)
    def slowly(circuit):
        begun.set()
        forking.wait(60)
        time.sleep(0.02)
        return more(circuit)
    threading.Thread(target=store._remote.update, args=("claude", slowly)).start()
    begun.wait()
    child = os.fork()
    if not child:
        store._remote.update("claude", more)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store._remote.update("claude", more).failures == 3
    """
    with start(f"sqlite:///{tmp_path}/llm.db", code) as process:
        assert process.wait(60) == 0
