"""Gemini on Google Cloud: the same bodies at other addresses, other words in errors."""

from wire import google_detail, google_error

from ..messages import Attempt, Failure
from .gemini import Gemini


class Vertex(Gemini):
    name = "vertex"

    def matches(self, attempt: Attempt) -> bool:
        return "/publishers/google/" in attempt.address and super().matches(attempt)

    def rate_limited(self, retry_after: float | None) -> Failure:
        text = (
            "Resource exhausted. Please try again later. Please refer to"
            " https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for"
            " more details."
        )
        return self.status(429, text, retry_after)

    def day_quota(self) -> Failure:
        text = (
            "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per"
            "_day_per_project_per_base_model with base model: gemini-3.8-flash. Please"
            " submit a quota increase request."
        )
        return self.status(429, text, None)

    def billing(self) -> Failure:
        text = (
            "This API method requires billing to be enabled. Please enable billing on"
            " project #p by visiting https://console.developers.google.com/billing/enable"
            " then retry."
        )
        return _refused(403, "PERMISSION_DENIED", text, "BILLING_DISABLED")

    def bad_key(self) -> Failure:
        text = (
            "Request had invalid authentication credentials. Expected OAuth 2 access"
            " token, login cookie or other valid authentication credential."
        )
        return _refused(401, "UNAUTHENTICATED", text, "ACCESS_TOKEN_TYPE_UNSUPPORTED")

    def unknown_model(self, model: str) -> Failure:
        text = (
            f"Publisher Model `projects/p/locations/l/publishers/google/models/{model}`"
            " was not found or your project does not have access to it. Please ensure"
            " you are using a valid model version."
        )
        return self.status(404, text, None)


def _refused(code: int, name: str, text: str, reason: str) -> Failure:
    detail = google_detail("ErrorInfo", reason=reason, domain="googleapis.com")
    return Failure(code, google_error(code, name, text, detail))
