"""A conversation, as it is given and as it is told."""

import base64
import pickle

import pytest
from generated import STEADY
from hypothesis import given
from hypothesis import strategies as st

from flask_llm.types import Image, Message, Request, conversation, plain_text

PNG = b"\x89PNG\r\n\x1a\n and more"
USER = {"role": "user", "content": "Hi"}


def test_dicts_and_objects_mean_the_same():
    """Who builds messages in code need not write dicts."""
    dicts = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, "there"]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "image", "data": PNG}]},
    ]
    objects = [
        Message("system", ("Be brief.",)),
        Message("user", ("Hi", "there")),
        Message("assistant", ("Hello!",)),
        Message("user", (Image(PNG),)),
    ]

    assert conversation(dicts) == conversation(objects)
    system, messages = conversation(objects)
    assert system == ["Be brief."]
    assert messages == tuple(objects[1:])


def test_a_picture_comes_as_bytes_or_as_base64():
    """A browser's upload and a JSON body are the same picture."""
    told = {"type": "image", "data": base64.b64encode(PNG).decode()}
    _, (message,) = conversation([{"role": "user", "content": [told]}])

    assert message.images == (Image(PNG, "image/png"),)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"what?", ""),
    ],
)
def test_the_type_of_a_picture_is_in_its_bytes(data, kind):
    """Nobody has to name it for the formats that the providers take."""
    assert Image(data).media_type == kind
    assert Image(data, "image/x-own").media_type == (kind or "image/x-own")


def test_a_told_type_is_written_as_apis_write_it():
    """What a form or a file's name says is taken, in their words."""
    assert Image(b"BM", "image/BMP").media_type == "image/bmp"
    assert Image(url="https://x.org/a", media_type="image/jpg").media_type == (
        "image/jpeg"
    )


@pytest.mark.parametrize("name", ["image/png", "IMAGE/BMP;name=x", ""])
def test_a_data_address_is_its_bytes(name):
    """What a browser's canvas makes goes to providers that take bytes only, too."""
    url = f"data:{name};base64,{base64.b64encode(PNG).decode()}"
    for told in ({"type": "image", "url": url}, Image(url=url)):
        _, (message,) = conversation([{"role": "user", "content": [told]}])
        assert message.images == (Image(PNG, "image/png"),)


def test_the_type_of_a_data_address_is_heeded():
    """Where the bytes do not tell it."""
    content = [Image(url="data:image/bmp;base64,Qk0=")]
    _, (message,) = conversation([{"role": "user", "content": content}])
    assert message.images == (Image(b"BM", "image/bmp"),)


def test_a_picture_shows_its_bytes_to_nobody():
    """A log line with a request in it stays short."""
    assert repr(Image(PNG)) == f"Image({len(PNG)} bytes, image/png)"
    assert "PNG" not in repr(Request([Message("user", ("Hi", Image(PNG)))]))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://x.org/cat.png?X-Amz-Signature=s3cret", "x.org"),
        ("https://ada:s3cret@x.org:8443#s3cret", "x.org:8443"),
        ("gs://bucket/s3cret.png", "bucket"),
        ("data:image/png;base64,s3cret", "?"),
        ("s3cret", "?"),
    ],
)
def test_an_address_shows_its_host_only(url, shown):
    """Who has a signed address has the picture."""
    assert repr(Image(url=url)) == f"Image(at {shown}, type unknown)"


