"""A log that does not answer: each page is told in time, most of them at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_time import AT_ONCE_S
from usage_calls import database_at, soon

from flask_llm.observe.aggregates import About
from flask_llm.observe.usage.database import Database
from flask_llm.observe.usage.queries import RETRY_S, UsageSource
from flask_llm.observe.usage.settings import database_url_of


def test_the_source_needs_an_answer_in_time(url):
    """A question that takes too long is an error in plain words."""
    database_at(url).run(lambda one: None)
    lost = About("usage", lost=3)
    source = UsageSource(database_url_of(url, ""), lambda: lost, patience_s=0.1)
    endless = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n)"
        " SELECT count(*) FROM n",
        "postgresql": "SELECT pg_sleep(60)",
        "mysql+pymysql": "SELECT sleep(5)",
    }[url.partition(":")[0]]
    begin = time.monotonic()
    with pytest.raises(Exception, match="The usage log cannot be read: ") as caught:
        source.ask(lambda one: one.exec_driver_sql(endless), None)

    assert time.monotonic() - begin < AT_ONCE_S
    assert type(caught.value).__name__ == "SourceError"
    assert "secret" not in str(caught.value)
    assert source.about().lost == 3


def test_an_error_is_told_again_for_a_while(url, clock):
    """The log is not asked meanwhile; then it is, and all is well again."""
    link = database_at(url)
    version = "UPDATE flask_llm_schema SET version = "
    link.run(lambda one: one.exec_driver_sql(f"{version}2"))
    source = UsageSource(database_url_of(url, ""), clock=clock)
    told = source.about().error
    assert "its tables are of version 2" in told
    link.run(lambda one: one.exec_driver_sql(f"{version}1"))

    clock.sleep(RETRY_S - 0.1)
    assert source.about().error == told
    clock.sleep(0.2)
    assert source.about().error is None
    assert source.recent(1) == []


def test_one_request_waits_for_a_server_that_hangs(tmp_path, clock, monkeypatch):
    """All others are told at once what the last one has found."""
    asked, over = [], threading.Event()

    def silent(link, question):
        asked.append(question)
        assert len(asked) == 1 or over.wait(60)
        raise OSError(f"fault {len(asked)}")

    monkeypatch.setattr(Database, "run", silent)
    place = database_url_of(f"sqlite:///{tmp_path}/log.db", "")
    source = UsageSource(place, patience_s=60, clock=clock)

    def told(_=None):
        return source.about().error.rpartition(": ")[2]

    assert [told(), told()] == ["fault 1"] * 2
    clock.sleep(RETRY_S + 0.1)
    with ThreadPoolExecutor(7) as requests:
        waits = requests.submit(told)
        try:
            soon(lambda: len(asked) == 2)
            assert list(requests.map(told, range(6), timeout=10)) == ["fault 1"] * 6
        finally:
            over.set()
    assert waits.result() == "fault 2"
    assert len(asked) == 2
