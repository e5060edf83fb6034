"""Calls made by hand, for what counts them."""

from itertools import count

from flask_llm.signals import GenerationFinished
from flask_llm.types import Attempt, CallContext, LLMResponse, Request

_NUMBERS = count(1)


def attempt(provider, outcome="success", **known):
    """An attempt with a model; `tokens` are those of the prompt and of the answer."""
    tokens = known.pop("tokens", None)
    if tokens:
        taken, given = tokens
        names = ("input_tokens", "output_tokens", "total_tokens")
        known["usage"] = dict(zip(names, (taken, given, taken + given), strict=True))
    return Attempt(provider, outcome, **({"model": f"{provider}-1"} | known))


def finished(at, *attempts, latency=1.0, purpose="sort", **known):
    """The event of a call that was over at a moment, and ended as its last attempt."""
    last = attempts[-1]
    success = last.outcome == "success"
    metadata = {
        "latency_s": latency,
        "attempts": [each.as_dict() for each in attempts],
        "error_kind": None if success else last.outcome,
    }
    if "first_token_s" in known:
        metadata["first_token_s"] = known["first_token_s"]
    origin = CallContext(f"{next(_NUMBERS):024x}", purpose, None, at - latency)
    response = LLMResponse(
        success,
        "a fake answer" if success else "",
        last.provider,
        known.get("error", None if success else f"{last.provider}: {last.outcome}"),
        metadata,
    )
    return GenerationFinished(Request("a question", origin=origin), response)
