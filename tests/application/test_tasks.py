"""Long calls as tasks: begun here, asked about anywhere, not lost with a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
)

from convex_memory.errors import Overloaded
from server import runs
from server.answering import Answering
from server.calls import Call
from server.idempotency import META_KEY
from server.settings import Settings
from server.shared import adapters_over
from server.tasks import EXTENSION, RUNNING_OF_ONE_MAX, TTL_MS
from server.working import Working
from tests.application.connections import Caller, connected, settings_in
from tests.application.replicas import Gate, ends, replica
from tests.application.task_client import (
    GetTask,
    TakesTasks,
    Task,
    TaskParams,
    TaskResult,
    cancelled,
    over,
    started,
    task_of,
)
from tests.application.test_http_transport import answer_in, opened_http
from tools import TOOLSETS, select
from tools.adapters import Adapters
from tools.toolset import Answer, Arguments, Progress, Toolset

pytestmark = pytest.mark.anyio

LEASE_MS = 500


class Told(Answer):
    told: list[str]


ITEMS = [{"id": f"v{number}", "vector": [1.0, float(number)]} for number in range(100)]


@asynccontextmanager
async def two(settings: Settings) -> AsyncIterator[tuple[Client, Gate, Client]]:
    """Two servers on one memory: a client of each that takes tasks, and the first's gate."""
    async with AsyncExitStack() as stack:
        one, _, gate = await stack.enter_async_context(replica(settings))
        other, _, _ = await stack.enter_async_context(replica(settings))
        clients = [
            await stack.enter_async_context(Client(server, extensions=[TakesTasks()]))
            for server in (one, other)
        ]
        await Caller(clients[1]).call("create_index", index="i", dimension=2)
        yield clients[0], gate, clients[1]


def quick(tmp_path: Path, **given: Any) -> Settings:
    return settings_in(tmp_path, task_lease_ms=LEASE_MS, task_grace_ms=50, **given)


def upserts(path: str, args: Mapping[str, Any]) -> bool:
    return path == "memory/vectors:upsert"


async def count_in(client: Client, index: str = "i") -> int:
    return int((await Caller(client).call("describe_index", index=index))["count"])


async def test_a_long_call_becomes_a_task_that_any_server_knows(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, second):
        gate.hold(upserts)
        task = await started(first, "upsert_embeddings", index="i", items=ITEMS)
        assert (task.status, task.ttl_ms) == ("working", TTL_MS)
        for client in (first, second):
            seen = await task_of(client, task.task_id)
            assert (seen.status, seen.result, seen.error) == ("working", None, None)
            assert seen.poll_interval_ms == task.poll_interval_ms
        assert await count_in(second) == 0
        gate.open()
        ended = await over(second, task.task_id)
        assert ended.status == "completed"
        assert ended.result is not None
        assert ended.result["structuredContent"] == {
            "index": "i",
            "upserted": 100,
            "ids": [item["id"] for item in ITEMS],
        }
        assert await task_of(first, task.task_id) == ended
        assert ended.created_at <= ended.last_updated_at
        assert await count_in(second) == 100


async def test_it_says_how_far_it_has_come(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, second):
        gate.hold(upserts)
        task = await started(first, "upsert_embeddings", index="i", items=ITEMS)
        with anyio.fail_after(20):
            while (seen := await task_of(second, task.task_id)).status_message is None:
                await anyio.sleep(0.02)
        assert seen.status_message == "0 of 100 done"
        gate.open()
        await over(first, task.task_id)


