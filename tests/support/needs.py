"""What a test needs that is not on every machine; `.ci/run` must have all of it."""

import os
from importlib.util import find_spec

import pytest

_MUST_RUN = "FLASK_LLM_CI" in os.environ

needs_gevent = pytest.mark.skipif(
    not find_spec("gevent") and not _MUST_RUN, reason="needs gevent"
)
