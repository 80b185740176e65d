"""Access tokens of a real authorization server, good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import SecretStr

from server.auth.access import open_access
from server.auth.checks import examine
from server.auth.door import CannotVerify
from server.auth.issuer import (
    FRESH_SECONDS,
    KEPT_SECONDS_MAX,
    REFETCH_SECONDS_MIN,
    Issuer,
    metadata_addresses,
)
from server.auth.oauth import OAuthTokens
from server.settings import Settings
from server.shared import open_shared
from server.transports import limits
from tests.application.authorization_server import SECRET, Authority, authority, new_key
from tests.application.connections import HTTP_URL, Caller
from tests.application.principals import wire_of
from tests.application.test_http_transport import HEADERS, answer_in, call
from tests.application.test_tokens import ALICE, TOKENS

pytestmark = pytest.mark.anyio

AUDIENCE = HTTP_URL
METADATA = "http://127.0.0.1:8000/.well-known/oauth-protected-resource/mcp"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Authority]:
    with authority() as running:
        yield running


@pytest.fixture
def verifier(issuer: Authority) -> OAuthTokens:
    return OAuthTokens(Issuer(issuer.issuer), AUDIENCE)


@asynccontextmanager
async def endpoint(settings: Settings, issuer: Authority) -> AsyncIterator[httpx2.ASGITransport]:
    given = settings.model_copy(update={"oauth_issuer": issuer.issuer, "oauth_audience": AUDIENCE})
    async with open_shared(given) as shared, wire_of(given, shared) as transport:
        yield transport


@pytest.fixture
async def http(
    settings: Settings, issuer: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx2.AsyncClient]:
    # Every bad token of a test comes from one address.
    monkeypatch.setattr(limits, "GUESSES_BURST", 100)
    async with (
        endpoint(settings, issuer) as transport,
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
    ):
        yield http


def bearer(token: str) -> dict[str, str]:
    return HEADERS | {"Authorization": f"Bearer {token}"}


class Kept:
    """Where a client of the SDK keeps its tokens."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def test_a_client_finds_the_issuer_and_gets_in(settings: Settings, issuer: Authority) -> None:
    async with endpoint(settings, issuer) as transport:
        for name, found in (("alice", 1), ("bob", 0)):
            kept = Kept()
            provider = ClientCredentialsOAuthProvider(
                HTTP_URL, kept, client_id=name, client_secret=SECRET, issuer=issuer.issuer
            )
            wire = httpx2.AsyncClient(
                auth=provider, mounts={"http://127.0.0.1:8000": transport}, timeout=30
            )
            async with wire, Client(streamable_http_client(HTTP_URL, http_client=wire)) as client:
                caller = Caller(client)
                if name == "alice":
                    await caller.save("t", "the key is under the mat")
                hits = (await caller.call("search_memory", query="key"))["hits"]
                assert len(hits) == found
            assert kept.tokens is not None
            assert kept.tokens.scope == "memory:read memory:write"