PART = 'must be {"type": "text", "text": ...} or {"type": "image", "data": ..., '


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ([3], 'prompt[0] must be a dict with "role" and "content"'),
        ([USER, "Hi"], 'prompt[1] must be a dict with "role" and "content"'),
        ([{"content": "Hi"}], 'prompt[0] must be a dict with "role"'),
        ([{"role": 3, "content": "Hi"}], 'prompt[0] must be a dict with "role"'),
        ([USER, {"role": "user"}], 'prompt[1]["content"] must be a str or a list'),
        ([{"role": "user", "content": b"Hi"}], 'prompt[0]["content"] must be a str'),
        ([{"role": "user", "content": ["Hi", 3]}], f'prompt[0]["content"][1] {PART}'),
        ([{"role": "user", "content": [{"type": "audio"}]}], f'["content"][0] {PART}'),
        ([{"role": "user", "content": [{"type": "text"}]}], f'["content"][0] {PART}'),
        (
            [{"role": "user", "content": [{"type": "image", "data": "%%"}]}],
            'prompt[0]["content"][0]["data"] must be bytes or base64',
        ),
        (
            [{"role": "user", "content": [{"type": "image", "url": 5}]}],
            'prompt[0]["content"][0]["url"] and ["media_type"] must be str',
        ),
        (
            [{"role": "user", "content": [{"type": "image"}]}],
            'prompt[0]["content"][0] must have "data" (bytes or base64) or a "url"',
        ),
        (
            [{"role": "user", "content": [{"type": "image", "data": PNG, "url": "x"}]}],
            'prompt[0]["content"][0] must have "data" (bytes or base64) or a "url"',
        ),
        *(
            (
                [USER, {"role": "user", "content": ["Hi", Image(url=url)]}],
                'prompt[1]["content"][1]["url"] must be',
            )
            for url in (
                "file:///etc/passwd",
                "cat.png",
                "https://",
                "data:image/svg+xml,<svg/>",
                "data:image/png;base64,%%",
                "javascript:x",
            )
        ),
        ([Message("user", ("Hi", 3))], f'prompt[0]["content"][1] {PART}'),
        ([Message("user", (Image(),))], 'prompt[0]["content"][0] must have "data"'),
        ([Message(3, ("Hi",))], 'prompt[0] must be a dict with "role"'),
        ([Message("system", ("Hi", Image(PNG)))], "prompt[0]: what the system says"),
    ],
)
def test_a_wrong_type_is_told_with_its_place(prompt, fault):
    """A programming error is found where it was made."""
    with pytest.raises(TypeError) as told:
        Request(prompt)
    assert fault in str(told.value)


def test_a_text_that_stands_for_the_parts_is_one():
    """A message made as `Message("user", "Hi")` is no list of letters."""
    assert Request([Message("user", "Hi")]).messages == (Message("user", ("Hi",)),)


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ([], "prompt is empty"),
        ([{"role": "system", "content": "Be brief."}], "prompt is empty"),
        ([{"role": "user", "content": []}], "prompt is empty"),
        ([USER, {"role": "user", "content": " \n"}], "prompt holds an empty message"),
        ([{"role": "tool", "content": "Hi"}, USER], "not 'tool'"),
        (
            [USER, {"role": "assistant", "content": "Well,"}],
            "the last message must be the user's",
        ),
        ([{"role": "user", "content": "\ud800"}], "lone surrogate"),
        ([Message("user", ("Hi", Image(url="http://x/\ud800")))], "lone surrogate"),
        ([Message("user", (Image(PNG),))], None),
        ([USER], None),
    ],
)
def test_a_conversation_that_makes_no_sense_has_a_fault(prompt, fault):
    """It reaches no provider, and is no exception either: data may be a user's."""
    found = Request(prompt).fault

    assert found is None if fault is None else fault in found


def test_what_the_system_says_is_gathered():
    """The argument comes first, then the messages, wherever they stood."""
    late = {"role": "system", "content": "Be polite."}
    request = Request([USER, late], system="Be brief.")

    assert request.system == "Be brief.\n\nBe polite."
    assert request.messages == (Message("user", ("Hi",)),)


def test_one_message_of_the_user_is_its_very_text():
    """A three-method provider gets what it got before there were conversations."""
    assert plain_text("", [Message("user", ("Hi",))]) == "Hi"
    assert Request("Hi").text == "Hi"


def test_a_conversation_in_words_says_who_speaks():
    """And ends where the model is to go on."""
    request = Request(
        [USER, {"role": "assistant", "content": "Hello!"}, USER], system="Be brief."
    )

    assert request.text == (
        "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Hi\n\nAssistant:"
    )


def test_a_request_survives_pickling():
    """Signals hand it to a queue."""
    request = Request([Message("user", ("Hi", Image(PNG)))], system="x", stop=("y",))

    assert pickle.loads(pickle.dumps(request)) == request


def test_texts_can_be_changed_everywhere():
    """A filter that takes out what nobody may read finds all of it."""
    request = Request([*[USER] * 2, Message("user", ("Hi", Image(PNG)))], system="Hi")
    changed = request.map_texts(str.upper)

    assert changed.system == "HI"
    assert [each.text for each in changed.messages] == ["HI"] * 3
    assert changed.images == request.images


turns = st.lists(
    st.builds(
        Message, st.sampled_from(["user", "assistant"]), st.tuples(st.text(max_size=5))
    ),
    max_size=4,
)


@STEADY
@given(turns, st.text(max_size=5))
def test_a_request_is_made_of_itself(messages, system):
    """Each attempt copies it, which must change nothing."""
    request = Request(tuple(messages), system=system)
    again = Request(request.prompt, system=request.system)

    assert again == request
