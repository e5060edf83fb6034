"""What the metrics of an app say, read as Prometheus reads them."""

from functools import lru_cache

from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.observe.metrics import exposition
from flask_llm.testing import FakeProvider


def make_app(*providers: FakeProvider, **config: object) -> Flask:
    """Return an app with a chain, whose calls are counted."""
    app = Flask("counted")
    chain = {
        "LLM_PRIMARY_PROVIDER": providers[0],
        "LLM_FALLBACK_PROVIDERS": list(providers[1:]),
    }
    app.config |= chain | {"LLM_METRICS": "on", "LLM_RETRY_DELAY": 0.001} | config
    FlaskLLM(app)
    return app


def answer(
    taken: int = 10, given: int = 2, model: str = "m", cached: int = 0, **more: object
):
    """Return an answer that tells its tokens, as real providers do."""
    usage = {
        "input_tokens": taken,
        "output_tokens": given,
        "total_tokens": taken + given,
    }
    if cached:
        usage["cached_tokens"] = cached
    metadata = {"usage": usage, "model": model, **more}
    return LLMResponse(True, "an answer", "", metadata=metadata)


@lru_cache(maxsize=2)
def samples(text: str) -> list[Sample]:
    """Return every sample of an exposition."""
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples]


def total(shown: Flask | str, name: str, **labels: str) -> float:
    """Return the sum of the samples that have a name and some labels.

    Args:
        shown: An app, or its exposition.
        name: The whole name of the samples.
        labels: Labels that they must have.
    """
    text = shown if isinstance(shown, str) else exposition(shown)[0].decode()
    found = [
        each
        for each in samples(text)
        if each.name == name and labels.items() <= each.labels.items()
    ]
    return sum(each.value for each in found)
