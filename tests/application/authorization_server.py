"""A real OAuth 2.1 authorization server, built on Authlib, on a port of this machine."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from werkzeug.serving import make_server

SECRET = "the-secret-of-a-client"
Key = RSAKey | ECKey | OKPKey


class Client(ClientMixin):  # type: ignore[misc]
    """A client that may have any token for the scopes there are."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        known = ("memory:read", "memory:write")
        return " ".join(each for each in (scope or "").split() if each in known)

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class Credentials(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """The grant of programs, with the secret in the header or in the form."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class Generator(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Makes access tokens for the resource that is asked for (RFC 8707)."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority.issuer, alg=authority.algorithm)
        self.authority = authority

    def get_jwks(self) -> KeySet:
        return KeySet([self.authority.key])

    def get_audiences(self, client: Client, user: object, scope: str) -> str:
        return request.form.get("resource") or client.client_id


class Authority:
    """An authorization server with one key to sign with, which can be changed.

    Attributes:
        issuer: Its address.
        key: What it signs with.
        published: The keys that it tells.
        fetched: How often each path was asked for.
        path: Where its metadata is; only there.
        failing: Answers everything with 500.
    """

    def __init__(self, key: Key, algorithm: str, path: str) -> None:
        self.key = key
        self.algorithm = algorithm
        self.published: list[Key] = [key]
        self.fetched: dict[str, int] = {}
        self.path = path
        self.failing = False
        self.claimed_issuer: str | None = None
        self.issuer = ""

    def app(self) -> Flask:
        app = Flask(__name__)
        server = AuthorizationServer(app, query_client=Client, save_token=lambda token, given: None)
        server.register_grant(Credentials)
        server.register_token_generator("default", Generator(self))

        @app.before_request
        def count() -> Any:
            self.fetched[request.path] = self.fetched.get(request.path, 0) + 1
            return ("broken", 500) if self.failing else None

        @app.post("/token")
        def token() -> Any:
            return server.create_token_response()

        @app.get("/jwks")
        def jwks() -> Any:
            keys = [key.as_dict(private=False, use="sig") for key in self.published]
            return jsonify({"keys": keys})

        @app.get(self.path)
        def metadata() -> Any:
            return jsonify(
                {
                    "issuer": self.claimed_issuer or self.issuer,
                    "token_endpoint": f"{self.origin}/token",
                    "authorization_endpoint": f"{self.origin}/authorize",
                    "jwks_uri": f"{self.origin}/jwks",
                    "response_types_supported": ["code"],
                    "grant_types_supported": ["client_credentials"],
                    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                    "scopes_supported": ["memory:read", "memory:write"],
                }
            )

        return app

    @property
    def origin(self) -> str:
        return "/".join(self.issuer.split("/")[:3])

    def token(self, subject: str, audience: str, scope: str = "memory:read memory:write") -> str:
        """Have a client get a token, over HTTP."""
        answer = httpx2.post(
            f"{self.origin}/token",
            auth=(subject, SECRET),
            data={"grant_type": "client_credentials", "scope": scope, "resource": audience},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def signed(
        self, claims: dict[str, Any], header: dict[str, Any] | None = None, key: Any = None
    ) -> str:
        """Sign claims of any kind; None leaves one out."""
        now = int(time.time())
        given = {"iss": self.issuer, "iat": now, "exp": now + 600, "sub": "alice", **claims}
        signing = key or self.key
        head = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        with warnings.catch_warnings():
            # Issuers sign so whatever a library thinks of it by now.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode(
                {name: value for name, value in head.items() if value is not None},
                {name: value for name, value in given.items() if value is not None},
                signing,
                algorithms=[head["alg"]],
            )


def new_key(algorithm: str, kid: str) -> Key:
    """Return a new key for signatures of an algorithm."""
    parameters: Any = {"kid": kid}
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519", parameters)
    if algorithm.startswith("ES"):
        return ECKey.generate_key("P-256", parameters)
    return RSAKey.generate_key(2048, parameters)


@contextmanager
def authority(
    algorithm: str = "RS256",
    issuer_path: str = "",
    metadata_path: str = "/.well-known/oauth-authorization-server",
) -> Iterator[Authority]:
    """Run an authorization server."""
    running = Authority(new_key(algorithm, "first"), algorithm, metadata_path)
    server = make_server("127.0.0.1", 0, Flask(__name__), threaded=True)
    running.issuer = f"http://127.0.0.1:{server.server_port}{issuer_path}"
    server.app = running.app()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