async def test_a_short_call_is_answered_at_once(tmp_path: Path) -> None:
    takes = TakesTasks()
    async with (
        replica(settings_in(tmp_path)) as (server, _, _),
        Client(server, extensions=[takes]) as client,
    ):
        saved = await Caller(client).save("t", "Hello")
        assert saved[0]["status"] == "stored"
        assert takes.handles == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_takes_no_tasks_waits(tmp_path: Path, mode: Any) -> None:
    settings = quick(tmp_path)
    async with replica(settings) as (server, _, gate), Client(server, mode=mode) as client:
        caller = Caller(client)
        await caller.call("create_index", index="i", dimension=2)
        hold = gate.hold(upserts)
        async with anyio.create_task_group() as tasks:

            async def open_later() -> None:
                await hold.held.wait()
                # For longer than a call is waited for that may become a task.
                await anyio.sleep(2 * settings.task_grace_ms / 1000)
                gate.open()

            tasks.start_soon(open_later)
            answer = await caller.call("upsert_embeddings", index="i", items=ITEMS)
        assert answer["upserted"] == 100


async def test_a_task_that_failed_as_a_tool_is_completed_and_says_so(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, second):
        gate.hold(lambda path, args: path == "memory/threads:remove")
        task = await started(first, "delete_thread", thread_id="missing")
        gate.open()
        ended = await over(second, task.task_id)
        assert ended.status == "completed"
        assert ended.result is not None
        assert ended.result["isError"] is True
        assert ended.result["content"][0]["text"].startswith("not_found: ")
        assert "begun before" not in ended.result["content"][0]["text"]


async def test_a_task_is_cancelled_from_another_server(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, second):
        hold = gate.hold(upserts)
        task = await started(first, "upsert_embeddings", index="i", items=ITEMS)
        for _ in range(2):
            await cancelled(second, task.task_id)
        ended = await over(first, task.task_id)
        assert (ended.status, ended.result) == ("cancelled", None)
        with anyio.fail_after(20):
            while hold.waiting:
                await anyio.sleep(0.02)
        gate.open()
        assert await count_in(second) == 0
        assert await task_of(second, task.task_id) == ended


async def test_the_task_of_a_server_that_fell_silent_is_done_by_another(tmp_path: Path) -> None:
    items = [{"vector": item["vector"]} for item in ITEMS]
    async with two(quick(tmp_path)) as (first, gate, second):
        hold, end = gate.hold(upserts), gate.hold(ends)
        task = await started(first, "upsert_embeddings", index="i", items=items)
        hold.open()
        await end.held.wait()
        # Everything was stored, and nothing more is heard of the first.
        assert await count_in(second) == 100
        gate.hold(lambda path, args: True)
        ended = await over(second, task.task_id)
        assert ended.status == "completed"
        assert ended.result is not None
        assert len(set(ended.result["structuredContent"]["ids"])) == 100
        assert await count_in(second) == 100
        gate.open()
        assert await over(first, task.task_id) == ended


async def test_a_task_of_a_kind_not_to_be_run_twice_fails_and_says_why(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, second):
        await Caller(second).save("t", "Hello")
        gate.hold(lambda path, args: path == "memory/threads:clone")
        task = await started(first, "clone_thread", thread_id="t")
        gate.hold(lambda path, args: True)
        ended = await over(second, task.task_id)
        assert (ended.status, ended.result) == ("failed", None)
        assert ended.error is not None
        assert ended.error["code"] == INTERNAL_ERROR
        assert "ended before it was done" in ended.error["message"]
        assert ended.status_message == ended.error["message"]
        gate.open()


async def test_a_task_with_a_key_is_run_once_though_both_servers_were_asked(tmp_path: Path) -> None:
    meta: Any = {META_KEY: "k"}
    async with two(quick(tmp_path)) as (first, gate, second):
        await Caller(second).save("t", "Hello")
        gate.hold(lambda path, args: path == "memory/threads:clone")
        handles = []
        for client in (first, second):
            answer = await client.session.call_tool(
                "clone_thread", {"thread_id": "t"}, meta=meta, allow_claimed=True
            )
            assert isinstance(answer, TaskResult)
            handles.append(answer)
        gate.open()
        one = await over(second, handles[0].task_id)
        other = await over(first, handles[1].task_id)
        assert one.result is not None
        assert other.result is not None
        assert one.result["structuredContent"] == other.result["structuredContent"]
        assert len((await Caller(first).call("list_threads"))["threads"]) == 2


