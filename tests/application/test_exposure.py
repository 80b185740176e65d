"""The endpoint towards the world: limits, names, readiness, broken input, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.types import CallToolRequestParams, CallToolResult, TextContent

from convex_memory.deployment import Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.connections import ConnectionLimits
from convex_memory.errors import ConfigurationError
from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from convex_memory.values import Value
from server.app import create_server
from server.auth.access import open_access
from server.settings import HTTP_CONCURRENCY_DEFAULT, HTTP_RATE_DEFAULT, Settings
from server.shared import open_shared
from server.transports import streamable_http
from server.transports.hosts import names_of
from server.transports.limits import (
    BURST_SECONDS,
    GUESSES_BURST,
    STREAMS_FOR_EACH_CALL,
    Buckets,
    _counted_as,
    is_listening,
)
from server.transports.readiness import Readiness
from tests.application.connections import settings_in, stored_in
from tests.application.raw_http import JSON, Answer, Site, listening, modern, request, site_at

pytestmark = pytest.mark.anyio

ADA, BOB = "ada-token-0123456789", "bob-token-0123456789"
OLD = (*JSON, "MCP-Protocol-Version: 2025-11-25")
QUICK = ConnectionLimits(connections_max=24, head_seconds=0.3, body_seconds=0.2, linger_seconds=0.3)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def call(tool: str, **arguments: Any) -> bytes:
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(message).encode()


def result_in(answer: Answer) -> dict[str, Any]:
    """The result of a call, plain or as a server-sent event."""
    lines = answer.body.decode().splitlines()
    events = [line[6:] for line in lines if line.startswith("data: {")]
    result: dict[str, Any] = json.loads(events[-1] if events else answer.body)["result"]
    return result


class Slow:
    """A tool call that takes until it is let go, in place of `cache_get`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.running = 0

    def install(self, server: Any) -> None:
        tool = server.get_request_handler("tools/call").handler

        async def handle(context: Any, params: CallToolRequestParams) -> Any:
            if params.name != "cache_get":
                return await tool(context, params)
            self.running += 1
            try:
                await self.go.wait()
            finally:
                self.running -= 1
            return CallToolResult(content=[TextContent(text="slow but done")])

        server.add_request_handler("tools/call", CallToolRequestParams, handle)

    async def reached(self, running: int) -> None:
        with anyio.fail_after(10):
            while self.running != running:
                await asyncio.sleep(0)


@asynccontextmanager
async def served(
    settings: Settings, slow: Slow | None = None, limits: ConnectionLimits | None = None
) -> AsyncIterator[tuple[Site, streamable_http.Endpoint]]:
    """The endpoint as `serve` composes it, on a port of its own."""
    access = open_access(settings)
    async with open_shared(settings) as shared:
        server = create_server(settings, shared)
        if slow is not None:
            slow.install(server)
        endpoint = streamable_http.create_app(
            server,
            host="127.0.0.1",
            deployment=shared.deployment,
            settings=settings,
            on_stop=shared.close_streams,
            wrappers=access.wrappers if access else (),
        )
        async with listening(endpoint, limits=limits, lifespan=True) as site:
            yield site, endpoint


def people(tmp_path: Path, **given: Any) -> Settings:
    return settings_in(tmp_path, http_tokens=f"ada={ADA},bob={BOB}", **given)


# --- One caller among others


async def test_one_caller_at_the_limit_leaves_the_others_alone(tmp_path: Path) -> None:
    async with served(people(tmp_path, http_rate=1)) as (site, _):
        answers = [
            await site.ask("POST", "/mcp", *OLD, bearer(ADA), body=call("cache_get", key="k"))
            for _ in range(BURST_SECONDS + 3)
        ]
        statuses = [answer.status for answer in answers]
        assert statuses[:BURST_SECONDS] == [200] * BURST_SECONDS
        refused = answers[-1]
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "1 calls a second" in refused.json["error"]["message"]
        other = await site.ask("POST", "/mcp", *OLD, bearer(BOB), body=call("cache_get", key="k"))
        assert other.status == 200


