"""A conversation in the form that OpenAI's API began, and most others take."""

from collections.abc import Callable
from typing import Any

from ..errors import InvalidRequestError
from ..types import Image, Message, Request

Picture = Callable[[Image], Any]


def chat_messages(
    request: Request, picture: Picture | None = None
) -> list[dict[str, Any]]:
    """Return the `messages` of a request, what the system says before the others.

    Args:
        request: What is asked for.
        picture: Makes the content part of a picture; None for an API that takes none.

    Raises:
        InvalidRequestError: There is a picture, but the API takes none.
    """
    told = [{"role": "system", "content": request.system}] if request.system else []
    return [*told, *(_turn(each, picture) for each in request.messages)]


def _turn(message: Message, picture: Picture | None) -> dict[str, Any]:
    content: Any = message.text
    if message.images:
        content = [_part(each, picture) for each in message.parts if _is_said(each)]
    return {"role": message.role, "content": content}


def _is_said(part: str | Image) -> bool:
    """Tell whether there is something; some APIs refuse an empty text."""
    return not isinstance(part, str) or bool(part.strip())


def _part(part: str | Image, picture: Picture | None) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if picture is None:
        raise InvalidRequestError(reason="takes no images")
    return picture(part)


def image_url(image: Image) -> dict[str, Any]:
    """Return the content part of a picture, its bytes as a "data:" address.

    Raises:
        InvalidRequestError: Nobody tells the type of the bytes.
    """
    if not image.url and not image.media_type:
        raise InvalidRequestError(reason="takes images of a known media_type only")
    return {"type": "image_url", "image_url": {"url": image.data_url}}