async def test_a_server_that_stops_leaves_its_tasks_to_others_at_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, task_grace_ms=50)
    async with (
        replica(settings) as (other, _, _),
        Client(other, extensions=[TakesTasks()]) as second,
    ):
        await Caller(second).call("create_index", index="i", dimension=2)
        async with (
            replica(settings) as (one, _, gate),
            Client(one, extensions=[TakesTasks()]) as first,
        ):
            hold = gate.hold(upserts)
            task = await started(first, "upsert_embeddings", index="i", items=ITEMS)
            assert await count_in(second) == 0
            assert hold.waiting == 1
        with anyio.fail_after(settings.task_lease_ms / 2000):
            assert (await over(second, task.task_id)).status == "completed"
        assert await count_in(second) == 100


async def test_a_tool_may_ask_while_it_is_a_task(tmp_path: Path) -> None:
    tools = Toolset("fixtures")

    async def confirm(arguments: Arguments, adapters: Adapters, progress: Progress) -> Told:
        assert isinstance(progress, Working)
        first = await progress.ask("really", {"method": "elicitation/create", "params": {}})
        second = await progress.ask("sure", {"method": "elicitation/create", "params": {}})
        return Told(told=[first["action"], second["action"]])

    confirm.__doc__ = "Ask twice."
    confirm.__annotations__ = {"arguments": Arguments, "return": Told}
    tools.tool("Confirm", long=True)(confirm)
    settings = quick(tmp_path)
    async with replica(settings) as (_, shared, _):
        answering = Answering(
            tools.tools, shared.runs, lease_ms=LEASE_MS, grace_ms=50, wrote=lambda: None
        )
        adapters = adapters_over(shared, settings, "mara")
        call = Call(tools.tools["confirm"], {}, adapters)
        tasks = answering.tasks

        async def nowhere(done: float, total: float | None = None) -> None: ...

        handle: Any = await tasks.call(shared.runs, call, nowhere)
        task_id = handle["taskId"]

        async def asked() -> dict[str, Any]:
            with anyio.fail_after(20):
                while True:
                    task = await tasks.get(shared.runs, adapters, task_id)
                    if task["status"] == "input_required":
                        return task
                    await anyio.sleep(0.02)

        assert (await asked())["inputRequests"] == {
            "really": {"method": "elicitation/create", "params": {}}
        }
        answers = {"really": {"action": "accept"}, "unknown": {"action": "decline"}}
        await tasks.update(adapters, task_id, answers)
        await tasks.update(adapters, task_id, {"really": {"action": "decline"}})
        with anyio.fail_after(20):
            while list((await asked())["inputRequests"]) != ["sure"]:
                await anyio.sleep(0.02)
        await tasks.update(adapters, task_id, {"sure": {"action": "decline"}})
        with anyio.fail_after(20):
            while (task := await tasks.get(shared.runs, adapters, task_id))["status"] == "working":
                await anyio.sleep(0.02)
        assert task["result"]["structuredContent"] == {"told": ["accept", "decline"]}


async def test_nobody_knows_the_task_of_another_resource(tmp_path: Path) -> None:
    async with (
        replica(quick(tmp_path, resource_id="mara")) as (hers, _, gate),
        replica(quick(tmp_path, resource_id="otto")) as (his, _, _),
        Client(hers, extensions=[TakesTasks()]) as mara,
        Client(his, extensions=[TakesTasks()]) as otto,
    ):
        await Caller(mara).call("create_index", index="i", dimension=2)
        gate.hold(upserts)
        task = await started(mara, "upsert_embeddings", index="i", items=ITEMS)
        for method in (task_of, cancelled):
            errors = []
            for task_id in (task.task_id, "made-up"):
                with pytest.raises(MCPError) as raised:
                    await method(otto, task_id)
                errors.append(raised.value.error)
            assert errors[0] == errors[1]
            assert errors[0].code == INVALID_PARAMS
        assert (await task_of(mara, task.task_id)).status == "working"
        gate.open()
        assert (await over(mara, task.task_id)).status == "completed"


