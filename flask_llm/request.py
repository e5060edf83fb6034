"""What one call asks for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from .messages import ROLES, Image, Message, conversation, plain_text
from .origin import NOWHERE, Origin
from .schemas import Schema

_HOTTEST = 100  # providers' scales end at 1, 2 or 5
_AGAIN = "This answer is wrong: {}. Answer again. {}"
_MOST_TOKENS = 2**31 - 1  # what the providers' wires can carry


@dataclass(frozen=True, slots=True)
class Request:
    """What one call asks for.

    Attributes:
        prompt: The text sent to the model, or the messages of a conversation, which
            may be given as dicts; see `messages.conversation`.
        temperature: Randomness, from 0.0 (most likely words) upwards.
        max_tokens: The most tokens that the answer may have.
        timeout: Seconds that this attempt may take, or of a stream that the provider
            may be silent; None for the provider's own.
        system: What the model is told before the conversation; the prompt's messages
            of the role "system" are added to it, wherever they stood.
        stop: Texts before which the answer ends.
        schema: What the answer must be, if it must be JSON.
        origin: Where the call comes from; makes no difference to a provider.

    Raises:
        TypeError: An argument has the wrong type: a programming error of the caller.
    """

    prompt: str | tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 1024
    timeout: float | None = None
    system: str = ""
    stop: tuple[str, ...] = ()
    schema: Schema | None = None
    origin: Origin = field(default=NOWHERE, compare=False, repr=False)

    def __post_init__(self) -> None:
        require("prompt", self.prompt, str, list, tuple)
        require("temperature", self.temperature, int, float)
        require("max_tokens", self.max_tokens, int)
        require("system", self.system, str)
        require("stop", self.stop, tuple)
        for each in self.stop:
            require("stop", each, str)
        if not isinstance(self.prompt, str):
            system, messages = conversation(self.prompt)
            told = "\n\n".join(filter(None, (self.system, *system)))
            object.__setattr__(self, "system", told)
            object.__setattr__(self, "prompt", messages)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation; a prompt that is a text is its only message."""
        if isinstance(self.prompt, str):
            return (Message(ROLES[0], (self.prompt,)),)
        return self.prompt

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures of all messages."""
        if isinstance(self.prompt, str):
            return ()
        return tuple(image for each in self.messages for image in each.images)

    @property
    def text(self) -> str:
        """All of it in words, for a model that takes only a text."""
        if isinstance(self.prompt, str) and not self.system:
            return self.prompt
        return plain_text(self.system, self.messages)

    def instructed(self) -> Self:
        """Return it with its schema, if there is one, told in words."""
        if self.schema is None:
            return self
        told = "\n\n".join(filter(None, (self.system, self.schema.instruction)))
        return replace(self, system=told, schema=None)

    def corrected(self, answer: str, fault: str) -> Self:
        """Return it with a wrong answer, and the request to do better.

        Args:
            answer: What the model has answered.
            fault: What is wrong with it.
        """
        wrong = Message(ROLES[1], (answer,))
        # Some servers take a schema, and never show it to the model.
        told = self.schema.instruction if self.schema else ""
        again = Message(ROLES[0], (_AGAIN.format(fault, told),))
        return replace(self, prompt=(*self.messages, wrong, again))

    def map_texts(self, change: Callable[[str], str]) -> Self:
        """Return a copy in which each text has been changed, the system's too.

        Args:
            change: Gets a text and returns what takes its place.
        """
        prompt: str | tuple[Message, ...]
        if isinstance(self.prompt, str):
            prompt = change(self.prompt)
        else:
            prompt = tuple(_changed(each, change) for each in self.prompt)
        system = change(self.system) if self.system else ""
        return replace(self, prompt=prompt, system=system)

    @property
    def fault(self) -> str | None:
        """What no provider could make sense of, or None."""
        if not _is_unicode("".join((self.text, *self.stop, *self._urls))):
            return "prompt holds a lone surrogate, which no encoding can carry"
        if not 0 <= self.temperature <= _HOTTEST:
            return f"temperature must be from 0 to {_HOTTEST}"
        if not 1 <= self.max_tokens <= _MOST_TOKENS:
            return f"max_tokens must be from 1 to {_MOST_TOKENS}"
        if not all(self.stop):
            return "stop holds an empty text"
        return self._fault_of_messages()

    @property
    def _urls(self) -> list[str]:
        return [each.url for each in self.images]

    def _fault_of_messages(self) -> str | None:
        if isinstance(self.prompt, str):
            return None if self.prompt.strip() else "prompt is empty"
        messages = self.prompt
        if not messages or not any(_says_something(each) for each in messages):
            return "prompt is empty"
        for each in messages:
            if each.role not in ROLES:
                return f"role must be system, user or assistant, not {each.role!r}"
            if not _says_something(each):
                return "prompt holds an empty message"
        # As a beginning that the model shall go on with, newer models refuse it.
        if messages[-1].role != ROLES[0]:
            return "the last message must be the user's"
        return None


def _changed(message: Message, change: Callable[[str], str]) -> Message:
    parts = message.parts
    changed = (change(each) if isinstance(each, str) else each for each in parts)
    return Message(message.role, tuple(changed))


def _says_something(message: Message) -> bool:
    return bool(message.images or message.text.strip())


def require(name: str, value: object, *types: type) -> None:
    """Raise TypeError unless an argument has one of the types; a bool is no number."""
    if isinstance(value, types) and not isinstance(value, bool):
        return
    wanted = " or ".join(each.__name__ for each in types)
    raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
