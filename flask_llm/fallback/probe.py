"""One tiny call to one provider, to see whether it answers. It costs a little money."""

from ..errors import InvalidRequestError
from ..resilience.circuit_breaker import BreakerPolicy
from ..resilience.clock import Clock
from ..resilience.deadline import Deadline
from ..resilience.retry import ONCE
from ..types import CallContext, LLMResponse, Request
from .call import Call
from .chain import Chain
from .provider_handle import ProviderHandle

_PROMPT = "Say OK."
_PURPOSE = "test"

# Of what a model may think before; the answer itself takes two or three.
_MAX_TOKENS = 512

# A parameter that a model does not take is left out of the next try; two may be.
_TRIES = 3

# Whatever happens, no circuit opens for it.
_NEVER_OPEN = BreakerPolicy(failures=0, max_cooldown=0.0)


def tried(chain: Chain, handle: ProviderHandle, seconds: float) -> LLMResponse:
    """Return how one provider of a chain answers; nobody hears of it.

    An open circuit does not keep it from being asked, and its failure opens none.

    Args:
        chain: The chain.
        handle: Which provider of it is asked.
        seconds: For all of it.
    """
    alone = chain.alone(handle, _NEVER_OPEN)
    deadline = Deadline(seconds, chain.clock)
    for _ in range(_TRIES):
        response = _asked(alone, deadline, chain.clock)
        if response.metadata["error_kind"] != InvalidRequestError.kind:
            break
    return response


def outcome(response: LLMResponse) -> str:
    """Return in a few words how a provider has answered."""
    if not response.success:
        errors = [each.error for each in response.attempts] or [response.error]
        return f"{response.metadata['error_kind']}: {errors[-1]}"
    usage = response.usage
    tokens = f"{usage.input_tokens}+{usage.output_tokens} tokens" if usage else None
    seconds = f"{response.metadata['latency_s']:.1f} s"
    return f"answered ({', '.join(filter(None, [response.model, tokens, seconds]))})"


def _asked(chain: Chain, deadline: Deadline, clock: Clock) -> LLMResponse:
    origin = CallContext.new(_PURPOSE, None, clock.time())
    request = Request(_PROMPT, max_tokens=_MAX_TOKENS, origin=origin)
    return Call(chain, request, ONCE, deadline).run()
