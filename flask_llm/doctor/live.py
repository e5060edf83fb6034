"""One tiny call to each provider of the chain, which costs a little money."""

from collections.abc import Iterator
from functools import partial

from ..entry import ChainEntry
from ..errors import BadAnswerError, InvalidRequestError
from ..factory import LLMFactory
from ..types import LLMResponse
from .finding import Finding, guarded
from .subject import Subject

_PROMPT = "Say OK."

# Of what a model may think before; the answer itself takes two or three.
_MAX_TOKENS = 512
_DEADLINE_S = 30.0

# A parameter that a model does not take is left out of the next try; two may be.
_TRIES = 3


def live(subject: Subject) -> Iterator[Finding]:
    """Ask each provider that can be asked once.

    Args:
        subject: What is examined.
    """
    for entry in subject.able:
        yield from guarded(entry.name, partial(_call, subject, entry))


def _call(subject: Subject, entry: ChainEntry) -> Iterator[Finding]:
    # Neither may a rest keep it from being asked, nor its failure make others rest.
    config = {**subject.config, "LLM_STATE_URL": "memory://"}
    provider = entry.name if entry.settings else entry.provider
    factory = LLMFactory(provider, [], config=config)
    for _ in range(_TRIES):
        response = factory.generate_content(
            _PROMPT, max_tokens=_MAX_TOKENS, max_retries=1, deadline=_DEADLINE_S
        )
        if response.metadata["error_kind"] != InvalidRequestError.kind:
            break
    if response.success:
        yield from _answered(entry, response)
    else:
        yield _failed(entry, response)


def _answered(entry: ChainEntry, response: LLMResponse) -> Iterator[Finding]:
    usage = response.usage
    tokens = f"{usage.input_tokens}+{usage.output_tokens} tokens" if usage else None
    seconds = f"{response.metadata['latency_s']:.1f} s"
    known = ", ".join(filter(None, [response.model, tokens, seconds]))
    yield Finding("ok", "live", entry.name, f"answered ({known})")
    for warning in response.metadata["warnings"]:
        yield Finding("note", "live", entry.name, str(warning))


def _failed(entry: ChainEntry, response: LLMResponse) -> Finding:
    kind = response.metadata["error_kind"]
    told = [each.error for each in response.attempts] or [response.error]
    message = f"{kind}: {told[-1]}"
    lives = kind == BadAnswerError.kind and "thinking used up" in message
    return Finding("warning" if lives else "error", "live", entry.name, message)
