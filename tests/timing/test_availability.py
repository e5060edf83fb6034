"""A lone provider that is limited now and then: outside of that all are served."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faultserver import FaultServer, faults
from wired import settings

from flask_llm import LLMFactory

pytestmark = [pytest.mark.slow, pytest.mark.timing]

EVERY_S = 0.05
LIMITED_S = 2.0
ROUNDS = 2
ROUND_S = 10.0


def test_everybody_is_answered_outside_of_the_announced_seconds():
    """20 calls a second; every 10 s a 429 with "Retry-After: 2"."""
    with FaultServer() as server, ThreadPoolExecutor(40) as pool:
        config = settings("claude", server.url) | {"LLM_PRIMARY_PROVIDER": "claude"}
        factory = LLMFactory(fallback_providers=[], config=config)
        factory.generate_content("warm up")

        def ask():
            begun = time.monotonic()
            answer = factory.generate_content("hello")
            return begun, time.monotonic(), answer

        calls = []
        for number in range(int(ROUNDS * ROUND_S / EVERY_S)):
            if number % int(ROUND_S / EVERY_S) == 20:
                left = iter([faults.rate_limited(LIMITED_S)])
                step = faults.by_request(lambda _, left=left: next(left, faults.OK))
                server.script("anthropic", step)
            calls.append(pool.submit(ask))
            time.sleep(EVERY_S)
        answers = [each.result() for each in calls]

    limited = [
        (begun, ended)
        for begun, ended, answer in answers
        if any(each.outcome == "quota" for each in answer.attempts)
    ]
    failed = [begun for begun, _, answer in answers if not answer.success]
    outside = [
        at
        for at in failed
        if not any(begun <= at <= ended + LIMITED_S for begun, ended in limited)
    ]
    assert len(limited) == ROUNDS
    assert outside == []
    assert len(failed) >= ROUNDS * LIMITED_S / EVERY_S / 2
