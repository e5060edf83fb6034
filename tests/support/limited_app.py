"""The app of `test_limits_together`: claude has a limit, and somebody else has none."""

from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

app = Flask(__name__)
app.config |= {
    "LLM_PRIMARY_PROVIDER": "claude",
    "LLM_FALLBACK_PROVIDERS": [FakeProvider(lambda _: "instead", name="other")],
    "LLM_DASHBOARD": "off",
}
FlaskLLM(app)


@app.get("/ask")
def ask():
    """Say who has answered, and how long that took."""
    response = app.llm.generate_content("hello")
    waited = response.metadata["latency_s"]
    return {"by": response.provider_name, "waited": waited}
