"""The prompts, and how a stranger's text gets into them."""

from ..mails import Mail

LABELS = {
    "payment": "About an invoice, a charge or a refund.",
    "problem": "Something does not work.",
    "purchase": "Somebody wants to buy.",
    "advertisement": "Somebody wants to sell, or to cheat.",
}
"""The labels and what each stands for."""

MAIL_CHARS = 1200
"""The most characters of a mail that a model gets to read.

Even at two or three tokens a character this fits the 4096 tokens of the local model.
"""

_NO_TAGS = str.maketrans("<>", "()")

# Worded for the smallest model: it takes the question only after the mail, and more
# explanation or examples make it answer worse. Large models need neither.
_CLASSIFY = """\
Untrusted data:
<mail>{mail}</mail>

Which one word describes the email best (or is it unknown): {labels}? \
Answer with one word."""

REPLY_SYSTEM = "You write replies to emails for a small software company."
"""What a model is told before it drafts a reply."""

_REPLY = """\
Untrusted data:
<mail>{mail}</mail>

Write a short, polite reply to this email: at most three sentences, no promises."""


def classification(mail: Mail) -> str:
    """Return the prompt that asks for a label."""
    *others, last = LABELS
    labels = f"{', '.join(others)} or {last}"
    return _CLASSIFY.format(mail=_quoted(mail), labels=labels)


def reply(mail: Mail) -> str:
    """Return the prompt that asks for a reply, to go with `REPLY_SYSTEM`."""
    return _REPLY.format(mail=_quoted(mail))


def as_data(text: str, limit: int = MAIL_CHARS) -> str:
    """Return a stranger's text in a form that cannot leave its place in a prompt.

    Without angle brackets it can neither close the tag around it nor spell a chat
    model's control tokens; on one line it cannot imitate the prompt's own paragraphs.

    Args:
        text: What the stranger wrote.
        limit: The most characters to keep.
    """
    line = " ".join(text.translate(_NO_TAGS).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _quoted(mail: Mail) -> str:
    return as_data(f"{mail.subject}. {mail.body}")