async def test_so_many_calls_of_one_caller_at_a_time(tmp_path: Path) -> None:
    slow = Slow()
    async with served(people(tmp_path), slow) as (site, _):
        body = call("cache_get", key="k")
        held = [await site.connect() for _ in range(HTTP_CONCURRENCY_DEFAULT)]
        for connection in held:
            await connection.send(request("POST", "/mcp", *OLD, bearer(ADA), body=body))
        await slow.reached(len(held))
        over = await site.ask("POST", "/mcp", *OLD, bearer(ADA), body=body)
        assert (over.status, over.headers["retry-after"]) == (429, "1")
        other = await site.ask("POST", "/mcp", *OLD, bearer(BOB), body=call("list_threads"))
        assert other.status == 200
        slow.go.set()
        for connection in held:
            assert (await connection.answer()).status == 200
        again = await site.ask("POST", "/mcp", *OLD, bearer(ADA), body=body)
        assert again.status == 200


async def test_streams_have_a_number_of_their_own(tmp_path: Path) -> None:
    headers, body = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    given = {"http_concurrency": 1, "http_requests": 1, "schedule_action": "notify"}
    async with served(settings_in(tmp_path, **given)) as (site, _):
        for _ in range(STREAMS_FOR_EACH_CALL):
            stream = await site.connect()
            await stream.send(request("POST", "/mcp", *headers, body=body))
            await stream.reader.readuntil(b"acknowledged")
        assert (await site.ask("POST", "/mcp", *headers, body=body)).status == 429
        # They keep nobody from calling.
        assert (await site.ask("POST", "/mcp", *OLD, body=call("list_threads"))).status == 200


