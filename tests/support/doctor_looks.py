"""What the doctor's tests share: an app to look at, and a way to pick findings."""

import os
import sys
from datetime import date
from functools import partial

import pytest
from click.testing import CliRunner
from commands import CANARY, MINI, run_flask
from flask.cli import cli
from storages import _redis_server, redis_server  # noqa: F401  # fixtures

from flask_llm import LLMFactory
from flask_llm.cli.doctor import CheckContext, examine

TODAY = date(2026, 11, 23)
HERE = ("debug", "guarded", "root", "instance")


@pytest.fixture
def look(tmp_path):
    """Return what the doctor finds in a configuration: the findings of an area."""

    def look(area, today=TODAY, *, primary=None, **config):
        here = {name: config.pop(name) for name in HERE if name in config}
        factory = LLMFactory(primary, config=config)
        instance = str(tmp_path / "instance")
        here = {"folder": tmp_path, "instance": instance, **here}
        subject = CheckContext(today, factory, config, **here)
        look.all = examine(subject)
        return [
            (each.level, each.subject, each.message, each.advice)
            for each in look.all
            if each.area == area
        ]

    return look


@pytest.fixture
def flask(tmp_path, monkeypatch):
    """Return what runs `flask` in this process, on an app of some lines."""
    monkeypatch.chdir(tmp_path)

    def run(*args, source=f"{MINI}FlaskLLM(app)\n", **environment):
        (tmp_path / "mini.py").write_text(source)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path])
            patch.setattr(sys, "dont_write_bytecode", True)  # it changes too fast
            patch.setattr(os, "environ", os.environ.copy())
            env = {"FLASK_APP": "mini", **environment}
            result = CliRunner(env=env).invoke(cli, args)
        sys.modules.pop("mini", None)
        assert CANARY not in result.output
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


@pytest.fixture
def flask_process(tmp_path):
    """Return what runs `flask` in a process of its own."""
    return partial(run_flask, tmp_path)
