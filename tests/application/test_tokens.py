"""Static bearer tokens: who is let in, and that no token ever shows."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic import SecretStr

from convex_memory.errors import ConfigurationError
from server.app import create_server
from server.auth import READ, WRITE
from server.auth.access import open_access
from server.auth.tokens import StaticTokens, line_for
from server.cli import main
from server.settings import Settings
from server.shared import Callers, open_shared
from server.transports import streamable_http
from tests.application.connections import started
from tests.application.test_http_transport import HEADERS, URL, answer_in, call
from tools.adapters import Adapters

pytestmark = pytest.mark.anyio

ALICE = "alice-token-0123456789abcdef"
BOB = "bob-token-0123456789abcdefgh"
GUEST = "guest-token-0123456789abcde"
TOKENS = f"alice={ALICE}, bob={BOB}\nbob:read={GUEST}"


@asynccontextmanager
async def endpoint(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    access = open_access(settings)
    assert access is not None
    async with open_shared(settings) as shared:
        app = streamable_http.create_app(
            create_server(settings, shared),
            host="127.0.0.1",
            deployment=shared.deployment,
            wrappers=access.wrappers,
            routes=access.routes,
            names=access.names,
        )
        async with (
            started(app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app), base_url=URL, timeout=30
            ) as http,
        ):
            yield http


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    given = settings.model_copy(update={"http_tokens": SecretStr(TOKENS)})
    async with endpoint(given) as http:
        yield http


def bearer(token: str) -> dict[str, str]:
    return HEADERS | {"Authorization": f"Bearer {token}"}


async def test_a_token_opens_the_memory_of_its_principal(http: httpx2.AsyncClient) -> None:
    saved = call("save_message", role="user", content="the key is under the mat", thread_id="t")
    assert (await http.post("/mcp", headers=bearer(ALICE), json=saved)).status_code == 200
    search = call("search_memory", query="key")
    found = answer_in(await http.post("/mcp", headers=bearer(ALICE), json=search))
    assert len(found["result"]["structuredContent"]["hits"]) == 1
    for other in (BOB, GUEST):
        found = answer_in(await http.post("/mcp", headers=bearer(other), json=search))
        assert found["result"]["structuredContent"]["hits"] == []


async def test_a_token_that_may_only_read_writes_nothing(http: httpx2.AsyncClient) -> None:
    await http.post("/mcp", headers=bearer(BOB), json=call("cache_set", key="k", value=1))
    for tool, arguments in (("cache_set", {"key": "k", "value": 2}), ("cache_clear", {})):
        refused = await http.post("/mcp", headers=bearer(GUEST), json=call(tool, **arguments))
        assert "memory:write" in refused.text
    read = await http.post("/mcp", headers=bearer(GUEST), json=call("cache_get", key="k"))
    assert answer_in(read)["result"]["structuredContent"]["value"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YWxpY2U6eA=="},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {ALICE}x"},
        {"Authorization": f"Bearer {ALICE[:-1]}"},
        {"Authorization": "Bearer " + "x" * 20_000},
        {"Authorization": "Bearer alice"},
    ],
    ids=["none", "another scheme", "empty", "longer", "shorter", "huge", "a name"],
)
async def test_without_a_good_token_nothing_is_answered(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for method in ("POST", "GET", "DELETE"):
        response = await http.request(
            method, "/mcp", headers=HEADERS | headers, json=call("list_threads")
        )
        assert response.status_code == 401
        challenge = response.headers["www-authenticate"]
        assert challenge.startswith("Bearer")
        said_one = headers.get("Authorization", "").startswith("Bearer ")
        assert ('error="invalid_token"' in challenge) is said_one
    assert (await http.get("/healthz")).status_code == 200


async def test_two_tokens_at_once_are_none(http: httpx2.AsyncClient) -> None:
    headers = [*HEADERS.items(), ("Authorization", f"Bearer {ALICE}"), ("Authorization", "x")]
    response = await http.post("/mcp", headers=headers, json=call("list_threads"))
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (" ", "no file"),
        ("=,", "names nobody"),
        ("alice=short", "16"),
        ("alice=" + "x" * 15, "16"),
        ("=0123456789abcdef", "names nobody"),
        ("alice=0123456789abcdef\N{SNOWMAN}", "Authorization header"),
        (f"alice={ALICE},bob={ALICE}", "earlier entry"),
        (f"alice={ALICE},bob", "no principal=token"),
        (ALICE, "no file"),
        (f"/nowhere/{ALICE}", "no file"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_without_showing_it(given: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        StaticTokens(given)
    assert said in refused.value.message
    assert ALICE not in refused.value.message
    assert "0123456789" not in refused.value.message


async def test_only_hashes_are_kept() -> None:
    tokens = StaticTokens(TOKENS)
    held = repr(vars(tokens)) + repr(tokens)
    for token in (ALICE, BOB, GUEST):
        assert token not in held
        access = await tokens.verify_token(token)
        assert access is not None
        assert token not in repr(access)
    alice, guest = await tokens.verify_token(ALICE), await tokens.verify_token(GUEST)
    assert alice is not None
    assert (alice.subject, alice.scopes) == ("alice", [READ, WRITE])
    assert guest is not None
    assert (guest.subject, guest.scopes) == ("bob", [READ])


async def test_a_file_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# the team\nalice={ALICE}\n\n")
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        tokens = StaticTokens(str(path))
        assert caplog.text == ""
        assert await tokens.verify_token(ALICE) is not None
        assert await tokens.verify_token(BOB) is None
        path.write_text(f"bob = {BOB}\n")
        assert await tokens.verify_token(ALICE) is None
        assert await tokens.verify_token(BOB) is not None
        path.write_text("nonsense, and more of it\n")
        assert await tokens.verify_token(BOB) is not None
        assert "no principal=token" in caplog.text
        assert "nonsense" not in caplog.text
        caplog.clear()
        path.unlink()
        for _ in range(3):
            assert await tokens.verify_token(BOB) is not None
        assert len(caplog.records) == 1
        path.write_text(f"alice={ALICE}\n")
        assert await tokens.verify_token(BOB) is None


def test_a_file_that_others_can_read_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"alice={ALICE}\n")
    path.chmod(0o644)
    StaticTokens(str(path))
    assert "chmod 600" in caplog.text


async def test_adapters_are_kept_of_the_principals_seen_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.shared.PRINCIPALS_KEPT_MAX", 2)
    async with open_shared(settings) as shared:
        callers = Callers(shared, settings)
        made: dict[str, list[Adapters]] = {}
        for name in ("a", "b", "a", "c", "a", "b"):
            user = AuthenticatedUser(
                AccessToken(token="", client_id=name, subject=name, scopes=[READ])
            )
            before = auth_context_var.set(user)
            try:
                made.setdefault(name, []).append(callers.current())
            finally:
                auth_context_var.reset(before)
            assert made[name][-1].resource_id == name
        assert len({id(each) for each in made["a"]}) == 1
        assert made["b"][0] is not made["b"][1]
        assert callers.current().resource_id == settings.resource_id


async def test_the_command_makes_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "alice@example.org:read"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    name, _, token = line.partition("=")
    assert name == "alice@example.org:read"
    access = await StaticTokens(line).verify_token(token)
    assert access is not None
    assert (access.subject, access.scopes) == ("alice@example.org", [READ])
    assert line_for("alice") != line_for("alice")


@pytest.mark.parametrize("name", ["", "two words", "a=b", "a,b", "x" * 2000, ":read"])
def test_the_command_refuses_a_name_that_is_none(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", name]) == 2
    assert "A principal has" in capsys.readouterr().err


async def test_nothing_that_is_logged_or_shown_holds_a_token(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings.model_copy(update={"http_tokens": SecretStr(TOKENS)})
    said: list[Any] = [repr(given), str(given)]
    with caplog.at_level(logging.DEBUG):
        async with endpoint(given) as http:
            for token in (ALICE, ALICE + "x"):
                answer = await http.post("/mcp", headers=bearer(token), json=call("list_threads"))
                said += [answer.text, str(answer.headers)]
    assert ALICE not in "".join(said) + caplog.text
