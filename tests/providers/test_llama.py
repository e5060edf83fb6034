import threading

from flask_llm.providers.llama import _Gate

SOON = 5.0  # seconds within which a thread that may go on has gone on
A_WHILE = 0.05  # seconds after which one that waits is believed to wait


def start(work):
    """Run work in a thread; return an event that is set when it is done."""
    done = threading.Event()

    def run():
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


def test_a_fork_waits_for_the_running_generation():
    """A child must never inherit a server that is in use."""
    gate = _Gate()
    leave = threading.Event()
    inside = threading.Event()

    def generate():
        with gate:
            inside.set()
            leave.wait(SOON)

    start(generate)
    assert inside.wait(SOON)
    closed = start(gate.close)
    assert not closed.wait(A_WHILE)
    leave.set()
    assert closed.wait(SOON)


def test_newcomers_wait_for_the_fork():
    """Steady traffic can neither slip past a fork nor put it off for ever."""
    gate = _Gate()
    gate.close()

    def generate():
        with gate:
            pass

    newcomers = [start(generate) for _ in range(4)]
    assert not newcomers[0].wait(A_WHILE)
    gate.open()
    assert all(each.wait(SOON) for each in newcomers)


def test_generations_do_not_wait_for_each_other():
    """The gate only counts; the server queues what it must."""
    gate = _Gate()
    both = threading.Barrier(2)

    def generate():
        with gate:
            both.wait(SOON)

    assert all(each.wait(SOON) for each in [start(generate), start(generate)])
