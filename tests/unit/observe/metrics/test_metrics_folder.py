"""The folder in which processes count may be missing, closed, or taken away."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.error import HTTPError

import pytest
from counting_server import WORKERS, run, scrape, serving, soon
from gunicorn_server import PRELOAD
from scraped import total

KEY = "PROMETHEUS_MULTIPROC_DIR"
CALLED = "flask_llm_calls_total"
ASKED = 30
SLOW = pytest.mark.slow

# An app; `ask` makes a call, `look` scrapes, and what is logged is printed.
APP = """if True:
    import logging, os, pathlib, shutil, sys
    from flask_llm.errors import QuotaError
    from scraped import FakeProvider, make_app, total
    logging.basicConfig(
        level="ERROR", stream=sys.stdout, format="%(levelname)s %(message)s"
    )
    folder = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    quota = QuotaError()
    quota.retry_after = 60.0
    rests = FakeProvider("yes", "yes", quota, name="rests")
    app = make_app(rests, FakeProvider(name="answers"))
    app.debug = True
    def ask():
        return app.llm.generate_content("x").success
    def look():
        shown = app.test_client().get("/llm/metrics")
        if shown.status_code == 200:
            return 200, total(shown.text, "flask_llm_calls_total")
        return shown.status_code, shown.json["error"]
"""


def do(code, folder) -> list[str]:
    """Return the lines that a script with the app prints, or logs."""
    lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
    return run(APP + lines, **{KEY: str(folder)}).splitlines()


def test_a_folder_that_is_missing_is_made(tmp_path):
    """With the first call, so in the name of the user who counts there.

    Before it there is nothing to complain of.
    """
    code = "print(folder.exists(), look())\nprint(ask(), look())"

    told = do(code, tmp_path / "not" / "there")
    assert told == ["False (200, 0)", "True (200, 1.0)"]


@pytest.mark.parametrize(
    "name", ["file/counts", *(pytest.param(each, marks=SLOW) for each in ("", "file"))]
)
def test_a_folder_that_cannot_be_used_stops_no_call(tmp_path, name):
    """The process says so once, with the key, and whoever scrapes is told too."""
    (tmp_path / "file").touch()
    code = "print(ask(), ask(), ask())\nstatus, why = look()\nprint(status)\nprint(why)"

    error, asked, status, why = do(code, name and tmp_path / name)
    assert error.startswith(
        f"ERROR LLM_METRICS: nothing is counted until a restart: {KEY}"
    )
    assert (asked, status) == ("True True True", "503")
    assert why.startswith(f"{KEY} cannot be used: [Errno ")


@pytest.mark.slow
def test_a_folder_that_vanishes_stops_no_call(tmp_path):
    """Also if a file is due that was not there yet, as with the first rest."""
    code = """
print(ask(), look())
shutil.rmtree(folder)
print(ask(), look()[0])
print(ask(), ask(), look()[0])
"""
    first, second, error, third = do(code, tmp_path / "counts")
    assert (first, second, third) == (
        "True (200, 1.0)",
        "True 503",
        "True True 503",
    )
    assert error.startswith(
        f"ERROR LLM_METRICS: nothing is counted until a restart: {KEY}"
    )


@SLOW
def test_a_child_makes_a_folder_anew_that_has_vanished(tmp_path):
    """Its parent shows the sums of the files that are there."""
    code = """
ask()
shutil.rmtree(folder)
pid = os.fork()
if pid == 0:
    print(ask(), look(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(look())
"""
    assert do(code, tmp_path / "counts") == ["True (200, 1.0)", "(200, 1.0)"]


@SLOW
def test_a_child_that_cannot_make_it_anew_says_so_once(tmp_path):
    """And answers as ever; none of the files that it has inherited is touched."""
    code = """
ask()
shutil.rmtree(folder)
folder.touch()
pid = os.fork()
if pid == 0:
    print(ask(), ask(), look()[0], flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    error, told = do(code, tmp_path / "counts")
    assert error.startswith(
        f"ERROR LLM_METRICS: nothing is counted until a restart: {KEY}"
    )
    assert told == "True True 503"


@SLOW
class TestGunicorn:
    @PRELOAD
    def test_restarted_workers_count_again(self, tmp_path, preload):
        """The server never goes down, and without a folder it shows no sums."""
        folder = tmp_path / "counts"
        with serving(tmp_path, preload=preload, **{KEY: str(folder)}) as server:
            begun = server.pids(WORKERS)
            assert soon(lambda: asked(server, "p") >= begun)
            shutil.rmtree(folder)
            with pytest.raises(HTTPError) as refused:
                scrape(server)
            assert refused.value.code == 503
            assert KEY in json.load(refused.value)["error"]

            for pid in begun:
                os.kill(pid, signal.SIGKILL)
            assert soon(lambda: len(pids(server) - begun) == WORKERS)
            assert asked(server, "again")
            assert total(scrape(server), CALLED, purpose="again") == 2 * ASKED
            assert "Traceback" not in server.log.read_text()

    @PRELOAD
    def test_workers_serve_without_it(self, tmp_path, preload):
        """Each says once that it does not count, however often it is asked."""
        folder = tmp_path / "counts"
        with serving(tmp_path, preload=preload, **{KEY: str(folder)}) as server:
            begun = server.pids(WORKERS)
            if folder.exists():
                shutil.rmtree(folder)
            folder.touch()
            for pid in begun:
                os.kill(pid, signal.SIGKILL)
            assert soon(lambda: len(pids(server) - begun) == WORKERS)
            assert asked(server, "p")
            with pytest.raises(HTTPError):
                scrape(server)
            log = server.log.read_text()
            assert 1 <= log.count("nothing is counted") <= WORKERS
            assert "Traceback" not in log


def asked(server, purpose) -> set[int]:
    """Return who has answered so many calls, if each of them has an answer."""
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(server.get, [f"/ask/{purpose}"] * ASKED))
    assert all(each["ok"] for each in made)
    return {each["pid"] for each in made}


def pids(server) -> set[int]:
    """Return who answers now; none if somebody is just being killed."""
    with suppress(OSError):
        return server.pids(WORKERS)
    return set()