@pytest.mark.parametrize(
    ("headers", "listens"),
    [
        ({"mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}, True),
        ({"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call"}, False),
        ({"mcp-protocol-version": "2025-11-25", "mcp-method": "subscriptions/listen"}, False),
        ({"mcp-method": "subscriptions/listen"}, False),
    ],
)
def test_what_counts_as_listening(headers: dict[str, str], listens: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_listening({"type": "http", "headers": raw}) is listens


async def test_over_the_number_of_requests_nothing_queues(tmp_path: Path) -> None:
    slow = Slow()
    async with served(settings_in(tmp_path, http_requests=3), slow) as (site, _):
        held = [await site.connect() for _ in range(3)]
        for connection in held:
            await connection.send(request("POST", "/mcp", *OLD, body=call("cache_get", key="k")))
        await slow.reached(3)
        over = await site.ask("POST", "/mcp", *OLD, body=call("cache_increment", key="n"))
        assert (over.status, over.headers["retry-after"]) == (503, "1")
        # Who watches the server is answered all the same.
        assert (await site.ask("GET", "/healthz")).status == 200
        assert (await site.ask("GET", "/readyz")).json == {"ready": True}
        slow.go.set()
        for connection in held:
            assert result_in(await connection.answer())["content"][0]["text"] == "slow but done"
        counted = await site.ask("POST", "/mcp", *OLD, body=call("cache_increment", key="n"))
        assert result_in(counted)["structuredContent"] == {"value": 1}


async def test_guessing_tokens_is_slow_and_keeps_nobody_else_out(tmp_path: Path) -> None:
    async with served(people(tmp_path)) as (site, _):
        body = call("list_threads")
        assert (await site.ask("POST", "/mcp", *OLD, bearer(ADA), body=body)).status == 200
        guesses = [
            (await site.ask("POST", "/mcp", *OLD, bearer(f"guess-{n:016}"), body=body)).status
            for n in range(GUESSES_BURST + 5)
        ]
        assert guesses[:GUESSES_BURST] == [401] * GUESSES_BURST
        assert set(guesses[GUESSES_BURST + 1 :]) == {429}
        # Ada comes from the same address, and was known before.
        assert (await site.ask("POST", "/mcp", *OLD, bearer(ADA), body=body)).status == 200
        refused = await site.ask("POST", "/mcp", *OLD, bearer(BOB), body=body)
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1


async def test_without_authentication_the_machines_user_is_not_counted(tmp_path: Path) -> None:
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    async with served(settings_in(tmp_path)) as (site, _):
        kept = await site.connect()
        for _ in range(HTTP_RATE_DEFAULT * BURST_SECONDS + 20):
            await kept.send(request("POST", "/mcp", *OLD, body=ping))
            assert (await kept.answer()).status == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ],
)
def test_which_addresses_count_as_one(one: str, other: str, same: bool) -> None:
    assert (_counted_as(one) == _counted_as(other)) is same


def test_a_bucket_fills_again_and_forgets_who_is_silent() -> None:
    now = 0.0
    buckets = Buckets(2, 4, lambda: now)
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.wait("b") == 0
    now = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now = 100
    assert [buckets.take("a") for _ in range(5)][-1] == 0.5
    for n in range(20_000):
        buckets.take(str(n))
    assert len(buckets._held) == 10_000


# --- Calls that take too long


@pytest.mark.parametrize("era", ["2025", "2026"])
async def test_a_call_that_takes_too_long_ends_with_an_answer(tmp_path: Path, era: str) -> None:
    slow = Slow()
    async with served(settings_in(tmp_path, http_call_timeout_ms=200), slow) as (site, _):
        headers: tuple[str, ...] = OLD
        body = call("cache_get", key="k")
        if era == "2026":
            headers, body = modern(
                "tools/call", "cache_get", name="cache_get", arguments={"key": "k"}
            )
        result = result_in(await site.ask("POST", "/mcp", *headers, body=body))
        assert result["isError"] is True
        assert result["_meta"]["convex-memory/error"] == {"code": "timeout"}
        assert "0.2 s" in result["content"][0]["text"]
        assert slow.running == 0


# --- Names


@pytest.mark.parametrize(
    ("host", "public", "named", "known"),
    [
        ("127.0.0.1", (), "127.0.0.1:8000", True),
        ("127.0.0.1", (), "LOCALHOST", True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1", (), "127.0.0.1:8000@evil.example", False),
        ("::1", (), "[::1]:8000", True),
        ("192.0.2.7", (), "192.0.2.7:8000", True),
        ("192.0.2.7", (), "192.0.2.8:8000", False),
        ("0.0.0.0", ("memory.example.com",), "memory.example.com", True),
        ("0.0.0.0", ("memory.example.com",), "Memory.Example.com:443", True),
        ("0.0.0.0", ("memory.example.com",), "0.0.0.0:8000", False),
        ("0.0.0.0", ("memory.example.com:8443",), "memory.example.com:8443", True),
        ("0.0.0.0", ("memory.example.com:8443",), "memory.example.com", False),
    ],
)
def test_which_hosts_are_known(host: str, public: tuple[str, ...], named: str, known: bool) -> None:
    assert names_of(host, public).knows(named) is known


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_every_address_of_a_machine_needs_a_name(host: str) -> None:
    with pytest.raises(ConfigurationError, match="MEMORY_HTTP_HOSTS"):
        names_of(host)


async def test_cors_is_off_until_it_is_asked_for(tmp_path: Path) -> None:
    page = "Origin: https://app.example.com"
    async with served(settings_in(tmp_path)) as (site, _):
        refused = await site.ask("POST", "/mcp", *OLD, page, body=call("list_threads"))
        assert refused.status == 403
        assert "MEMORY_HTTP_ORIGINS" in refused.body.decode()
        own = f"Origin: {site.url}"
        answered = await site.ask("POST", "/mcp", *OLD, own, body=call("list_threads"))
        assert answered.status == 200
        assert not [name for name in answered.headers if name.startswith("access-control")]
    settings = people(tmp_path, http_origins=("https://app.example.com",))
    async with served(settings) as (site, _):
        preflight = await site.ask(
            "OPTIONS",
            "/mcp",
            page,
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization, mcp-method",
        )
        assert preflight.status == 200
        assert "mcp-method" in preflight.headers["access-control-allow-headers"]
        refused = await site.ask("POST", "/mcp", *OLD, page, body=call("list_threads"))
        assert refused.status == 401
        # The page has to see why it was refused.
        assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
        other = "Origin: https://other.example.com"
        stranger = await site.ask("POST", "/mcp", *OLD, bearer(ADA), other)
        assert stranger.status == 403
        assert "access-control-allow-origin" not in stranger.headers


async def test_only_a_trusted_proxy_says_whom_it_speaks_for(tmp_path: Path) -> None:
    async def guessed(site: Site, n: int) -> int:
        forwarded = f"X-Forwarded-For: 198.51.100.{n}"
        return (await site.ask("POST", "/mcp", *OLD, forwarded)).status

    async with served(people(tmp_path)) as (site, _):
        assert [await guessed(site, n) for n in range(GUESSES_BURST + 2)][-1] == 429
    async with served(people(tmp_path, http_proxies=("127.0.0.0/8",))) as (site, _):
        assert {await guessed(site, n) for n in range(GUESSES_BURST + 2)} == {401}


# --- Whether it is ready


class Counting:
    """A deployment that counts what it is asked, and may break."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: Exception | None = None

    async def call(self, kind: str, path: str, args: Mapping[str, Value], **given: Any) -> Value:
        self.asked.append(kind)
        if self.broken is not None and kind == "mutation":
            raise self.broken
        return {"ok": True}

    async def aclose(self) -> None:
        pass


async def test_asking_whether_it_is_ready_is_cheap_and_tries_a_write() -> None:
    now = 0.0
    deployment = Counting()
    readiness = Readiness(
        deployment, writes=True, cache_function="mastra/cache:handle", clock=lambda: now
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(readiness.find)
    assert deployment.asked == ["query", "mutation"]
    deployment.broken = ConfigurationError("full")
    assert (await readiness.find()).ready
    now = 1.5
    assert (await readiness.find()).code == "configuration"


async def test_a_folder_that_takes_no_write_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        readiness = Readiness(deployment, writes=True, cache_function="mastra/cache:handle")
        assert (await readiness.find()).ready
        broken: Deployment = deployment

        async def refuse(*args: Any, **given: Any) -> Value:
            raise ConfigurationError("read-only")

        monkeypatch.setattr(deployment._load(), "write", refuse)
        anew = Readiness(broken, writes=True, cache_function="mastra/cache:handle")
        assert (await anew.find()).code == "configuration"
        reads = Readiness(broken, writes=False, cache_function="mastra/cache:handle")
        assert (await reads.find()).ready


# --- Bad input at the door


async def test_bad_input_is_refused_cheaply_and_others_are_served(tmp_path: Path) -> None:
    """Slow headers, slow bodies, oversize bodies, garbage and a silent crowd, all at once."""
    async with served(settings_in(tmp_path), limits=QUICK) as (site, _):
        await site.ask("POST", "/mcp", *OLD, body=call("cache_set", key="kept", value=1))
        before = stored_in(tmp_path)

        async def slow_header() -> None:
            connection = await site.connect()
            await connection.send(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert await connection.end() is not None

        async def slow_body() -> None:
            connection = await site.connect()
            head = request("POST", "/mcp", *OLD, "Content-Length: 5000")
            await connection.send(head + b"{")
            assert (await connection.end())[:12] in (b"HTTP/1.1 408", b"")

        async def oversize(*headers: str) -> None:
            connection = await site.connect()
            await connection.send(request("POST", "/mcp", *OLD, *headers))
            answer = await connection.answer()
            assert answer.status == 413

        async def garbage(content: bytes) -> None:
            connection = await site.connect()
            await connection.send(content)
            assert (await connection.answer()).status == 400

        async def others() -> None:
            kept = await site.connect()
            for _ in range(20):
                began = time.perf_counter()
                await kept.send(request("POST", "/mcp", *OLD, body=call("cache_get", key="kept")))
                answer = result_in(await kept.answer())
                assert answer["structuredContent"]["value"] == 1
                assert time.perf_counter() - began < 5
                await asyncio.sleep(0.02)

        crowd = [await site.connect() for _ in range(200)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            for _ in range(3):
                tasks.start_soon(slow_header)
                tasks.start_soon(slow_body)
                tasks.start_soon(oversize, f"Content-Length: {REQUEST_BODY_BYTES_MAX + 1}")
                tasks.start_soon(garbage, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
                tasks.start_soon(garbage, request("POST", "/mcp", *OLD, body=b"[" * 100_000))
                tasks.start_soon(garbage, request("POST", "/mcp", *OLD, body=b'{"jsonrpc":'))
                tasks.start_soon(garbage, request("POST", "/mcp", *OLD, body=b"[]"))
        assert len(crowd) == 200
        assert stored_in(tmp_path) == before


async def test_a_body_without_a_length_is_refused_once_it_is_too_long(tmp_path: Path) -> None:
    async with served(settings_in(tmp_path)) as (site, _):
        connection = await site.connect()
        await connection.send(request("POST", "/mcp", *OLD, "Transfer-Encoding: chunked"))
        piece = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await connection.send(piece)
                sent += 1 << 20

        sending = asyncio.create_task(send())
        assert (await connection.answer()).status == 413
        assert sent <= REQUEST_BODY_BYTES_MAX + (8 << 20)
        sending.cancel()
        await asyncio.wait([sending])


# --- How it stops


@pytest.mark.parametrize("era", ["2025", "2026"])
async def test_told_to_stop_it_finishes_calls_refuses_new_ones_and_is_not_ready(
    tmp_path: Path, era: str
) -> None:
    slow = Slow()
    async with served(settings_in(tmp_path), slow) as (site, endpoint):
        headers: tuple[str, ...] = OLD
        body = call("cache_get", key="k")
        if era == "2026":
            headers, body = modern(
                "tools/call", "cache_get", name="cache_get", arguments={"key": "k"}
            )
        held = await site.connect()
        await held.send(request("POST", "/mcp", *headers, body=body))
        await slow.reached(1)
        draining = asyncio.create_task(endpoint.drain())
        await asyncio.sleep(0)
        ready = await site.ask("GET", "/readyz")
        assert (ready.status, ready.json) == (503, {"ready": False, "code": "stopping"})
        assert (await site.ask("GET", "/healthz")).status == 200
        late = await site.ask("POST", "/mcp", *OLD, body=call("list_threads"))
        assert (late.status, late.headers["retry-after"]) == (503, "1")
        assert not draining.done()
        slow.go.set()
        assert result_in(await held.answer())["content"][0]["text"] == "slow but done"
        await draining


async def test_a_signal_cuts_no_event_stream_that_is_an_answer(tmp_path: Path) -> None:
    """What the SDK streams events with would end them all half a second after the signal."""
    slow, settings = Slow(), settings_in(tmp_path)
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with open_shared(settings) as shared, anyio.create_task_group() as tasks:
        server = create_server(settings, shared)
        slow.install(server)
        endpoint = streamable_http.create_app(
            server, host="127.0.0.1", deployment=shared.deployment, settings=settings
        )
        tasks.start_soon(
            partial(
                streamable_http.serve, endpoint, host="127.0.0.1", port=0, on_started=url.set_result
            )
        )
        async with site_at(await url) as site:
            held = await site.connect()
            await held.send(request("POST", "/mcp", *OLD, body=call("cache_get", key="k")))
            await held.reader.readuntil(b"text/event-stream")
            await slow.reached(1)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.8)
            slow.go.set()
            await held.reader.readuntil(b"slow but done")


async def test_a_call_that_is_still_running_at_the_end_says_that_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamable_http, "DRAIN_SECONDS_MAX", 0.3 + streamable_http._LEFT_SECONDS)
    slow = Slow()
    async with served(settings_in(tmp_path), slow) as (site, endpoint):
        held = await site.connect()
        await held.send(request("POST", "/mcp", *OLD, body=call("cache_get", key="k")))
        await slow.reached(1)
        await endpoint.drain()
        result = result_in(await held.answer())
        assert result["_meta"]["convex-memory/error"] == {"code": "stopping"}


async def test_streams_of_notifications_are_ended_in_order(tmp_path: Path) -> None:
    async with served(settings_in(tmp_path, schedule_action="notify")) as (site, endpoint):
        headers, body = modern(
            "subscriptions/listen",
            notifications={"resourceSubscriptions": ["memory://schedules/s"]},
        )
        listening = await site.connect()
        await listening.send(request("POST", "/mcp", *headers, body=body))
        head = await listening.reader.readuntil(b"\r\n\r\n")
        assert b"text/event-stream" in head
        await listening.reader.readuntil(b"acknowledged")
        with anyio.fail_after(5):
            await endpoint.drain()
        # The last frame is the answer to the request, and the stream ends whole.
        rest = await listening.reader.readuntil(b"0\r\n\r\n")
        assert b'"result"' in rest


async def test_a_request_id_is_kept_when_it_is_sane_and_made_otherwise(tmp_path: Path) -> None:
    async with served(settings_in(tmp_path)) as (site, _):
        ask = partial(site.ask, "GET", "/healthz")
        assert (await ask("X-Request-Id: abc-1")).headers["x-request-id"] == "abc-1"
        for odd in ("X-Request-Id: a b", "X-Request-Id: " + "x" * 65, "Other: 1"):
            made = (await ask(odd)).headers["x-request-id"]
            assert len(made) == 16
