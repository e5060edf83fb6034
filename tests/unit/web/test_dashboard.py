import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.errors import BadAnswerError, QuotaError
from flask_llm.observe.aggregates import About, SourceError
from flask_llm.observe.memory import SOURCE
from flask_llm.testing import FakeProvider
from flask_llm.types import LLMResponse

KEY = "sk-canary-0123456789abcdef"
CANARY = "<img src=x onerror=alert(1)>"
PAGES = ("/llm/dashboard", "/llm/dashboard/data", "/llm/dashboard/calls/{}")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def app_of(*providers, **config):
    first, *rest = providers
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": first, "LLM_FALLBACK_PROVIDERS": rest}
    app.config |= config
    FlaskLLM(app, authorize=lambda: True)
    return app


@pytest.fixture
def app():
    return app_of(
        FakeProvider(QuotaError(status=429, retry_after=60), name="first"),
        FakeProvider(lambda prompt: "hi", name="second"),
    )


@pytest.fixture
def client(app):
    return app.test_client()


def report(client, **query):
    return client.get("/llm/dashboard/data", query_string=query).json


def call_id(client):
    return report(client)["recent"][0]["call_id"]


def test_data_tells_of_a_call_just_made(app, client):
    """What happened is there at once: who answered, who rests, and why."""
    app.llm.generate_content("hello", purpose="sort")

    found = report(client)

    assert found["tiles"]["calls"] == 1
    assert found["tiles"]["by_fallback"] == 1.0
    assert found["headline"]["level"] == "warning"
    assert found["headline"]["text"].startswith(
        "Serving from second: first's circuit is open (429), next try in "
    )
    assert [each["state"] for each in found["chain"]] == ["open", "closed"]
    assert found["chain"][0]["last_error"]["status"] == 429
    assert [each["provider"] for each in found["openings"]] == ["first"]
    (call,) = found["recent"]
    assert (call["purpose"], call["provider"]) == ("sort", "second")
    assert [each["outcome"] for each in call["path"]] == ["quota", "success"]


def test_the_page_is_there_without_any_call(client):
    """The first thing that a developer sees."""
    response = client.get("/llm/dashboard", headers=BROWSER)

    assert response.status_code == 200
    assert response.content_type.startswith("text/html")
    assert report(client)["headline"]["level"] == "idle"


def test_the_page_shows_the_headline_and_the_call(app, client):
    """As the data have it."""
    app.llm.generate_content("hello", purpose="sort-of-mail")

    text = client.get("/llm/dashboard", headers=BROWSER).text

    assert "Serving from second" in text
    assert "sort-of-mail" in text
    assert f"/llm/dashboard/calls/{call_id(client)}" in text


def test_a_call_is_shown_as_page_and_as_json(app, client):
    """A browser gets the page; a program, or whoever asks for it, gets JSON."""
    app.llm.generate_content("hello", purpose="sort-of-mail")
    path = PAGES[2].format(call_id(client))

    page = client.get(path, headers=BROWSER)
    told = client.get(path, headers={"Accept": "application/json"})
    asked = client.get(f"{path}?format=json", headers=BROWSER)

    assert page.content_type.startswith("text/html")
    assert "sort-of-mail" in page.text
    assert told.json == asked.json
    assert told.json["purpose"] == "sort-of-mail"
    assert [each["status"] for each in told.json["attempts"]] == [429, None]


@pytest.mark.parametrize("headers", [BROWSER, {}])
def test_a_call_that_is_not_known_is_not_found(client, headers):
    """Nor is anything that no call's number looks like."""
    for unknown in ("0" * 24, "none", CANARY):
        response = client.get(PAGES[2].format(unknown), headers=headers)
        assert response.status_code == 404
        assert CANARY not in response.text


@pytest.mark.parametrize(
    ("name", "width"), [(None, 60), ("15m", 15), ("24h", 900), ("7d", 7200)]
)
def test_a_range_is_chosen_in_the_address(client, name, width):
    """An hour unless it says otherwise."""
    found = report(client, **({"range": name} if name else {}))

    assert (found["range"]["name"], found["range"]["width_s"]) == (name or "1h", width)


@pytest.mark.parametrize("path", PAGES[:2])
@pytest.mark.parametrize("headers", [BROWSER, {"Accept": "application/json"}])
def test_an_unknown_range_is_refused(client, path, headers):
    """With the ranges that there are; what was asked for is not repeated."""
    for unknown in ("1y", "", CANARY):
        asked = {"range": unknown}
        response = client.get(path, query_string=asked, headers=headers)
        assert response.status_code == 400
        assert "15m, 1h, 24h, 7d" in response.text
        assert "onerror" not in response.text


