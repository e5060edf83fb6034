import socket
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest
import wire
from real_time import AT_ONCE_S
from wire import Row
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import (
    BadAnswerError,
    ModelNotFoundError,
    ProviderError,
    TimedOutError,
    UnavailableError,
)
from flask_llm.providers.ollama import OllamaProvider
from flask_llm.providers.parameters import tell_once
from flask_llm.providers.sdk import SdkProvider
from flask_llm.testing import FakeProvider
from flask_llm.types import Request

KEY = "ollama-made-up-key-0123456789"


class PulledProvider(OllamaProvider):
    """Ollama with a model that is taken as loaded, for tests that mean neither."""

    default_model = "llama3.2"

    def __init__(self, api_key="", *, load_timeout=0.0, **settings):
        super().__init__(api_key, load_timeout=load_timeout, **settings)

    def warm_up(self, *, full):
        SdkProvider.warm_up(self, full=full)  # connects, but asks nobody


def chat(text: str | None = wire.ANSWER, done="stop", *, thinking=None, **changes):
    """Return an answer of Ollama's chat."""
    thought = {} if thinking is None else {"thinking": thinking}
    return {
        "model": "llama3.2",
        "created_at": "2026-11-22T12:00:00.000000Z",
        "message": {"role": "assistant", "content": text} | thought,
        "done": True,
        "done_reason": done,
        "total_duration": 4883583458,
        "load_duration": 1334875,
        "prompt_eval_count": 26,
        "eval_count": 298,
    } | changes


def error(text: object):
    """Return an error body of Ollama's API."""
    return {"error": text}


LOADED = chat("", "load")

STATUSES = {
    "400": Row(
        400, error("invalid options: temp"), "invalid_request", "invalid options: temp"
    ),
    "400 prompt too long": Row(
        400,
        error("the input length exceeds the context length"),
        "context_length",
        "prompt too long: the input length exceeds the context length",
    ),
    "400 of a strange shape": Row(
        400, error({"text": 5}), "invalid_request", "request rejected"
    ),
    "401": Row(
        401,
        error("unauthorized"),
        "auth",
        "API key rejected (check OLLAMA_API_KEY): unauthorized",
    ),
    "403 subscription": Row(
        403,
        error("this model requires a subscription, upgrade for access"),
        "quota",
        "quota exceeded: this model requires a subscription",
    ),
    "404 model": Row(
        404,
        error("model 'llama3.2' not found"),
        "model_not_found",
        "model not found (ollama pull llama3.2): model 'llama3.2' not found",
    ),
    "404 path": Row(
        404,
        "404 page not found",
        "model_not_found",
        "(check LLM_OLLAMA_BASE_URL, or set LLM_OLLAMA_MODEL): 404 page not found",
    ),
    "429": Row(429, error("too many requests"), "quota", "quota exceeded: too many"),
    "429 of the week": Row(
        429,
        error("you (somebody) have reached your weekly usage limit, upgrade"),
        "quota",
        "quota exceeded: you (somebody) have reached your weekly usage limit",
    ),
    "429 with Retry-After": Row(
        429, error("slow down"), "quota", "slow down", {"Retry-After": "17"}, 17.0
    ),
    "500 runner": Row(
        500,
        error("model runner has unexpectedly stopped, this may be due to resource"),
        "transient",
        "server error 500: model runner has unexpectedly stopped",
    ),
    "500 list": Row(500, [error("x")], "transient", "server error 500"),
    "500 text": Row(500, '"x"', "transient", "server error 500"),
    "503 busy": Row(
        503,
        error("server busy, please try again.  maximum pending requests exceeded"),
        "transient",
        "server error 503: server busy, please try again. maximum pending",
    ),
    "503 with Retry-After": Row(
        503, error("busy"), "transient", "503: busy", {"Retry-After": "60"}, 60.0
    ),
    "503 list with Retry-After": Row(
        503, [], "transient", "server error 503", {"Retry-After": "60"}, 60.0
    ),
    "504": Row(504, error("too slow"), "transient", "server error 504: too slow"),
}

