"""The apps whose calls gunicorn's workers count in `test_metrics_processes`.

One call is made while this is imported, which with `--preload` is before the fork.
"""

import os
import threading

from flask import Flask

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

leave = threading.Event()
usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
answer = LLMResponse(True, "yes", "", metadata={"usage": usage, "model": "m"})
rest = QuotaError()
rest.retry_after = 60.0


def with_provider(provider):
    made = Flask(__name__)
    made.config |= {
        "LLM_PRIMARY_PROVIDER": provider,
        "LLM_FALLBACK_PROVIDERS": [],
        "LLM_METRICS": "on",
    }
    FlaskLLM(made, authorize=lambda: True)
    return made


app = with_provider(FakeProvider(answer, name="a"))
twin = with_provider(FakeProvider(answer, name="a"))
waiting = with_provider(FakeProvider(lambda _: str(leave.wait(30)), name="b"))
resting = with_provider(FakeProvider(rest, name="c"))
assert app.llm.generate_content("x", purpose="import").success


@app.get("/ask/<purpose>")
def ask(purpose):
    """Make a call in each of two apps with the same labels."""
    made = [each.llm.generate_content("x", purpose=purpose) for each in (app, twin)]
    return {"ok": all(each.success for each in made), "pid": os.getpid()}


@app.get("/rest")
def let_rest():
    """Let provider c rest, in this worker only."""
    resting.llm.generate_content("x")
    return {"pid": os.getpid()}


@app.get("/wait")
def let_wait():
    """Leave a request to provider b under way, in this worker only."""
    waiting.llm.generate_content("x", deadline=0.05)
    return {"pid": os.getpid()}


@app.get("/health")
def health():
    """Tell the process."""
    return {"pid": os.getpid()}
