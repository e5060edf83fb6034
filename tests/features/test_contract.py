"""The documented contract, verbatim: what a stranger wrote must work unchanged."""

import pytest
from flask import Flask
from pytest_httpserver import HTTPServer

from flask_llm import FlaskLLM, LLMFactory, LLMProvider, LLMResponse
from flask_llm.testing import FakeProvider

KEY = "sk-stranger-12345678"


class openai:  # noqa: N801  # stands where the documents import the SDK
    """An SDK of the kind the documents use: module-level key, dict-like calls."""

    api_key = None
    answers: list = []  # noqa: RUF012

    class ChatCompletion:
        @staticmethod
        def create(model, messages, temperature, max_tokens):
            answer = openai.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            message = type("M", (), {"content": answer})()
            choice = type("C", (), {"message": message})()
            return type("R", (), {"choices": [choice]})()


# --- from the documents, word for word -------------------------------------------


class OpenAIProvider(LLMProvider):
    def __init__(self, api_key: str):
        self.api_key = api_key
        openai.api_key = api_key

    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        try:
            response = openai.ChatCompletion.create(
                model="gpt-4",
                messages=[{"role": "user", "content": prompt}],
                temperature=temperature,
                max_tokens=max_tokens,
            )

            content = response.choices[0].message.content

            return LLMResponse(
                success=True,
                content=content,
                provider_name=self.get_provider_name(),
                metadata={"model": "gpt-4"},
            )
        except Exception as e:  # noqa: BLE001
            return LLMResponse(
                success=False,
                content="",
                provider_name=self.get_provider_name(),
                error=str(e),
            )

    def get_provider_name(self) -> str:
        return "openai"

    def is_available(self) -> bool:
        return bool(self.api_key)


# ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _registered():
    LLMFactory.register_provider("openai", OpenAIProvider)


def answers(*script):
    openai.answers = list(script)


def test_as_primary_it_answers():
    """Registered as `openai`, key from OPENAI_API_KEY, nothing else changed."""
    answers("spam")
    factory = LLMFactory(primary_provider="openai", config={"OPENAI_API_KEY": KEY})
    response = factory.generate_content(
        prompt="Classify this email: ...", temperature=0.0, max_tokens=512
    )

    assert openai.api_key == KEY
    assert (response.success, response.content) == (True, "spam")
    assert response.provider_name == "openai"
    assert response.metadata["model"] == "gpt-4"