async def test_whoever_has_no_token_is_told_where_to_get_one(
    http: httpx2.AsyncClient, issuer: Authority
) -> None:
    refused = await http.post("/mcp", headers=HEADERS, json=call("list_threads"))
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert f'resource_metadata="{METADATA}"' in challenge
    assert 'scope="memory:read memory:write"' in challenge
    assert "error=" not in challenge
    for address in (METADATA, METADATA.removesuffix("/mcp")):
        told = await http.get(address)
        assert told.headers["access-control-allow-origin"] == "*"
        assert told.json() == {
            "resource": AUDIENCE,
            "resource_name": "Convex Memory",
            "authorization_servers": [issuer.issuer],
            "scopes_supported": ["memory:read", "memory:write"],
            "bearer_methods_supported": ["header"],
        }


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_scope_that_is_lacking_is_named(
    http: httpx2.AsyncClient, issuer: Authority, version: str
) -> None:
    reader = issuer.token("alice", AUDIENCE, "memory:read")
    headers = {**bearer(reader), "MCP-Protocol-Version": version}
    refused = await http.post("/mcp", headers=headers, json=call("cache_set", key="k", value=1))
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="memory:read memory:write"' in challenge
    assert f'resource_metadata="{METADATA}"' in challenge
    read = await http.post("/mcp", headers=bearer(reader), json=call("cache_get", key="k"))
    assert answer_in(read)["result"]["structuredContent"]["found"] is False
    nothing = issuer.token("alice", AUDIENCE, "")
    for request in (call("cache_get", key="k"), {**call("x"), "method": "resources/list"}):
        refused = await http.post("/mcp", headers=bearer(nothing), json=request)
        assert refused.status_code == 403
        assert 'scope="memory:read"' in refused.headers["www-authenticate"]
    writer = issuer.token("alice", AUDIENCE, "memory:write")
    wrote = await http.post(
        "/mcp", headers=bearer(writer), json=call("cache_set", key="k", value=1)
    )
    assert answer_in(wrote)["result"]["structuredContent"] == {"key": "k", "stored": True}
    # Of two methods the last counts, for the door as for whoever answers.
    twice = json.dumps(call("cache_set", key="k", value=2)).replace(
        '"method"', '"method": "tools/list", "method"'
    )
    answer = await http.post("/mcp", headers=bearer(reader), content=twice)
    assert answer.status_code == 403


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header, claims)
    ]
    return ".".join([*parts, ""])


def with_public_key(issuer: Authority) -> str:
    """Sign with what everybody knows, as if it were a secret."""
    pem = issuer.key.as_pem(private=False).decode()
    header = {"alg": "HS256", "typ": "at+jwt", "kid": issuer.key.kid}
    now = int(time.time())
    body = {"iss": issuer.issuer, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 60}
    parts = unsigned(body, header).removesuffix(".")
    mac = hmac.new(pem.encode(), parts.encode(), hashlib.sha256).digest()
    return f"{parts}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


NOW = int(time.time())
BAD: dict[str, Callable[[Authority], str]] = {
    "of another audience": lambda issuer: issuer.token("alice", "https://other.example/mcp"),
    "of no audience": lambda issuer: issuer.signed({}),
    "of the audience's beginning": lambda issuer: issuer.signed({"aud": AUDIENCE[:-1]}),
    "of another issuer": lambda issuer: issuer.signed(
        {"aud": AUDIENCE, "iss": f"{issuer.issuer}/"}
    ),
    "of no issuer": lambda issuer: issuer.signed({"aud": AUDIENCE, "iss": None}),
    "expired": lambda issuer: issuer.signed({"aud": AUDIENCE, "exp": NOW - 120}),
    "that never expires": lambda issuer: issuer.signed({"aud": AUDIENCE, "exp": None}),
    "not yet good": lambda issuer: issuer.signed({"aud": AUDIENCE, "nbf": NOW + 3600}),
    "made later": lambda issuer: issuer.signed({"aud": AUDIENCE, "iat": NOW + 3600}),
    "of nobody": lambda issuer: issuer.signed({"aud": AUDIENCE, "sub": None}),
    "of an empty name": lambda issuer: issuer.signed({"aud": AUDIENCE, "sub": ""}),
    "of a number": lambda issuer: issuer.signed({"aud": AUDIENCE, "sub": 7}),
    "of a reserved name": lambda issuer: issuer.signed({"aud": AUDIENCE, "sub": "~5:alice:"}),
    "of a name too long": lambda issuer: issuer.signed({"aud": AUDIENCE, "sub": "x" * 129}),
    "without signature": lambda issuer: unsigned(
        {"iss": issuer.issuer, "sub": "alice", "aud": AUDIENCE, "exp": NOW + 600},
        {"alg": "none", "typ": "at+jwt"},
    ),
    "signed with the public key": with_public_key,
    "signed by somebody else": lambda issuer: issuer.signed(
        {"aud": AUDIENCE}, key=new_key("RS256", issuer.key.kid or "")
    ),
    "of an unknown key": lambda issuer: issuer.signed({"aud": AUDIENCE}, {"kid": "unknown"}),
    "of another kind": lambda issuer: issuer.signed({"aud": AUDIENCE}, {"typ": "logout+jwt"}),
    "bound to a key": lambda issuer: issuer.signed({"aud": AUDIENCE, "cnf": {"jkt": "x"}}),
    "cut short": lambda issuer: issuer.token("alice", AUDIENCE)[:-10],
    "of two parts": lambda issuer: ".".join(issuer.token("alice", AUDIENCE).split(".")[:2]),
    "of a megabyte": lambda issuer: "x" * (1 << 20),
    "with claims of a megabyte": lambda issuer: issuer.signed(
        {"aud": AUDIENCE, "x": "y" * 1_000_000}
    ),
    "no token": lambda issuer: "....",
    "nested": lambda issuer: unsigned({}, {"alg": "RS256", "kid": ["x"]}),
}  # fmt: skip


