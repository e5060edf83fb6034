"""Each API's list of models: `server.script("openai models", faults.bad_key())`.

A list has a script and a record of its own, so that it takes no step from the chat's.
"""

from typing import Any

from ..messages import Answer, Attempt
from .anthropic import Anthropic
from .base import Wire
from .cohere import Cohere
from .gemini import Gemini
from .ollama import Ollama
from .openai import OpenAI
from .vertex import Vertex

_AT = "2026-02-17T00:00:00Z"


class _Models(Wire):
    """A list: one page of JSON, in the errors' words of the API that it is mixed with.

    Attributes:
        header: The request header by which an API is told from others with the address.
    """

    ending = "/models"
    header = ""

    def matches(self, attempt: Attempt) -> bool:
        return (
            attempt.method == "GET"
            and attempt.address.endswith(self.ending)
            and (not self.header or self.header in attempt.headers)
        )

    def streams(self, attempt: Attempt) -> bool:
        return False

    def unary(self, answer: Answer) -> dict[str, Any]:
        return self.listed(answer.models)

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        raise NotImplementedError


class OfAnthropic(_Models, Anthropic):
    name = "anthropic models"
    header = "anthropic-version"

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        data = [
            {"type": "model", "id": each, "display_name": each, "created_at": _AT}
            for each in names
        ]
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {}
        return {"data": data, "has_more": False, **ends}


class OfOpenAI(_Models, OpenAI):
    name = "openai models"

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        facts = {"object": "model", "created": 1771286400, "owned_by": "openai"}
        return {"object": "list", "data": [{"id": each, **facts} for each in names]}


class OfGemini(_Models, Gemini):
    name = "gemini models"
    header = "x-goog-api-key"

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        facts = {
            "version": "001",
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        models = [
            {"name": f"models/{each}", "displayName": each, **facts} for each in names
        ]
        return {"models": models}


class OfVertex(_Models, Vertex):
    name = "vertex models"
    ending = "/publishers/google/models"

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        models = [
            {"name": f"publishers/google/models/{each}", "versionId": "default"}
            for each in names
        ]
        return {"publisherModels": models}


class OfOllama(_Models, Ollama):
    name = "ollama models"
    ending = "/api/tags"

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        details = {
            "format": "gguf",
            "family": "llama",
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }
        facts = {"modified_at": _AT, "size": 2019393189, "digest": "a80c4f17acd5"}
        models = [
            {"name": each, "model": each, **facts, "details": details} for each in names
        ]
        return {"models": models}


class OfCohere(_Models, Cohere):
    name = "cohere models"
    header = "x-fern-sdk-name"  # which its SDKs send

    def listed(self, names: tuple[str, ...]) -> dict[str, Any]:
        facts = {"endpoints": ["chat"], "finetuned": False, "context_length": 256_000}
        return {"models": [{"name": each, **facts} for each in names]}
