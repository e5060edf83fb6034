import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from flask_llm.providers.classify import headers_of, status_of
from flask_llm.providers.retry_hints import retry_after_of


class CarrierError(Exception):
    """An SDK's exception, with attributes of its own."""

    def __init__(self, **attributes):
        super().__init__("x")
        vars(self).update(attributes)


@pytest.mark.parametrize("code", [True, 7, "429", None, 1011])
def test_other_codes_are_no_status(code):
    """Only a number of HTTP's range is one."""
    assert status_of(CarrierError(code=code)) is None


@pytest.mark.parametrize("name", ["status_code", "code", "status"])
def test_the_status_is_found_wherever_an_sdk_keeps_it(name):
    """On the exception, or on the response that it holds."""
    response = SimpleNamespace(status_code=503)

    assert status_of(CarrierError(**{name: 503})) == 503
    assert status_of(CarrierError(response=response)) == 503


def test_headers_are_those_of_the_response_or_of_the_exception():
    """Without any there are none, and nobody has to ask for them."""
    headers = {"retry-after": "7"}
    response = SimpleNamespace(headers=headers)

    assert headers_of(CarrierError(response=response)) == headers
    assert headers_of(CarrierError(headers=headers)) == headers
    assert headers_of(CarrierError(headers=None)) == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "37"}, 37),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": formatdate(0, usegmt=True)}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_above_zero(headers, seconds):
    """Junk, zero, negative and past values say nothing."""
    assert retry_after_of(headers) == seconds


def test_retry_after_may_be_a_date():
    """RFC 9110 allows a date."""
    date = formatdate(time.time() + 60, usegmt=True)

    assert retry_after_of({"Retry-After": date}) == pytest.approx(60, abs=2)