async def test_bad_tokens_are_refused(
    http: httpx2.AsyncClient, issuer: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    good = bearer(issuer.token("alice", AUDIENCE))
    for kind, make in BAD.items():
        token = make(issuer)
        with caplog.at_level(logging.DEBUG):
            refused = await http.post("/mcp", headers=bearer(token), json=call("list_threads"))
        assert refused.status_code == 401, kind
        assert 'error="invalid_token"' in refused.headers["www-authenticate"], kind
        assert token[:200] not in caplog.text + refused.text + str(refused.headers), kind
    assert (await http.post("/mcp", headers=good, json=call("list_threads"))).status_code == 200


async def test_what_is_a_little_off_is_good(issuer: Authority, verifier: OAuthTokens) -> None:
    now = int(time.time())
    for claims in (
        {"exp": now - 10}, {"nbf": now + 10}, {"iat": now + 10}, {"aud": ["x", AUDIENCE]},
        {"aud": f"{AUDIENCE}/"},
    ):  # fmt: skip
        given: dict[str, Any] = {"aud": AUDIENCE, "scope": "memory:read other", **claims}
        access = await verifier.verify_token(issuer.signed(given))
        assert access is not None, claims
        assert (access.subject, access.scopes) == ("alice", ["memory:read"])
        assert access.token == ""


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256", "EdDSA"])
async def test_other_signatures_are_known(algorithm: str) -> None:
    with authority(algorithm) as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer), AUDIENCE)
        access = await verifier.verify_token(issuer.signed({"aud": AUDIENCE}))
    assert access is not None
    assert access.subject == "alice"


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_the_issuers_metadata_is_looked_for_where_it_may_be(place: int) -> None:
    paths = [each.removeprefix("http://h") for each in metadata_addresses("http://h/tenant")]
    with authority("ES256", "/tenant", paths[place]) as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer), AUDIENCE)
        assert await verifier.verify_token(issuer.token("alice", AUDIENCE)) is not None
        assert [path for path in issuer.fetched if path in paths] == paths[: place + 1]


class Ticks:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


async def test_doctor_tells_who_may_call(settings: Settings) -> None:
    assert await examine(settings) == []
    update = {"oauth_audience": AUDIENCE, "http_tokens": SecretStr(TOKENS)}
    with authority("ES256") as issuer:
        given = settings.model_copy(update={**update, "oauth_issuer": issuer.issuer})
        found = await examine(given)
        assert [(each.subject, each.ok) for each in found] == [("tokens", True), ("issuer", True)]
        assert found[0].told == "may call: alice, bob"
        assert "keys: 1" in found[1].told
    given = given.model_copy(update={"http_tokens": SecretStr(ALICE)})
    found = await examine(given)
    assert [each.ok for each in found] == [False, False]
    assert ALICE not in "".join(each.told for each in found)
    assert issuer.issuer in found[1].told