NO_ANSWERS = {
    "broken JSON": Row(200, '{"model": "llama', "transient", "malformed answer"),
    "blank line": Row(200, "\n", "transient", "malformed answer"),
    "{}": Row(200, {}, "transient", "malformed answer"),
    "list": Row(200, [chat()], "transient", "malformed answer"),
    "text": Row(200, '"hi"', "transient", "malformed answer"),
    "error": Row(200, error("boom"), "bad_answer", "answered with an error: boom"),
    "error that says what it is": Row(
        200,
        error("model 'llama3.2' not found"),
        "model_not_found",
        "model not found (ollama pull llama3.2): model 'llama3.2' not found",
    ),
    "error of a strange shape": Row(200, error(5), "transient", "malformed answer"),
    "message null": Row(200, chat(message=None), "transient", "malformed answer"),
    "content of a number": Row(200, chat(5), "transient", "malformed answer"),
    "204": Row(204, "", "transient", "malformed answer"),
    "not done": Row(
        200,
        chat("So", done=None) | {"done": False},
        "bad_answer",
        "incomplete answer (done reason: None)",
    ),
    "not done, though with a reason": Row(
        200, chat("So") | {"done": False}, "bad_answer", "incomplete answer"
    ),
    "no reason": Row(
        200, chat("So", None), "bad_answer", "incomplete answer (done reason: None)"
    ),
    "load": Row(200, LOADED, "bad_answer", "incomplete answer (done reason: load)"),
    "reason of tomorrow": Row(
        200, chat("So", "daydream"), "bad_answer", "(done reason: daydream)"
    ),
    "length without text": Row(
        200,
        chat("", "length"),
        "bad_answer",
        "max_tokens used up before any text (raise max_tokens)",
    ),
    "length used up by thinking": Row(
        200,
        chat("", "length", thinking="Hmm."),
        "bad_answer",
        "thinking used up max_tokens before any text"
        " (raise max_tokens or set LLM_OLLAMA_THINKING=off)",
    ),
    "no text": Row(200, chat(None), "bad_answer", "empty answer"),
    "blank text": Row(200, chat(" \n"), "bad_answer", "empty answer"),
}

ANSWERS = {
    "max_tokens": (chat("So it", "length"), "So it", "length"),
    "thinking beside": (chat("Scattering", thinking="Hmm."), "Scattering", "stop"),
}

ECHO_OF_KEY = Row(401, error(f"{KEY} is not known"), "auth", "[redacted] is not known")


@pytest.fixture
def now(monkeypatch):
    """Return a clock that only the provider sees, to be turned on by a test."""

    class Time:
        seconds = 1000.0

        def monotonic(self):
            return self.seconds

    clock = Time()
    monkeypatch.setattr("flask_llm.providers.ollama.time", clock)
    return clock


class TestOllama(WireContract):
    name = "ollama"
    provider_class = PulledProvider
    key = KEY
    key_setting = "OLLAMA_API_KEY"
    key_header = ("authorization", "Bearer {}")
    path = "/api/chat"
    known = {  # noqa: RUF012  # never changed
        "model": "llama3.2",
        "usage": {"input_tokens": 26, "output_tokens": 298, "total_tokens": 324},
        "request_id": None,
        "warnings": [],
    }
    answers = ANSWERS
    no_usage = {  # noqa: RUF012  # never changed
        "no prompt": chat(prompt_eval_count=None),
        "no answer": chat(eval_count=None),
    }
    statuses = STATUSES
    exhausted = ("403 subscription", "429 of the week")
    no_answers = NO_ANSWERS
    trouble = STATUSES["503 busy"]
    echo_of_key = ECHO_OF_KEY
    leaks = {  # noqa: RUF012  # never changed
        "error": ECHO_OF_KEY.body,
        "strange shape": error({"text": [KEY]}),
        "text": KEY,
    }

    answer = staticmethod(chat)

    @staticmethod
    def sent_prompt(received):
        return received.json["messages"][0]["content"]

    @staticmethod
    def hang_up(client):
        client._client.close()

    @pytest.fixture(autouse=True)
    def _pulled(self, monkeypatch):
        """Name a model, and wait no longer for it than for an answer."""
        monkeypatch.setenv("LLM_OLLAMA_MODEL", "llama3.2")
        monkeypatch.setenv("LLM_OLLAMA_LOAD_TIMEOUT", "0")

    def test_refused(self, ask, clock):
        """A server that is not there is unavailable, and not asked again."""
        url = wire.closed_port()
        response = ask(url.replace("//", "//somebody:hunter22@"))
        assert response.metadata["error_kind"] == "unavailable"
        assert (
            f"ollama: no server at {url} (start it with `ollama serve`, or set"
            " LLM_OLLAMA_BASE_URL)"
        ) in response.error
        assert "refused" in response.error
        assert "hunter22" not in repr(response)
        assert len(response.attempts) == 1
        assert clock.waits == []


