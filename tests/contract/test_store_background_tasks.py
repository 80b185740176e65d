"""Background tasks: the store's domain, and the storage function with rows of old versions."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest

from convex_memory.deployment import Deployment
from convex_memory.embedded import DATABASE_NAME
from convex_memory.errors import InvalidArgument, InvalidResponse
from convex_memory.store import (
    BackgroundTask,
    BackgroundTaskStore,
    ConvexStore,
    TaskFilter,
    TaskStatus,
)
from tests.bridge.serving import Bridge
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import EMBEDDED_FOLDER
from tests.contract.requirements import requirement
from tests.contract.wire import Record, Wire, bare, filters

pytestmark = pytest.mark.anyio

TABLE = "mastra_background_tasks"


@pytest.fixture
def tasks(store: ConvexStore) -> BackgroundTaskStore:
    return store.background_tasks


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


class Cast:
    """Makes tasks whose ids, and whose agent, belong to one test."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.agent = self.id("agent")

    def id(self, name: str) -> str:
        return f"{self.namespace}-{name}"

    def task(self, name: str, seconds: float = 0, **fields: Any) -> BackgroundTask:
        defaults: dict[str, Any] = {
            "status": "pending",
            "tool_name": "brew",
            "tool_call_id": "call",
            "agent_id": self.agent,
            "run_id": "run",
            "timeout_ms": 60_000,
            "created_at": at(seconds),
        }
        return BackgroundTask(id=self.id(name), **{**defaults, **fields})

    def names(self, found: list[BackgroundTask]) -> str:
        return " ".join(task.id.removeprefix(f"{self.namespace}-") for task in found)

    def legacy(self, name: str, **fields: Any) -> Record:
        """A task as old versions stored it."""
        return {
            "id": self.id(name),
            "status": "pending",
            "toolName": "brew",
            "toolCallId": "call",
            "agentId": self.agent,
            "runId": "run",
            "args": '{"cups":2}',
            "retryCount": 0,
            "maxRetries": 1,
            "timeoutMs": 5,
            "createdAt": "2025-01-31T12:00:00.000Z",
            **fields,
        }


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


class OldRows(Protocol):
    """Documents where old versions kept tasks, which no request can write any more."""

    async def store(self, *records: Record) -> None:
        """Store records as old versions did."""

    def ids(self) -> list[str]:
        """The ids of all that there are, hidden ones too."""


class OldRowsInFile:
    """Those of an embedded deployment, by way of its database."""

    def __init__(self, wire: Wire, elsewhere: str, file: Path) -> None:
        self._wire = wire
        self._elsewhere = elsewhere
        self._file = file

    async def store(self, *records: Record) -> None:
        # Written among the documents, then moved to where old versions had them.
        await self._wire.insert(self._elsewhere, *records)
        with closing(sqlite3.connect(self._file)) as database, database:
            database.execute(
                'UPDATE mastra_documents SET "table" = ? WHERE "table" = ?',
                (TABLE, self._elsewhere),
            )

    def ids(self) -> list[str]:
        with closing(sqlite3.connect(self._file)) as database:
            rows = database.execute(
                'SELECT "primaryKey" FROM mastra_documents WHERE "table" = ? ORDER BY "_sequence"',
                (TABLE,),
            )
            return [str(record_id) for (record_id,) in rows]


