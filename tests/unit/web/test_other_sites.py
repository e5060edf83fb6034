"""No other site can act by a browser; Flask-WTF's protection works beside ours."""

import re

import pytest
from flask import Flask, render_template_string
from flask_wtf import CSRFProtect

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider
from flask_llm.web import api_bp

RESTS = QuotaError(retry_after=600, status=429)
PROGRAM = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TEST = "/llm/dashboard/providers/gemini/test"
RESET = "/llm/dashboard/providers/gemini/reset"


def make_app(*script, **config):
    """Return an app with one provider, open to all."""
    app = Flask("testapp")
    app.fakes = [FakeProvider(*script, name="gemini")]
    app.config |= {"LLM_PRIMARY_PROVIDER": app.fakes[0], "LLM_FALLBACK_PROVIDERS": []}
    app.config |= {"LLM_MAX_RETRIES": 1} | config
    FlaskLLM(app, authorize=lambda: True)
    return app


def fields(app):
    """Return name and value of each hidden field of the page."""
    page = app.test_client().get("/llm/dashboard", headers=BROWSER)
    assert page.status_code == 200
    return re.findall(
        r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://localhost"}, 200),  # TLS ends at a proxy
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),  # which cannot be read
    ],
)
@pytest.mark.parametrize("path", [TEST, RESET])
def test_no_other_site_can_make_a_browser_act(path, headers, status):
    """Without a token or a secret key: browsers say where a request comes from."""
    app = make_app()
    assert app.test_client().post(path, headers=headers).status_code == status
    assert len(app.fakes[0].calls) == (status == 200 and path == TEST)


@pytest.mark.parametrize("path", [TEST, RESET])
def test_flask_wtf_protects_them_too(path):
    """An app with CSRFProtect wants its token, and forms that have it work."""
    app = make_app(SECRET_KEY="for tokens")
    CSRFProtect(app)
    app.add_url_rule("/form", view_func=form, endpoint="form")
    client = app.test_client()
    token = client.get("/form").text

    assert client.post(path).status_code == 400
    assert client.post(path, data={"csrf_token": "made-up"}).status_code == 400
    answer = client.post(path, data={"csrf_token": token}, headers=PROGRAM)
    assert answer.json["ok"]


def test_flask_wtf_can_leave_them_to_their_own_protection():
    """For programs, which have no token; other sites are kept out all the same."""
    app = make_app(SECRET_KEY="for tokens")
    CSRFProtect(app).exempt(api_bp)
    client = app.test_client()

    assert client.post(RESET, headers=PROGRAM).json["ok"]
    assert client.post(RESET, headers={"Sec-Fetch-Site": "cross-site"}).status_code == (
        403
    )


def form():
    """Render the token as the dashboard's template does."""
    return render_template_string("{{ csrf_token() }}")


def test_the_dashboard_s_forms_carry_the_token_of_flask_wtf():
    """Each form of the real page, sent as it stands there, is accepted."""
    app = make_app(RESTS, "fine", SECRET_KEY="for tokens")
    CSRFProtect(app)
    app.llm.generate_content("hello")
    client = app.test_client()
    forms = re.findall(
        r'<form method="post" action="([^"]+)".*?</form>',
        client.get("/llm/dashboard", headers=BROWSER).text,
        re.DOTALL,
    )
    page = client.get("/llm/dashboard", headers=BROWSER).text
    tokens = re.findall(r'name="csrf_token" value="([^"]+)"', page)

    assert set(forms) >= {TEST, RESET}
    assert len(tokens) == len(forms)
    for path, token in zip(forms, tokens, strict=True):
        answer = client.post(path, data={"csrf_token": token}, headers=PROGRAM)
        assert answer.json["ok"], path


def test_the_field_has_the_name_that_the_app_has_given_it():
    """WTF_CSRF_FIELD_NAME is the app's to choose, and the form is accepted."""
    app = make_app("fine", SECRET_KEY="for tokens", WTF_CSRF_FIELD_NAME="_tok")
    CSRFProtect(app)
    client = app.test_client()
    page = client.get("/llm/dashboard", headers=BROWSER).text
    ((name, token),) = re.findall(r'name="(_tok)" value="([^"]+)"', page)

    assert client.post(TEST, data={name: token}, headers=PROGRAM).json["ok"]
    assert client.post(TEST, data={"csrf_token": token}).status_code == 400


def test_without_a_secret_key_the_page_is_there_and_has_no_token():
    """Flask-WTF can make none then; it refuses the forms, and not the page."""
    app = make_app()
    CSRFProtect(app)

    assert fields(app) == []


@pytest.mark.parametrize("value", ["evil", None, lambda: 1 / 0, lambda needed: "x"])
def test_a_csrf_token_that_is_none_leaves_the_page_alone(value):
    """The name is anybody's, among the values of an app's templates too."""
    app = make_app()
    app.jinja_env.globals["csrf_token"] = value
    app.context_processor(lambda: {"csrf_token": value})

    assert fields(app) == []


def test_a_token_of_a_context_processor_is_one():
    """Apps that make their own give it to all templates so."""
    app = make_app()
    app.context_processor(lambda: {"csrf_token": lambda: "t0ken"})

    assert set(fields(app)) == {("csrf_token", "t0ken")}


def test_a_token_is_text_and_no_markup():
    """Whatever makes it."""
    app = make_app()
    app.jinja_env.globals["csrf_token"] = lambda: '"><script>'

    assert fields(app) == [("csrf_token", "&#34;&gt;&lt;script&gt;")]