class TestRequest:
    """What an Ollama server is sent."""

    def sent(self, **settings):
        with wire.Stub(wire.reply(chat())) as stub:
            provider = PulledProvider(base_url=stub.url, **settings)
            provider.generate_content(wire.PROMPT, temperature=0.25, max_tokens=300)
        (received,) = stub.received
        return received

    def test_request(self):
        """The request carries model, prompt, num_predict and temperature, no key."""
        received = self.sent(model="qwen3:8b")
        assert received.path == "/api/chat"
        assert received.json == {
            "model": "qwen3:8b",
            "messages": [{"role": "user", "content": wire.PROMPT}],
            "tools": [],
            "stream": False,
            "options": {"temperature": 0.25, "num_predict": 300},
        }
        assert "authorization" not in received.headers

    def test_settings(self):
        """Context, keep-alive and thinking are sent under the API's names."""
        settings = {"context": 8192, "keep_alive": "1h30m", "thinking": "off"}
        body = self.sent(**settings).json
        assert body["options"]["num_ctx"] == 8192
        assert body["keep_alive"] == 5400.0
        assert body["think"] is False
        assert self.sent(thinking="on").json["think"] is True
        assert "think" not in self.sent(thinking="auto").json

    def test_environment(self, monkeypatch):
        """The SDK's environment variables change neither address nor key."""
        monkeypatch.setenv("OLLAMA_HOST", wire.closed_port())
        monkeypatch.setenv("OLLAMA_API_KEY", "key-of-the-environment")
        assert "authorization" not in self.sent().headers
        assert self.sent(api_key=KEY).headers["authorization"] == f"Bearer {KEY}"

    def test_key_of_the_environment_is_a_setting(self, monkeypatch):
        """OLLAMA_API_KEY is read as every setting is: the app's own comes first."""
        monkeypatch.setenv("OLLAMA_API_KEY", "key-of-the-environment")
        keys = []
        for config in ({}, {"OLLAMA_API_KEY": "key-of-the-app"}):
            with wire.Stub(wire.reply(chat())) as stub:
                config |= {"LLM_OLLAMA_BASE_URL": stub.url, "LLM_OLLAMA_MODEL": "m"}
                LLMFactory("ollama", [], config=config).generate_content("hi").unwrap()
            keys.append(stub.received[0].headers["authorization"])
        assert keys == ["Bearer key-of-the-environment", "Bearer key-of-the-app"]

    def test_user_of_base_url(self):
        """A user and password in the address are sent, as to every web server."""
        with wire.Stub(wire.reply(chat())) as stub:
            url = stub.url.replace("//", "//somebody:p%40ss@")
            PulledProvider(base_url=url).generate_content("hi")
        plain = b64encode(b"somebody:p@ss").decode()
        assert stub.received[0].headers["authorization"] == f"Basic {plain}"

    def test_default_address(self, monkeypatch):
        """Without an address the server of this machine is asked."""
        monkeypatch.setenv("OLLAMA_HOST", "http://elsewhere.invalid:80")
        client = PulledProvider()._client.get()
        assert str(client._client.base_url) == "http://127.0.0.1:11434"


