"""The arithmetic of a circuit breaker, without a clock and without a store."""

import pytest

from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ModelNotFoundError,
    QuotaError,
    TransientError,
    UsedUpError,
)
from flask_llm.resilience.circuit_breaker import CLOSED, BreakerPolicy, Circuit, State

NOW = 1_800_000_000.0
POLICY = BreakerPolicy()


def failed(*errors, every=1.0, circuit=CLOSED, policy=POLICY):
    """Return the circuit after failures, one each so many seconds, and the time."""
    now = NOW
    for number, error in enumerate(errors):
        now = NOW + number * every
        circuit = policy.failed(circuit, error, now)
    return circuit, now


def test_five_failures_in_a_row_open_the_circuit():
    """Four may be chance; after the fifth the provider rests for five seconds."""
    four, now = failed(*[TransientError()] * 4)
    assert POLICY.state(four, now) is State.CLOSED

    five, now = failed(*[TransientError()] * 5)
    assert POLICY.state(five, now) is State.OPEN
    assert five.until == now + 5
    assert POLICY.state(five, now + 5) is State.HALF_OPEN


def test_failures_far_apart_are_no_outage():
    """With a gap longer than the window the count begins anew."""
    circuit, now = failed(*[TransientError()] * 20, every=301.0)

    assert POLICY.state(circuit, now) is State.CLOSED


def test_each_failed_probe_doubles_the_rest_up_to_the_cap():
    """A long outage costs few probes, and its end is noticed soon."""
    circuit, now = failed(*[TransientError()] * 5)
    rests = []
    for _ in range(5):
        now = circuit.until
        circuit = POLICY.failed(circuit, TransientError(), now)
        rests.append(circuit.until - now)

    assert rests == [10, 20, 20, 20, 20]


def test_failures_meanwhile_extend_the_rest_but_do_not_double_it():
    """Calls that were under way when the circuit opened are one outage."""
    circuit, now = failed(*[TransientError()] * 5)
    later = POLICY.failed(circuit, TransientError(), now + 2)

    assert later.until == now + 2 + 5
    assert later.openings == circuit.openings == 1


@pytest.mark.parametrize(
    "error", [QuotaError(retry_after=37.5), TransientError(retry_after=37.5)]
)
def test_a_provider_that_says_when_to_come_back_rests_till_then(error):
    """At the first time, and no early probe is allowed."""
    circuit, _ = failed(error)

    assert circuit.until == NOW + 37.5
    assert circuit.told


def test_the_longest_rest_wins():
    """A short Retry-After does not shorten a long one."""
    circuit, now = failed(QuotaError(retry_after=60), QuotaError(retry_after=1))

    assert circuit.until == NOW + 60
    assert circuit.told
    assert POLICY.state(circuit, now + 2) is State.OPEN


def test_a_named_rest_stays_what_the_provider_named():
    """A second 429 after it is no failed probe: two seconds stay two seconds."""
    circuit = CLOSED
    for number in range(4):
        now = NOW + 2 * number
        circuit = POLICY.failed(circuit, QuotaError(retry_after=2), now)
        assert (circuit.until, circuit.told) == (now + 2, True)

    circuit = POLICY.failed(circuit, QuotaError(retry_after=2), now)
    assert (circuit.until, circuit.told) == (now + 5, False)


def test_no_provider_can_send_itself_away_for_a_year():
    """A Retry-After beyond the cap is the cap."""
    circuit, _ = failed(QuotaError(retry_after=1e9))

    assert circuit.until == NOW + 3600


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (UsedUpError(), 3600),
        (UsedUpError(retry_after=20), 3600),
        (AuthError(), 300),
        (ModelNotFoundError(), 300),
    ],
)
def test_what_minutes_do_not_mend_rests_long(error, seconds):
    """One failure is enough; it is our own guess, so a probe is allowed."""
    circuit, _ = failed(error)

    assert circuit.until == NOW + seconds
    assert not circuit.told


@pytest.mark.parametrize("error", [BadAnswerError(), QuotaError()])
def test_what_says_nothing_of_the_provider_leaves_it_alone(error):
    """The next call begins with the primary again, as documented."""
    circuit, now = failed(error)

    assert POLICY.state(circuit, now) is State.CLOSED


def test_quota_errors_without_a_time_open_the_circuit_too():
    """A provider that only ever says no is not asked for ever."""
    circuit, now = failed(*[QuotaError()] * 5)

    assert POLICY.state(circuit, now) is State.OPEN


def test_zero_failures_switches_the_breaker_off_but_not_the_cooldown():
    """What a provider itself asks for is still done."""
    policy = BreakerPolicy(failures=0)
    circuit, now = failed(*[TransientError()] * 50, policy=policy)
    assert policy.state(circuit, now) is State.CLOSED

    circuit, now = failed(QuotaError(retry_after=9), policy=policy)
    assert policy.state(circuit, now) is State.OPEN


