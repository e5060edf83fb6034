"""The OpenAPI document is valid, whole, and what the routes really answer."""

import re
import sqlite3
from contextlib import closing

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.errors import AuthError, QuotaError, TransientError
from flask_llm.testing import FakeProvider

PROGRAM = {"Accept": "application/json"}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
PAID = LLMResponse(
    True, "hi", "x", metadata={"model": "claude-sonnet-5-5", "usage": USAGE}
)
ALL_ON = {"LLM_METRICS": "on"}


def make_app(*scripts, folder=None, **config):
    app = Flask("testapp", instance_path=folder and str(folder))
    names = ["gemini", "claude", "local"]
    fakes = [FakeProvider(*s, name=n) for s, n in zip(scripts, names, strict=False)]
    app.config |= {
        "LLM_PRIMARY_PROVIDER": fakes[0],
        "LLM_FALLBACK_PROVIDERS": fakes[1:],
        "LLM_MAX_RETRIES": 1,
    } | config
    FlaskLLM(app, authorize=lambda: True)
    return app


def document(app):
    return app.test_client().get("/llm/openapi.json").json


def schema_of(found, path, status, method="get"):
    """Return the JSON schema of a response, with those that it refers to."""
    answer = found["paths"][path][method]["responses"][str(status)]
    schema = answer["content"]["application/json"]["schema"]
    return {**schema, "components": found["components"]}


def check(app, path, status=200, method="get", values=(), query=""):
    """Ask a route, and compare what it answers with the document."""
    url = "/llm" + path.format(**dict(values)) + query
    answer = app.test_client().open(url, method=method.upper(), headers=PROGRAM)
    assert (answer.status_code, url) == (status, url), answer.text
    assert answer.mimetype == "application/json"
    schema = schema_of(document(app), path, status, method)
    Draft202012Validator(schema).validate(answer.json)
    return answer.json


def check_all(app):
    """Compare every JSON route of reading with the document; return the report."""
    check(app, "/status")
    check(app, "/status", query="?detail=1")
    check(app, "/health/live")
    report = [
        check(app, "/dashboard/data", query=f"?range={each}")
        for each in ("15m", "1h", "24h", "7d")
    ]
    for call in report[0]["recent"]:
        check(app, "/dashboard/calls/{call_id}", values=call.items())
    return report[1]


def test_the_document_is_valid():
    """By the OpenAPI initiative's own schema, and each schema by JSON Schema's."""
    app = make_app(["hi"], **ALL_ON)
    found = document(app)

    OpenAPIV31SpecValidator(found).validate()
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def path_of(rule):
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/llm"))


