"""Runs `flask llm …`, in this process or in one of its own; no key may be printed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from flask import Flask

from flask_llm import FlaskLLM

CANARY = "sk-canary-0123456789abcdef"
KEYS = {"GOOGLE_API_KEY": CANARY, "ANTHROPIC_API_KEY": CANARY}
MINI = "from flask import Flask\nfrom flask_llm import FlaskLLM\napp = Flask('mini')\n"


def invoke(config: dict[str, Any], *args: str):
    """Run `flask llm …` against an app with a configuration."""
    app = Flask("testapp")
    app.config |= config
    FlaskLLM(app)
    result = app.test_cli_runner().invoke(args=["llm", *args])
    assert CANARY not in result.output
    return result


def run_flask(
    folder: Path,
    *args: str,
    source: str = MINI + "FlaskLLM(app)\n",
    stdin: int = subprocess.DEVNULL,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run the real `flask` on an app of some lines; no traceback may be printed."""
    (folder / "mini.py").write_text(source)
    result = subprocess.run(
        [sys.executable, "-m", "flask", *args],
        cwd=folder,
        env={**os.environ, "FLASK_APP": "mini", **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=stdin,
    )
    assert CANARY not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result
