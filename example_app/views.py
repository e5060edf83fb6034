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

from .mails import BY_ID, SAMPLES, Mail
from .report import Report
from .services.agent_service import AgentService

inbox = Blueprint("inbox", __name__)


@inbox.get("/")
def index() -> str:
    """Show every mail."""
    return render_template("inbox.html", mails=SAMPLES)


@inbox.post("/mails/<mail_id>/classify")
def classify(mail_id: str) -> Response:
    """Show what kind of mail it is."""
    mail = _mail(mail_id)
    found = AgentService().classify(mail)
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
    """Show a draft of a reply."""
    mail = _mail(mail_id)
    response = AgentService().draft_reply(mail)
    return _answer(mail, Report.of(response), draft=response.content)


@inbox.get("/favicon.ico")
def favicon() -> Response:
    """Return the icon to browsers that ask for it unprompted, as for JSON."""
    return current_app.send_static_file("favicon.svg")


def _mail(mail_id: str) -> Mail:
    return BY_ID.get(mail_id) or abort(404)


def _answer(mail: Mail, report: Report, **found: Any) -> Response:
    """Return the result as JSON for the script, else as a page.

    503 says that the failure lies with the providers, and that it may pass.
    """
    result = {"mail": mail.id, "report": report, **found}
    if _wants_json():
        # One template renders both ways, and it is the one that escapes.
        html = render_template("_result.html", result=result)
        answer = jsonify(result | {"html": html})
    else:
        page = render_template("inbox.html", mails=SAMPLES, result=result)
        answer = make_response(page)
    answer.status_code = 200 if report.success else 503
    return answer


def _wants_json() -> bool:
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered) == "application/json"
