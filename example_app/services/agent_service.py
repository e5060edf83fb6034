"""Reads mails with a language model, and does not believe everything it answers."""

import logging
import re
from dataclasses import dataclass

from flask_llm import LLMFactory, LLMResponse, LLMStream, current_llm

from ..mails import Mail
from . import prompts

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"

# One word would do, but a model that thinks first pays for it from the same budget.
_LABEL_TOKENS = 512
_REPLY_TOKENS = 384

_QUOTE = r"[\"'*`“”]*"
# "Payment.", '**payment**', 'Label: payment', 'The answer is "payment"'; nothing that
# takes the word back ("not payment") or names a second one.
_ANSWER = re.compile(
    r"(?:(?:the )?(?:correct |best )?(?:answer|label|word|category)(?: is:?|:) ?)?"
    rf"{_QUOTE}(?P<word>\w+){_QUOTE}[.!]?{_QUOTE}"
)


@dataclass(frozen=True, slots=True)
class Classification:
    """What a mail was found to be.

    Attributes:
        label: One of `prompts.LABELS`, or "unknown".
        reason: What the label stands for, or why there is none.
        response: The model's whole response.
    """

    label: str
    reason: str
    response: LLMResponse


class AgentService:
    """Sorts mails and drafts replies.

    Args:
        llm: The factory to ask; by default the current app's.
    """

    def __init__(self, llm: LLMFactory | None = None) -> None:
        self._llm = current_llm if llm is None else llm

    def classify(self, mail: Mail) -> Classification:
        """Find the label of a mail; "unknown" rather than a guess.

        Args:
            mail: The mail. Its text cannot bring about anything but one of the labels.
        """
        response = self._ask(prompts.classification(mail), _LABEL_TOKENS)
        label, reason = _verdict(response)
        return Classification(label, reason, response)

    def draft_reply(self, mail: Mail) -> LLMResponse:
        """Write a reply for a person to read, change and send.

        Args:
            mail: The mail to reply to. Its text may steer what the draft says, so
                nothing must be sent unread.
        """
        return self._ask(prompts.reply(mail), _REPLY_TOKENS, prompts.REPLY_SYSTEM)

    def draft(self, mail: Mail) -> LLMStream:
        """Write the same reply before the reader's eyes.

        Args:
            mail: As for `draft_reply`.

        Returns:
            The texts as they come. If a provider breaks off, the next one begins anew.
        """
        return self._llm.stream_content(
            prompts.reply(mail),
            max_tokens=_REPLY_TOKENS,
            system=prompts.REPLY_SYSTEM,
            on_interrupt="restart",
        )

    def _ask(self, prompt: str, max_tokens: int, system: str = "") -> LLMResponse:
        response = self._llm.generate_content(
            prompt, temperature=0.0, max_tokens=max_tokens, system=system
        )
        if response.success:
            logger.info("Using %s for generation", response.provider_name)
        else:
            logger.error("LLM generation failed: %s", response.error)
        return response


def _verdict(response: LLMResponse) -> tuple[str, str]:
    """Return the label that a response amounts to, and the reason."""
    if not response.success:
        return UNKNOWN, response.error or "The call failed."
    if response.metadata.get("finish_reason") == "length":
        return UNKNOWN, "The model's answer was cut short."
    label = parse_label(response.content)
    if label is None:
        return UNKNOWN, "The model's answer is not one of the labels."
    if label == UNKNOWN:
        return UNKNOWN, "The model could not tell."
    return label, prompts.LABELS[label]


def parse_label(answer: str) -> str | None:
    """Return the label that an answer says clearly and alone, or None.

    Args:
        answer: What the model wrote.
    """
    found = _ANSWER.fullmatch(answer.strip().lower())
    word = found["word"] if found else ""
    return word if word in {*prompts.LABELS, UNKNOWN} else None
