import math

import pytest

from flask_llm.resilience.deadline import Deadline


def test_no_deadline_is_no_limit(clock):
    """Background work may take as long as it takes."""
    deadline = Deadline(None, clock)

    assert deadline.left() == math.inf
    assert deadline.share(3) == math.inf


def test_what_is_left_never_goes_below_zero(clock):
    """Waits and attempts eat the same budget."""
    deadline = Deadline(2, clock)
    clock.sleep(1.5)
    assert deadline.left() == 0.5
    clock.sleep(9)
    assert deadline.left() == 0


@pytest.mark.parametrize(("followers", "part"), [(0, 1), (1, 2 / 3), (2, 1 / 2)])
def test_a_share_is_kept_back_for_those_to_come(clock, followers, part):
    """Whoever is silent does not eat the time of the next one."""
    assert Deadline(30, clock).share(followers) == pytest.approx(30 * part)
