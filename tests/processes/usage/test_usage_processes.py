"""Many processes write at once, fork, end and are killed: no call is lost."""

import os
import signal
import time

import pytest
from gunicorn_server import CLASSES, PRELOAD, serving
from real_time import AT_ONCE_S
from usage_calls import disagreements, purposes, query
from wired import settings

from flask_llm.testing import StubServer, reply

pytestmark = pytest.mark.slow

MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "yes"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 3},
}


def ended(process, seconds=60):
    """Wait for a process; return what it has said, which must be no complaint."""
    _, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return errors


def test_four_processes_lose_nothing(script, url, source):
    """They begin with an empty database, so they all want to make the tables."""
    code = """
    ask(200, f"worker {os.getpid()}")
    assert log.flush(60)  # longer than a process waits by itself at its end
    """
    processes = [script(code, url) for _ in range(4)]
    for each in processes:
        assert ended(each) == ""

    assert list(purposes(url).values()) == [200] * 4
    assert not disagreements(url, source)


def test_what_is_made_right_before_the_end_is_written(script, url):
    """A process flushes when it ends, whichever way it does."""
    for code in ("ask(20)", "ask(20); sys.exit(0)", "ask(20); time.sleep(0.3)"):
        assert ended(script(f"    {code}\n", url)) == ""

    assert purposes(url) == {"p": 60}


def test_the_last_one_leaves_a_single_file(script, tmp_path):
    """Writer and reader close the database, and SQLite puts away its other files."""
    code = """
    ask(20)
    assert log.flush()
    assert len(app.extensions["llm.source"].recent(50)) == 20
    assert os.path.exists(sys.argv[1].removeprefix("sqlite:///") + "-wal")
    ask(20)
    """
    assert ended(script(code, f"sqlite:///{tmp_path}/log.db")) == ""

    assert [each.name for each in tmp_path.iterdir()] == ["log.db"]


def test_a_process_ends_although_the_database_is_away(script, tmp_path):
    """After two seconds at most, here a tenth; it says how much is lost."""
    (tmp_path / "none").write_text("")
    code = f"""
    app.config["LLM_USAGE_URL"] = ""
    late = Flask("late", instance_path={str(tmp_path / "none")!r})
    late.config |= app.config
    FlaskLLM(late)
    from flask_llm.observe.usage.writer import Writer
    assert Writer.end.__defaults__ == (2.0,)
    Writer.end.__defaults__ = (0.1,)
    for _ in range(30):
        late.llm.generate_content("hello")
    print(time.time(), flush=True)
    """
    process = script(code, f"sqlite:///{tmp_path}/other.db")
    output, errors = process.communicate(timeout=60)

    assert time.time() - float(output) < AT_ONCE_S
    assert process.returncode == 0
    assert "the process ends; calls lost: 30" in errors
    assert "Traceback" not in errors


def test_kill_in_the_middle_of_writes(script, url, source):
    """Rows and sums agree, and nobody finds a lock that is left behind."""
    code = """
    print("go", flush=True)
    while True:
        ask(20)
        log.flush()
    """
    for pause in (0.5, 0.3, 0.2):
        with script(code, url) as process:
            assert process.stdout.readline() == "go\n"
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
    assert ended(script("    ask(5)\n", url)) == ""

    assert purposes(url)["p"] >= 5
    assert not disagreements(url, source)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_in_the_middle_of_writes(script, url, source):
    """Parent and children go on, each with a connection and calls of its own."""
    code = """
    import warnings  # since 3.12 of a fork with threads, which is what this is about
    warnings.simplefilter("ignore", DeprecationWarning)
    children = []
    for _ in range(3):
        ask(50, "parent")
        child = os.fork()
        if not child:
            ask(100, "child")
            assert log.flush(30)
            sys.exit()
        children.append(child)
    ask(50, "parent")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    """
    assert ended(script(code, url)) == ""

    assert purposes(url) == {"parent": 200, "child": 300}
    assert not disagreements(url, source)


@pytest.mark.parametrize("worker_class", CLASSES)
@PRELOAD
def test_the_workers_of_a_server(worker_class, preload, url, source, tmp_path):
    """All calls are there when it has ended, the one before the fork included."""
    with StubServer(reply(MESSAGE)) as stub:
        keys = {key: str(each) for key, each in settings("claude", stub.url).items()}
        with serving(
            tmp_path, worker_class, preload, ["claude"], LLM_USAGE_URL=url, **keys
        ) as gunicorn:
            asked = 0
            while asked < 40:
                assert gunicorn.ask("claude", "hi")["content"] == "yes"
                asked += 1
            gunicorn.end()

    counts = purposes(url)
    assert counts["ask"] == 40
    assert counts[""] == (1 if preload else 2)
    assert not disagreements(url, source)
    assert query(url, "SELECT sum(input_tokens) FROM flask_llm_calls")[0][0] >= 7 * 41
