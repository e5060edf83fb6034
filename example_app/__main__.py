"""The demo: one real generation in the terminal, then the page."""

import contextlib
import json
import logging
import socket
import sys
import textwrap

from flask import Flask
from werkzeug.serving import make_server

from flask_llm import current_llm

from . import create_app
from .mails import SAMPLES, Mail
from .report import Report
from .security import LOCAL_ONLY
from .services.agent_service import AgentService

HOST = "127.0.0.1"
PORTS = (*range(5000, 5010), 0)
"""Where to serve: the first that is free; 0 lets the system choose."""


def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 1 if no provider answered.
    """
    try:
        return demo()
    except KeyboardInterrupt:
        return 130


def demo() -> int:
    """Classify one mail, show how it went, and serve the page to a person."""
    log_to_stdout()
    title("A Flask app sorts a mail with a language model")
    app = create_app({"TRUSTED_HOSTS": [HOST, "localhost"], LOCAL_ONLY: True})
    with app.app_context():
        error = show_classification(SAMPLES[0])
        show_status()
    if error:
        print(f"\nThe generation failed. {error}")
        return 1
    if sys.stdin is not None and sys.stdin.isatty():
        serve(app)
    return 0


def log_to_stdout() -> None:
    """Show the log lines of the library and of the app among the rest."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.WARNING, format="  %(levelname)s: %(message)s"
    )
    for name in ("flask_llm", "example_app"):
        logging.getLogger(name).setLevel(logging.INFO)


def show_classification(mail: Mail) -> str:
    """Classify a mail before the reader's eyes.

    Returns:
        What went wrong; empty if a model answered.
    """
    title("The mail")
    print(f"  From:    {mail.sender} <{mail.address}>\n  Subject: {mail.subject}\n")
    print("\n".join(wrapped(line) for line in mail.body.splitlines()))
    title("The model")
    found = AgentService().classify(mail)
    report = Report.of(found.response)
    title("The result")
    print(f"  Label:   {found.label}\n  Reason:  {found.reason}")
    show_report(report)
    return report.error


def show_report(report: Report) -> None:
    """Say who answered, and why nobody did before."""
    if report.success:
        print(f"  Answer:  from {report.provider} ({report.facts})")
    for attempt in report.attempts:
        print(f"  Attempt: {attempt}")
    if report.note:
        print(wrapped(f"Note:    {report.note}", hanging=11))


def show_status() -> None:
    """Show what GET /llm/status returns."""
    title("The status, as GET /llm/status returns it")
    print(
        textwrap.indent(json.dumps(current_llm.get_provider_status(), indent=2), "  ")
    )


def wrapped(text: str, hanging: int = 2) -> str:
    """Return a paragraph broken into lines, all but the first set further in."""
    return textwrap.fill(text, 78, initial_indent="  ", subsequent_indent=" " * hanging)


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def serve(app: Flask) -> None:
    """Serve the app to this machine only, until Ctrl-C."""
    with listen() as listener:
        port = listener.getsockname()[1]
        title("The page")
        print(f"  http://{HOST}:{port}/  (Ctrl-C ends it)", flush=True)
        server = make_server(HOST, port, app, threaded=True, fd=listener.fileno())
        # Werkzeug ends quietly by itself, unless Ctrl-C comes before its loop.
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    print()


def listen() -> socket.socket:
    """Return a listening socket on the first port that is free."""
    for port in PORTS:
        with contextlib.suppress(OSError):
            return socket.create_server((HOST, port))
    raise OSError(f"no port of {HOST} is free")


if __name__ == "__main__":
    sys.exit(main())
