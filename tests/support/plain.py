"""A provider as a stranger writes it: three methods and the standard library."""

import http.client
import json
from urllib.parse import urlsplit

from flask_llm import LLMProvider, LLMResponse
from flask_llm.testing import ProviderContract

KEY = "plain-key-0123456789"


class PlainProvider(LLMProvider):
    def __init__(self, api_key, url="https://api.plain.example"):
        self.api_key = api_key
        self.url = url

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        try:
            content = self.ask({"prompt": prompt, "limit": max_tokens})["text"]
            return LLMResponse(True, content, self.get_provider_name())
        except Exception as e:  # noqa: BLE001  # as the documents' example does
            return LLMResponse(False, "", self.get_provider_name(), error=str(e))

    def ask(self, body):
        connection = self.connect()
        try:
            connection.request("POST", self.path(), json.dumps(body), self.headers())
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status} {answer.read().decode()}")
            return json.loads(answer.read())
        finally:
            connection.close()

    def connect(self):
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)

    def path(self):
        return "/generate"

    def headers(self):
        return {"Authorization": f"Bearer {self.api_key}"}

    def get_provider_name(self):
        return "plain"

    def is_available(self):
        return bool(self.api_key)


class PlainContract(ProviderContract):
    """What there is to say of the API; each provider class adds itself."""

    provider_class = PlainProvider
    key = KEY

    def make(self, url, key):
        return self.provider_class(key, url)

    def answer(self, text):
        return {"text": text}

    def sent_prompt(self, received):
        return received.json["prompt"]
