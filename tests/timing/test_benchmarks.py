"""The benchmarks run, whatever their figures are here; streams stay cheap anywhere."""

import gc
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from faultserver import FaultServer

from benchmarks import overhead
from benchmarks.cases import CASES
from benchmarks.report import BEGIN, END, PAGE
from flask_llm import LLMFactory, LLMProvider, LLMResponse
from flask_llm.resilience.stream_reader import _MOST_AHEAD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# Most function calls above the SDK's, and without the dashboard: these two go down with
# what is reached, never up.
MOST_CALLS = 190
MOST_CALLS_WITHOUT_DASHBOARD = 165


def test_quick():
    """A quick run prints a row for every case; the page has room for the table."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        env=os.environ | {"LLM_PRIMARY_PROVIDER": "nobody"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if " | " in line]
    assert [first.removeprefix("| ") for first, *_ in rows[1:]] == [
        case.measure for case in CASES
    ]
    assert all(figure for _, figure, *_ in rows)
    assert done.stderr == ""
    text = PAGE.read_text()
    assert text.index(BEGIN) < text.index(END)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="counted on Python 3.11: each version calls other functions",
)
def test_a_call_makes_few_calls_above_the_sdk():
    """Counted, not timed, in a fresh process: no other work or test changes it."""
    program = (
        "from benchmarks.overhead import calls_above_the_sdk as count\n"
        "print(count(), count(LLM_DASHBOARD='off'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    usual, without_dashboard = map(int, done.stdout.split())
    assert 0 < usual <= MOST_CALLS
    assert 0 < without_dashboard <= MOST_CALLS_WITHOUT_DASHBOARD


def test_the_sdk_is_asked_the_same():
    """What the overhead is measured against sends our request, to the last header."""
    with FaultServer() as server:
        overhead.ours(server.url)()
        overhead.bare(server.url)()
        ours, bare = server.attempts()
    assert ours.body == bare.body
    assert ours.headers == bare.headers


class Endless(LLMProvider):
    """A provider that streams so many chunks of a size, and counts them.

    Args:
        count: How many.
        size: Characters of each.
    """

    needs_key = False

    def __init__(self, count: int, size: int = 6) -> None:
        self.made = 0
        self._count = count
        self._size = size

    def generate_content(self, *args, **kwargs) -> LLMResponse:
        raise AssertionError("nobody wants the whole")

    def get_provider_name(self) -> str:
        return "endless"

    def is_available(self) -> bool:
        return True

    def stream(self, request):
        for number in range(self._count):
            self.made = number + 1
            yield f"{number} ".ljust(self._size)
        return LLMResponse(True, "", "endless")


def streamed(provider: LLMProvider):
    return LLMFactory(provider, [], config={}).stream_content("Hi")


@pytest.mark.timing
def test_a_chunk_of_a_stream_is_handed_on_in_no_time():
    """Two changes of thread each at worst, and nothing that grows with their number."""
    count = 5000
    begin = time.perf_counter()
    with streamed(Endless(count)) as stream:
        assert sum(1 for _ in stream) == count
    assert (time.perf_counter() - begin) / count < 500e-6


@pytest.mark.parametrize("size", [6, _MOST_AHEAD])
def test_a_stream_is_hardly_read_ahead(size):
    """A reader who takes its time has little waiting, and a chunk is being made."""
    provider = Endless(1000, size)
    with streamed(provider) as stream:
        for taken in range(1, 50):
            next(stream)
            time.sleep(0.001)
            assert provider.made * size <= taken * size + _MOST_AHEAD + size
    assert provider.made * size < 51 * size + _MOST_AHEAD


def test_a_stream_holds_its_text_and_little_more():
    """What it needs grows with the text, and by no more than a small object a chunk."""

    def peak(count: int, size: int) -> int:
        provider = Endless(count, size)
        gc.collect()
        tracemalloc.start()
        try:
            with streamed(provider) as stream:
                for _ in stream:
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    size = 200
    peak(10, size)  # what is imported or cached at first
    grown = peak(6000, size) - peak(1000, size)
    # Once in pieces and once as the whole.
    assert grown < 5000 * (2 * size + 100)
