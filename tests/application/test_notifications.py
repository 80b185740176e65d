"""Clients hear of changes, whichever process makes them, and of nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from mcp import Client, MCPDeprecationWarning, MCPError
from mcp.client.subscriptions import Subscription
from mcp.server import ServerRequestContext
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.types import (
    ResourceUpdatedNotification,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
)

from server import subscriptions
from server.app import create_server
from server.subscriptions import STREAMS_OF_ONE_MAX, URIS_MAX
from tests.application.connections import Caller, settings_in
from tests.application.replicas import replica

pytestmark = pytest.mark.anyio

THREAD = "memory://threads/garden%2Fwest"


async def heard(events: Subscription) -> str:
    """Return the URI of the next event, or `list`."""
    with anyio.fail_after(20):
        async for event in events:
            if isinstance(event, ResourceUpdated):
                return event.uri
            assert isinstance(event, ResourcesListChanged)
            return "list"
    raise AssertionError("the stream ended")


async def test_a_listener_hears_what_another_server_writes(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with (
        replica(settings) as (one, _, _),
        replica(settings) as (other, _, _),
        Client(one) as listener,
        Client(other) as client,
    ):
        writer = Caller(client)
        async with listener.listen(resource_subscriptions=[THREAD]) as events:
            [saved] = await writer.save("garden/west", "Sow the beans.")
            assert await heard(events) == THREAD
        message = f"{THREAD}/messages/{quote(saved['message_id'], safe='')}"
        async with listener.listen(resource_subscriptions=[message]) as events:
            await writer.call(
                "update_message", message_id=saved["message_id"], content="Sow the peas."
            )
            assert await heard(events) == message
        async with listener.listen(
            resource_subscriptions=["memory://working-memory", f"{THREAD}/working-memory"]
        ) as events:
            await writer.call("update_working_memory", content="Likes peas")
            assert await heard(events) == "memory://working-memory"
            await writer.call(
                "update_working_memory", content="West is sunny", thread_id="garden/west"
            )
            assert await heard(events) == f"{THREAD}/working-memory"


async def test_the_list_of_resources_changes_when_threads_come_and_go(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with (
        replica(settings) as (one, _, _),
        replica(settings) as (other, _, _),
        Client(one) as listener,
        Client(other) as client,
        listener.listen(resources_list_changed=True) as events,
    ):
        writer = Caller(client)
        await writer.save("t", "Hello")
        assert await heard(events) == "list"
        await writer.save("t", "Hello again")
        await writer.call("delete_thread", thread_id="t")
        assert await heard(events) == "list"


async def test_a_listener_hears_nothing_of_another_resource(tmp_path: Path) -> None:
    uris = ["memory://working-memory", "memory://threads/secret", "memory://threads/own"]
    async with (
        replica(settings_in(tmp_path, resource_id="mara")) as (hers, _, _),
        replica(settings_in(tmp_path, resource_id="otto")) as (his, _, _),
        Client(hers) as listener,
        Client(his) as other,
        listener.listen(resource_subscriptions=uris, resources_list_changed=True) as events,
    ):
        told: list[str] = []
        await Caller(other).save("secret", "Otto's")
        await Caller(other).call("update_working_memory", content="Otto's")
        await Caller(listener).save("own", "Mara's")
        # In order: what came before hers was his.
        while len(told) < 2:
            told.append(await heard(events))
        assert sorted(told) == ["list", "memory://threads/own"]


async def test_a_message_without_resource_is_that_of_its_thread(tmp_path: Path) -> None:
    async with (
        replica(settings_in(tmp_path)) as (one, shared, _),
        Client(one) as client,
    ):
        await Caller(client).save("garden/west", "Hello")
        async with client.listen(resource_subscriptions=[THREAD]) as events:
            # As a Mastra app may store one.
            await shared.deployment.call(
                "mutation",
                "mastra/storage:handle",
                {
                    "op": "insert",
                    "tableName": "mastra_messages",
                    "record": {
                        "id": "m",
                        "thread_id": "garden/west",
                        "content": '{"format":2,"parts":[]}',
                        "role": "user",
                        "type": "v2",
                        "createdAt": "2026-01-01T00:00:00.000Z",
                    },
                },
            )
            assert await heard(events) == THREAD


async def test_who_missed_changes_is_told_that_all_may_have_changed(tmp_path: Path) -> None:
    async with (
        replica(settings_in(tmp_path)) as (one, shared, _),
        Client(one) as client,
        client.listen(resource_subscriptions=["memory://threads/a", THREAD]) as events,
    ):
        await shared.subscriptions.tell(None)
        assert sorted([await heard(events), await heard(events)]) == ["memory://threads/a", THREAD]


async def test_a_client_of_2025_hears_what_another_server_writes(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    send, receive = anyio.create_memory_object_stream[str](8)

    async def on_message(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await send.send(str(message.params.uri))

    async with (
        send,
        receive,
        replica(settings) as (one, _, _),
        replica(settings) as (other, _, _),
        Client(one, mode="legacy", message_handler=on_message) as listener,
        Client(other) as client,
    ):
        with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
            await listener.session.subscribe_resource(THREAD)
        await Caller(client).save("elsewhere", "Not asked for")
        await Caller(client).save("garden/west", "Sow the beans.")
        with anyio.fail_after(20):
            assert await receive.receive() == THREAD
        with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
            await listener.session.unsubscribe_resource(THREAD)


async def test_closing_ends_streams_and_takes_no_more(tmp_path: Path) -> None:
    async with (
        replica(settings_in(tmp_path)) as (one, shared, _),
        Client(one) as client,
    ):
        async with client.listen(resource_subscriptions=[THREAD]) as events:
            shared.subscriptions.close()
            with anyio.fail_after(10):
                assert [event async for event in events] == []
        with pytest.raises(MCPError, match="stopping"):
            async with client.listen(resource_subscriptions=[THREAD]):
                pass


async def test_a_client_cannot_listen_without_bounds(tmp_path: Path) -> None:
    async with Client(create_server(settings_in(tmp_path))) as client:
        uris = [f"memory://threads/{number}" for number in range(URIS_MAX + 1)]
        with pytest.raises(MCPError, match=f"at most {URIS_MAX} resources"):
            async with client.listen(resource_subscriptions=uris):
                pass
        async with anyio.create_task_group() as tasks:
            opened = 0

            async def listen(*, task_status: Any) -> None:
                async with client.listen(resource_subscriptions=[THREAD]):
                    task_status.started()
                    await anyio.sleep_forever()

            for _ in range(STREAMS_OF_ONE_MAX):
                await tasks.start(listen)
                opened += 1
            with pytest.raises(MCPError, match=f"You have {opened} streams open"):
                async with client.listen(resource_subscriptions=[THREAD]):
                    pass
            tasks.cancel_scope.cancel()
        # Those that were closed make room.
        async with client.listen(resource_subscriptions=[THREAD]) as events:
            await Caller(client).save("garden/west", "Hello")
            assert await heard(events) == THREAD


class Wire:
    """A client's session, which takes what it is sent, or stops reading after the first."""

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.taken: list[Any] = []
        self.acknowledged = anyio.Event()

    async def send_notification(self, notification: Any, related_request_id: Any = None) -> None:
        if self.acknowledged.is_set() and not self.reads:
            await anyio.sleep_forever()
        self.taken.append(notification)
        self.acknowledged.set()