class TestThinking:
    def test_refused_thinking(self, clock):
        """A model that cannot think is asked again without, and at once."""
        tell_once.cache_clear()
        bad = wire.reply(error('"llama3.2" does not support thinking'), 400)
        with wire.Stub(wire.in_turn(bad, wire.reply(chat()))) as stub:
            config = {
                "LLM_OLLAMA_BASE_URL": stub.url,
                "LLM_OLLAMA_MODEL": "llama3.2",
                "LLM_OLLAMA_THINKING": "On",
            }
            factory = LLMFactory("ollama", [], config=config, clock=clock)
            response = factory.generate_content(wire.PROMPT)
        assert response.content == wire.ANSWER
        first, second = (each.json for each in stub.received)
        assert first.pop("think") is True
        assert first == second
        assert response.metadata["warnings"] == [
            "thinking is not sent to llama3.2, which refused it"
        ]
        assert clock.waits == []

    def test_advice_that_helps(self, httpserver):
        """Nobody is told to switch off what is off."""
        wire.serve(httpserver, NO_ANSWERS["length used up by thinking"])
        provider = PulledProvider(base_url=httpserver.url_for(""), thinking="off")
        with pytest.raises(BadAnswerError) as caught:
            provider.generate_content(wire.PROMPT)
        assert caught.value.advice == "raise max_tokens"


class TestSettings:
    def test_no_model(self, clock):
        """Without a model it is unavailable, and says which key names one."""
        url = wire.closed_port()
        factory = LLMFactory(
            "ollama", [], config={"LLM_OLLAMA_BASE_URL": url}, clock=clock
        )
        response = factory.generate_content("hi")
        assert "no model (set LLM_OLLAMA_MODEL, such as llama3.2)" in response.error
        assert not OllamaProvider().is_available()
        assert OllamaProvider(model="llama3.2").is_available()

    def test_endpoint_of_its_own(self, clock):
        """An endpoint under another name speaks of where its own settings stand."""
        url = wire.closed_port()
        config = {"LLM_PROVIDERS": {"gpu-box": {"provider": "ollama", "base_url": url}}}
        unnamed = LLMFactory("gpu-box", [], config=config, clock=clock)
        assert "set LLM_GPU_BOX_MODEL" in unnamed.generate_content("hi").error
        absent = LLMFactory("gpu-box:llama3.2", [], config=config, clock=clock)
        written = "LLM_PROVIDERS['gpu-box']['base_url']"
        assert f"or set {written}" in absent.generate_content("hi").error

    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("500ms", 0.5),
            ("90", 90.0),
            (0, 0.0),
            ("-1", -1.0),
            (-1, -1.0),
        ],
    )
    def test_keep_alive(self, written, sent):
        """Durations and seconds are sent as seconds, which every server takes."""
        assert PulledProvider(keep_alive=written).keep_alive == sent

    @pytest.mark.parametrize("written", ["", "5 m", "5d", "m5", "-5m", -2, "5m!", True])
    def test_keep_alive_is_checked(self, written):
        """What no server would take is told at the start."""
        with pytest.raises(ValueError, match="must be a duration such as 5m, seconds"):
            PulledProvider(keep_alive=written)

    @pytest.mark.parametrize("written", ["", "high", 2])
    def test_thinking_is_checked(self, written):
        """What is no mode is told at the start."""
        with pytest.raises(ValueError, match="must be auto, on or off"):
            PulledProvider(thinking=written)


