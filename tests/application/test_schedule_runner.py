"""Live scheduling in the server: clients are told, or a webhook is called."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from mcp import Client, MCPDeprecationWarning
from mcp.types import ResourceUpdatedNotification

from server.app import create_server
from tests.application.connections import Caller, settings_in

pytestmark = pytest.mark.anyio

URI = "memory://schedules/plants%2Fhall"


async def _every_second(caller: Caller) -> None:
    await caller.call(
        "create_schedule",
        schedule_id="plants/hall",
        cron="* * * * * *",
        target={"type": "agent", "agentId": "home", "prompt": "Water the plants"},
    )


async def _outcome(caller: Caller) -> str:
    """Wait until a fire has ended, and return how."""
    with anyio.fail_after(20):
        while True:
            history = await caller.call("schedule_history", schedule_id="plants/hall")
            ended = [fire for fire in history["fires"] if fire["outcome"] != "claimed"]
            if ended:
                return str(ended[-1]["outcome"])
            await anyio.lowlevel.checkpoint()


async def test_a_client_that_listens_hears_of_a_fire(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, toolsets=("schedules",), schedule_action="notify", schedule_poll_ms=20
    )
    async with (
        Client(create_server(settings)) as client,
        client.listen(resource_subscriptions=[URI]) as events,
    ):
        caller = Caller(client)
        await _every_second(caller)
        with anyio.fail_after(20):
            async for event in events:
                assert event.uri == URI  # type: ignore[union-attr]
                break
        assert await _outcome(caller) == "published"
        [contents] = (await client.read_resource(URI)).contents
        assert json.loads(contents.text)["latest_fire"]["outcome"] in ("published", "claimed")  # type: ignore[union-attr]


async def test_a_client_of_2025_that_subscribed_hears_of_a_fire(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, toolsets=("schedules",), schedule_action="notify", schedule_poll_ms=20
    )
    heard = anyio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification) and str(message.params.uri) == URI:
            heard.set()

    async with Client(create_server(settings), mode="legacy", message_handler=on_message) as client:
        with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
            await client.session.subscribe_resource(URI)
        await _every_second(Caller(client))
        with anyio.fail_after(20):
            await heard.wait()


async def test_without_an_action_nothing_fires_and_a_change_is_still_told(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, toolsets=("schedules",))
    async with Client(create_server(settings)) as client:
        caller = Caller(client)
        await _every_second(caller)
        async with client.listen(resource_subscriptions=[URI]) as events:
            await caller.call("update_schedule", schedule_id="plants/hall", status="paused")
            with anyio.fail_after(20):
                async for event in events:
                    assert event.uri == URI  # type: ignore[union-attr]
                    break
        history = await caller.call("schedule_history", schedule_id="plants/hall")
        assert history["fires"] == []


class Hook:
    """A webhook that answers as it is told and keeps what it was sent."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def __call__(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (
                    line.partition(":") for line in head.decode().split("\r\n")[1:]
                )
            }
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            self.requests.append((headers, json.loads(body)))
            lines = (f"HTTP/1.1 {self.status} X", "Content-Length: 0", "Connection: close", "", "")
            await stream.send("\r\n".join(lines).encode())


@asynccontextmanager
async def listening(hook: Hook) -> AsyncIterator[str]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, hook)
        yield f"http://127.0.0.1:{port}/fire"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("status", "outcome"), [(204, "published"), (500, "failed")])
async def test_a_webhook_is_called_once_for_a_fire(
    tmp_path: Path, status: int, outcome: str
) -> None:
    hook = Hook(status)
    async with listening(hook) as url:
        settings = settings_in(
            tmp_path, toolsets=("schedules",), schedule_action=url, schedule_poll_ms=20
        )
        async with Client(create_server(settings)) as client:
            caller = Caller(client)
            await _every_second(caller)
            assert await _outcome(caller) == outcome
            history = await caller.call("schedule_history", schedule_id="plants/hall")
    fires = {fire["id"] for fire in history["fires"]}
    headers, body = hook.requests[0]
    assert headers["idempotency-key"] in fires
    assert body["schedule"]["target"]["prompt"] == "Water the plants"
    assert body["trigger"]["id"] == headers["idempotency-key"]
    sent = [headers["idempotency-key"] for headers, _ in hook.requests]
    assert len(sent) == len(set(sent))
