"""The keys of the configuration: those that the code reads, those that a text names."""

import re

from flask_llm import LLMFactory
from flask_llm.config.reader import Reader
from flask_llm.config.settings import LLMConfig

# Keys of the providers and endpoints that the texts add as examples.
EXAMPLES = {"ACME_API_KEY", "GROQ_API_KEY", "LLM_CLAUDE_EU_MODEL"}

OWN = ["gemini", "claude", "openai", "cohere", "ollama", "genai", "vertex", "local"]


def documented_keys(text):
    kinds = r"LLM_[A-Z_]+[A-Z]", r"[A-Z]+_API_KEY", r"GOOGLE_CLOUD_[A-Z]+"
    return set(re.findall(rf"\b(?:{'|'.join(kinds)})\b", text))


def read_keys():
    """Every key that a chain of all built-in providers looks up."""
    reader = Reader({})
    LLMConfig.read(reader)
    seen = Seen()
    LLMFactory("gemini", OWN[1:], config=seen)
    return {*reader._known, *seen.asked}


class Seen(dict):
    """A configuration that notes what is looked up in it."""

    def __init__(self):
        super().__init__()
        self.asked = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return default
