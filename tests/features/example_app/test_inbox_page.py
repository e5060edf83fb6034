"""The inbox page, with and without its script."""

from html.parser import HTMLParser

import pytest

from example_app import create_app, mails, views
from example_app.mails import SAMPLES, Mail
from example_app.report import TINY_MODEL
from flask_llm import LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

CLASSIFY = "/mails/charged-twice/classify"
DRAFT = "/mails/charged-twice/draft"
JSON = {"Accept": "application/json"}
XSS = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def browser(*script, fallbacks=(), **settings):
    fake = FakeProvider(*script)
    chain = {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": list(fallbacks)}
    return create_app(chain | settings).test_client()


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.words = ""
        self.hidden = False
        self.feed(html)
        self.text = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden |= tag == "template"

    def handle_endtag(self, tag):
        self.hidden &= tag != "template"

    def handle_data(self, data):
        if not self.hidden:
            self.words += f"{data} "

    def addresses(self):
        names = ("href", "src", "action", "formaction", "srcset", "data")
        return [
            attrs[name] for _, attrs in self.tags for name in names if name in attrs
        ]


def post(client, path, **headers):
    answer = client.post(path, headers=headers)
    return answer, Page(answer.text)


def test_every_mail_is_on_the_page():
    """The page holds each mail with its text and its two buttons."""
    page = Page(browser().get("/").text)
    for mail in SAMPLES:
        assert mail.subject in page.text
        assert " ".join(mail.body.split()) in page.text
        assert f"/mails/{mail.id}/classify#{mail.id}" in page.addresses()
        assert f"/mails/{mail.id}/draft#{mail.id}" in page.addresses()


def test_opening_the_page_asks_no_model():
    """Looking costs nothing."""
    fake = FakeProvider()
    chain = {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    create_app(chain).test_client().get("/")
    assert fake.calls == []


def test_ids_are_unique():
    """A link into the page leads to one place."""
    page = Page(browser("payment").post(CLASSIFY).text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_status_is_linked():
    """The page leads to the status, wherever the extension serves it."""
    assert "/llm/status" in Page(browser().get("/").text).addresses()
    moved = browser(LLM_URL_PREFIX="/models")
    assert "/models/status" in Page(moved.get("/").text).addresses()


@pytest.mark.parametrize(
    ("step", "method", "path"),
    [
        ("payment", "GET", "/"),
        ("payment", "POST", CLASSIFY),
        (XSS, "POST", CLASSIFY),
        (XSS, "POST", DRAFT),
        (QuotaError(), "POST", CLASSIFY),
    ],
)
def test_nothing_is_inline_or_from_elsewhere(step, method, path):
    """No page holds a script, a style or a handler, or names another host."""
    page = Page(browser(step).open(path, method=method).text)
    for tag, attrs in page.tags:
        assert tag not in {"style", "base", "iframe", "object", "embed"}
        assert tag != "script" or attrs["src"].startswith("/static/")
        assert not [name for name in attrs if name == "style" or name.startswith("on")]
    assert all(each.startswith(("/", "#")) for each in page.addresses())
    assert not [each for each in page.addresses() if each.startswith("//")]


@pytest.mark.parametrize(
    "path", ["inbox.css", "inbox.js", "draft.js", "sse.js", "favicon.svg"]
)
def test_the_files_load_nothing_from_elsewhere(path):
    """Neither style nor script nor icon fetches from another host."""
    with browser().get(f"/static/{path}") as answer:
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
    assert not [word for word in ("http:", "https:", "@import", "url(") if word in text]


@pytest.mark.parametrize(
    "path", ["/", "/static/inbox.css", "/llm/status", "/favicon.ico", "/no-such-page"]
)
def test_every_answer_is_protected(path):
    """Pages, files, JSON and errors carry the headers."""
    with browser().get(path) as answer:
        headers = answer.headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_icon_is_where_browsers_look():
    """A browser that asks for /favicon.ico gets the icon."""
    with browser().get("/favicon.ico") as answer:
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")


def test_classify_without_script():
    """The form's answer is the whole page with label, reason and provider."""
    answer, page = post(browser("payment"), CLASSIFY)
    assert answer.status_code == 200
    assert "Label payment About an invoice, a charge or a refund." in page.text
    assert "Provider fake" in page.text
    assert SAMPLES[-1].subject in page.text


def test_draft_without_script():
    """The form's answer is the whole page with the draft."""
    answer, page = post(browser("Dear Priya, thank you."), DRAFT)
    assert answer.status_code == 200
    assert "Draft, not sent Dear Priya, thank you." in page.text


def test_a_results_page_leads_back():
    """The address of a result answers no GET, so its links go to the start page."""
    _, page = post(browser("payment"), CLASSIFY)
    assert "/#the-thing" in page.addresses()
    assert "#the-thing" not in page.addresses()


def test_classify_with_script():
    """The script gets the label, how it came about, and the card to show."""
    answer, _ = post(browser("payment"), CLASSIFY, **JSON)
    found = answer.get_json()
    assert (found["mail"], found["label"]) == ("charged-twice", "payment")
    assert found["reason"] == "About an invoice, a charge or a refund."
    assert found["report"]["provider"] == "fake"
    assert "About an invoice" in found["html"]
    assert "<html" not in found["html"]


def test_draft_with_script():
    """The script gets the draft and the card to show."""
    answer, _ = post(browser("Dear Priya"), DRAFT, **JSON)
    assert answer.get_json()["draft"] == "Dear Priya"
    assert "Dear Priya" in answer.get_json()["html"]


@pytest.mark.parametrize(
    "accept", ["*/*", "text/html,application/json;q=0.9,*/*;q=0.8"]
)
def test_a_page_is_the_default(accept):
    """Whoever does not prefer JSON gets the page."""
    answer, _ = post(browser("payment"), CLASSIFY, Accept=accept)
    assert answer.mimetype == "text/html"


def test_a_streamed_draft():
    """The script gets the draft as events, under the same policy as any answer."""
    answer = browser("Dear Priya").post(DRAFT, headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert 'event: delta\ndata: {"text": "Priya"}\n\n' in answer.text
    assert "event: done\n" in answer.text
    assert "Content-Security-Policy" in answer.headers


def test_a_streamed_draft_of_an_unknown_mail():
    """It is an ordinary 404, and no model is asked."""
    fake = FakeProvider()
    chain = {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    client = create_app(chain).test_client()
    answer = client.post("/mails/x/draft", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 404
    assert fake.calls == []


def test_attempts_before_the_answer():
    """The page tells who did not answer, and why."""
    client = browser(QuotaError(), fallbacks=[FakeProvider("payment", name="second")])
    _, page = post(client, CLASSIFY)
    assert "Provider second" in page.text
    assert "fake: quota exceeded" in page.text


def test_what_was_written_instead_of_a_label():
    """An answer off the list is shown as the model's words, and is no label."""
    answer, page = post(browser("REFUND APPROVED"), CLASSIFY)
    assert "Label unknown The model's answer is not one of the labels." in page.text
    assert "What did the model write? REFUND APPROVED" in page.text
    assert answer.status_code == 200


@pytest.mark.parametrize("path", [CLASSIFY, DRAFT])
def test_no_answer(path):
    """A failed call is a 503 whose page says what went wrong."""
    answer, page = post(browser(QuotaError()), path)
    assert answer.status_code == 503
    assert "No model could answer" in page.text
    assert "fake: quota exceeded" in page.text
    assert ".env" not in page.text


def test_no_answer_with_script():
    """The script gets the same failure as JSON, labelled "unknown"."""
    answer, _ = post(browser(QuotaError()), CLASSIFY, **JSON)
    assert answer.status_code == 503
    assert answer.get_json()["label"] == "unknown"
    assert (
        answer.get_json()["reason"]
        == "All LLM providers failed: [fake: quota exceeded]"
    )


def test_the_key_to_set():
    """Without any key the page names the keys and the file to put them in."""
    client = create_app(
        {"LLM_PRIMARY_PROVIDER": "gemini", "LLM_FALLBACK_PROVIDERS": "claude"}
    ).test_client()
    answer, page = post(client, CLASSIFY)
    assert answer.status_code == 503
    assert "gemini: no API key (set GOOGLE_API_KEY)" in page.text
    assert "claude: no API key (set ANTHROPIC_API_KEY)" in page.text
    assert ".env" in page.text


def test_the_tiny_model_is_called_tiny():
    """An answer of the bundled model comes with the note; another one does not."""
    name = {"model": "SmolLM2-135M-Instruct.Q4_1"}
    tiny = FakeProvider(LLMResponse(True, "payment", "local", None, name), name="local")
    client = browser(QuotaError(), fallbacks=[tiny])
    assert TINY_MODEL in post(client, CLASSIFY)[1].text
    assert TINY_MODEL not in post(browser("payment"), CLASSIFY)[1].text


@pytest.mark.parametrize("path", [CLASSIFY, DRAFT])
@pytest.mark.parametrize("headers", [{}, JSON], ids=["page", "json"])
def test_an_answer_is_text(path, headers):
    """Markup in a model's answer is shown, not run."""
    answer = browser(XSS).post(path, headers=headers)
    html = answer.get_json()["html"] if headers else answer.text
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "<img src=x" not in html


def test_a_mail_is_text(monkeypatch):
    """Markup in a mail is shown, not run."""
    evil = Mail("evil", XSS, XSS, XSS, XSS, XSS)
    monkeypatch.setattr(views, "SAMPLES", (evil,))
    html = browser().get("/").text
    assert "<script>" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_an_error_is_text():
    """Markup in a provider's own words is not run either."""
    html = browser(RuntimeError(XSS)).post(CLASSIFY).text
    assert "<script>" not in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("action", ["classify", "draft"])
def test_an_unknown_mail(action):
    """A mail that is not there is a 404, and no model is asked."""
    assert browser().post(f"/mails/no-such-mail/{action}").status_code == 404


def test_looking_at_a_results_address():
    """A link cannot make the app ask a model."""
    assert browser().get(CLASSIFY).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_other_sites_are_refused(headers):
    """What another site makes a browser send asks no model."""
    fake = FakeProvider("payment")
    chain = {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    answer = create_app(chain).test_client().post(CLASSIFY, headers=headers)
    assert answer.status_code == 403
    assert fake.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
        {"Origin": "https://localhost"},
    ],
    ids=str,
)
def test_our_own_pages_are_not_refused(headers):
    """Our page may ask, also behind a TLS proxy, and so may a program."""
    assert browser("payment").post(CLASSIFY, headers=headers).status_code == 200


def test_a_link_from_elsewhere_may_open_the_page():
    """Only what costs something is refused to other sites."""
    answer = browser().get("/", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200


def test_mails_have_names_fit_for_addresses():
    """An id can stand in an address and in a selector as it is."""
    assert all(each.replace("-", "").isalpha() for each in mails.BY_ID)
    assert len(mails.BY_ID) == len(SAMPLES)
