import pytest

from flask_llm.errors import BY_KIND
from flask_llm.web.report.providers import advice

# Ends of whole calls, and words for why a provider was not asked.
NEVER_ADVISED = {"deadline", "closed", "cooldown"}


@pytest.mark.parametrize("kind", sorted(BY_KIND.keys() - NEVER_ADVISED))
def test_each_kind_has_its_own_advice(kind):
    """What is wrong, and what can be done, in a sentence of its own."""
    sentence = advice(kind)

    assert sentence.endswith(".")
    assert "; " in sentence
    assert ":" not in sentence  # a page writes "What to do:" before it
    others = BY_KIND.keys() - NEVER_ADVISED - {kind}
    assert sentence not in {advice(each) for each in others}
    assert not sentence.startswith(advice(None).partition(";")[0] + ";")


def test_what_the_error_itself_advises_comes_first():
    """It names the very key to set."""
    assert advice("auth", "set ANTHROPIC_API_KEY") == (
        "Its key is refused; set ANTHROPIC_API_KEY."
    )


@pytest.mark.parametrize("kind", [None, "unknown", "a stranger's own"])
def test_an_unknown_kind_has_an_advice_too(kind):
    """A provider of the app's own may fail as it likes."""
    assert advice(kind) == "It failed; see its last error."