def test_every_route_is_in_it_and_nothing_else():
    """With its methods; those of parts that are off are not there."""
    for config in (ALL_ON, {}, {"LLM_DASHBOARD": "off"}):
        app = make_app(["hi"], **config)
        routes = {
            (path_of(rule), method)
            for rule in app.url_map.iter_rules()
            if rule.endpoint.startswith("flask_llm.") and "static" not in rule.endpoint
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
        told = {
            (path, method.upper())
            for path, item in document(app)["paths"].items()
            for method in item
        }
        assert told == routes


def test_guarded_routes_are_marked():
    """As they are closed: the mark says what a client has to expect."""
    app = make_app(["hi"], **ALL_ON)
    found = document(app)
    closed = Flask("closed")
    closed.config |= ALL_ON
    FlaskLLM(closed)
    for path, item in found["paths"].items():
        for method, operation in item.items():
            url = "/llm" + re.sub(r"\{\w+\}", "gemini", path)
            refused = closed.test_client().open(url, method=method.upper())
            is_closed = refused.status_code == 403
            assert operation.get("x-guarded", False) == is_closed, path
            if is_closed:
                schema = schema_of(found, path, 403, method)
                Draft202012Validator(schema).validate(refused.json)


@pytest.mark.parametrize("root", ["", "/behind"])
def test_servers_honor_the_prefix(root):
    """LLM_URL_PREFIX, and the path at which a server mounts the app."""
    app = make_app(["hi"], LLM_URL_PREFIX="/ai/models")
    url = "/ai/models/openapi.json"
    answer = app.test_client().get(url, environ_overrides={"SCRIPT_NAME": root})

    assert answer.json["servers"] == [{"url": f"{root}/ai/models"}]


def test_servers_are_the_true_paths_however_the_document_is_asked_for():
    """With a slash behind it, where an app takes both; and with letters of any kind."""
    app = Flask("testapp")
    app.url_map.strict_slashes = False
    app.config["LLM_URL_PREFIX"] = "/modèles"
    FlaskLLM(app)
    for path in ("/modèles/openapi.json", "/modèles/openapi.json/"):
        servers = app.test_client().get(path).json["servers"]
        assert servers == [{"url": "/mod%C3%A8les"}]


@pytest.fixture(params=["memory", "usage"])
def kept(request, tmp_path):
    """Settings for where the dashboard's numbers are from."""
    if request.param == "memory":
        return {}
    pytest.importorskip("sqlalchemy")
    return {"LLM_USAGE_URL": f"sqlite:///{tmp_path}/usage.db"}


def test_a_fresh_app_answers_as_documented(kept):
    """Nothing has been asked yet; most is unknown."""
    report = check_all(make_app(["hi"], ["ho"], **kept))

    assert report["tiles"]["calls"] == 0
    assert report["source"]["kind"] == ("usage" if kept else "memory")


def test_after_calls_of_every_kind_it_answers_as_documented(kept):
    """Answers, paid and not, streams, failures, fallbacks and rests."""
    error = QuotaError(retry_after=600, status=429)
    app = make_app([PAID, TransientError("x"), error], ["hi", AuthError()], **kept)
    for _ in range(4):
        app.llm.generate_content("hello", purpose="classify")
    with app.llm.stream_content("hello") as stream:
        list(stream)
    flush(app)
    report = check_all(app)

    assert report["tiles"]["calls"] == 5
    assert {each["state"] for each in report["chain"]} == {"open"}
    assert report["openings"]
    assert len(report["recent"]) == 5
    check(app, "/health/ready", 503)


def flush(app):
    """Wait until what was recorded can be read."""
    usage = app.extensions.get("llm.usage")
    if usage is not None:
        usage.flush()


def test_without_any_key_it_answers_as_documented():
    """Nobody can be asked."""
    app = Flask("testapp")
    FlaskLLM(app, authorize=lambda: True)
    app.llm.generate_content("hello")

    report = check_all(app)
    assert {each["state"] for each in report["chain"]} == {"unavailable"}
    check(app, "/health/ready", 503)


def test_with_a_usage_log_that_cannot_be_read_it_answers_as_documented(tmp_path):
    """The report says so; a single call cannot be shown."""
    pytest.importorskip("sqlalchemy")
    file = tmp_path / "usage.db"
    app = make_app(["hi"], LLM_USAGE_URL=f"sqlite:///{file}")
    app.llm.generate_content("hello")
    flush(app)
    for each in tmp_path.glob("usage.db*"):
        each.unlink()
    file.write_text("no database at all, but a text that is long enough" * 100)
    no_database = closing(sqlite3.connect(file))
    with no_database as opened, pytest.raises(sqlite3.DatabaseError):
        opened.execute("SELECT 1 FROM sqlite_master")

    report = check(app, "/dashboard/data")
    assert report["source"]["error"]
    check(app, "/dashboard/calls/{call_id}", 503, values=[("call_id", "0" * 24)])


def test_errors_and_actions_answer_as_documented():
    """Each status that the document names."""
    app = make_app(["hi"], **ALL_ON)

    check(app, "/health/ready", 200)
    check(app, "/dashboard/data", 400, query="?range=2h")
    check(app, "/dashboard/calls/{call_id}", 404, values=[("call_id", "x")])
    for action in ("test", "reset"):
        path = f"/dashboard/providers/{{name}}/{action}"
        check(app, path, 200, "post", [("name", "gemini")])
        check(app, path, 404, "post", [("name", "nobody")])
