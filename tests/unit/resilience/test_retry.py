import pytest

from flask_llm.errors import AuthError, QuotaError, TransientError
from flask_llm.resilience.retry import RetryPolicy


def test_waits_double_and_then_move_on():
    """The documented rule: 5, 10, 20, 40 seconds between five attempts."""
    policy = RetryPolicy()

    waits = [policy.wait(TransientError(), failures) for failures in range(1, 6)]

    assert waits == [5, 10, 20, 40, None]


def test_waits_are_capped():
    """No single wait is longer than the cap, however many attempts there are."""
    policy = RetryPolicy(max_attempts=5000)

    assert [policy.wait(TransientError(), n) for n in (4, 5, 6, 4999)] == [
        40,
        60,
        60,
        60,
    ]


@pytest.mark.parametrize("error", [QuotaError(retry_after=1), AuthError()])
def test_only_transient_errors_are_tried_again(error):
    """A quota error switches at once, even where it says when to come back."""
    assert RetryPolicy().wait(error, 1) is None


@pytest.mark.parametrize("attempts", [0, 1, -1])
def test_no_retries_means_a_single_attempt(attempts):
    """Zero retries and one attempt are the same thing to a reader."""
    assert RetryPolicy(max_attempts=attempts).wait(TransientError(), 1) is None


def test_a_delay_beyond_the_cap_is_the_cap():
    """Whatever number a caller passes, `time.sleep` can take the result."""
    assert RetryPolicy(delay=10**400).wait(TransientError(), 1) == 60
    assert RetryPolicy(delay=float("inf")).wait(TransientError(), 3) == 60


@pytest.mark.parametrize("delay", [0, -3.0, float("nan")])
def test_a_wait_is_never_negative(delay):
    """`time.sleep` must not raise for what a caller passed."""
    assert RetryPolicy(delay=delay).wait(TransientError(), 1) == 0


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"max_attempts": "5"}, "max_retries"), ({"delay": None}, "retry_delay")],
)
def test_wrong_types_are_told_by_the_argument_s_name(arguments, name):
    """The names are those of `generate_content`, where the values come from."""
    with pytest.raises(TypeError, match=name):
        RetryPolicy(**arguments)