async def test_one_resource_cannot_take_all_tasks(tmp_path: Path) -> None:
    async with two(quick(tmp_path)) as (first, gate, _):
        gate.hold(upserts)
        handles = [
            await started(first, "upsert_embeddings", index="i", items=ITEMS[:1])
            for _ in range(RUNNING_OF_ONE_MAX)
        ]
        assert len({handle.task_id for handle in handles}) == RUNNING_OF_ONE_MAX
        async with anyio.create_task_group() as tasks:
            # The next is waited for, and answered as by a server without tasks.
            answers: list[Any] = []

            async def wait() -> None:
                arguments = {"index": "i", "items": ITEMS[:1]}
                answers.append(
                    await first.session.call_tool(
                        "upsert_embeddings", arguments, allow_claimed=True
                    )
                )

            tasks.start_soon(wait)
            gate.open()
        assert answers[0].structured_content["upserted"] == 1


# --- The wire


def request(method: str, *, takes: bool = True, version: str = "2026-07-28", **params: Any) -> Any:
    extensions: dict[str, Any] = {EXTENSION: {}} if takes else {}
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}


async def test_the_methods_are_refused_as_the_specification_says(tmp_path: Path) -> None:
    async with opened_http(settings_in(tmp_path)) as http:

        async def error_of(body: Any, **headers: str) -> int:
            response = await http.post(
                "/mcp",
                json=body,
                headers={
                    "Accept": "application/json, text/event-stream",
                    "MCP-Protocol-Version": "2026-07-28",
                    "Mcp-Method": body["method"],
                    **headers,
                },
            )
            return int(answer_in(response)["error"]["code"])

        name = {"Mcp-Name": "t"}
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            body = request(method, taskId="t")
            assert await error_of(body, **name) == INVALID_PARAMS
            assert await error_of(body) == HEADER_MISMATCH
            assert await error_of(body, **{"Mcp-Name": "other"}) == HEADER_MISMATCH
            assert (
                await error_of(request(method, takes=False, taskId="t"), **name)
                == MISSING_REQUIRED_CLIENT_CAPABILITY
            )
        for method in ("tasks/list", "tasks/result"):
            assert await error_of(request(method, taskId="t"), **name) == METHOD_NOT_FOUND
        listen = request("subscriptions/listen", takes=False, notifications={"taskIds": ["t"]})
        assert await error_of(listen) == MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_a_client_of_2025_finds_no_tasks(tmp_path: Path) -> None:
    async with connected("memory/2025", settings_in(tmp_path)) as caller:
        with pytest.raises(MCPError) as raised:
            await caller.client.session.send_request(GetTask(params=TaskParams(task_id="t")), Task)
        assert raised.value.error.code == METHOD_NOT_FOUND


def test_what_may_take_long_are_tools_that_write() -> None:
    long = {name for name, tool in select(TOOLSETS).items() if tool.long}
    assert {"save_messages", "upsert_embeddings", "delete_index", "delete_thread"} <= long
    assert not [name for name, tool in select(TOOLSETS).items() if tool.long and tool.read_only]


async def test_work_is_refused_when_there_is_too_much_or_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "RUNNING_MAX", 1)
    work = runs.Runs()

    async def one() -> int:
        return 1

    async with work.opened():
        endless = work.start(anyio.sleep_forever)
        with pytest.raises(Overloaded, match="too much"):
            work.start(one)
        endless.cancel()
        with pytest.raises(Overloaded, match="stopped"):
            await endless.result()
        assert await work.start(one).result() == 1
    with pytest.raises(Overloaded, match="stopping"):
        work.start(one)
