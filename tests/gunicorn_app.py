"""The app that `test_gunicorn` runs: one route asks a model, one never waits.

LLM_TEST_PROVIDERS names the providers. Each is asked once while this is imported, which
with `--preload` is before the fork.
"""

import os

from flask import Flask, request

from flask_llm import FlaskLLM, LLMFactory

names = os.environ["LLM_TEST_PROVIDERS"].split(",")

app = Flask(__name__)
app.config |= {"LLM_PRIMARY_PROVIDER": names[0], "LLM_FALLBACK_PROVIDERS": []}
FlaskLLM(app)
factories = {name: LLMFactory(name, [], config=app.config) for name in names}
factories[names[0]] = app.llm

for factory in factories.values():
    first = factory.generate_content("import", max_tokens=2)
    assert first.success, first.error


@app.get("/ask/<name>")
def ask(name):
    """Answer with the model's text and the process that fetched it."""
    response = factories[name].generate_content(
        request.args["prompt"], max_tokens=int(request.args.get("max_tokens", 20))
    )
    return {"content": response.content, "error": response.error, "pid": os.getpid()}


@app.get("/health")
def health():
    """Answer at once."""
    return {"pid": os.getpid()}
