"""Closed routes: open in debug mode, else for those only whom the app lets in."""

import asyncio

import pytest
from flask import Flask, abort, redirect
from flask_login import LoginManager, UserMixin, login_required, login_user

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider
from flask_llm.web.routes import ROUTES

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
DETAIL = "/llm/status?detail=1"

OPEN = {
    "flask_llm.status",
    "flask_llm.live",
    "flask_llm.ready",
    "flask_llm.static",
}
VALUES = {"name": "fake", "call_id": "0" * 24}


def make_app(**access):
    app = Flask("testapp")
    app.config |= {
        "SECRET_KEY": "for sessions",
        "LLM_PRIMARY_PROVIDER": FakeProvider(),
        "LLM_FALLBACK_PROVIDERS": [],
        "LLM_METRICS": "on",
    }
    FlaskLLM(app, **access)
    return app


def closed_routes(app):
    """Yield method and path of every route of the extension that is not said open."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("flask_llm.") and rule.endpoint not in OPEN:
            with app.test_request_context():
                url = app.url_for(
                    rule.endpoint, **{each: VALUES[each] for each in rule.arguments}
                )
            yield from ((m, url) for m in rule.methods - {"HEAD", "OPTIONS"})
    yield "GET", DETAIL


def test_every_closed_route_is_refused_outside_of_debug_mode():
    """A route that is added later is closed too, or is named above."""
    app = make_app()
    found = list(closed_routes(app))

    assert len(found) == 1 + sum(each.is_closed for each in ROUTES)
    for method, url in found:
        for headers in ({}, BROWSER):
            answer = app.test_client().open(url, method=method, headers=headers)
            assert (answer.status_code, url) == (403, url)


def test_open_routes_need_no_guard():
    """Names and booleans, health and shapes are for everybody."""
    client = make_app().test_client()

    for path in ("status", "status?detail=0", "health/live"):
        assert client.get(f"/llm/{path}").status_code == 200


def test_testing_is_not_debugging():
    """A test that forgets to log in meets what a stranger would meet."""
    app = make_app()
    app.testing = True

    assert app.test_client().get(DETAIL).status_code == 403


def test_debug_mode_opens_them_even_if_it_is_set_late():
    """`app.run(debug=True)` sets it when the app has long been made."""
    app = make_app()
    client = app.test_client()
    assert client.get(DETAIL).status_code == 403
    app.debug = True

    answer = client.get(DETAIL)
    assert answer.status_code == 200
    assert answer.json["primary"]["state"] == "closed"


def test_a_refusal_says_how_to_open_it_and_nothing_else():
    """As JSON to a program, as a page to a browser; neither is kept."""
    client = make_app().test_client()
    told = client.get(DETAIL)
    page = client.get(DETAIL, headers=BROWSER)

    assert list(told.json) == ["error"]
    assert "FlaskLLM(authorize=…)" in told.json["error"]
    assert page.mimetype == "text/html"
    assert "FlaskLLM(authorize=…)" in page.text
    assert "fake" not in page.text + told.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for each in (told, page):
        assert each.headers["Cache-Control"] == "no-store"


# authorize ------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "status"), [(True, 200), (False, 403), (None, 403)])
def test_authorize_decides(answer, status):
    """It is asked in each request; what is no yes is a no."""
    assert make_app(authorize=lambda: answer).test_client().get(DETAIL).status_code == (
        status
    )


def test_authorize_decides_in_debug_mode_too():
    """A developer sees what the others will see."""
    app = make_app(authorize=lambda: False)
    app.debug = True

    answer = app.test_client().get(DETAIL)
    assert answer.status_code == 403
    assert "FlaskLLM" not in answer.text


def test_authorize_may_send_to_the_login():
    """A response is the answer, and never counts as a yes."""
    app = make_app(authorize=lambda: redirect("/login"))
    answer = app.test_client().get(DETAIL)

    assert (answer.status_code, answer.location) == (302, "/login")


def test_authorize_may_abort_as_a_view_may():
    """The app's own error handler makes the page."""
    app = make_app(authorize=lambda: abort(401))
    app.register_error_handler(401, lambda error: ("who are you?", 401))
    answer = app.test_client().get(DETAIL)

    assert (answer.status_code, answer.text) == (401, "who are you?")


@pytest.mark.parametrize("answer", [("no", 403), "no", 1, [False], {"ok": False}])
def test_authorize_lets_nobody_in_by_mistake(answer):
    """A refusal in the shape of a view's answer would be true: that is an error."""
    client = make_app(authorize=lambda: answer).test_client()

    found = client.get(DETAIL)
    assert found.status_code == 500
    assert "primary" not in found.text


def test_authorize_may_be_a_coroutine_function():
    """As Flask's views may; without that its coroutine would be no answer."""

    async def allowed():
        await asyncio.sleep(0)
        return True

    assert make_app(authorize=allowed).test_client().get(DETAIL).status_code == 200


# view_decorators ------------------------------------------------------------------


def with_login(**more):
    """Return an app whose users log in at /login, over the real Flask-Login."""
    app = make_app(view_decorators=[login_required], **more)
    manager = LoginManager(app)
    user = UserMixin()
    user.id = "ann"
    manager.user_loader(lambda _: user)
    app.add_url_rule("/login", "login", lambda: str(login_user(user)))
    manager.login_view = "login"
    return app


def test_flask_login_guards_every_closed_route():
    """Who is not logged in is sent to the login, as from the app's own views."""
    app = with_login()
    for method, url in closed_routes(app):
        answer = app.test_client().open(url, method=method)
        assert (answer.status_code, url) == (302, url)
        assert answer.location.startswith("/login?next=")

    client = app.test_client()
    client.get("/login")
    assert client.get(DETAIL).status_code == 200


def test_authorize_is_asked_of_those_whom_the_decorators_let_in():
    """It may rely on a user being logged in."""
    asked = []
    app = with_login(authorize=lambda: bool(asked.append("x")))
    client = app.test_client()
    assert (client.get(DETAIL).status_code, asked) == (302, [])
    client.get("/login")

    assert (client.get(DETAIL).status_code, asked) == (403, ["x"])


def test_decorators_are_applied_once_per_view_and_app():
    """Some count, or make something expensive; and each app has views of its own."""
    applied = []

    def counting(view):
        applied.append(view.__name__)
        return view

    llm = FlaskLLM(view_decorators=[counting])
    for _ in range(2):
        app = Flask("testapp")
        llm.init_app(app)
        for _ in range(3):
            app.test_client().get(DETAIL)
            app.test_client().get("/llm/dashboard")

    assert applied == ["status_detail", "dashboard"] * 2


@pytest.mark.parametrize(
    ("access", "fault"),
    [
        ({"authorize": True}, "authorize must be a function"),
        ({"view_decorators": ["login_required"]}, "'login_required', which is no"),
        ({"view_decorators": login_required}, "must be a list of decorators"),
    ],
)
def test_what_cannot_guard_fails_at_construction(access, fault):
    """Not with the first request, and never by leaving the door open."""
    with pytest.raises(TypeError, match=fault):
        FlaskLLM(**access)
