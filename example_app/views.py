"""The inbox page. Its buttons are plain forms; the script only makes them smoother."""

from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
)

from flask_llm.web import event_stream

from . import broken, security
from .mails import BY_ID, SAMPLES, Mail
from .report import TINY, TINY_MODEL, Report
from .services.agent_service import AgentService

inbox = Blueprint("inbox", __name__)

_DASHBOARD = "flask_llm.dashboard"


@inbox.get("/")
def index() -> str:
    """Show every mail."""
    return _page()


@inbox.post("/mails/<mail_id>/classify")
def classify(mail_id: str) -> Response:
    """Show what kind of mail it is."""
    mail = _mail(mail_id)
    found = _agent().classify(mail)
    report = Report.of(found.response)
    return _answer(
        mail,
        report,
        label=found.label,
        reason=found.reason,
        answer=found.response.content,
    )


@inbox.post("/mails/<mail_id>/draft")
def draft(mail_id: str) -> Response:
    """Show a draft of a reply; to the script while it is written."""
    mail = _mail(mail_id)
    if _prefers("text/event-stream"):
        return event_stream(_agent().draft(mail))
    response = _agent().draft_reply(mail)
    return _answer(mail, Report.of(response), draft=response.content)


@inbox.get("/favicon.ico")
def favicon() -> Response:
    """Return the icon to browsers that ask for it unprompted, as for JSON."""
    return current_app.send_static_file("favicon.svg")


def _mail(mail_id: str) -> Mail:
    return BY_ID.get(mail_id) or abort(404)


def _agent() -> AgentService:
    return AgentService(broken.chain(request.form.get("primary", "")))


def _answer(mail: Mail, report: Report, **found: Any) -> Response:
    """Return the result as JSON for the script, else as a page.

    503 says that the failure lies with the providers, and that it may pass.
    """
    result = {"mail": mail.id, "report": report, **found}
    if _prefers("application/json"):
        # One template renders both ways, and it is the one that escapes.
        html = render_template("_result.html", result=result)
        answer = jsonify(result | {"html": html})
    else:
        answer = make_response(_page(result))
    answer.status_code = 200 if report.success else 503
    return answer


def _page(result: dict[str, Any] | None = None) -> str:
    return render_template(
        "inbox.html",
        mails=SAMPLES,
        result=result,
        choices=broken.CHOICES,
        chosen=request.form.get("primary", ""),
        tiny=TINY,
        tiny_note=TINY_MODEL,
        watched=_DASHBOARD in current_app.view_functions and security.may_watch(),
    )


def _prefers(mimetype: str) -> bool:
    """Return whether it is asked for, rather than a page."""
    return request.accept_mimetypes.best_match(["text/html", mimetype]) == mimetype
