"""Optional parameters that a model refuses: known before, or learned from a 400."""

import json
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

from ..errors import InvalidRequestError, ParameterError, ProviderError
from ..schema import Schema
from ..types import ROLES, Message, Request

log = logging.getLogger("flask_llm")

# Of OpenAI's errors, which many servers copy; they name the parameter in `param`.
_CODES = ("unsupported_parameter", "unsupported_value")

_REFUSED = (
    r"(?:(?:is|are|was|were) )?(?:currently |yet )?"
    r"(?:not (?:yet )?(?:supported|permitted|allowed|accepted|available|recogni[sz]ed"
    r"|a valid (?:field|parameter))"
    r"|unsupported|unavailable|deprecated|unknown|unrecogni[sz]ed|unexpected)\b"
    r"|does not match any of the expected tags"
    r"|(?:input should|must) be [`'\"]"  # a list of words that it might be
)
_REFUSES = (
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra)"
    r" (?:request )?(?:keyword )?(?:parameter|argument|field|name|property|value)s?"
    r"(?: supplied)?"
    r"|extra inputs are not permitted, field"  # Fireworks
    r"|(?:does not|doesn't|do not|don't) (?:support|accept|allow|take)"
    r"(?: the)?(?: parameter| field)?"
    # A server in Go that knew another type of it, as old ones of Ollama do.
    r"|cannot unmarshal \w+ into Go struct field (?:\w+\.)+"
)
# A complaint about a value, and one about a combination, refuse no parameter.
_NO_VALUE = (
    r"(?:(?!\b(?:when|if|while|unless|value|above|below|greater|less|than|range)\b)"
    r"[^\d,;.!?]){0,60}?"
)
_REFUSALS = {400, 422}

# Values that are a part of the parameter's name here.
_WORDED = (str, dict)

_UNCONDITIONAL = r"(?!\s+(?:when|if|while|unless)\b)"


# What is learned of the shape of a conversation.
SYSTEM_ROLE, TURNS = "system role", "turns"

_LOOKED_AT = 4000  # characters of a text

_NO_SYSTEM = re.compile(
    r"system[ _]?(?:role|message|prompt|instruction)s?\b[^.]{0,40}\b"
    r"(?:not (?:supported|allowed|enabled)|unsupported)"
    r"|(?:does not|doesn't|do not) support (?:the )?['\"`]?system"
    r"|developer instruction is not enabled"
    r"|only (?:user and assistant|user, assistant)[^.]{0,20} roles",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"\balternat(?:e|es|ing)\b"
    r"|(?:first|initial) (?:message|turn|content)[^.]{0,40}\buser\b"
    r"|(?:start|begin)s? with (?:a |the )?['\"`]?user\b"
    r"|consecutive [^.]{0,20}(?:roles?|messages|turns)",
    re.IGNORECASE,
)