def test_as_fallback_it_answers(monkeypatch):
    """`LLM_FALLBACK_PROVIDERS=claude,openai` in the environment of a Flask app."""
    monkeypatch.setenv("LLM_FALLBACK_PROVIDERS", "claude,openai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    app = Flask("testapp")
    FlaskLLM(app)
    answers("spam")

    with app.app_context():
        response = app.llm.generate_content("hello")
    assert (response.content, response.provider_name) == ("spam", "openai")
    assert app.test_client().get("/llm/status").json == {
        "primary": {"name": "gemini", "available": False},
        "fallbacks": [
            {"name": "claude", "available": False},
            {"name": "openai", "available": True},
        ],
        "current": "openai",
    }


def test_as_primary_in_front_of_others():
    """`LLMFactory(primary_provider="gemini", fallback_providers=["openai", …])`."""
    answers("spam")
    factory = LLMFactory(
        primary_provider="gemini",
        fallback_providers=["openai", "claude"],
        config={"OPENAI_API_KEY": KEY},
    )

    assert factory.generate_content("hello").provider_name == "openai"


@pytest.mark.parametrize(
    ("failure", "tries", "waits", "kind"),
    [
        ("Error code: 429 - {'error': {'message': 'slow down'}}", 1, [], "quota"),
        ("You exceeded your current quota", 1, [], "quota"),
        ("Rate limit reached for gpt-4", 1, [], "quota"),
        ("Resource exhausted", 1, [], "quota"),
        ("Request timed out.", 5, [5, 10, 20, 40], "transient"),
        ("Connection error.", 5, [5, 10, 20, 40], "transient"),
        ("Error code: 503 - overloaded", 5, [5, 10, 20, 40], "transient"),
        ("Error code: 401 - bad key", 1, [], "auth"),
        ("prompt of 4290 tokens, sorry", 1, [], "unknown"),
    ],
)
def test_what_it_returns_as_failure_counts_like_a_raised_one(
    clock, failure, tries, waits, kind
):
    """It catches everything itself; the chain reads the text it returns."""
    answers(*[RuntimeError(failure)] * 5)
    factory = LLMFactory(
        "openai", [FakeProvider("hi")], config={"OPENAI_API_KEY": KEY}, clock=clock
    )
    response = factory.generate_content("hello")

    assert response.content == "hi"
    outcomes = [each.outcome for each in response.attempts]
    assert outcomes == [kind] * tries + ["success"]
    assert clock.waits == waits


def test_without_its_key_it_is_skipped_by_name():
    """The error names the setting that the documents name."""
    factory = LLMFactory("openai", [])

    assert factory.get_provider_status()["primary"]["available"] is False
    response = factory.generate_content("hello")
    assert response.error.endswith("[openai: no API key (set OPENAI_API_KEY)]")


def test_its_key_does_not_leak_through_its_own_text():
    """`str(e)` of an SDK may repeat the key."""
    answers(RuntimeError(f"Incorrect API key provided: {KEY}"))
    factory = LLMFactory("openai", [], config={"OPENAI_API_KEY": KEY})
    response = factory.generate_content("hello")

    assert "Incorrect API key provided: [redacted]" in response.error
    assert KEY not in repr(response)


def test_a_provider_that_raises_instead_works_too():
    """The other half of the contract."""

    class Raising(OpenAIProvider):
        def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
            raise RuntimeError("429 Too Many Requests")

    LLMFactory.register_provider("openai", Raising)
    factory = LLMFactory("openai", [FakeProvider("hi")], config={"OPENAI_API_KEY": KEY})

    assert factory.generate_content("hello").content == "hi"


def test_a_constructor_that_refuses_an_empty_key_stops_nothing():
    """Some SDKs raise without a key, at a time when nobody asked them anything."""

    class Strict(OpenAIProvider):
        def __init__(self, api_key):
            if not api_key:
                raise RuntimeError("api_key must be set")
            super().__init__(api_key)

    LLMFactory.register_provider("openai", Strict)
    factory = LLMFactory("openai", [FakeProvider("hi")])

    assert factory.generate_content("hello").content == "hi"
    assert factory.get_provider_status()["primary"]["available"] is False


def test_one_without_a_key_takes_no_argument():
    """`needs_key = False`, for a server of one's own."""

    class Keyless(OpenAIProvider):
        needs_key = False

        def __init__(self):
            self.api_key = "none needed"

    LLMFactory.register_provider("openai", Keyless)
    answers("spam")

    assert LLMFactory("openai", []).generate_content("hello").content == "spam"


def test_a_wrong_constructor_is_told_as_such():
    """Not as a missing key: setting one would not help."""

    class Wrong(OpenAIProvider):
        def __init__(self):
            self.api_key = "x"

    LLMFactory.register_provider("openai", Wrong)
    response = LLMFactory("openai", []).generate_content("hello")

    assert "cannot be set up: TypeError" in response.error
    assert "takes 1 positional argument but 2 were given" in response.error


def test_one_that_speaks_http_itself_works(httpserver: HTTPServer):
    """A stranger's provider over real HTTP, with an error from a real response."""
    import requests

    class Plain(OpenAIProvider):
        def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
            answer = requests.post(
                httpserver.url_for("/"), json={"prompt": prompt}, timeout=60
            )
            answer.raise_for_status()
            return LLMResponse(True, answer.json()["text"], "plain")

    LLMFactory.register_provider("plain", Plain)
    factory = LLMFactory("plain", [FakeProvider("hi")], config={"PLAIN_API_KEY": KEY})
    httpserver.expect_ordered_request("/").respond_with_json({"text": "over the wire"})
    httpserver.expect_ordered_request("/").respond_with_data(
        "", status=429, headers={"Retry-After": "7"}
    )

    assert factory.generate_content("hello").content == "over the wire"
    response = factory.generate_content("hello")
    assert response.content == "hi"
    assert (response.attempts[0].outcome, response.attempts[0].retry_after_s) == (
        "quota",
        7.0,
    )
