"""Several processes: real gunicorns whose workers count together, and forks."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from counting_server import WORKERS, hook, run, scrape, serving, soon
from gunicorn_server import CLASSES, PRELOAD, SOON
from scraped import make_app, total

from flask_llm.testing import FakeProvider
from flask_llm.testing.failure_checks import across_a_fork

CALLED = "flask_llm_calls_total"
FLIGHT = "flask_llm_attempts_in_flight"


@pytest.fixture
def counts(tmp_path):
    """An empty folder for the counts, as the environment names it."""
    folder = tmp_path / "counts"
    folder.mkdir()
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


@pytest.mark.slow
class TestGunicorn:
    @pytest.mark.parametrize("worker_class", CLASSES)
    @PRELOAD
    def test_the_sums_are_the_calls_that_were_made(
        self, tmp_path, counts, worker_class, preload
    ):
        """Whichever worker answers; of two apps that count the same, both."""
        asked = 90
        with serving(tmp_path, worker_class, preload=preload, **counts) as server:
            server.pids(WORKERS)
            with ThreadPoolExecutor(6) as pool:
                made = list(pool.map(server.get, ["/ask/p"] * asked))
                texts = list(pool.map(scrape, [server] * 12))

        assert all(each["ok"] for each in made)
        assert len({each["pid"] for each in made}) == WORKERS
        for text in texts:
            assert total(text, CALLED, purpose="p", provider="a") == 2 * asked
            tokens = "gen_ai_client_inference_usage_input_tokens_total"
            assert total(text, tokens, purpose="p") == 2 * asked * 5
            duration = "flask_llm_call_duration_seconds"
            assert total(text, f"{duration}_count", purpose="p") == 2 * asked
            assert total(text, f"{duration}_bucket", purpose="p", le="+Inf") == (
                2 * asked
            )
            assert total(text, FLIGHT, provider="a") == 0
            # Before a fork there is one process that imports, else each worker does.
            imports = 1 if preload else WORKERS
            assert total(text, CALLED, purpose="import") == imports
            assert total(text, "flask_llm_processes") == WORKERS + preload

    @PRELOAD
    def test_each_worker_knows_what_is_so_in_the_others(
        self, tmp_path, counts, preload
    ):
        """A rest and a request under way in one; gone with a worker that was killed."""
        hooked = {"preload": preload, "settings": hook()}
        with serving(tmp_path, **hooked, **counts) as server:
            server.pids(WORKERS)
            rests, waits = server.get("/rest")["pid"], server.get("/wait")["pid"]
            with ThreadPoolExecutor(6) as pool:
                texts = list(pool.map(scrape, [server] * 12))
            for text in texts:
                state = "flask_llm_circuit_state"
                assert total(text, state, provider="c", state="open") == 1
                assert total(text, state, provider="c") == 1
                ends = total(text, "flask_llm_circuit_rest_ends_timestamp_seconds")
                assert ends - time.time() == pytest.approx(60, abs=SOON)
                assert total(text, FLIGHT, provider="b") == 1

            for pid in {rests, waits}:
                os.kill(pid, signal.SIGKILL)
            assert soon(lambda: total(scrape(server), FLIGHT) == 0)
            opened = {"provider": "c", "state": "open"}
            assert soon(lambda: total(scrape(server), state, **opened) == 0)
            assert total(scrape(server), "flask_llm_attempts_total", provider="c") == 1
            folder = Path(counts["PROMETHEUS_MULTIPROC_DIR"])
            assert soon(lambda: not [*folder.glob(f"gauge_live*_{waits}.db")])

    def test_the_hook_does_no_harm_where_nobody_counts_together(self, tmp_path):
        """An error in it would take the whole server down with the first worker."""
        with serving(tmp_path, settings=hook()) as server:
            killed = server.pids(WORKERS).pop()
            os.kill(killed, signal.SIGKILL)
            line = f"Worker (pid:{killed}) was sent SIGKILL"
            assert soon(lambda: line in server.log.read_text())
            assert len(server.pids(WORKERS) - {killed}) == WORKERS
            assert "Traceback" not in server.log.read_text()

    def test_without_a_folder_each_worker_says_that_it_counts_alone(self, tmp_path):
        """In the log at start, and in a metric."""
        with serving(tmp_path) as server:
            server.pids(WORKERS)
            text = scrape(server)

        assert total(text, "flask_llm_processes") == 1
        assert total(text, CALLED, purpose="import") == 1
        line = "LLM_METRICS: each worker counts its own calls only"
        assert server.log.read_text().count(line) >= WORKERS

    def test_openmetrics_is_spoken_for_all_too(self, tmp_path, counts):
        """The same numbers in the other format."""
        wanted = "application/openmetrics-text;version=1.0.0"
        with serving(tmp_path, **counts) as server:
            server.pids(WORKERS)
            text = scrape(server, wanted)

        assert text.endswith("# EOF\n")
        assert 'flask_llm_circuit_state{provider="a",state="closed"} 1.0' in text


@pytest.mark.slow
def test_the_apps_own_registry_counts_in_the_files(tmp_path):
    """The way that prometheus_client's documents show, with the app's own metrics."""
    code = """if True:
        from prometheus_client import (
            REGISTRY, CollectorRegistry, Counter, generate_latest, multiprocess
        )
        from scraped import FakeProvider, make_app, total
        Counter("mine", "Mine.").inc()
        one = make_app(FakeProvider(), LLM_METRICS_REGISTRY=REGISTRY)
        two = make_app(FakeProvider())
        for app in (one, two):
            app.llm.generate_content("x")
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        shown = generate_latest(registry).decode()
        print(total(shown, "mine_total"), total(shown, "flask_llm_calls_total"))
        print(total(two, "mine_total"), total(two, "flask_llm_calls_total"))
    """
    told = run(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert told.split("\n") == ["1.0 2.0", "1.0 2.0"]


def test_a_child_shows_its_own_calls():
    """Not those that its parent has made before the fork."""
    app = make_app(FakeProvider())
    made = []

    def call(expected):
        app.llm.generate_content("hello")
        made.append(1)
        assert total(app, CALLED) == expected(len(made)), len(made)

    told = across_a_fork(
        parent=lambda: call(lambda number: number),
        child=lambda: call(lambda number: number - 1),
    )
    assert told == ""


@pytest.mark.slow
def test_a_child_counts_in_files_of_its_own(tmp_path):
    """Each call once, and each request under way, whoever of the two has it."""
    code = """if True:
        import os
        from prometheus_client import multiprocess
        from flask_llm.testing import Delay
        from scraped import FakeProvider, make_app, total
        slow = ["one ", Delay(20, "two")]
        app = make_app(FakeProvider(slow, "yes", "yes", slow))
        stream = app.llm.stream_content("x")
        app.llm.generate_content("x")
        pid = os.fork()
        app.llm.generate_content("x")
        if pid == 0:
            another = app.llm.stream_content("x")
            os._exit(int(total(app, "flask_llm_attempts_in_flight")))
        seen = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        multiprocess.mark_process_dead(pid)
        print(seen, total(app, "flask_llm_attempts_in_flight"))
        stream.close()
        print(total(app, "flask_llm_calls_total"))
    """
    told = run(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert told.split() == ["2", "1.0", "4.0"]
