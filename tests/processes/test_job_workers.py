"""Real workers of Celery and RQ: a job's time limit ends its call, and reaches it."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from faultserver import FaultServer, faults
from gunicorn_server import SOON
from storages import _redis_server, redis_server  # noqa: F401  # fixtures
from usage_calls import soon

pytestmark = pytest.mark.slow

JOBS = """
import sys
from pathlib import Path
from flask import Flask
from flask_llm import FlaskLLM

app = Flask(__name__)
app.config |= dict(
    LLM_PRIMARY_PROVIDER="claude",
    LLM_FALLBACK_PROVIDERS="none",
    ANTHROPIC_API_KEY="sk-ant-of-no-use",
    LLM_CLAUDE_BASE_URL="{url}",
    LLM_DASHBOARD=False,
)
FlaskLLM(app)

def ask(deadline):
    try:
        with app.app_context():
            told = app.llm.generate_content("hello", deadline=deadline).error
    except Exception as error:
        told = type(error).__name__
    with open("{folder}/told", "a") as file:
        file.write(told + "\\n")
"""

CELERY = """
from celery import Celery
from jobs import ask
queue = Celery("tasks", broker="{redis}")
queue.task(ask, name="ask", soft_time_limit=1)
"""


@pytest.fixture
def jobs(tmp_path):
    """A folder with a module `jobs`, whose provider never answers."""
    with FaultServer() as server:
        server.script("anthropic", faults.hang)
        (tmp_path / "jobs.py").write_text(JOBS.format(url=server.url, folder=tmp_path))
        yield tmp_path


def test_celery(jobs, redis_server):  # noqa: F811  # a fixture
    """SoftTimeLimitExceeded, with a deadline and without one."""
    (jobs / "tasks.py").write_text(CELERY.format(redis=redis_server.url))
    send = (
        "from tasks import queue\n"
        "for deadline in (None, 50.0): queue.send_task('ask', [deadline])"
    )
    subprocess.run([sys.executable, "-c", send], cwd=jobs, check=True, timeout=SOON)
    with running(jobs, "celery", "-A", "tasks:queue", "worker", "-c", "1"):
        assert soon(lambda: told(jobs), SOON) == ["SoftTimeLimitExceeded"] * 2


def test_rq(jobs, redis_server):  # noqa: F811  # a fixture
    """JobTimeoutException, with a deadline and without one."""
    send = (
        "from redis import Redis\nfrom rq import Queue\n"
        f"queue = Queue(connection=Redis.from_url({redis_server.url!r}))\n"
        "for deadline in (None, 50.0):\n"
        "    queue.enqueue('jobs.ask', deadline, job_timeout=1)"
    )
    subprocess.run([sys.executable, "-c", send], cwd=jobs, check=True, timeout=SOON)
    with running(jobs, "rq.cli", "worker", "--burst", "--url", redis_server.url):
        assert soon(lambda: told(jobs), SOON) == ["JobTimeoutException"] * 2


def told(folder):
    """Return how both jobs have ended, once they have."""
    file = folder / "told"
    lines = file.read_text().split() if file.exists() else []
    return lines if len(lines) == 2 else None


@contextmanager
def running(folder, module, *arguments):
    """Run a worker until the block ends."""
    with (folder / "output").open("w") as output:
        command = [sys.executable, "-m", module, *arguments]
        worker = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(SOON)
        except subprocess.TimeoutExpired:
            worker.kill()