def test_nothing_is_kept_by_anybody(app, client):
    """Neither a browser nor a proxy stores a page; HEAD is answered too."""
    app.llm.generate_content("hello")
    for path in PAGES:
        for method in (client.get, client.head):
            response = method(path.format(call_id(client)), headers=BROWSER)
            assert response.status_code == 200
            assert response.headers["Cache-Control"] == "no-store"


def test_two_apps_show_their_own(app):
    """Numbers of one are not the other's."""
    other = app_of(FakeProvider("hi"))
    app.llm.generate_content("hello")

    assert report(app.test_client())["tiles"]["calls"] == 1
    assert report(other.test_client())["tiles"]["calls"] == 0


def test_without_the_dashboard_there_are_no_pages():
    """LLM_DASHBOARD=off takes all of them away."""
    client = app_of(FakeProvider("hi"), LLM_DASHBOARD="off").test_client()

    assert {client.get(path.format("0")).status_code for path in PAGES} == {404}


@pytest.mark.parametrize("path", PAGES)
def test_unguarded_nobody_comes_in(path):
    """An app that has said nothing shows nothing, unless it is in debug mode."""
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider("hi")}
    app.config |= {"LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    app.llm.generate_content("hello", purpose="a-secret-purpose")
    record = app.extensions[SOURCE].recent(1)[0]

    response = app.test_client().get(path.format(record.call_id))
    assert response.status_code == 403
    assert "a-secret-purpose" not in response.text

    app.debug = True
    assert app.test_client().get(path.format(record.call_id)).status_code == 200


class Lost:
    """A source that cannot be read."""

    def about(self):
        return About("usage", lost=2)

    def _lost(self, *args, **kwargs):
        raise SourceError(f"the database is away {CANARY}")

    sums = recent = find = failures = changes = _lost


def test_a_source_that_fails_is_said_on_the_page(app, client):
    """The page is there, with who answers now; one call cannot be shown."""
    app.extensions[SOURCE] = Lost()

    page = client.get("/llm/dashboard", headers=BROWSER)
    found = report(client)

    assert page.status_code == 200
    assert "the database is away" in page.text
    assert CANARY not in page.text
    assert found["source"]["error"].startswith("the database is away")
    assert found["chain"][0]["name"] == "first"
    shown = client.get(PAGES[2].format("0" * 24), headers=BROWSER)
    assert shown.status_code == 503
    assert CANARY not in shown.text


class Hostile(FakeProvider):
    """Fails first, with markup and the key in its words; then answers under a name."""

    def __init__(self):
        failed = BadAnswerError(f"no {KEY} {CANARY}", reason=f"odd {CANARY} {KEY}")
        told = LLMResponse(True, "hi", "hostile", metadata={"model": f"m {CANARY}"})
        super().__init__(failed, told, told, name="hostile")
        self.api_key = KEY


@pytest.mark.parametrize("name", ["x", "0" * 23, "0" * 25, "G" * 24, "%00", "x" * 5000])
def test_what_is_no_number_of_a_call_reaches_no_database(app, client, name):
    """It is not found at once, though the database is away."""
    app.extensions[SOURCE] = Lost()

    assert client.get(PAGES[2].format(name)).status_code == 404


def test_markup_of_strangers_stays_text_and_keys_stay_out():
    """In errors, models and purposes, on every page and in all data."""
    app = app_of(Hostile(), FakeProvider(f"answer {CANARY}", name="second"))
    client = app.test_client()
    for _ in range(2):
        app.llm.generate_content("hello", purpose=f"purpose {CANARY}")

    found = report(client)
    told = [client.get("/llm/dashboard", headers=BROWSER)]
    for each in found["recent"]:
        told.append(client.get(PAGES[2].format(each["call_id"]), headers=BROWSER))
        told.append(client.get(PAGES[2].format(each["call_id"])))
    told.append(client.get(PAGES[1]))

    assert {each["purpose"] for each in found["breakdown"]} == {f"purpose {CANARY}"}
    assert f"m {CANARY}" in {each["model"] for each in found["breakdown"]}
    assert CANARY in found["chain"][0]["last_error"]["text"]
    for response in told:
        assert response.status_code == 200
        assert KEY not in response.text
        if response.mimetype == "text/html":
            assert "<img src=x" not in response.text
            assert "onerror" in response.text  # it is there, as text
        else:
            assert response.mimetype == "application/json"
