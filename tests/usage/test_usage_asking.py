"""A log that does not answer: each page is told in time, most of them at once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from usage_calls import link_to

from flask_llm.observe.source import About
from flask_llm.observe.usage.asking import REST_S
from flask_llm.observe.usage.place import place_of
from flask_llm.observe.usage.source import UsageSource


def test_the_source_needs_an_answer_in_time(url):
    """A question that takes too long is an error in plain words."""
    link_to(url).run(lambda one: None)
    lost = About("usage", lost=3)
    source = UsageSource(place_of(url, ""), lambda: lost, patience_s=0.1)
    endless = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n)"
        " SELECT count(*) FROM n",
        "postgresql": "SELECT pg_sleep(20)",
    }[url.partition(":")[0]]
    begin = time.monotonic()
    with pytest.raises(Exception, match="The usage log cannot be read: ") as caught:
        source.ask(lambda one: one.exec_driver_sql(endless), None)

    assert time.monotonic() - begin < 2.0
    assert type(caught.value).__name__ == "SourceError"
    assert "secret" not in str(caught.value)
    assert source.about().lost == 3


def test_an_error_is_told_again_for_a_while(url, clock):
    """The log is not asked meanwhile; then it is, and all is well again."""
    link = link_to(url)
    version = "UPDATE flask_llm_schema SET version = "
    link.run(lambda one: one.exec_driver_sql(f"{version}2"))
    source = UsageSource(place_of(url, ""), clock=clock)
    told = source.about().error
    assert "its tables are of version 2" in told
    link.run(lambda one: one.exec_driver_sql(f"{version}1"))

    clock.sleep(REST_S - 0.1)
    assert source.about().error == told
    clock.sleep(0.2)
    assert source.about().error is None
    assert source.recent(1) == []


def test_one_request_waits_for_a_server_that_hangs(
    postgres_server, postgres_url, clock
):
    """All others are told at once what the last one has found."""
    link_to(postgres_url).run(lambda one: None)
    source = UsageSource(place_of(postgres_url, ""), patience_s=0.5, clock=clock)

    def seconds(_):
        begin = time.monotonic()
        assert "The usage log cannot be read" in source.about().error
        return time.monotonic() - begin

    postgres_server.freeze()
    try:
        assert seconds(0) > 0.4
        assert seconds(1) < 0.2
        clock.sleep(REST_S + 0.1)
        with ThreadPoolExecutor(6) as requests:
            *others, slowest = sorted(requests.map(seconds, range(6)))
    finally:
        postgres_server.thaw()
    assert max(others) < 0.3 < slowest
