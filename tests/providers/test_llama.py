import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_llm.errors import UnavailableError
from flask_llm.providers import llama_cpp as llama
from flask_llm.providers.llama_cpp import Engine, _Gate

SOON = 30.0  # seconds within which a thread that may go on has gone on
A_WHILE = 0.05  # seconds after which one that waits is believed to wait


class Server:
    """Generates one chunk after the other, until it is told to stop or may end."""

    def __init__(self):
        self.busy = threading.Event()
        self.may_end = threading.Event()

    def handle_chat_completions(self, body, take):
        self.busy.set()
        while not (take({"choices": []}) or self.may_end.wait(0.001)):
            pass


class FakeEngine(Engine):
    """An engine without a model, which counts how often it would have loaded one."""

    def __init__(self):
        super().__init__("x.gguf", 256, 1)
        self.server = Server()
        self.loads = 0

    def _load(self):
        self.loads += 1
        time.sleep(A_WHILE)
        return self.server


@pytest.fixture
def gate(monkeypatch):
    gate = _Gate()
    monkeypatch.setattr(llama, "_gate", gate)
    return gate


@pytest.fixture
def engine():
    engine = FakeEngine()
    yield engine
    engine.server.may_end.set()


def start(work, *arguments):
    """Run work in a thread; return an event that is set when it is done."""
    done = threading.Event()

    def run():
        work(*arguments)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


def never(chunk):
    """Let a generation go on."""
    return False


def test_a_fork_waits_for_the_running_generation(gate, engine):
    """A child must never inherit a server that is in use."""
    start(engine.run, {}, never)
    assert engine.server.busy.wait(SOON)
    closed = start(gate.close)
    assert not closed.wait(A_WHILE)
    engine.server.may_end.set()
    assert closed.wait(SOON)


def test_newcomers_wait_for_the_fork(gate, engine):
    """Steady traffic can neither slip past a fork nor put it off for ever."""
    gate.close()
    engine.server.may_end.set()
    newcomers = [start(engine.run, {}, never) for _ in range(4)]
    assert not newcomers[0].wait(A_WHILE)
    assert engine.loads == 0
    gate.open()
    assert all(each.wait(SOON) for each in newcomers)


def test_two_forks_at_once(gate, engine):
    """The first fork that is over lets nobody in before the second."""
    gate.close()
    gate.close()
    gate.open()
    engine.server.may_end.set()
    newcomer = start(engine.run, {}, never)
    assert not newcomer.wait(A_WHILE)
    gate.open()
    assert newcomer.wait(SOON)


def test_a_child_does_not_wait_for_threads_of_its_parent(gate):
    """A thread that was looking at the gate when the parent forked is not here."""
    with gate.visit():
        gate._closings.append(None)
        gate.open_in_child()
        closed = start(gate.close)
        assert closed.wait(SOON)
        gate.open()
        with gate.visit() as inside:
            assert inside


def test_generations_do_not_wait_for_each_other(gate):
    """The gate only counts; the server queues what it must."""
    both = threading.Barrier(2)

    def generate():
        with gate.visit():
            both.wait(SOON)

    assert all(each.wait(SOON) for each in [start(generate), start(generate)])


def test_a_model_is_loaded_once(gate, engine):
    """However many threads begin at the same moment."""
    engine.server.may_end.set()
    begin = threading.Barrier(16)

    def generate():
        begin.wait(SOON)
        engine.run({}, never)

    assert all(each.wait(SOON) for each in [start(generate) for _ in range(16)])
    assert engine.loads == 1


def test_the_next_call_loads_what_could_not_be_loaded(gate, engine, monkeypatch):
    """A failure keeps nobody out, and leaves nothing locked."""

    def fail():
        raise UnavailableError(reason="model file x.gguf cannot be loaded")

    with monkeypatch.context() as broken:
        broken.setattr(engine, "_load", fail)
        with pytest.raises(UnavailableError):
            engine.run({}, never)
    engine.server.may_end.set()
    engine.run({}, never)
    assert start(gate.close).wait(SOON)


def test_the_end_of_the_process_stops_a_generation(gate, engine):
    """And a call that comes later is told so, instead of waiting for ever."""
    running = start(engine.run, {}, never)
    assert engine.server.busy.wait(SOON)
    gate.ending = True
    gate.close()
    assert running.wait(SOON)
    with pytest.raises(UnavailableError, match="the process is ending"):
        engine.run({}, never)


def test_threads_get_the_same_engine(monkeypatch):
    """Two apps that begin at once do not load a model twice."""
    monkeypatch.setattr(llama, "_engines", {})
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: llama.engine("x.gguf", 256, 1), range(64)))
    assert {id(each) for each in engines} == {id(engines[0])}