async def test_keys_are_fetched_once_and_followed_when_they_change() -> None:
    ticks = Ticks()
    with authority("ES256") as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer, now=ticks), AUDIENCE)
        old = issuer.token("alice", AUDIENCE)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(verifier.verify_token, old)
        assert issuer.fetched["/jwks"] == 1
        issuer.key = new_key("ES256", "second")
        issuer.published = [issuer.key, *issuer.published]
        ticks.at += REFETCH_SECONDS_MIN
        assert await verifier.verify_token(issuer.token("alice", AUDIENCE)) is not None
        assert await verifier.verify_token(old) is not None
        assert issuer.fetched["/jwks"] == 2
        issuer.published = [issuer.key]
        ticks.at += FRESH_SECONDS + 1
        assert await verifier.verify_token(old) is None


async def test_tokens_of_unknown_keys_do_not_have_the_issuer_asked_again_and_again() -> None:
    ticks = Ticks()
    with authority("ES256") as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer, now=ticks), AUDIENCE)
        for minute in range(3):
            for n in range(50):
                token = issuer.signed({"aud": AUDIENCE}, {"kid": f"{minute}-{n}"})
                assert await verifier.verify_token(token) is None
            assert issuer.fetched["/jwks"] == minute + 1
            ticks.at += REFETCH_SECONDS_MIN


async def test_while_the_issuer_is_away_its_keys_are_good_for_a_while() -> None:
    ticks = Ticks()
    with authority("ES256") as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer, now=ticks), AUDIENCE)
        token = issuer.signed({"aud": AUDIENCE})
        assert await verifier.verify_token(token) is not None
        issuer.failing = True
        ticks.at += FRESH_SECONDS + 1
        assert await verifier.verify_token(token) is not None
        ticks.at += KEPT_SECONDS_MAX
        with pytest.raises(CannotVerify, match="answered 500"):
            await verifier.verify_token(token)
        asked = sum(issuer.fetched.values())
        with pytest.raises(CannotVerify):
            await verifier.verify_token(token)
        assert sum(issuer.fetched.values()) == asked
        issuer.failing = False
        ticks.at += REFETCH_SECONDS_MIN
        assert await verifier.verify_token(token) is not None


async def test_an_issuer_that_cannot_be_asked_lets_nobody_in(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with authority("ES256") as issuer:
        token = issuer.signed({"aud": AUDIENCE})
    async with (
        endpoint(settings, issuer) as transport,
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
    ):
        refused = await http.post("/mcp", headers=bearer(token), json=call("list_threads"))
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "Tokens cannot be checked now" in refused.text
        assert (await http.get("/healthz")).status_code == 200
    assert f"the keys of {issuer.issuer} could not be fetched" in caplog.text
    assert token not in caplog.text


async def test_an_issuer_that_names_itself_otherwise_is_not_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with authority("ES256") as issuer:
        issuer.claimed_issuer = "https://elsewhere.example"
        verifier = OAuthTokens(Issuer(issuer.issuer), AUDIENCE)
        with pytest.raises(CannotVerify):
            await verifier.verify_token(issuer.signed({"aud": AUDIENCE}))
    assert "MEMORY_OAUTH_ISSUER must be exactly what it says" in caplog.text


async def test_a_key_that_is_too_short_is_no_use(caplog: pytest.LogCaptureFixture) -> None:
    with authority("RS256") as issuer:
        verifier = OAuthTokens(Issuer(issuer.issuer), AUDIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            issuer.key = RSAKey.generate_key(1024, {"kid": "short"})
            issuer.published = [issuer.key]
        token = issuer.signed({"aud": AUDIENCE})
        with pytest.raises(CannotVerify, match="no key that can check"):
            await verifier.verify_token(token)


async def test_tokens_of_both_kinds_are_good_at_once(settings: Settings, issuer: Authority) -> None:
    both = settings.model_copy(update={"http_tokens": SecretStr(TOKENS)})
    assert open_access(both) is not None
    async with (
        endpoint(both, issuer) as transport,
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
    ):
        saved = call("save_message", role="user", content="under the mat", thread_id="t")
        await http.post("/mcp", headers=bearer(ALICE), json=saved)
        # Who goes by one name is one principal.
        found = await http.post(
            "/mcp",
            headers=bearer(issuer.token("alice", AUDIENCE)),
            json=call("search_memory", query="mat"),
        )
        assert len(answer_in(found)["result"]["structuredContent"]["hits"]) == 1