class Parameters:
    """Which optional parameters one model takes: known before, or learned from a 400.

    One for each provider object, so for each provider and model of a process. Threads
    share it: each change is a single `set.add`, and learning twice does no harm.

    A parameter is known by its name; one whose value is a word, or an object with a
    `type` such as ``{"type": "disabled"}`` for `thinking`, by both:
    "thinking.disabled".

    Args:
        model: The model, for the sentences.
        refused: Parameters that it is known not to take.
        renames: Under which other name a parameter is sent if the first is refused.
            Such parameters are never left out: ``{"max_tokens":
            "max_completion_tokens"}`` must not make an answer endless.

    Attributes:
        learned: Grows with each refusal: what was fitted before may not fit any more.
        knows_roles: Whether the model takes conversations of some shapes only.
        on_trial: What was learned of which nobody knows yet if it helps.
    """

    def __init__(
        self,
        model: str,
        refused: Collection[str] = (),
        renames: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._model = model
        self._known = frozenset(refused)
        self._learned: set[str] = set()
        self._instead: dict[str, tuple[Any, str]] = {}
        self.on_trial: set[str] = set()
        self.knows_roles = False
        self.learned = 0
        self._renames = renames

    def fit(self, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return what of a request's optional parameters is sent, and warnings.

        Args:
            wanted: Values by the names of the parameters.

        Returns:
            The values to send by the names that the model takes, and a sentence for
            each that is left out.
        """
        sent, warnings = {}, []
        for name, value in wanted.items():
            key = _key(name, value) if type(value) in _WORDED else name
            if key in self._learned and key in self._instead:
                other = self._instead[key]
                warnings.append(self._sent_as(key, other[1]))
                value, key = other  # noqa: PLW2901  # what is sent in its place
            if key not in self._known and key not in self._learned:
                sent[name] = value
            elif key in self._renames:
                sent[self._renames[key]] = value
            else:
                warnings.append(self._left_out(key, value))
        return sent, warnings

    def refuses(self, key: str) -> bool:
        """Return whether the model takes no parameter of the kind, nor one instead."""
        return self._is_refused(key) and key not in self._instead

    def _is_refused(self, key: str) -> bool:
        return key in self._known or key in self._learned

    def learn(
        self, sent: Mapping[str, Any], error: ProviderError, exc: object = None
    ) -> ProviderError:
        """Return the error that a refusal means, remembering what was refused.

        Args:
            sent: The optional parameters that this very request carried.
            error: What the provider answered.
            exc: The SDK's exception, for a machine-readable `code` and `param`.

        Returns:
            A `ParameterError` if the error names one of them without doubt and the
            next request will differ; otherwise the error as it is.
        """
        if type(error) is not InvalidRequestError or error.status not in _REFUSALS:
            return error
        named = _param(exc)
        refused = {
            name: _key(name, value)
            for name, value in sent.items()
            if (named == name if named else _refusal(name).search(error.detail))
        }
        outcomes = [
            self._replaced(key, name, sent[name], error.detail) or self._remember(key)
            for name, key in refused.items()
        ]
        if not any(outcomes):
            return error
        return ParameterError(
            error.detail, reason=", ".join(filter(None, outcomes)), status=error.status
        )

    def learn_schema(self, schema: Schema, error: ProviderError) -> ProviderError:
        """Return the error that a refused request with a schema means.

        Servers refuse what they cannot compile, in many words or in none. So it is told
        in words in the next request, and if that helps from then on.

        Args:
            schema: What the request carried.
            error: What the provider answered.
        """
        if type(error) is not InvalidRequestError or error.status not in _REFUSALS:
            return error
        self._note(_schema_key(schema))
        reason = "schema refused, told in words from now on"
        return ParameterError(error.detail, reason=reason, status=error.status)

    def learn_roles(self, request: Request, error: ProviderError) -> ProviderError:
        """Return the error that a refused conversation means, if it is about roles.

        Args:
            request: What was sent.
            error: What the provider answered.
        """
        if type(error) is not InvalidRequestError or error.status not in _REFUSALS:
            return error
        text = error.detail[:_LOOKED_AT]
        if request.system and _NO_SYSTEM.search(text):
            self._note(SYSTEM_ROLE)
            reason = "system role refused, its text is the user's from now on"
        elif type(request.prompt) is tuple and _TURNS.search(text):
            self._note(TURNS)
            reason = "order of turns refused, they alternate from now on"
        else:
            return error
        return ParameterError(error.detail, reason=reason, status=error.status)

    def fit_roles(self, request: Request, warnings: list[str]) -> Request:
        """Return a conversation as the model takes it.

        Args:
            request: What is asked for.
            warnings: A sentence is added for each change.
        """
        fitted = request
        if SYSTEM_ROLE in self._learned and request.system:
            fitted = without_system(fitted)
            warnings.append(
                f"{self._model} takes no system role: its text is the user's"
            )
        if TURNS in self._learned and (turns := alternating(fitted)) != fitted:
            fitted = turns
            warnings.append(
                f"{self._model} takes turns that alternate: they were joined"
            )
        return fitted

    def refuses_schema(self, schema: Schema) -> bool:
        """Return whether the model has refused just this schema."""
        return bool(self._learned) and _schema_key(schema) in self._learned

    def settle(self, error: ProviderError | None) -> None:
        """Keep what was learned if it has helped, else forget it.

        Args:
            error: How the next request has failed; None for an answer.
        """
        if error is None:
            self.on_trial.clear()
        elif type(error) is InvalidRequestError:
            self._learned -= self.on_trial
            self.on_trial.clear()
            self._changed()

    def _note(self, key: str) -> None:
        self._learned.add(key)
        self.on_trial.add(key)
        self._changed()

    def _changed(self) -> None:
        self.knows_roles = not self._learned.isdisjoint({SYSTEM_ROLE, TURNS})
        self.learned += 1

    def _replaced(self, key: str, name: str, value: object, text: str) -> str | None:
        """Note what a refusal offers instead, and return what follows; None if nothing.

        Args:
            key: What was refused.
            name: The parameter.
            value: What was sent.
            text: What the provider answered.
        """
        word = key.removeprefix(f"{name}.")
        if (offer := _offered(word, text)) is None:
            return None
        other = {"type": offer} if isinstance(value, dict) else offer
        if self._is_refused(_key(name, other)):
            return None
        self._instead[key] = other, _key(name, other)
        self._note(key)
        return f"{key} refused, sent as {offer} from now on"

    def _sent_as(self, key: str, other: str) -> str:
        """Return the warning that another word is sent, and log it once."""
        sentence = f"{key} is sent to {self._model} as {other}, which it offers instead"
        tell_once(logging.INFO, sentence)
        return sentence

    def _remember(self, key: str) -> str | None:
        """Note a refusal and return what follows; None if nothing can."""
        other = self._renames.get(key)
        if other is None and key in self._renames.values():
            return None
        if other is not None and self._is_refused(other):
            return None
        self._note(key)
        if other is None:
            return f"{key} refused, left out from now on"
        tell_once(logging.INFO, f"{key} is sent to {self._model} as {other}")
        return f"{key} refused, sent as {other} from now on"

    def _left_out(self, key: str, value: object) -> str:
        """Return the warning that a parameter is not sent, and log it once."""
        why = "which takes none" if key in self._known else "which refused it"
        sentence = f"{key} is not sent to {self._model}, {why}"
        tell_once(_level(value), sentence)
        return sentence


def without_system(request: Request) -> Request:
    """Return a request with what the system says in front of the user's first turn."""
    if isinstance(request.prompt, str):
        prompt: Any = f"{request.system}\n\n{request.prompt}"
        return replace(request, prompt=prompt, system="")
    first = next(i for i, each in enumerate(request.prompt) if each.role == ROLES[0])
    turns = list(request.prompt)
    said = (f"{request.system}\n\n", *turns[first].parts)
    turns[first] = Message(ROLES[0], said)
    return replace(request, prompt=tuple(turns), system="")


_BEGINNING = Message(ROLES[0], ("Begin.",))


def alternating(request: Request) -> Request:
    """Return a request with turns of user and assistant by turns, the user's first.

    What one role says in a row is one turn.
    """
    if isinstance(request.prompt, str):
        return request
    turns: list[Message] = []
    for each in request.prompt:
        same = bool(turns) and turns[-1].role == each.role
        earlier = (*turns.pop().parts, "\n\n") if same else ()
        turns.append(Message(each.role, (*earlier, *each.parts)))
    begun = () if turns[0].role == ROLES[0] else (_BEGINNING,)
    return replace(request, prompt=(*begun, *turns))


def _key(name: str, value: object) -> str:
    is_object = type(value) is dict and "type" in value
    word = value["type"] if is_object else value  # type: ignore[index]  # it is a dict
    return f"{name}.{word}" if type(word) is str else name


# How much a model thinks, the least first: what a refused word may stand near to.
_AMOUNTS = (
    *("off", "none", "disabled", "between_tools", "minimal", "low", "medium"),
    *("adaptive", "auto", "high", "xhigh", "max"),
)
# A list of what is taken, or words in quotes behind a word of advice.
_LISTED = re.compile(
    r"\b(?:supported|valid|allowed|accepted|possible) (?:value|level|effort)s?\b(.*)",
    re.IGNORECASE | re.DOTALL,
)
_ADVISED = re.compile(
    r"\b(?:use|instead|one of|must be|should be|only|expected|options?)\b(.*)",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"[a-z_]+", re.IGNORECASE)
_QUOTED = re.compile(r"[`'\"](?:[a-z]\w*\.)*([a-z]\w*)[`'\"]")


def _offered(word: str, text: str) -> str | None:
    """Return the word nearest to a refused one that an answer offers instead of it."""
    if word not in _AMOUNTS:
        return None
    text = text[:_LOOKED_AT]
    found = []
    if listed := _LISTED.search(text):
        found = _WORD.findall(listed[1])
    elif advised := _ADVISED.search(text):
        found = _QUOTED.findall(advised[1])
    offers = {each.lower() for each in found}.intersection(_AMOUNTS) - {word}
    at = _AMOUNTS.index
    return min(offers, key=lambda each: abs(at(each) - at(word)), default=None)


def _schema_key(schema: Schema) -> str:
    return "schema " + json.dumps(schema.json, sort_keys=True)


def _level(value: object) -> int:
    """Return how loudly a value may be left out: who set none would wonder why."""
    if type(value) in _WORDED:
        return logging.INFO
    return logging.WARNING if value else logging.DEBUG


@cache
def tell_once(level: int, sentence: str) -> None:
    """Log, once in a process, what the warnings of each answer say."""
    log.log(level, "%s", sentence)


def _param(exc: object) -> str | None:
    """Return the parameter that an exception names in its own attributes."""
    param = getattr(exc, "param", None)
    if getattr(exc, "code", None) in _CODES and isinstance(param, str):
        return param.partition(".")[0]
    return None


@cache
def _refusal(name: str) -> re.Pattern[str]:
    """Return the pattern of a text that refuses a parameter, whatever its value."""
    # "thinking_level" is thinkingLevel on Google's wire, and "Thinking level" in words.
    spelled = re.escape(name).replace("_", "[_ ]?")
    word = rf"(?<!\w){spelled}(?:\.\w+)*(?:_(?:minimal|none|low|high|max))?(?!\w)"
    return re.compile(
        rf"{word}{_NO_VALUE}(?:{_REFUSED}){_UNCONDITIONAL}"
        rf"|(?<!\w)(?:{_REFUSES})[\s:]*[`'\"]?{word}"
        rf"|not an? (?:supported|valid|allowed|accepted) {word}"  # Gemini of a value
        rf"|invalid {word}[^.]{{0,20}}\bonly\b"  # Kimi: "only 1 is allowed"
        rf"|extra_forbidden[^}}]{{0,60}}?{word}",  # pydantic's, of old vLLM
        re.IGNORECASE,
    )
