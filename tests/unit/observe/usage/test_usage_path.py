"""How far a reader has to go who follows one row into the log."""

import sys
import threading
from pathlib import Path

import pytest

import flask_llm
from flask_llm.observe.usage import flush

ROOM = Path(flask_llm.__file__).parent
RECORDS = str(ROOM / "observe" / "records.py")
WRITER = "flask-llm-usage"
RECEIVER = "UsageLog."


@pytest.fixture
def entered():
    """Return the files that the receiver and the writer's thread enter."""
    files, hearing, asker = set(), [], threading.get_ident()

    def watch(frame, kind, _):
        code = frame.f_code
        is_writer = threading.current_thread().name == WRITER
        if not is_writer and threading.get_ident() != asker:
            return  # what is made ready after a first answer has a thread of its own
        if kind == "return" and hearing and frame is hearing[-1]:
            hearing.pop()
        if kind != "call" or not code.co_filename.startswith(str(ROOM)):
            return
        if code.co_qualname.startswith(RECEIVER) and not is_writer:
            hearing.append(frame)
        # What the record asks of the response that it is made of is before the row.
        is_asked = frame.f_back and frame.f_back.f_code.co_filename == RECORDS
        if (hearing or is_writer) and not is_asked:
            files.add(str(Path(code.co_filename).relative_to(ROOM)))

    before = sys.getprofile()
    threading.setprofile(watch)
    sys.setprofile(watch)
    yield files
    sys.setprofile(before)
    threading.setprofile(None)


def test_one_row_enters_few_files(app_of, entered):
    """From the receiver of the signal to the commit, in either thread.

    Receiver, thread and statements are one file; others are the record, the sums, the
    tables, the database, and what a fork and gevent ask for.
    """
    app = app_of()
    assert app.llm.generate_content("hello").success  # what is made once
    assert flush(app)
    entered.clear()

    assert app.llm.generate_content("hello").success
    assert flush(app)
    assert {f"observe/usage/{each}.py" for each in ("writer", "tables")} <= entered
    assert len(entered) <= 7, " ".join(sorted(entered))
