"""Conversations and streams on Google Cloud."""

import pytest
from faultserver import faults
from google.oauth2.credentials import Credentials
from google_chat_contract import PIECES, SCHEMA, GoogleChatContract, texts
from wired import expired_credentials

from flask_llm.errors import AuthError, TransientError
from flask_llm.providers.google.auth import StaleTokenError
from flask_llm.providers.google.vertex import VertexProvider
from flask_llm.types import Request


class TestVertexChat(GoogleChatContract):
    wire = "vertex"
    schema_parameter = "responseJsonSchema"
    schema = SCHEMA.json

    def provider(self, url, **options):
        usual = {"project": "p", "credentials": Credentials(token="T")}
        return VertexProvider(base_url=url, **usual | options)

    @staticmethod
    def hang_up(client):
        client._api_client._httpx_client.close()

    def renewable(self, server):
        """Return a provider whose token must be renewed first."""
        credentials = expired_credentials(server.url)
        return self.provider(server.url, credentials=credentials)

    def tokens(self, server):
        return [each.headers["authorization"] for each in server.attempts(self.wire)]

    def test_expired_token(self, server):
        """A token that is too old is renewed before a stream is opened."""
        assert texts(self.renewable(server).stream(Request("Hi")))[0] == PIECES
        assert len(server.attempts("oauth")) == 1
        assert self.tokens(server) == ["Bearer fresh-token"]

    @pytest.mark.parametrize(
        ("step", "kind", "says"),
        [
            (faults.bad_key(), AuthError, "credentials refused"),
            (faults.status(503), TransientError, "token server error 503"),
            (faults.hang, TransientError, "timeout of the token server"),
        ],
    )
    def test_token_not_renewed(self, server, sockets, step, kind, says):
        """A stream that gets no token fails as an answer would, and is not opened."""
        server.script("oauth", step)
        provider = self.renewable(server)
        if step is faults.hang:
            sockets.hurry()
        found, error = texts(provider.stream(Request("Hi", timeout=60)))
        assert found == []
        assert isinstance(error, kind)
        assert says in str(error)
        assert server.attempts(self.wire) == []

    def test_refused_token(self, server):
        """A token that the API refuses is renewed for the next stream, once."""
        server.script(self.wire, faults.bad_key(), faults.bad_key(), faults.OK)
        provider = self.renewable(server)
        ends = [texts(provider.stream(Request("Hi")))[1] for _ in range(2)]
        # The second token is the same one, so that asking again is of no use.
        assert [type(each) for each in ends] == [StaleTokenError, AuthError]
        assert len(server.attempts("oauth")) == 2

    def test_accepted_token(self, server):
        """A stream that begins shows that its token is good, so it may be renewed."""
        refused, good = faults.bad_key(), faults.cut_stream(1)
        server.script(self.wire, refused, good, refused)
        provider = self.renewable(server)
        ends = [texts(provider.stream(Request("Hi")))[1] for _ in range(3)]
        assert [type(each) for each in ends] == [
            StaleTokenError,
            TransientError,
            StaleTokenError,
        ]

    def test_refusal_within_a_stream(self, server):
        """A 401 within a stream is an error of the credentials, whoever sent it."""
        server.script(self.wire, faults.error_event(401))
        found, error = texts(self.provider(server.url).stream(Request("Hi")))
        assert (found, type(error)) == (PIECES[:1], AuthError)
        assert "credentials refused" in str(error)
