"""The link from the inbox to the dashboard, and whom it lets in."""

import pytest

from example_app import __main__ as demo
from example_app import create_app
from example_app.security import LOCAL_ONLY
from flask_llm.testing import FakeProvider

LINK = 'href="/llm/dashboard"'
CLASSIFY = "/mails/charged-twice/classify"


def app_of(**settings):
    chain = {
        "LLM_PRIMARY_PROVIDER": FakeProvider("payment"),
        "LLM_FALLBACK_PROVIDERS": [],
    }
    return create_app(chain | settings)


def watches(client, **environ):
    """Whether the link is there and the dashboard opens; both, or neither."""
    is_linked = LINK in client.get("/", environ_overrides=environ).text
    status = client.get("/llm/dashboard", environ_overrides=environ).status_code
    assert status == (200 if is_linked else 403)
    return is_linked


def test_strangers_see_no_dashboard():
    """The app as anybody may deploy it shows nobody what calls cost."""
    assert not watches(app_of().test_client())


def test_a_developer_sees_the_dashboard():
    """In debug mode it is open, as without any rule."""
    app = app_of()
    app.debug = True

    assert watches(app.test_client())


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("10.0.0.7", False), ("", False)],
)
def test_the_demo_shows_it_to_its_own_machine(address, expected):
    """Even if somebody serves the demo to others, they do not see it."""
    client = app_of(**{LOCAL_ONLY: True}).test_client()

    assert watches(client, REMOTE_ADDR=address) is expected


def test_the_demo_is_local_only(monkeypatch):
    """It is the demo that says so, and it listens on this machine alone."""
    made = []
    monkeypatch.setattr(demo, "log_to_stdout", lambda: None)
    monkeypatch.setattr(
        demo, "create_app", lambda config: made.append(config) or app_of(**config)
    )
    monkeypatch.setattr(demo.sys.stdin, "isatty", lambda: False, raising=False)

    assert demo.main() == 0

    assert made[0][LOCAL_ONLY] is True
    with demo.listen() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_without_a_dashboard_there_is_no_link():
    """LLM_DASHBOARD=off takes it away."""
    client = app_of(LLM_DASHBOARD="off", **{LOCAL_ONLY: True}).test_client()

    assert LINK not in client.get("/").text


def test_a_broken_primary_shows_on_the_dashboard():
    """What the visitor breaks on the page can be watched there."""
    client = app_of(**{LOCAL_ONLY: True}, LLM_FALLBACK_PROVIDERS=[]).test_client()
    client.post(CLASSIFY, data={"primary": "quota"})
    client.post(CLASSIFY)

    recent = client.get("/llm/dashboard/data").json["recent"]

    assert [each["provider"] for each in recent] == ["fake", "broken-fake"]
    assert [each["outcome"] for each in recent] == ["success", "quota"]
    assert {each["purpose"] for each in recent} == {"inbox.classify"}
