"""The limits of the chain's providers: what a request takes of them, and gets back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config.settings import account_of
from ..errors import OwnLimitError
from ..resilience.clock import Clock
from ..resilience.limits import Charge, Counters, Rate, Refused, width_of
from ..types import Image, Request
from .provider_handle import ProviderHandle

# A token of most tokenizers is some four bytes of text; a picture some thousand tokens.
_BYTES = 4
_PICTURE = 1000


@dataclass(slots=True)
class Taken:
    """What a request has taken.

    Attributes:
        charges: Of which windows, and how much.
        buckets: Where in each.
        at: When, by this process's clock.
    """

    charges: list[Charge]
    buckets: list[int]
    at: float


class RateLimits:
    """Takes room for each request before it is sent.

    Args:
        handles: The chain.
        counters: Where it is counted.
        clock: Where the time is read.
    """

    def __init__(
        self, handles: Sequence[ProviderHandle], counters: Counters, clock: Clock
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._rates: dict[str, tuple[str, Rate | None, Rate | None]] = {}
        for each in handles:
            known = each.settings
            if known and (known.rate or known.token_rate):
                limits = (account_of(known), known.rate, known.token_rate)
                self._rates[each.name] = limits

    def take(self, handle: ProviderHandle, request: Request) -> Taken | None:
        """Take room for one request; None where there is no limit.

        Args:
            handle: Who is about to be asked.
            request: What is sent.

        Raises:
            OwnLimitError: There is no room; it tells when there is some.
        """
        if handle.name not in self._rates:
            return None
        account, rate, token_rate = self._rates[handle.name]
        charges = [_charge("requests", account, rate, 1)] if rate else []
        if token_rate:
            tokens = estimated(request) + request.max_tokens
            charges.append(_charge(_TOKENS, account, token_rate, tokens))
        return Taken(charges, self._take(handle, charges), self._clock.monotonic())

    def sending(self, handle: ProviderHandle, taken: Taken) -> None:
        """See that a request that leaves now is counted now.

        It may have waited for a place, or for its SDK, which is loaded here at first.

        Args:
            handle: Who is asked.
            taken: What the request has taken.

        Raises:
            OwnLimitError: There is no room any more.
        """
        handle.connect()
        waited = self._clock.monotonic() - taken.at
        if all(waited <= width_of(each.rate) for each in taken.charges):
            return
        for charge, bucket in zip(taken.charges, taken.buckets, strict=True):
            self._counters.correct(charge, bucket, -charge.amount)
        taken.buckets = self._take(handle, taken.charges)

    def settle(self, taken: Taken, usage: Mapping[str, int] | None) -> None:
        """Count the tokens that there were; an unknown count stays as it was taken.

        Args:
            taken: What was taken.
            usage: The tokens, if they were counted.
        """
        charge, bucket = taken.charges[-1], taken.buckets[-1]
        if usage is None or not charge.key.startswith(_TOKENS):
            return
        if more := usage["total_tokens"] - charge.amount:
            self._counters.correct(charge, bucket, more)

    def _take(self, handle: ProviderHandle, charges: Sequence[Charge]) -> list[int]:
        try:
            return self._counters.take(charges)
        except Refused as refused:
            raise _error(handle, refused) from None


_TOKENS = "tokens"


_MINUTE = Rate(10**9, 60)  # nobody is refused; it is only counted
_FLOOR = 10


class RetryBudget:
    """Lets so many retries through as the first attempts of a minute allow.

    In an outage each call alone is entitled to its retries; all of them together would
    ask a provider several times as often as usual, just when it is weak.

    Args:
        share: Of the first attempts.
        counters: Where both are counted.
    """

    def __init__(self, share: float, counters: Counters) -> None:
        self._share = share
        self._counters = counters

    def first(self, handle: ProviderHandle) -> None:
        """Count a first attempt."""
        self._counters.take([_charge("firsts", handle.circuit_key, _MINUTE, 1)])

    def allows(self, handle: ProviderHandle, least: int) -> bool:
        """Return whether a retry may be made, and count it if so.

        Args:
            handle: Who would be asked again.
            least: The retries that a call alone may always make.
        """
        firsts = _charge("firsts", handle.circuit_key, _MINUTE, 1)
        retries = firsts._replace(key=firsts.key.replace("firsts", "retries", 1))
        allowed = self._share * self._counters.used(firsts.key, _MINUTE)
        if self._counters.used(retries.key, _MINUTE) >= max(allowed, least, _FLOOR):
            return False
        self._counters.take([retries])
        return True


def _charge(what: str, account: str, rate: Rate, amount: int) -> Charge:
    # Windows of other lengths have other buckets, and are counted apart.
    return Charge(f"{what} {account} {rate.seconds}", rate, amount)


def estimated(request: Request) -> int:
    """Return about how many tokens a prompt has."""
    texts, pictures = [request.system], 0
    if isinstance(request.prompt, str):
        texts.append(request.prompt)
    else:
        for part in (part for each in request.prompt for part in each.parts):
            if isinstance(part, Image):
                pictures += 1
            else:
                texts.append(part)
    if request.schema is not None:
        texts.append(request.schema.instruction)
    length = sum(len(each.encode(errors="replace")) for each in texts)
    return math.ceil(length / _BYTES) + pictures * _PICTURE


def _error(handle: ProviderHandle, refused: Refused) -> OwnLimitError:
    what = refused.key.partition(" ")[0]
    if refused.seconds == math.inf:
        reason = f"our own limit of {what} is below what this prompt takes"
        return OwnLimitError(reason=reason, provider=handle.name)
    seconds = max(1, math.ceil(refused.seconds))
    return OwnLimitError(
        reason=f"our own limit of {what}, retry after {seconds} s",
        provider=handle.name,
        retry_after=refused.seconds,
    )
