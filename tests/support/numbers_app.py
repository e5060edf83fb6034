"""The app of `test_numbers_agree`: all observers on, and each call noted in a file.

Each kind of call is a route, so that it is a purpose of its own.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict

from flask import Flask

from flask_llm import FlaskLLM, StreamInterrupted
from flask_llm.observe.records import CallRecord
from flask_llm.signals import generation_finished

app = Flask(__name__)
FlaskLLM(app, authorize=lambda: True)

NUMBER = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}


@generation_finished.connect_via(app)
def note(sender, event):
    """Write a call down; a line is written at once, whoever else writes."""
    line = json.dumps(asdict(CallRecord.of(event))) + "\n"
    file = os.open(os.environ["CALLS_FILE"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.get("/health")
def health():
    """Answer without a call."""
    return {"pid": os.getpid()}


@app.get("/whole/<word>")
def whole(word):
    """Ask for an answer in one piece."""
    response = app.llm.generate_content(f"{word}, please", purpose=f"whole_{word}")
    return {"success": response.success, "pid": os.getpid()}


@app.get("/number")
def number():
    """Ask for an answer of a schema."""
    response = app.llm.generate_content("number, please", schema=NUMBER)
    return {"success": response.success, "pid": os.getpid()}


@app.get("/stream/<word>")
def stream(word):
    """Ask for a stream; of "left" only the first text is read."""
    asked = app.llm.stream_content(f"{word}, please", purpose=f"stream_{word}")
    with asked as texts, suppress(StreamInterrupted):
        for _ in texts:
            if word == "left":
                break
    return {"success": texts.response.success, "pid": os.getpid()}
