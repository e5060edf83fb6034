"""The first switch of a process to its fallback is as quick as the second."""

import json
from statistics import median

import pytest
from wire import python

pytestmark = [pytest.mark.slow, pytest.mark.timing]

PROCESSES = 7

MOST_MORE_MS = 20.0
"""Beyond twice the second one's time."""

PROGRAM = """if True:
    import json, logging, sys, threading, time
    from flask import Flask
    sys.path.insert(0, "tests/support")
    from faultserver import FaultServer, faults
    from flask_llm import FlaskLLM
    from wired import settings

    ready = threading.Event()

    class Listens(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "All providers are ready to be asked":
                ready.set()

    log = logging.getLogger("flask_llm")
    log.addHandler(Listens())
    log.setLevel(logging.DEBUG)

    with FaultServer() as server:
        app = Flask("x")
        app.config |= settings("gemini", server.url) | settings(sys.argv[1], server.url)
        app.config["LLM_FALLBACK_PROVIDERS"] = sys.argv[1]
        FlaskLLM(app, authorize=lambda: True)
        assert app.llm.generate_content("hello").provider_name == "gemini"
        assert ready.wait(60)
        server.script("gemini", faults.rate_limited())
        took = []
        for _ in range(2):
            begun = time.perf_counter()
            answer = app.llm.generate_content("hello")
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.provider_name == sys.argv[1], answer.error
            app.llm.reset("gemini")
        print(json.dumps(took))
"""


@pytest.mark.parametrize("name", ["claude", "openai"])
def test_the_first_switch_is_as_quick_as_the_second(name):
    """Once the warm-up is through, which the log tells at DEBUG level."""
    took = [json.loads(python(PROGRAM, name)) for _ in range(PROCESSES)]
    first, second = (median(side) for side in zip(*took, strict=True))

    assert first <= 2 * second + MOST_MORE_MS
