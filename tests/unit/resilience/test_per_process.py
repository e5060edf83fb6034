import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from flask_llm.resilience.clock import PerProcess


def test_per_process_makes_one_object_for_each_process():
    """A forked child makes its own, and the parent's stays the parent's."""
    code = """if True:
        import os
        from flask_llm.resilience.clock import PerProcess
        made = PerProcess(object)
        mine = made.get()
        child = os.fork()
        own = made.get() is not mine
        if child == 0:
            os._exit(0 if own else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not own
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_race_for_the_first_object_has_one_winner():
    """Two threads may both make one, but everybody gets the same."""
    start = threading.Barrier(8)

    def make():
        start.wait()
        return object()

    made = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: made.get(), range(8)))

    assert len(set(map(id, got))) == 1
