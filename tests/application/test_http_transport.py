"""Streamable HTTP at the level of requests: health, hosts, sizes, broken bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from server.app import create_server
from server.settings import Settings
from server.shared import open_shared
from server.transports import readiness, streamable_http
from tests.application.connections import connected, started, stored_in

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8000"
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2025-11-25",
}


@asynccontextmanager
async def opened_http(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a bare HTTP client to a server in process."""
    async with open_shared(settings) as shared:
        app = streamable_http.create_app(
            create_server(settings, shared), host="127.0.0.1", deployment=shared.deployment
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
    async with opened_http(settings) as http:
        yield http


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def answer_in(response: httpx2.Response) -> dict[str, Any]:
    """The JSON-RPC answer, plain or as the last server-sent event."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = [line for line in text.splitlines() if line.startswith("data: {")][-1][6:]
    return dict(json.loads(text))


async def test_it_says_whether_it_lives_and_is_ready(
    http: httpx2.AsyncClient, settings: Settings
) -> None:
    health = await http.get("/healthz")
    assert (health.status_code, health.text) == (200, "ok")
    assert not settings.data_dir.exists()
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


async def test_it_is_not_ready_while_the_folder_cannot_be_used(
    http: httpx2.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
    settings.data_dir.write_text("not a folder")
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "code": "configuration"})
    assert (await http.get("/healthz")).status_code == 200
    settings.data_dir.unlink()
    assert (await http.get("/readyz")).status_code == 200


async def test_a_call_needs_no_session(http: httpx2.AsyncClient) -> None:
    response = await http.post("/mcp", headers=HEADERS, json=call("cache_increment", key="k"))
    assert response.status_code == 200
    assert "mcp-session-id" not in response.headers
    assert answer_in(response)["result"]["structuredContent"] == {"value": 1}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_an_idle_stream_is_refused(http: httpx2.AsyncClient, path: str) -> None:
    response = await http.get(path, headers={"Accept": "text/event-stream"})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "memory.example.org"},
        {"Host": "192.0.2.7:8000"},
        {"Origin": "https://evil.example"},
    ],
)
async def test_a_page_elsewhere_cannot_call_through_a_browser(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    response = await http.post(
        "/mcp", headers=HEADERS | headers, json=call("cache_increment", key="k")
    )
    assert response.status_code in (403, 421)
    allowed = await http.post("/mcp", headers=HEADERS, json=call("cache_increment", key="k"))
    assert answer_in(allowed)["result"]["structuredContent"] == {"value": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"cache_set",'
        b'"arguments":{"key":"k","value":"\\ud83d"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"cache_set",'
        b'"arguments":{"key":"k","value":' + b"[" * 5000 + b"]" * 5000 + b"}}}",
    ],
    ids=["nothing", "half", "not UTF-8", "a batch", "a lone surrogate", "too deep"],
)
async def test_a_broken_body_is_answered_with_an_error(
    http: httpx2.AsyncClient, tmp_path: Path, body: bytes
) -> None:
    await http.post("/mcp", headers=HEADERS, json=call("cache_set", key="kept", value=1))
    before = stored_in(tmp_path)
    response = await http.post("/mcp", headers=HEADERS, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] in (-32700, -32600, -32602)
    assert stored_in(tmp_path) == before


async def test_a_body_larger_than_a_call_can_be_is_refused(http: httpx2.AsyncClient) -> None:
    body = json.dumps(call("cache_set", key="k", value="x" * REQUEST_BODY_BYTES_MAX))
    response = await http.post("/mcp", headers=HEADERS, content=body)
    assert response.status_code == 413


async def test_numbers_that_are_none_are_refused(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    await http.post("/mcp", headers=HEADERS, json=call("create_index", index="i", dimension=2))
    before = stored_in(tmp_path)
    body = json.dumps(call("upsert_embeddings", index="i", items=[{"vector": [1, 0.5]}]))
    response = await http.post("/mcp", headers=HEADERS, content=body.replace("0.5", "1e400"))
    result = answer_in(response)["result"]
    assert result["isError"] is True
    assert "finite" in result["content"][0]["text"]
    assert stored_in(tmp_path) == before


async def test_processes_share_a_folder_without_sessions(settings: Settings) -> None:
    async with (
        connected("http/2025", settings) as one,
        connected("http/2026", settings) as other,
    ):
        for count, caller in enumerate([one, other] * 3, 1):
            assert (await caller.call("cache_increment", key="k"))["value"] == count


async def test_a_call_does_not_list_the_tools_to_find_one(settings: Settings) -> None:
    async with open_shared(settings) as shared:
        server = create_server(settings, shared)
        entry = server.get_request_handler("tools/list")
        assert entry is not None
        listed = []

        async def list_tools(context: Any, params: Any) -> Any:
            listed.append(context.method)
            return await entry.handler(context, params)

        server.add_request_handler("tools/list", entry.params_type, list_tools)
        app = streamable_http.create_app(server, host="127.0.0.1", deployment=shared.deployment)
        async with (
            started(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), timeout=30) as wire,
            Client(streamable_http_client(f"{URL}/mcp", http_client=wire)) as client,
        ):
            assert client.protocol_version == "2026-07-28"
            await client.list_tools()
            assert listed == ["tools/list"]
            await client.call_tool("cache_increment", {"key": "k"})
            assert listed == ["tools/list"]