def context_of(wire: Any) -> ServerRequestContext[Any]:
    return ServerRequestContext(
        session=wire,
        lifespan_context=None,
        protocol_version="2026-07-28",
        method="subscriptions/listen",
        request_id=1,
    )


async def test_a_client_that_does_not_read_is_dropped_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "SEND_SECONDS_MAX", 0.05)
    told = subscriptions.Subscriptions()
    params = SubscriptionsListenRequestParams(
        notifications=SubscriptionFilter(resource_subscriptions=[THREAD])
    )
    refused: list[str] = []

    async def listen(wire: Wire) -> None:
        try:
            await told.listen(context_of(wire), params, "mara")
        except MCPError as error:
            refused.append(error.error.message)

    stuck, healthy = Wire(reads=False), Wire(reads=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, stuck)
        tasks.start_soon(listen, healthy)
        await stuck.acknowledged.wait()
        await healthy.acknowledged.wait()
        for _ in range(2 * subscriptions.BACKLOG_MAX):
            await told.publish(ResourceUpdated(uri=THREAD), "mara")
        with anyio.fail_after(10):
            while not refused or len(healthy.taken) <= 2 * subscriptions.BACKLOG_MAX:
                await anyio.sleep(0.01)
        told.close()
    assert refused == ["The client does not read its stream."]
    assert len(stuck.taken) == 1
    assert len(healthy.taken) == 1 + 2 * subscriptions.BACKLOG_MAX
