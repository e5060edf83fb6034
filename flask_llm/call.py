"""A call that waits for the whole answer."""

from dataclasses import replace

from .answers import is_cut
from .errors import ProviderError
from .filtering import Filters
from .fallback.road import Sent
from .fallback.selection import Turn
from .types import LLMResponse, Request
from .fallback.call import Walk

class Call(Walk[LLMResponse]):
    """A walk along the chain for an answer in one piece."""

    def _answer(self, turn: Turn, sent: Sent) -> LLMResponse:
        entry, chain = turn.entry, self._chain

        def ask(seconds: float | None) -> LLMResponse:
            sent.at, sent.given = chain.clock.monotonic(), seconds
            request = self._asked_for
            if seconds is not None:
                request = replace(request, timeout=seconds)
            return entry.ask(request, chain.secrets)

        response = chain.lanes[entry.name].call(ask, sent.limit, entry.timeout)
        response = _examined(response, self._asked_for, chain.filters)
        self._note(turn, sent, response)
        return response


def _examined(response: LLMResponse, request: Request, filters: Filters) -> LLMResponse:
    """Return an answer after the app's filters, parsed if it must match a schema.

    Raises:
        ProviderError: It is rejected; tells the tokens that it has cost.
    """
    if request.schema is None and not filters.has_output:
        return response
    try:
        checked = _checked(response, filters)
        if request.schema is None:
            return checked
        cut = is_cut(checked.metadata)
        parsed = request.schema.read(checked.content, cut=cut)
    except ProviderError as error:
        error.usage = response.usage_told
        raise
    return replace(checked, parsed=parsed)


def _checked(response: LLMResponse, filters: Filters) -> LLMResponse:
    """Return an answer after the app's filters, with what its provider told of it.

    A filter may make a response of its own, which knows no model and no tokens.
    """
    checked = filters.check(response)
    return replace(checked, metadata=response.metadata | checked.metadata)
