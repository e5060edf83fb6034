"""Three workers with one limit: the server never sees more, and nobody waits."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest
from faultserver import FaultServer
from gunicorn_server import serving
from real_time import AT_ONCE_S
from storages import _redis_server, redis_server  # noqa: F401  # fixtures

pytestmark = pytest.mark.slow

MOST, SECONDS = 10, 10


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_three_workers_send_no_more_than_one_may(tmp_path, store, request):
    """Three calls a second for two windows and a half; another answers the others."""
    if store == "sqlite":
        state = f"sqlite:///{tmp_path}/llm.db"
    else:
        state = request.getfixturevalue("redis_server").url
    with FaultServer() as server:
        variables = {
            "ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
            "LLM_CLAUDE_BASE_URL": server.url,
            "LLM_CLAUDE_RATE": f"{MOST}/{SECONDS} seconds",
            "LLM_STATE_URL": state,
        }
        way = (tmp_path, "gthread", False, ["claude"], 3)
        with serving(*way, app="limited_app:app", **variables) as gunicorn:
            begin = time.monotonic()
            with ThreadPoolExecutor(20) as pool:
                asked = []
                while time.monotonic() - begin < 2.5 * SECONDS:
                    asked.append(pool.submit(gunicorn.get, "/ask"))
                    time.sleep(1 / 3)
            told = [each.result() for each in asked]
        sent = [each.at for each in server.attempts("anthropic")]
    by = Counter(each["by"] for each in told)
    assert by.keys() == {"claude", "other"}
    assert by["claude"] == len(sent)
    assert len(sent) > MOST
    # Between the count and the server a busy machine may take its time.
    width = SECONDS - AT_ONCE_S
    assert max(sum(at <= one < at + width for one in sent) for at in sent) <= MOST
    assert median(each["waited"] for each in told if each["by"] == "other") < AT_ONCE_S
