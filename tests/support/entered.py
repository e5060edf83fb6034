"""Which functions of the package a call and a start enter; run in a fresh process.

`python entered.py` prints them as JSON: "call" and "start", each a list of
[file, function].
"""

import json
import sys
import threading
from pathlib import Path

from flask import Flask

import flask_llm
from flask_llm import FlaskLLM
from flask_llm.testing import StubServer, reply

ROOT = str(Path(flask_llm.__file__).parent)
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Because."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 3},
}


class Entered:
    """The functions of the package that were entered, in this and in new threads."""

    def __init__(self):
        self.functions = set()

    def _profile(self, frame, event, _):
        code = frame.f_code
        name = code.co_filename
        if event != "call" or not name.startswith(ROOT) or "/testing/" in name:
            return
        # What follows a first answer is no part of the call, whenever it begins.
        if threading.current_thread().name != "flask-llm-warm-up":
            self.functions.add((name, code.co_qualname))

    def __enter__(self):
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        threading.setprofile(None)

    @property
    def told(self):
        """The functions, as pairs of file and name."""
        return sorted(
            (Path(file).relative_to(ROOT).as_posix(), name)
            for file, name in self.functions
        )


def make_app(**config):
    app = Flask("path")
    app.config |= {"ANTHROPIC_API_KEY": "k-12345678", "GOOGLE_API_KEY": "k-12345678"}
    app.config |= {"LLM_PRIMARY_PROVIDER": "claude", "LLM_FALLBACK_PROVIDERS": "gemini"}
    app.config |= config
    FlaskLLM(app, authorize=lambda: True)
    return app


def of_a_call():
    """Return what the second call of a process enters, all settings at defaults."""
    with StubServer(reply(ANSWER)) as api:
        llm = make_app(LLM_CLAUDE_BASE_URL=api.url).llm
        assert llm.generate_content("Why?").success
        with Entered() as entered:
            assert llm.generate_content("Why?").success
    return entered.told


def of_a_start():
    """Return what the second `init_app` of a process enters."""
    make_app()
    with Entered() as entered:
        make_app()
    return entered.told


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"call": of_a_call(), "start": of_a_start()}))
