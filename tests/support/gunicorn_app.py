"""The app that gunicorn runs in tests: two routes ask a model, one never waits.

LLM_TEST_PROVIDERS names the providers. Each is asked once while this is imported, which
with `--preload` is before the fork. The file LLM_TEST_ASKED, if there is one, gets each
prompt that has arrived.
"""

import os
import threading
from pathlib import Path

from flask import Flask, request

from flask_llm import FlaskLLM, LLMFactory

names = os.environ["LLM_TEST_PROVIDERS"].split(",")

app = Flask(__name__)
app.config |= {"LLM_PRIMARY_PROVIDER": names[0], "LLM_FALLBACK_PROVIDERS": []}
app.config["LLM_DASHBOARD"] = "off"  # or its log begins with a warning
FlaskLLM(app)
factories = {name: LLMFactory(name, [], config=app.config) for name in names}
factories[names[0]] = app.llm

for factory in factories.values():
    first = factory.generate_content("import", max_tokens=2)
    assert first.success, first.error


@app.get("/ask/<name>")
def ask(name):
    """Answer with the model's text and the process that fetched it."""
    prompt = request.args["prompt"]
    if file := os.environ.get("LLM_TEST_ASKED"):
        Path(file).write_text(prompt)
    response = factories[name].generate_content(
        prompt, max_tokens=int(request.args.get("max_tokens", 20))
    )
    return {"content": response.content, "error": response.error, "pid": os.getpid()}


@app.get("/stream")
def stream():
    """Answer with server-sent events."""
    return app.llm.stream_response(request.args["prompt"])


@app.get("/health")
def health():
    """Answer at once, with what the process holds."""
    threads = [each.name for each in threading.enumerate()]
    return {"pid": os.getpid(), "threads": threads, "files": _open_files()}


def _open_files():
    """Return how many files and sockets are open, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0