class TestLoading:
    """A model that has to be loaded first has more time."""

    def seconds(self, provider, given=None):
        return provider._seconds(Request("hi", timeout=given))

    def wait(self, provider):
        """Let a provider wait until it has had enough of the silence."""
        with pytest.raises(TimedOutError):
            provider.generate_content("hi")

    def test_cold_load(self):
        """A cold model is waited for, beyond the time for an answer."""

        def load(handler, received):
            time.sleep(0.2)
            wire.reply(chat())(handler, received)

        with wire.Stub(load) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=0.05, load_timeout=60)
            assert provider.generate_content("hi").content == wire.ANSWER
            self.wait(provider)  # loaded now
            assert wire.arrived(stub, 2)

    def test_cold_load_through_the_chain(self, clock):
        """The chain waits as long as the provider does."""

        def load(handler, received):
            time.sleep(0.2)
            wire.reply(chat())(handler, received)

        with wire.Stub(load) as stub:
            config = {
                "LLM_OLLAMA_BASE_URL": stub.url,
                "LLM_OLLAMA_MODEL": "llama3.2",
                "LLM_OLLAMA_TIMEOUT": 0.05,
                "LLM_OLLAMA_MAX_CONCURRENCY": 1,
            }
            factory = LLMFactory("ollama", [], config=config, clock=clock)
            response = factory.generate_content("hi")
        assert [each.outcome for each in response.attempts] == ["success"]

    def test_a_deadline_holds(self, sockets):
        """A cold load takes no longer than the attempt may."""
        sockets.hurry()
        with wire.Stub(wire.hang) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            with pytest.raises(TimedOutError):
                provider.answer(Request("hi", timeout=20))
        assert sockets.last() == 20

    def test_connecting_is_no_loading(self):
        """A server whose network swallows everything is not waited for so long."""
        with wire.Stub(wire.reply(chat())) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            hooks = provider._client.get()._client.event_hooks
            seen = []
            note = lambda request: seen.append(request.extensions["timeout"])  # noqa: E731
            provider._client.get()._client.event_hooks = {
                "request": [*hooks["request"], note],
                "response": [],
            }
            provider.generate_content("hi")
        assert seen == [{"connect": 5, "pool": 5, "write": 5, "read": 60}]

    @pytest.mark.parametrize(
        ("keep_alive", "loaded"), [(None, 300), ("2m", 120), (0, 0), (-1, 10**9)]
    )
    def test_loaded_for_a_while(self, now, keep_alive, loaded):
        """After an answer the model counts as loaded until keep_alive has passed."""
        with wire.Stub(wire.reply(chat())) as stub:
            provider = PulledProvider(
                base_url=stub.url, timeout=5, load_timeout=60, keep_alive=keep_alive
            )
            assert self.seconds(provider) == 60
            provider.generate_content("hi")
        if loaded:
            assert self.seconds(provider) == 5
            now.seconds += loaded - 1
            assert self.seconds(provider) == 5
            now.seconds += 1
        assert self.seconds(provider) == (60 if keep_alive != -1 else 5)
        assert self.seconds(provider, given=2) == 2

    @pytest.mark.parametrize(
        ("failure", "left"),
        [
            (wire.reply(error("busy"), 503), 60),
            (wire.hang, 60),
            (wire.reset, 60),
            (wire.reply(error("invalid options"), 400), 20),
            (wire.reply(error("slow down"), 429), 20),
            (wire.reply(error("boom")), 20),
        ],
    )
    def test_a_failed_server_may_have_unloaded_it(self, sockets, failure, left):
        """After silence, a loss or a 5xx nobody knows; a refusal unloads nothing."""
        with wire.Stub(wire.in_turn(wire.reply(chat()), failure)) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=20, load_timeout=60)
            provider.generate_content("hi")
            assert self.seconds(provider) == 20
            if failure is wire.hang:
                sockets.hurry()
            with pytest.raises(ProviderError):
                provider.generate_content("hi")
        assert self.seconds(provider) == left

    def test_an_absent_server_may_have_unloaded_it(self):
        """A server that went away has no model loaded when it is back."""
        with wire.Stub(wire.reply(chat())) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            provider.generate_content("hi")
            assert self.seconds(provider) == 5
        with pytest.raises(ProviderError):
            provider.generate_content("hi")
        assert self.seconds(provider) == 60

    def test_waited_for_in_vain(self, now, sockets):
        """A hung server has the time for loading once, then again after as long."""
        sockets.hurry(0.05)
        with wire.Stub(wire.hang) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            took = []
            for _ in range(3):
                self.wait(provider)
                took.append(sockets.last())
        assert took == [60, 5, 5]
        now.seconds += 59
        assert self.seconds(provider) == 5
        now.seconds += 1
        assert self.seconds(provider) == 60

    @pytest.mark.parametrize("failure", [wire.reply(error("busy"), 503), wire.reset])
    def test_a_quick_failure_is_no_waiting_in_vain(self, failure):
        """A server that fails at once has the time for loading at the next attempt."""
        with wire.Stub(failure) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            with pytest.raises(ProviderError):
                provider.generate_content("hi")
        assert self.seconds(provider) == 60

    def test_an_unreachable_server_was_not_waited_for(self):
        """A connection that is never made says nothing of how long loading takes."""
        with socket.socket() as deaf, socket.socket() as first:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            first.connect(deaf.getsockname())  # fills its queue
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            provider = PulledProvider(base_url=url, timeout=0.1, load_timeout=60)
            started = time.monotonic()
            self.wait(provider)
            assert time.monotonic() - started < AT_ONCE_S
        assert self.seconds(provider) == 60

    def test_an_answer_ends_the_hurry(self, now, sockets):
        """Who answers after all is waited for again when the model is unloaded."""
        once = wire.in_turn(wire.hang, wire.reply(chat()))
        with wire.Stub(once) as stub:
            provider = PulledProvider(
                base_url=stub.url, timeout=20, load_timeout=60, keep_alive=0
            )
            sockets.hurry()
            self.wait(provider)
            assert wire.arrived(stub, 1)
            assert self.seconds(provider) == 20
            sockets.hurry(AT_ONCE_S)
            provider.generate_content("hi")
        assert self.seconds(provider) == 60

    def test_a_short_wait_is_not_in_vain(self, sockets):
        """Silence within a caller's deadline says nothing of how long loading takes."""
        sockets.hurry()
        with wire.Stub(wire.hang) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=5, load_timeout=60)
            with pytest.raises(TimedOutError):
                provider.answer(Request("hi", timeout=20))
        assert self.seconds(provider) == 60

    def test_one_probe_waits_for_loading(self, clock):
        """While one call tries a server that is loading, the others leave it alone."""
        probing, loaded = threading.Event(), threading.Event()

        def load(handler, received):
            probing.set()
            loaded.wait(10)
            wire.reply(chat())(handler, received)

        down = wire.reply(error("busy"), 503)
        with (
            wire.Stub(wire.in_turn(*[down] * 5, load)) as stub,
            ThreadPoolExecutor(1) as pool,
        ):
            config = {
                "LLM_OLLAMA_BASE_URL": stub.url,
                "LLM_OLLAMA_MODEL": "llama3.2",
                "LLM_MAX_RETRIES": 1,
            }
            other = FakeProvider("other")
            factory = LLMFactory("ollama", [other], config=config, clock=clock)
            for _ in range(5):
                factory.generate_content("hi")
            clock.sleep(5)
            probe = pool.submit(factory.generate_content, "hi")
            assert probing.wait(10)
            clock.sleep(290)  # of the 300 that loading may take
            others = [factory.generate_content("hi") for _ in range(4)]
            loaded.set()
            assert probe.result().content == wire.ANSWER
        assert [each.content for each in others] == ["other"] * 4
        assert len(stub.received) == 6

    def test_a_longer_timeout_counts(self):
        """Loading never has less time than an answer."""
        provider = PulledProvider(timeout=120, load_timeout=60)
        assert self.seconds(provider) == 120

    def test_threads_have_times_of_their_own(self):
        """A patient call beside a hurried one keeps its patience."""
        asked, given_up = threading.Event(), threading.Event()

        def slow(handler, received):
            asked.set()
            given_up.wait(30)
            wire.reply(chat())(handler, received)

        with wire.Stub(slow) as stub, ThreadPoolExecutor(1) as pool:
            provider = PulledProvider(base_url=stub.url, timeout=60)
            patient = pool.submit(provider.generate_content, "hi")
            assert asked.wait(30)
            with pytest.raises(TimedOutError):
                provider.answer(Request("hi", timeout=0.1))
            given_up.set()
            assert patient.result().content == wire.ANSWER

    def test_warm_up(self):
        """Warming up loads the model, in the size that the calls will ask for."""
        with wire.Stub(wire.reply(LOADED)) as stub:
            provider = OllamaProvider(
                model="llama3.2", base_url=stub.url, context=8192, keep_alive="1h"
            )
            provider.warm_up(full=False)
            assert stub.received == []
            provider.warm_up(full=True)
        (received,) = stub.received
        assert received.path == "/api/chat"
        assert received.json == {
            "model": "llama3.2",
            "messages": [],
            "tools": [],
            "stream": False,
            "options": {"num_ctx": 8192},
            "keep_alive": 3600.0,
        }
        assert self.seconds(provider) == 30

    def test_warm_up_is_patient(self, sockets):
        """Loading ahead has the time for loading, and ends with it."""
        sockets.hurry()
        with wire.Stub(wire.hang) as stub:
            provider = OllamaProvider(
                model="llama3.2", base_url=stub.url, timeout=5, load_timeout=60
            )
            with pytest.raises(TimedOutError):
                provider.warm_up(full=True)
        assert sockets.last() == 60

    def test_warm_up_without_a_server(self, caplog):
        """An absent server at the start is told once, and stops nothing."""
        config = {
            "LLM_OLLAMA_BASE_URL": wire.closed_port(),
            "LLM_OLLAMA_MODEL": "llama3.2",
        }
        LLMFactory("ollama", [], config=config).warm_up()
        (told,) = caplog.messages
        assert "ollama cannot be warmed up: no server at http://127.0.0.1" in told