class OldRowsBehindBridge:
    """Those of a bridge, which stores any row for tests."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def store(self, *records: Record) -> None:
        self._bridge.rows(
            "mastra_documents",
            [{"table": TABLE, "primaryKey": each["id"], "record": each} for each in records],
        )

    def ids(self) -> list[str]:
        rows = self._bridge.rows("mastra_documents")
        return [row["primaryKey"] for row in rows if row["table"] == TABLE]


@pytest.fixture
def old_rows(wire: Wire, cast: Cast, bridge: Bridge | None, tmp_path: Path) -> OldRows:
    if bridge is not None:
        return OldRowsBehindBridge(bridge)
    return OldRowsInFile(wire, cast.id("old"), tmp_path / EMBEDDED_FOLDER / DATABASE_NAME)


# --- Create, get


@requirement("store:tasks:create")
async def test_a_created_task_is_read_back(tasks: BackgroundTaskStore, cast: Cast) -> None:
    full = cast.task(
        "full",
        status="failed",
        args={"$cups": 2, "ключ": [None, 0.5]},
        thread_id="t",
        resource_id="r",
        result={"tea": ["green", 1]},
        error={"message": "no water", "stack": "at kettle"},
        suspend_payload={"ask": "sugar?"},
        retry_count=1,
        max_retries=3,
        started_at=at(1),
        suspended_at=at(2),
        completed_at=at(3.5),
    )
    plain = cast.task("plain")
    for task in (full, plain):
        assert await tasks.create_task(task) == task
        assert await tasks.get_task(id=task.id) == task
    assert (plain.args, plain.result, plain.error, plain.started_at) == ({}, None, None, None)
    for status in get_args(TaskStatus):
        assert (await tasks.create_task(cast.task(status, status=status))).status == status
    for number, result in enumerate((0, False, "", [], "text", "null", {"a": None})):
        task = cast.task(f"r{number}", result=result, suspend_payload=result)
        await tasks.create_task(task)
        assert await tasks.get_task(id=task.id) == task


@requirement("store:tasks:create:again")
async def test_creating_a_task_again_replaces_it(tasks: BackgroundTaskStore, cast: Cast) -> None:
    await tasks.create_task(cast.task("a", status="failed", error={"message": "x"}, thread_id="t"))
    second = cast.task("a", 5, status="running", started_at=at(6))
    await tasks.create_task(second)
    assert await tasks.get_task(id=second.id) == second
    assert (await tasks.list_tasks(filter=TaskFilter(agent_id=cast.agent))).total == 1


@requirement("store:tasks:create:refusals")
async def test_a_task_that_cannot_be_is_refused(deployment: Deployment, cast: Cast) -> None:
    counted = StockDeployment(deployment)
    tasks = ConvexStore(counted).background_tasks
    with pytest.raises(InvalidArgument, match="missing an id"):
        await tasks.create_task(replace(cast.task("a"), id=""))
    for field in ("args", "result", "error", "suspend_payload"):
        bad: dict[str, Any] = {field: {"x": float("nan")}}
        with pytest.raises(InvalidArgument, match=f"{field} must be JSON"):
            await tasks.create_task(cast.task("a", **bad))
    with pytest.raises(InvalidArgument, match="started_at must have a time zone"):
        await tasks.create_task(cast.task("a", started_at=at(0).replace(tzinfo=None)))
    assert counted.operations == []


@requirement("store:tasks:get")
async def test_an_absent_task_is_none(tasks: BackgroundTaskStore, cast: Cast) -> None:
    await tasks.create_task(cast.task("a"))
    assert await tasks.get_task(id=cast.id("nobody")) is None
    assert await tasks.get_task(id="") is None


@requirement("store:tasks:get:old")
async def test_rows_of_old_versions_are_read(
    tasks: BackgroundTaskStore, cast: Cast, wire: Wire, old_rows: OldRows
) -> None:
    old = cast.legacy(
        "old",
        status="completed",
        threadId="t",
        resourceId=None,
        result="not JSON",
        error='{"message":"x"}',
        suspendPayload='{"a":1}',
        startedAt="2025-01-31T12:00:01.000Z",
        completedAt=None,
    )
    await old_rows.store(old, cast.legacy("bare", args={"as": "it is"}, error="broken"))
    task = await tasks.get_task(id=cast.id("old"))
    assert task is not None
    assert task.to_row() == {
        "id": cast.id("old"),
        "status": "completed",
        "tool_name": "brew",
        "tool_call_id": "call",
        "agent_id": cast.agent,
        "run_id": "run",
        "thread_id": "t",
        "resource_id": None,
        "args": '{"cups":2}',
        "result": '"not JSON"',
        "error": '{"message":"x"}',
        "suspend_payload": '{"a":1}',
        "retry_count": 0,
        "max_retries": 1,
        "timeout_ms": 5,
        "createdAt": "2025-01-31T12:00:00.000Z",
        "startedAt": "2025-01-31T12:00:01.000Z",
        "suspendedAt": None,
        "completedAt": None,
    }
    bare_task = await tasks.get_task(id=cast.id("bare"))
    assert bare_task is not None
    assert (bare_task.args, bare_task.error) == ({"as": "it is"}, {"message": "broken"})
    assert (bare_task.thread_id, bare_task.suspend_payload) == (None, None)
    await old_rows.store(cast.legacy("odd", status="lost"))
    with pytest.raises(InvalidResponse, match="unknown status"):
        await tasks.get_task(id=cast.id("odd"))


# --- Update


@requirement("store:tasks:update")
async def test_an_update_changes_what_it_says(tasks: BackgroundTaskStore, cast: Cast) -> None:
    expected = cast.task("a", thread_id="t", max_retries=2, result={"kept": 1})
    await tasks.create_task(expected)
    changes: list[dict[str, Any]] = [
        {"status": "running", "started_at": at(1)},
        {"retry_count": 1},
        {"max_retries": 5},
        {"timeout_ms": 7},
        {"status": "suspended", "suspended_at": at(2), "suspend_payload": {"ask": 1}},
        {"error": {"message": "no"}, "status": "failed"},
        {"result": [1, "two"], "completed_at": at(3), "status": "completed", "retry_count": 0},
    ]
    for change in changes:
        expected = replace(expected, **change)
        assert await tasks.update_task(id=expected.id, **change) is True
        assert await tasks.get_task(id=expected.id) == expected


@requirement("store:tasks:update:clear")
async def test_none_clears_what_can_be_absent(tasks: BackgroundTaskStore, cast: Cast) -> None:
    full: dict[str, Any] = {
        "result": 1,
        "error": {"message": "x"},
        "suspend_payload": 1,
        "started_at": at(1),
        "suspended_at": at(2),
        "completed_at": at(3),
    }
    expected = await tasks.create_task(cast.task("a", **full))
    for name in full:
        cleared: dict[str, Any] = {name: None}
        expected = replace(expected, **cleared)
        assert await tasks.update_task(id=expected.id, **cleared) is True
        assert await tasks.get_task(id=expected.id) == expected
    assert expected == cast.task("a")


@requirement("store:tasks:update:nothing")
async def test_an_update_of_nothing_sends_nothing(deployment: Deployment, cast: Cast) -> None:
    counted = StockDeployment(deployment)
    tasks = ConvexStore(counted).background_tasks
    await tasks.create_task(cast.task("a"))
    assert await tasks.update_task(id=cast.id("a")) is False
    nothing: dict[str, Any] = dict.fromkeys(("status", "retry_count", "max_retries", "timeout_ms"))
    assert await tasks.update_task(id=cast.id("a"), **nothing) is False
    assert counted.operations == ["insert"]


@requirement("store:tasks:update:absent")
async def test_updating_an_absent_task_changes_nothing(
    tasks: BackgroundTaskStore, cast: Cast
) -> None:
    assert await tasks.update_task(id=cast.id("nobody"), status="running") is False
    assert await tasks.get_task(id=cast.id("nobody")) is None


# --- List


async def listed(tasks: BackgroundTaskStore, cast: Cast, **question: Any) -> str:
    wanted = TaskFilter(**{"agent_id": cast.agent, **question})
    return cast.names((await tasks.list_tasks(filter=wanted)).tasks)


@requirement("store:tasks:list")
async def test_tasks_are_listed_the_oldest_first(tasks: BackgroundTaskStore, cast: Cast) -> None:
    for name, seconds in (("c", 3), ("a", 1), ("x", 2), ("b", 2)):
        await tasks.create_task(cast.task(name, seconds))
    assert await listed(tasks, cast) == "a x b c"
    assert await listed(tasks, cast, order_direction="desc") == "c x b a"
    everything = await tasks.list_tasks()
    assert {cast.id(name) for name in "abcx"} <= {task.id for task in everything.tasks}
    assert everything.total == len(everything.tasks)
    assert (await tasks.list_tasks(filter=TaskFilter(agent_id=cast.id("nobody")))).tasks == []


@requirement("store:tasks:list:filters")
async def test_tasks_are_filtered_by_each_name(tasks: BackgroundTaskStore, cast: Cast) -> None:
    fields = {
        "agent_id": cast.id("other"),
        "thread_id": cast.id("t"),
        "resource_id": cast.id("r"),
        "tool_name": cast.id("tool"),
        "tool_call_id": cast.id("call"),
        "run_id": cast.id("run"),
    }
    await tasks.create_task(cast.task("plain"))
    for number, (name, value) in enumerate(fields.items()):
        await tasks.create_task(cast.task(name, number, **{name: value}))
    await tasks.create_task(cast.task("all", 9, **fields))
    for name, value in fields.items():
        wanted = TaskFilter(**{name: value})  # type: ignore[arg-type]
        found = await tasks.list_tasks(filter=wanted)
        assert (cast.names(found.tasks), found.total) == (f"{name} all", 2)
    together = TaskFilter(**fields)  # type: ignore[arg-type]
    assert cast.names((await tasks.list_tasks(filter=together)).tasks) == "all"
    await tasks.delete_task(id=cast.id("all"))
    assert (await tasks.list_tasks(filter=together)).tasks == []
    assert await listed(tasks, cast, thread_id="", run_id="") == (
        "plain thread_id resource_id tool_name tool_call_id run_id"
    )


@requirement("store:tasks:list:status")
async def test_tasks_of_some_statuses_are_listed(tasks: BackgroundTaskStore, cast: Cast) -> None:
    for number, status in enumerate(get_args(TaskStatus)):
        await tasks.create_task(cast.task(status, number, status=status))
    assert await listed(tasks, cast, status="running") == "running"
    assert await listed(tasks, cast, status=["running"]) == "running"
    assert await listed(tasks, cast, status=("failed", "pending")) == "pending failed"
    assert await listed(tasks, cast, status=[]) == ""
    assert await listed(tasks, cast, status=None) == " ".join(get_args(TaskStatus))


@requirement("store:tasks:list:dates")
async def test_a_range_of_dates_ends_before_its_end(tasks: BackgroundTaskStore, cast: Cast) -> None:
    await tasks.create_task(cast.task("a", 1, started_at=at(10)))
    await tasks.create_task(cast.task("b", 2))
    await tasks.create_task(cast.task("c", 3, started_at=at(12), completed_at=at(20)))
    assert await listed(tasks, cast, from_date=at(2)) == "b c"
    assert await listed(tasks, cast, to_date=at(2)) == "a"
    assert await listed(tasks, cast, from_date=at(1), to_date=at(3)) == "a b"
    assert await listed(tasks, cast, from_date="2025-06-01T00:00:03Z") == "c"
    started = {"date_filter_by": "started_at"}
    assert await listed(tasks, cast, from_date=at(0), **started) == "a c"
    assert await listed(tasks, cast, to_date=at(12), **started) == "a"
    assert await listed(tasks, cast, to_date=at(21), date_filter_by="completed_at") == "c"
    assert await listed(tasks, cast, to_date=at(99), date_filter_by="suspended_at") == ""
    # Naming a date without bounds leaves nothing out.
    assert await listed(tasks, cast, **started) == "a b c"


@requirement("store:tasks:list:order")
async def test_tasks_are_sorted_by_any_date(tasks: BackgroundTaskStore, cast: Cast) -> None:
    await tasks.create_task(cast.task("a", 1, started_at=at(12), completed_at=at(20)))
    await tasks.create_task(cast.task("b", 2, suspended_at=at(5)))
    await tasks.create_task(cast.task("c", 3, started_at=at(10), completed_at=at(21)))
    await tasks.create_task(cast.task("d", 4))
    for order_by, ascending, descending in (
        ("created_at", "a b c d", "d c b a"),
        ("started_at", "b d c a", "a c b d"),
        ("suspended_at", "a c d b", "b a c d"),
        ("completed_at", "b d a c", "c a b d"),
    ):
        assert await listed(tasks, cast, order_by=order_by) == ascending
        down = await listed(tasks, cast, order_by=order_by, order_direction="desc")
        assert down == descending


@requirement("store:tasks:list:pages")
async def test_pages_follow_each_other(tasks: BackgroundTaskStore, cast: Cast) -> None:
    for number in range(5):
        await tasks.create_task(cast.task(f"{number}", -number))
    questions: list[tuple[dict[str, int], str]] = [
        ({"page": 0, "per_page": 2}, "4 3"),
        ({"page": 1, "per_page": 2}, "2 1"),
        ({"page": 2, "per_page": 2}, "0"),
        ({"page": 3, "per_page": 2}, ""),
        ({"per_page": 3}, "4 3 2"),
        ({"per_page": 0}, ""),
        ({"page": 1}, "4 3 2 1 0"),
    ]
    for question, expected in questions:
        wanted = TaskFilter(agent_id=cast.agent, **question)  # type: ignore[arg-type]
        found = await tasks.list_tasks(filter=wanted)
        assert (cast.names(found.tasks), found.total) == (expected, 5), question


@requirement("store:tasks:list:refusals")
async def test_impossible_listings_are_refused(tasks: BackgroundTaskStore) -> None:
    for question in (TaskFilter(page=-1, per_page=1), TaskFilter(per_page=-1)):
        with pytest.raises(InvalidArgument, match="must be >= 0"):
            await tasks.list_tasks(filter=question)
    with pytest.raises(InvalidArgument, match="to_date must be an ISO-8601 date"):
        await tasks.list_tasks(filter=TaskFilter(to_date="tomorrow"))


# --- Delete, count


@requirement("store:tasks:delete")
async def test_deleting_a_task_deletes_exactly_that_one(
    tasks: BackgroundTaskStore, cast: Cast
) -> None:
    for name in ("a", "b"):
        await tasks.create_task(cast.task(name))
    await tasks.delete_task(id=cast.id("a"))
    await tasks.delete_task(id=cast.id("a"))
    await tasks.delete_task(id=cast.id("nobody"))
    assert await listed(tasks, cast) == "b"


@requirement("store:tasks:delete:filter")
async def test_deleting_by_filter_deletes_what_it_lists(
    tasks: BackgroundTaskStore, cast: Cast
) -> None:
    statuses: list[TaskStatus] = ["completed", "failed", "running"]
    for number in range(9):
        task = cast.task(f"{number}", number, status=statuses[number % 3], completed_at=at(number))
        await tasks.create_task(task)
    mine = {"agent_id": cast.agent}
    await tasks.delete_tasks(
        filter=TaskFilter(
            **mine,  # type: ignore[arg-type]
            status=["completed", "failed"],
            to_date=at(4),
            date_filter_by="completed_at",
        )
    )
    assert await listed(tasks, cast) == "2 4 5 6 7 8"
    await tasks.delete_tasks(
        filter=TaskFilter(**mine, page=1, per_page=2, order_direction="desc")  # type: ignore[arg-type]
    )
    assert await listed(tasks, cast) == "2 4 7 8"
    await tasks.delete_tasks(filter=TaskFilter(agent_id=cast.id("nobody")))
    assert await listed(tasks, cast) == "2 4 7 8"
    await tasks.delete_tasks(filter=TaskFilter(agent_id=cast.agent))
    assert await listed(tasks, cast) == ""


@requirement("store:tasks:delete:everything")
async def test_a_filter_that_does_not_narrow_deletes_nothing(
    tasks: BackgroundTaskStore, cast: Cast
) -> None:
    await tasks.create_task(cast.task("a"))
    for wide in (
        TaskFilter(),
        TaskFilter(status=[]),
        TaskFilter(agent_id="", thread_id=""),
        TaskFilter(page=0, per_page=5, order_by="started_at", date_filter_by="started_at"),
    ):
        await tasks.delete_tasks(filter=wide)
        assert await listed(tasks, cast) == "a"


@requirement("store:tasks:counts")
async def test_running_tasks_are_counted(tasks: BackgroundTaskStore, cast: Cast) -> None:
    before = await tasks.get_running_count()
    for name, status, agent in (
        ("a", "running", cast.agent),
        ("b", "running", cast.id("other")),
        ("c", "running", cast.agent),
        ("d", "pending", cast.agent),
        ("e", "suspended", cast.agent),
    ):
        await tasks.create_task(cast.task(name, status=status, agent_id=agent))
    assert await tasks.get_running_count() == before + 3
    assert await tasks.get_running_count_by_agent(agent_id=cast.agent) == 2
    assert await tasks.get_running_count_by_agent(agent_id=cast.id("nobody")) == 0
    await tasks.update_task(id=cast.id("a"), status="completed")
    assert await tasks.get_running_count_by_agent(agent_id=cast.agent) == 1


@requirement("store:tasks:clear")
async def test_clearing_tasks_deletes_every_one(
    store: ConvexStore, tasks: BackgroundTaskStore, cast: Cast
) -> None:
    await tasks.init()
    await asyncio.gather(*(tasks.create_task(cast.task(f"{number}")) for number in range(40)))
    assert (await tasks.list_tasks()).total == 40
    await tasks.dangerously_clear_all()
    assert (await tasks.list_tasks()).total == 0
    assert store.get_store("backgroundTasks") is tasks


# --- On the wire


@requirement("wire:tasks:soft")
async def test_whatever_is_wrong_is_a_soft_error(wire: Wire, cast: Cast) -> None:
    row = cast.task("a").to_row()
    await wire.insert(TABLE, row)
    stored = await wire.load(TABLE, id=row["id"])
    record: Any = {**row, "status": "lost"}
    incomplete: Any = {name: value for name, value in row.items() if name != "run_id"}
    for op, fields, text in (
        ("insert", {"record": {**row, "id": ""}}, "Record is missing an id"),
        ("insert", {"record": record}, "status"),
        ("insert", {"record": {**incomplete, "id": "n"}}, "run_id"),
        ("insert", {"record": {**row, "agentId": "x"}}, "agentId"),
        ("batchInsert", {"records": [{**row, "id": "n"}, record]}, "status"),
        ("patch", {"id": row["id"], "record": {"args": 1}}, "args"),
        ("patch", {"id": row["id"], "record": {"_id": "x"}}, "_id"),
        ("loadMany", {"ids": ["x"] * 11}, "loadMany supports at most 10 ids per request"),
        ("queryTable", {"limit": -1}, "limit"),
        ("queryTable", {"indexHint": {"index": "by_workflow"}}, "by_workflow"),
        ("levitate", {}, "Unsupported operation levitate"),
    ):
        reply = await wire.send(op, TABLE, **fields)
        assert set(reply) == {"ok", "error"}, (op, reply)
        assert reply["ok"] is False
        assert text in reply["error"]
    assert await wire.load(TABLE, id=row["id"]) == stored
    assert await wire.load(TABLE, id="n") is None


@requirement("wire:tasks:legacy:load")
async def test_old_copies_are_found_by_id(wire: Wire, cast: Cast, old_rows: OldRows) -> None:
    old, hidden = cast.legacy("old"), cast.legacy("both", status="failed")
    await old_rows.store(old, hidden)
    row = cast.task("both").to_row()
    await wire.insert(TABLE, row)
    assert await wire.load(TABLE, id=old["id"]) == old
    assert bare(await wire.load(TABLE, id=row["id"])) == row
    assert await wire.load(TABLE, id=cast.id("nobody")) is None
    assert await wire.load(TABLE, agentId=cast.agent) is None
    assert bare(await wire.load(TABLE, agent_id=cast.agent)) == row
    ids: list[Any] = [old["id"], cast.id("nobody"), row["id"], old["id"]]
    found = await wire.result("loadMany", TABLE, ids=ids)
    assert [bare(task) for task in found] == [old, row]


@requirement("wire:tasks:legacy:query")
async def test_rows_come_before_old_copies(wire: Wire, cast: Cast, old_rows: OldRows) -> None:
    await old_rows.store(
        cast.legacy("o1"), cast.legacy("hidden"), cast.legacy("o2"), cast.legacy("o3", x=1)
    )
    rows = [cast.task(name, -number).to_row() for number, name in enumerate(("r1", "hidden", "r2"))]
    await wire.insert(TABLE, *rows)

    async def query(**fields: Any) -> str:
        found = await wire.result("queryTable", TABLE, **fields)
        return " ".join(task["id"].removeprefix(f"{cast.namespace}-") for task in found)

    everything = "r1 hidden r2 o1 o2 o3"
    assert await query() == everything
    words = everything.split()
    for limit in (1, 2, 3, 4, 5, 6, 50):
        assert await query(limit=limit) == " ".join(words[:limit])
    for nothing in (0, None):
        assert await query(limit=nothing) == everything
    by_status = filters(status="pending")
    assert await query(filters=by_status) == "r2 hidden r1 o1 o2 o3"
    assert await query(filters=by_status, limit=4) == "r2 hidden r1 o1"
    assert await query(filters=filters(status="failed")) == ""
    found = await wire.result("queryTable", TABLE, filters=filters(x=1))
    assert found == [cast.legacy("o3", x=1)]


@requirement("wire:tasks:legacy:filters")
@pytest.mark.parametrize(
    ("current", "old", "value"),
    [
        ("tool_call_id", "toolCallId", "c"),
        ("tool_name", "toolName", "n"),
        ("agent_id", "agentId", "a"),
        ("run_id", "runId", "r"),
        ("thread_id", "threadId", "t"),
        ("resource_id", "resourceId", None),
        ("suspend_payload", "suspendPayload", "{}"),
        ("retry_count", "retryCount", 7),
        ("max_retries", "maxRetries", 8),
        ("timeout_ms", "timeoutMs", 9),
    ],
)
async def test_old_copies_are_filtered_by_either_spelling(
    wire: Wire, cast: Cast, old_rows: OldRows, current: str, old: str, value: Any
) -> None:
    in_camel = cast.legacy("camel", **{old: value})
    in_snake = {**cast.legacy("snake"), current: value}
    in_snake.pop(old, None)
    await old_rows.store(in_camel, in_snake)
    await wire.insert(TABLE, cast.task("row").to_row())
    for spelling in (current, old):
        found = await wire.query(TABLE, **{spelling: value})
        assert [bare(each) for each in found if each["id"] != cast.id("row")] == [
            in_camel,
            in_snake,
        ]
    # A row has its fields under one name only.
    row_found = [each["id"] for each in await wire.query(TABLE, **{old: value})]
    assert cast.id("row") not in row_found


@requirement("wire:tasks:legacy:insert")
async def test_a_row_hides_the_old_copy(wire: Wire, cast: Cast, old_rows: OldRows) -> None:
    olds = [cast.legacy("a"), cast.legacy("b")]
    await old_rows.store(*olds)
    rows = [cast.task(name, status="running").to_row() for name in ("a", "b")]
    await wire.insert(TABLE, rows[0])
    await wire.insert_batch(TABLE, [rows[1]])
    assert [bare(task) for task in await wire.query(TABLE)] == rows
    assert old_rows.ids() == [old["id"] for old in olds]


@requirement("wire:tasks:legacy:patch")
async def test_a_patch_changes_the_task_where_it_is(
    wire: Wire, cast: Cast, old_rows: OldRows
) -> None:
    await old_rows.store(cast.legacy("both"), cast.legacy("old", timeout_ms=1, kept=[1]))
    row = cast.task("both").to_row()
    await wire.insert(TABLE, row)

    async def patch(name: str, **record: Any) -> Any:
        return await wire.result("patch", TABLE, id=cast.id(name), record=record)

    assert await patch("nobody", status="failed") is False
    assert await patch("both", status="running", id="x") is True
    assert bare(await wire.load(TABLE, id=row["id"])) == {**row, "status": "running"}
    assert old_rows.ids() == [cast.id("old")]
    assert await wire.ids(TABLE) == [cast.id("both"), cast.id("old")]
    changed = await patch("old", status="failed", retry_count=4, timeoutMs=6, id="x")
    assert changed is True
    expected = cast.legacy("old", status="failed", kept=[1], timeoutMs=6)
    del expected["retryCount"]
    assert await wire.load(TABLE, id=cast.id("old")) == {**expected, "retry_count": 4}
    assert await wire.load(TABLE, id="x") is None


@requirement("wire:tasks:legacy:delete")
async def test_deleting_removes_both_copies(wire: Wire, cast: Cast, old_rows: OldRows) -> None:
    await old_rows.store(cast.legacy("both"), cast.legacy("old"), cast.legacy("kept"))
    await wire.insert(TABLE, cast.task("both").to_row(), cast.task("row").to_row())
    ids: list[Any] = [cast.id(name) for name in ("both", "old", "row", "nobody", "both")]
    assert await wire.send("deleteMany", TABLE, ids=ids) == {"ok": True}
    assert await wire.ids(TABLE) == old_rows.ids() == [cast.id("kept")]


@requirement("wire:tasks:legacy:clear")
@pytest.mark.parametrize("op", ["clearTable", "dropTable"])
@pytest.mark.parametrize(
    ("rows", "olds"), [(0, 0), (25, 0), (26, 0), (0, 26), (10, 15), (10, 16), (30, 30)]
)
async def test_a_clear_spends_its_rows_on_both(
    wire: Wire, cast: Cast, old_rows: OldRows, op: str, rows: int, olds: int
) -> None:
    await assert_cleared(wire, cast, old_rows, op, rows=rows, olds=olds)


@requirement("wire:tasks:legacy:clear:rest")
@pytest.mark.parametrize("op", ["clearTable", "dropTable"])
async def test_a_clear_that_ends_with_the_rows_tells_of_old_copies(
    wire: Wire, cast: Cast, old_rows: OldRows, op: str
) -> None:
    await assert_cleared(wire, cast, old_rows, op, rows=25, olds=1)


async def assert_cleared(
    wire: Wire, cast: Cast, old_rows: OldRows, op: str, *, rows: int, olds: int
) -> None:
    await wire.insert_batch(TABLE, [cast.task(f"r{number}").to_row() for number in range(rows)])
    await old_rows.store(*(cast.legacy(f"o{number}") for number in range(olds)))
    left = rows + olds
    for _ in range(4):
        more = left > 25
        assert await wire.send(op, TABLE) == {"ok": True, "hasMore": more}
        left = max(0, left - 25)
        remaining = [
            task["id"].removeprefix(f"{cast.namespace}-") for task in await wire.query(TABLE)
        ]
        everything = [f"r{number}" for number in range(rows)] + [f"o{n}" for n in range(olds)]
        assert remaining == everything[len(everything) - left :]
