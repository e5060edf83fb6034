"""Conversations on their way through a chain of unlike providers."""

from dataclasses import replace

import pytest

from flask_llm import LLMFactory, LLMProvider, LLMResponse
from flask_llm.testing import FakeProvider
from flask_llm.types import Image, Message, Request

PNG = b"\x89PNG\r\n\x1a\n"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Why?"},
]
WORDS = "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Why?\n\nAssistant:"
PICTURE = [Message("user", ("What is it?", Image(PNG)))]
CALLS = ["generate_content", "stream_content"]


class Plain(LLMProvider):
    """A provider of the three-method contract; notes its prompts."""

    needs_key = False

    def __init__(self, name="plain"):
        self.name = name
        self.prompts = []

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        self.prompts.append(prompt)
        return LLMResponse(True, "hi", self.name)

    def get_provider_name(self):
        return self.name

    def is_available(self):
        return True


def ask(call, *providers, **arguments):
    """Return the response of one kind of call."""
    factory = LLMFactory(providers[0], providers[1:], config={})
    found = getattr(factory, call)(**arguments)
    if call == "stream_content":
        list(found)
        found = found.response
    return found


@pytest.mark.parametrize("call", CALLS)
def test_three_methods_get_it_in_words(call):
    """Everything that was said, and by whom."""
    plain = Plain()
    response = ask(call, plain, prompt=TALK)

    assert response.success
    assert plain.prompts == [WORDS]


@pytest.mark.parametrize("call", CALLS)
def test_a_prompt_stays_a_prompt(call):
    """Nothing is put around a text that stands alone."""
    plain = Plain()
    ask(call, plain, prompt="Hi")
    ask(call, plain, prompt="Hi", system="Be brief.")

    assert plain.prompts == ["Hi", "System: Be brief.\n\nUser: Hi\n\nAssistant:"]


@pytest.mark.parametrize("call", CALLS)
def test_a_picture_moves_on_to_who_can_see(call):
    """Three methods cannot carry it, which is no fault of the provider."""
    plain, seeing = Plain(), FakeProvider("a cat", name="seeing")
    response = ask(call, plain, seeing, prompt=PICTURE)

    assert (response.content, response.provider_name) == ("a cat", "seeing")
    assert plain.prompts == []
    blind = response.attempts[0]
    assert (blind.outcome, blind.error) == ("invalid_request", "takes no images")
    assert seeing.calls[0].images == (Image(PNG),)


@pytest.mark.parametrize("call", CALLS)
def test_a_picture_that_nobody_can_see(call):
    """The response says why there is none."""
    response = ask(call, Plain(), prompt=PICTURE)

    assert response.metadata["error_kind"] == "invalid_request"
    assert "takes no images" in response.error


@pytest.mark.parametrize("call", CALLS)
def test_the_prompt_has_a_hook(call):
    """A class that wants a template of its own writes one method."""

    class Templated(Plain):
        def format_prompt(self, request):
            lines = [f"<{each.role}>{each.text}" for each in request.messages]
            return replace(
                request, prompt=f"{request.system}{''.join(lines)}", system=""
            )

    templated, other = Templated(), Plain()
    ask(call, templated, prompt=TALK)
    ask(call, other, prompt=TALK)

    assert templated.prompts == ["Be brief.<user>Hi<assistant>Hello!<user>Why?"]
    assert other.prompts == [WORDS]


@pytest.mark.parametrize("call", CALLS)
def test_a_hook_that_fails_is_a_failure_of_its_provider(call):
    """The next provider answers, with the request as it was."""

    class Failing(Plain):
        def format_prompt(self, request):
            raise KeyError("template")

    second = FakeProvider("hi", name="second")
    response = ask(call, Failing(), second, prompt=TALK)

    assert response.provider_name == "second"
    assert second.calls == [Request(TALK)]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ([], "prompt is empty"),
        (TALK[:1], "prompt is empty"),
        (TALK[:3], "the last message must be the user's"),
        ([{"role": "tool", "content": "x"}], "not 'tool'"),
        ([{"role": "user", "content": ""}, TALK[1]], "empty message"),
    ],
)
def test_what_makes_no_sense_asks_nobody(call, prompt, fault):
    """No provider is sent a prefill, or roles that it does not know."""
    plain = Plain()
    response = ask(call, plain, prompt=prompt)

    assert response.metadata["error_kind"] == "invalid_request"
    assert fault in response.error
    assert response.attempts == ()
    assert plain.prompts == []


@pytest.mark.parametrize("call", CALLS)
def test_stop_texts_hold_for_who_does_not_know_them(call):
    """The chain cuts the answer of a three-method provider."""

    class Long(Plain):
        def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
            return LLMResponse(True, "one two STOP three", self.name)

    assert ask(call, Long(), prompt="Hi", stop="STOP").content == "one two "


def test_the_words_tell_the_schema_where_nothing_else_does():
    """A three-method provider is asked for JSON in words."""
    plain = Plain()
    ask("generate_content", plain, prompt="Hi", schema={"type": "object"})

    assert "JSON schema" in plain.prompts[0]
    assert plain.prompts[0].startswith("System: ")
