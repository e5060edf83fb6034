"""What the doctor's tests share: an app to look at, and a way to pick findings."""

from datetime import date
from functools import partial

import pytest
from commands import run_flask
from state.conftest import _redis_server, redis_server  # noqa: F401  # fixtures

from flask_llm import LLMFactory
from flask_llm.doctor import Subject, examine

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
        subject = Subject(today, factory, config, **here)
        look.all = examine(subject)
        return [
            (each.level, each.subject, each.message, each.advice)
            for each in look.all
            if each.area == area
        ]

    return look


@pytest.fixture
def flask(tmp_path):
    return partial(run_flask, tmp_path)
