"""Three servers behind a proxy that sends each request to another of them are as one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from convex_memory.embedded import ADMIN_KEY_NAME
from server.idempotency import META_KEY
from tests.application.connections import Caller
from tests.application.processes import Process, Proxy
from tests.application.task_client import TakesTasks, over, started, task_of

pytestmark = pytest.mark.anyio

REPLICAS = 3
QUICK = {"MEMORY_TASK_LEASE_MS": "1000", "MEMORY_TASK_GRACE_MS": "50"}


TOKENS = {name: f"the token of {name}".replace(" ", "-") for name in ("mara", "otto")}


@dataclass(frozen=True)
class Cluster:
    """Servers on one memory.

    Attributes:
        servers: They.
        deployment: What they use, where they do not open the folder; they ask for tokens then.
        environment: Their settings.
    """

    servers: list[Process]
    deployment: Process | None
    environment: dict[str, str]

    @property
    def origins(self) -> list[str]:
        return [server.url.removesuffix("/mcp") for server in self.servers]


@pytest.fixture(scope="module", params=["folder", "deployment"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("replicas") / "memory"
    environment = {"MEMORY_DATA_DIR": str(folder), **QUICK}
    deployment = None
    if request.param == "deployment":
        deployment = Process("deployment", environment)
        environment = {
            "CONVEX_URL": deployment.url,
            "CONVEX_ADMIN_KEY": (folder / ADMIN_KEY_NAME).read_text().strip(),
            "MEMORY_HTTP_TOKENS": ",".join(f"{name}={token}" for name, token in TOKENS.items()),
            **QUICK,
        }
    servers = [Process("serve", environment) for _ in range(REPLICAS)]
    try:
        yield Cluster(servers, deployment, environment)
        # Whatever a test leaves open, they end when they are asked to.
        assert [server.stop() for server in servers] == [0] * REPLICAS
    finally:
        for process in (*servers, *([deployment] if deployment else [])):
            process.kill()


@asynccontextmanager
async def client_of(url: str, mode: Any = "auto", who: str = "mara") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {TOKENS[who]}"}, timeout=httpx2.Timeout(30, read=300)
        ) as wire,
        Client(
            streamable_http_client(f"{url}/mcp", http_client=wire),
            mode=mode,
            extensions=[TakesTasks()],
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_is_served_by_all_of_them_in_turn(cluster: Cluster, mode: Any) -> None:
    proxy = Proxy(cluster.origins)
    async with proxy.running(), client_of(proxy.url, mode) as client:
        caller, thread_id = Caller(client), f"garden {mode}"
        contents = [f"Row {number} is sown" for number in range(2 * REPLICAS)]
        for content in contents:
            await caller.save(thread_id, content)
        counts = [
            (await caller.call("cache_increment", key=thread_id))["value"] for _ in range(REPLICAS)
        ]
        assert counts == [1, 2, 3]
        for _ in range(REPLICAS):
            page = await caller.call("recall_thread", thread_id=thread_id, order="oldest")
            assert [message["content"] for message in page["messages"]] == contents
            found = await caller.call("search_memory", query="row 4", thread_id=thread_id, limit=1)
            assert [hit["content"] for hit in found["hits"]] == ["Row 4 is sown"]
            assert len((await client.list_tools()).tools) > 20
    assert set(proxy.passed) == set(cluster.origins)
    assert max(proxy.passed.values()) - min(proxy.passed.values()) <= 1


async def test_a_listener_on_one_hears_what_is_written_on_another(cluster: Cluster) -> None:
    one, other, _ = cluster.origins
    uri = "memory://threads/listened"
    async with client_of(one) as listener, client_of(other) as writer:
        async with listener.listen(resource_subscriptions=[uri], resources_list_changed=True) as on:
            await Caller(writer).save("listened", "Hello")
            events = []
            with anyio.fail_after(30):
                async for event in on:
                    events.append(event)
                    if len(events) == 2:
                        break
        assert sorted(type(event).__name__ for event in events) == [
            "ResourceUpdated",
            "ResourcesListChanged",
        ]
        assert [event.uri for event in events if hasattr(event, "uri")] == [uri]


async def test_one_key_sent_to_two_of_them_at_once_stores_once(cluster: Cluster) -> None:
    one, other, third = cluster.origins
    rounds = 5
    async with client_of(one) as first, client_of(other) as second, client_of(third) as reader:
        answers: dict[int, list[Any]] = {number: [] for number in range(rounds)}

        async def push(client: Client, number: int) -> None:
            meta: Any = {META_KEY: f"push {number}"}
            arguments = {"key": "sent twice", "value": number}
            result = await client.call_tool("cache_push", arguments, meta=meta)
            answers[number].append(result.structured_content)

        async with anyio.create_task_group() as tasks:
            for number in range(rounds):
                tasks.start_soon(push, first, number)
                tasks.start_soon(push, second, number)
        assert all(both[0] == both[1] is not None for both in answers.values())
        kept = await Caller(reader).call("cache_replay", key="sent twice")
        assert sorted(kept["items"]) == list(range(rounds))


@pytest.mark.parametrize("cluster", ["deployment"], indirect=True)
async def test_a_task_of_a_server_that_was_killed_is_done_by_another(cluster: Cluster) -> None:
    # Between a server and a folder there is no wire on which its write could be held up.
    assert cluster.deployment is not None
    proxy = Proxy([cluster.deployment.url], lambda body: b"memory/vectors:upsert" in body)
    items = [{"vector": [1.0, float(number)]} for number in range(100)]
    async with proxy.running(), client_of(cluster.origins[0]) as survivor:
        await Caller(survivor).call("create_index", index="i", dimension=2)
        doomed = Process("serve", {**cluster.environment, "CONVEX_URL": proxy.url})
        try:
            url = await anyio.to_thread.run_sync(lambda: doomed.url)
            async with client_of(url.removesuffix("/mcp")) as client:
                task = await started(client, "upsert_embeddings", index="i", items=items)
                assert proxy.held.is_set()
                assert (await task_of(survivor, task.task_id)).status == "working"
                doomed.kill()
        finally:
            doomed.kill()
        ended = await over(survivor, task.task_id)
        assert ended.status == "completed"
        assert ended.result is not None
        assert len(set(ended.result["structuredContent"]["ids"])) == 100
        assert (await Caller(survivor).call("describe_index", index="i"))["count"] == 100
        async with client_of(cluster.origins[1]) as client:
            assert await task_of(client, task.task_id) == ended


@pytest.mark.parametrize("cluster", ["deployment"], indirect=True)
async def test_principals_hear_and_ask_of_nothing_but_what_is_theirs(cluster: Cluster) -> None:
    one, other, third = cluster.origins
    uris = ["memory://threads/own", "memory://threads/own/messages/m", "memory://working-memory"]
    async with (
        client_of(one, who="mara") as mara,
        client_of(other, who="otto") as otto,
        client_of(third, who="mara") as writer,
    ):
        async with mara.listen(resource_subscriptions=uris, resources_list_changed=True) as events:
            told = []
            save: dict[str, Any] = {"role": "user", "thread_id": "own", "message_id": "m"}
            await Caller(otto).call("save_message", content="Otto's", **save)
            await Caller(otto).call("update_working_memory", content="Otto's")
            await Caller(writer).call("save_message", content="Mara's", **save)
            with anyio.fail_after(30):
                async for event in events:
                    told.append(getattr(event, "uri", "list"))
                    if len(told) == 3:
                        break
        # In the order in which it was written: what was before hers was his.
        assert sorted(told) == ["list", *uris[:2]]

        await Caller(otto).call("create_index", index="theirs", dimension=2)
        for number, client in enumerate((mara, otto), 1):
            meta: Any = {META_KEY: "one key of two principals"}
            pushed = await client.call_tool("cache_push", {"key": "k", "value": number}, meta=meta)
            assert pushed.structured_content == {"length": 1}
            assert (await Caller(client).call("cache_replay", key="k"))["items"] == [number]