class TestFailures:
    def test_no_such_host(self):
        """A host that no name server knows is a server that is not there."""
        provider = PulledProvider(base_url="http://ollama.invalid:11434")
        with pytest.raises(UnavailableError) as caught:
            provider.generate_content("hi")
        assert caught.value.reason == "no server at http://ollama.invalid:11434"

    @pytest.mark.parametrize("host", ["127.0.0.1:none", "http://[::1"])
    def test_malformed_host_of_the_environment(self, monkeypatch, caplog, host):
        """An OLLAMA_HOST that keeps the SDK from being imported is named."""
        monkeypatch.setenv("OLLAMA_HOST", host)
        monkeypatch.delitem(sys.modules, "ollama", raising=False)
        url = "http://127.0.0.1:9"
        config = {"LLM_OLLAMA_BASE_URL": url, "LLM_OLLAMA_MODEL": "llama3.2"}
        factory = LLMFactory("ollama", [], config=config)
        factory.warm_up()
        told = "the SDK cannot read OLLAMA_HOST (correct or unset it)"
        response = factory.generate_content("hi")
        assert told in response.error
        assert len(response.attempts) == 1
        assert f"ollama cannot be warmed up: {told}" in caplog.messages

    def test_missing_model_of_another_name(self):
        """The advice names the model that was asked for."""
        gone = wire.reply(error("model 'qwen3:8b' not found"), 404)
        with wire.Stub(gone) as stub:
            provider = PulledProvider(base_url=stub.url, model="qwen3:8b")
            with pytest.raises(ModelNotFoundError) as caught:
                provider.generate_content("hi")
        assert caught.value.advice == "ollama pull qwen3:8b"

    @pytest.mark.parametrize(
        "body",
        [{"massage": {"content": "my diary"}}, {"message": {"error": "my diary"}}],
    )
    def test_a_broken_answer_is_not_quoted(self, body):
        """What a model answered is in no error, even if nobody can read it."""
        with wire.Stub(wire.reply(body)) as stub:
            provider = PulledProvider(base_url=stub.url)
            with pytest.raises(ProviderError, match="malformed answer") as caught:
                provider.generate_content("hi")
        assert "diary" not in f"{caught.value} {caught.value.detail}"

    def test_list_models(self, httpserver):
        """The list holds the names of what was pulled."""
        models = {"models": [{"model": "qwen3:8b"}, {"model": "llama3.2:latest"}]}
        httpserver.expect_request("/api/tags", method="GET").respond_with_json(models)
        provider = PulledProvider(base_url=httpserver.url_for(""))
        assert provider.list_models() == ["llama3.2:latest", "qwen3:8b"]

    def test_list_models_in_time(self, sockets):
        """The list is waited for no longer than an answer."""
        sockets.hurry()
        with wire.Stub(wire.hang) as stub:
            provider = PulledProvider(base_url=stub.url, timeout=20, load_timeout=60)
            with pytest.raises(TimedOutError):
                provider.list_models()
        assert sockets.last() == 20
