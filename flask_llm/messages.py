"""A conversation: who said what, and the pictures that go with it."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

ROLES = ("user", "assistant")
"""Who speaks; what the "system" says is kept apart from the conversation."""

_SYSTEM = "system"

# The first bytes of the formats that the providers' APIs take.
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}

_SAME = {"image/jpg": "image/jpeg"}

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?|gs)://(?:[^/?#]*@)?([^/?#]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message: its bytes, or the address where a provider finds it.

    Nothing is ever fetched from the address by this process.

    Attributes:
        data: The bytes of the file.
        media_type: Such as "image/png"; the bytes of PNG, JPEG, GIF and WebP tell it,
            whatever is given.
        url: Address instead of the bytes, for providers that fetch pictures.
    """

    data: bytes = b""
    media_type: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        given = self.media_type.strip().lower()
        known = _media_type(self.data) or _SAME.get(given, given)
        object.__setattr__(self, "media_type", known)

    def __repr__(self) -> str:
        # The rest of an address may be a signature, which opens the picture to anybody.
        host = _ADDRESS.match(self.url)
        what = (
            f"at {host[1] if host else '?'}" if self.url else f"{len(self.data)} bytes"
        )
        return f"Image({what}, {self.media_type or 'type unknown'})"

    @property
    def base64(self) -> str:
        """The bytes as APIs take them in JSON."""
        return base64.b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """The address, or the bytes as a "data:" address."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"


Part = str | Image


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "user" or "assistant".
        parts: Texts and pictures, in order.
    """

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its texts, one below the other."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """Its pictures."""
        return tuple(part for part in self.parts if isinstance(part, Image))


def conversation(prompt: Iterable[Any]) -> tuple[list[str], tuple[Message, ...]]:
    """Return what the system says, and the messages of user and assistant.

    Args:
        prompt: Dicts ``{"role", "content"}``, where the content is a text or a list of
            ``{"type": "text", "text"}`` and ``{"type": "image", "data" or "url"}``;
            the data are bytes or base64, the address one of http, https, gs or
            "data:". `Message` objects and `Image` objects may stand for the dicts.

    Raises:
        TypeError: It is none of that; the text says where.
    """
    found = [_message(each, f"prompt[{at}]") for at, each in enumerate(prompt)]
    for at, each in enumerate(found):
        if each.role == _SYSTEM and each.images:
            raise TypeError(f"prompt[{at}]: what the system says holds no pictures")
    system = [each.text for each in found if each.role == _SYSTEM]
    return system, tuple(each for each in found if each.role != _SYSTEM)


def _message(value: Any, where: str) -> Message:
    if isinstance(value, Message):
        value = {"role": value.role, "content": value.parts}
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        raise TypeError(f'{where} must be a dict with "role" and "content"')
    content = value.get("content")
    if isinstance(content, str):
        return Message(value["role"], (content,))
    if isinstance(content, Image) or not isinstance(content, list | tuple):
        raise TypeError(f'{where}["content"] must be a str or a list of parts')
    parts = (
        _part(each, f'{where}["content"][{at}]') for at, each in enumerate(content)
    )
    return Message(value["role"], tuple(parts))


def _part(value: Any, where: str) -> Part:
    if isinstance(value, str):
        return value
    if isinstance(value, Image):
        return _image(asdict(value), where)
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    if kind == "image":
        return _image(value, where)
    raise TypeError(
        f'{where} must be {{"type": "text", "text": ...}} or'
        ' {"type": "image", "data": ..., "media_type": ...}'
    )


def _image(value: Mapping[str, Any], where: str) -> Image:
    url, data = value.get("url", ""), value.get("data", b"")
    media_type = value.get("media_type", "")
    if not isinstance(url, str) or not isinstance(media_type, str):
        raise TypeError(f'{where}["url"] and ["media_type"] must be str')
    if isinstance(data, str):
        data = _decoded(data, f'{where}["data"] must be bytes or base64')
    if not isinstance(data, bytes) or bool(data) == bool(url):
        raise TypeError(f'{where} must have "data" (bytes or base64) or a "url"')
    if told := _DATA_URL.match(url):
        data = _decoded(
            url[told.end() :], f'{where}["url"] must be base64 after "data:"'
        )
        return Image(data, told[1] or media_type)
    if url and not _ADDRESS.match(url):
        raise TypeError(
            f'{where}["url"] must be http, https, gs or "data:" with base64'
        )
    return Image(data, media_type, url)


def _decoded(text: str, fault: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise TypeError(fault) from None


def _media_type(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for head, kind in _MAGIC.items() if data.startswith(head)), "")


def plain_text(system: str, messages: Iterable[Message]) -> str:
    """Return a conversation as one text, for a model that takes nothing else.

    A single message of the user without a system prompt is that very text; else each
    turn says whose it is, and the end asks for the assistant's.

    Args:
        system: What the system says; may be empty.
        messages: The turns.
    """
    turns = [(each.role, each.text) for each in messages]
    if not system and [role for role, _ in turns] == ["user"]:
        return turns[0][1]
    told = [(_SYSTEM, system)] if system else []
    lines = [f"{role.capitalize()}: {text}" for role, text in (*told, *turns)]
    return "\n\n".join([*lines, "Assistant:"])