def test_one_probe_at_a_time():
    """A claim shuts others out until its lease is over; releasing it lets them in."""
    circuit, _ = failed(*[TransientError()] * 5)
    now = circuit.until

    claimed = POLICY.claimed(circuit, now, lease=30)
    assert POLICY.claimed(claimed, now + 29, lease=30) is None
    assert POLICY.claimed(claimed, now + 30, lease=30) is not None
    free = POLICY.released(claimed, now + 1, asked=False)
    assert POLICY.claimed(free, now + 1, lease=30) is not None
    paced = POLICY.released(claimed, now + 1, asked=True)
    assert POLICY.claimed(paced, now + 5, lease=30) is None
    assert POLICY.claimed(paced, now + 6, lease=30) is not None


def test_a_lease_may_be_longer_than_any_rest():
    """A slow probe is alone even where rests are short."""
    policy = BreakerPolicy(max_cooldown=0)
    claimed = policy.claimed(CLOSED, NOW, lease=900)

    assert policy.claimed(claimed, NOW + 899, lease=900) is None


def test_slow_failures_are_in_a_row_too():
    """What counts is the gap between two, not the time of all: timeouts take long."""
    circuit, now = failed(*[TransientError()] * 5, every=160.0)

    assert POLICY.state(circuit, now) is State.OPEN


def test_early_probes_keep_their_pace():
    """Where nobody else is left, a long rest is tried every five seconds, no faster."""
    circuit, _ = failed(AuthError())

    assert POLICY.claimed(circuit, NOW + 4.9, lease=30) is None
    assert POLICY.claimed(circuit, NOW + 5, lease=30) is not None


@pytest.mark.parametrize("skew", [-5.0, 5.0])
def test_clocks_may_differ_by_seconds(skew):
    """Another host's clock moves the end of the rest by its error, nothing more."""
    circuit, now = failed(*[TransientError()] * 5)

    assert POLICY.state(circuit, now + skew - 0.1) in {State.OPEN, State.HALF_OPEN}
    assert POLICY.state(circuit, now + 5 - skew + skew) is State.HALF_OPEN
    assert POLICY.failed(circuit, TransientError(), now + skew).until >= circuit.until


def test_a_clock_that_is_set_back_prolongs_no_rest():
    """A rest is as long as it was meant to be, and little more."""
    circuit, now = failed(*[TransientError()] * 5)

    assert POLICY.state(circuit, now - 3000) is State.HALF_OPEN
    assert POLICY.claimed(circuit, now - 3000, lease=30) is not None


def test_a_clock_that_is_days_ahead_blocks_nobody():
    """A rest longer than any that we give is taken for the mistake it is."""
    circuit, now = failed(AuthError())

    assert POLICY.state(circuit, now - 86_400) is State.HALF_OPEN
    claimed = POLICY.claimed(circuit, NOW + 60, lease=30)
    assert POLICY.claimed(claimed, NOW - 86_400, lease=30) is not None
    failed_again = POLICY.failed(circuit, AuthError(), NOW - 86_400)
    assert failed_again.until == NOW - 86_400 + 300


def test_a_circuit_survives_a_store():
    """What is written is read again."""
    circuit, _ = failed(*[TransientError()] * 5)

    assert Circuit.loads(circuit.dumps()) == circuit


def test_a_circuit_of_an_older_version_is_read():
    """An update that adds what is kept forgets no rest."""
    before = '{"failures": 5, "since": 9.0, "until": 19.0, "rest": 10.0, "told": false}'

    assert Circuit.loads(before) == Circuit(5, 9.0, 19.0, 10.0)


def test_an_open_circuit_knows_what_opened_it():
    """The kind and the HTTP status of the failure, also after a store."""
    circuit, _ = failed(QuotaError(retry_after=9, status=429))

    kept = Circuit.loads(circuit.dumps())
    assert (kept.kind, kept.status) == ("quota", 429)


def test_what_makes_no_sense_is_a_closed_circuit():
    """A damaged store or another version's stops no call."""
    texts = [
        '{"openings": "x"}',
        '{"until": NaN}',
        '{"failures": 1.5}',
        '{"until": -1}',
        '{"until": 1%s}' % ("0" * 400),
        "[" * 100_000,
        None,
        "",
        "{",
        "[]",
        "7",
        '{"until": "x"}',
        '{"a": 1}',
    ]
    assert [each for each in texts if Circuit.loads(each) != CLOSED] == []


def test_a_failure_after_a_named_rest_is_just_a_failure():
    """The rest is over, and no claim or lease is left of it."""
    resting, _ = failed(QuotaError(retry_after=1))
    claimed = POLICY.claimed(resting, NOW + 1, lease=35)
    after = POLICY.failed(claimed, TransientError(), NOW + 1.5)

    assert POLICY.state(after, NOW + 1.5) is State.CLOSED
    assert after == Circuit(failures=2, since=NOW + 1.5)


def test_a_failure_during_a_named_rest_leaves_it():
    """A call that was under way tells nothing of what the provider asked for."""
    resting, _ = failed(QuotaError(retry_after=60))
    after = POLICY.failed(resting, TransientError(), NOW + 1)

    assert (after.until, after.told) == (NOW + 60, True)
