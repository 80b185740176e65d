"""Schedules and their triggers: the store's domain, and the storage function's operations."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import FunctionError, InvalidArgument, InvalidResponse, NotFound
from convex_memory.remote import RemoteDeployment
from convex_memory.store import ConvexStore, Schedule, ScheduleStore, ScheduleTrigger
from convex_memory.values import Value
from tests.contract.conversations import StockDeployment
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire, bare

pytestmark = pytest.mark.anyio

TABLE, TRIGGERS = "mastra_schedules", "mastra_schedule_triggers"
AGENT: Mapping[str, Any] = {"type": "agent", "agentId": "helper", "prompt": "Good morning"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def schedules(store: ConvexStore) -> ScheduleStore:
    return store.schedules


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


Make = Callable[..., Schedule]


@pytest.fixture
def make(namespace: str) -> Make:
    """Makes schedules whose ids belong to one test."""

    def schedule(name: str, **fields: Any) -> Schedule:
        defaults: dict[str, Any] = {
            "target": AGENT,
            "cron": "0 8 * * *",
            "next_fire_at_ms": 1000,
            "created_at_ms": 10,
            "updated_at_ms": 20,
        }
        return Schedule(id=f"{namespace}-{name}", **{**defaults, **fields})

    return schedule


def workflow(workflow_id: str) -> dict[str, Any]:
    return {"type": "workflow", "workflowId": workflow_id}


def names(found: list[Schedule]) -> list[str]:
    return [schedule.id.rpartition("-")[2] for schedule in found]


class Refusing:
    """A deployment that answers the storage function in one way."""

    def __init__(self, answer: Value | Exception) -> None:
        self._answer = answer

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def aclose(self) -> None:
        return None


# --- Create, get


@requirement("store:schedules:create")
async def test_a_created_schedule_is_read_back(schedules: ScheduleStore, make: Make) -> None:
    full = make(
        "full",
        target={
            "type": "workflow",
            "workflowId": "brew",
            "inputData": {"$cups": 2, "ключ": [None, 0.5]},
        },
        next_fire_at_ms=1_767_225_600_001,
        timezone="Europe/Zurich",
        status="paused",
        last_fire_at_ms=999.5,
        last_run_id="run",
        metadata={"a": {"b": [1]}},
        owner_type="agent",
        owner_id="helper",
    )
    assert await schedules.create_schedule(full) == full
    assert await schedules.get_schedule(id=full.id) == full
    assert full.workflow_id == "brew"
    plain = make("plain")
    await schedules.create_schedule(plain)
    assert await schedules.get_schedule(id=plain.id) == plain
    assert (plain.status, plain.workflow_id, plain.metadata) == ("active", None, None)


@requirement("store:changes:schedules")
async def test_writes_of_schedules_are_in_the_change_feed(store: ConvexStore, make: Make) -> None:
    start = (await store.memory.stats()).last_change or 0
    schedule = make("told", owner_type="resource", owner_id="ann")
    await store.schedules.create_schedule(schedule)
    await store.schedules.update_schedule(id=schedule.id, status="paused")
    await store.schedules.delete_schedule(id=schedule.id)
    feed = await store.memory.changes(after=start, limit=1000)
    assert [
        (change.table, change.kind, change.resource_id, change.thread_id)
        for change in feed.changes
        if change.id == schedule.id
    ] == [(TABLE, kind, None, None) for kind in ("insert", "update", "delete")]


@requirement("store:schedules:create:duplicate")
async def test_a_second_schedule_with_one_id_is_refused(
    schedules: ScheduleStore, make: Make
) -> None:
    first = make("a", cron="1 * * * *")
    await schedules.create_schedule(first)
    with pytest.raises(FunctionError) as refused:
        await schedules.create_schedule(make("a", cron="2 * * * *"))
    assert f'Schedule with id "{first.id}" already exists' in refused.value.message
    assert await schedules.get_schedule(id=first.id) == first


@requirement("store:schedules:create:refusals")
async def test_a_schedule_that_cannot_be_is_refused_without_a_request(
    deployment: Deployment, make: Make
) -> None:
    counted = StockDeployment(deployment)
    schedules = ConvexStore(counted).schedules
    with pytest.raises(InvalidArgument, match="Schedule is missing an id"):
        await schedules.create_schedule(replace(make("a"), id=""))
    for target in ({}, {"type": 1}, "brew", {"type": "workflow"}, {**AGENT, "x": {1}}):
        with pytest.raises(InvalidArgument, match="target"):
            await schedules.create_schedule(make("a", target=target))
    with pytest.raises(InvalidArgument, match="metadata must be JSON"):
        await schedules.create_schedule(make("a", metadata={"x": float("inf")}))
    assert counted.operations == []


@requirement("store:schedules:get")
async def test_an_absent_schedule_is_none(schedules: ScheduleStore, make: Make) -> None:
    assert await schedules.get_schedule(id=make("nobody").id) is None


@requirement("store:schedules:get:old")
async def test_a_heartbeat_is_an_agents_schedule(
    schedules: ScheduleStore, wire: Wire, make: Make
) -> None:
    schedule = make("a")
    old = {**schedule.to_row(), "target": json.dumps({**AGENT, "type": "heartbeat"})}
    for name in ("timezone", "metadata", "owner_type", "owner_id", "last_run_id", "last_fire_at"):
        del old[name]
    await wire.insert(TABLE, old)
    assert await schedules.get_schedule(id=schedule.id) == schedule


@requirement("store:schedules:get:target")
async def test_a_stored_target_that_is_none_is_named(
    schedules: ScheduleStore, wire: Wire, make: Make
) -> None:
    for name, target in (("a", "brew"), ("b", "null"), ("c", "[]"), ("d", '{"type": 1}')):
        row = {**make(name).to_row(), "target": target}
        await wire.insert(TABLE, row)
        with pytest.raises(InvalidResponse, match=f"Schedule {row['id']} has invalid target"):
            await schedules.get_schedule(id=str(row["id"]))


# --- List


@requirement("store:schedules:list")
async def test_schedules_are_listed_the_oldest_first(schedules: ScheduleStore, make: Make) -> None:
    for name, created in (("c", 3), ("a", 1), ("b", 2), ("d", 2)):
        await schedules.create_schedule(make(name, created_at_ms=created))
    listed = [each for each in await schedules.list_schedules() if each.id.startswith(prefix(make))]
    assert names(listed) == ["a", "b", "d", "c"]


def prefix(make: Make) -> str:
    return make("").id


@requirement("store:schedules:list:filters")
async def test_schedules_are_filtered(schedules: ScheduleStore, make: Make, namespace: str) -> None:
    ann, bob, brew = f"{namespace}-ann", f"{namespace}-bob", f"{namespace}-brew"
    agent = f"{namespace}-agent"
    fields: dict[str, Any]
    for created, (name, fields) in enumerate(
        {
            "a": {"target": workflow(brew), "owner_type": agent, "owner_id": ann},
            "b": {
                "target": workflow(brew),
                "status": "paused",
                "owner_type": agent,
                "owner_id": bob,
            },
            "c": {"target": {**AGENT, "workflowId": brew}, "owner_type": agent, "owner_id": ann},
            "d": {"target": workflow(f"{brew}2"), "owner_type": f"{agent}2", "owner_id": ann},
        }.items()
    ):
        await schedules.create_schedule(make(name, created_at_ms=created, **fields))

    async def listed(**question: Any) -> list[str]:
        return names(await schedules.list_schedules(**question))

    assert await listed(workflow_id=brew) == ["a", "b"]
    assert await listed(workflow_id=brew, status="active") == ["a"]
    assert await listed(workflow_id=f"{brew}3") == []
    assert await listed(owner_type=agent) == ["a", "b", "c"]
    assert await listed(owner_id=ann) == ["a", "c", "d"]
    assert await listed(owner_type=agent, owner_id=ann) == ["a", "c"]
    assert await listed(owner_type=agent, owner_id=ann, workflow_id=brew) == ["a"]
    assert await listed(owner_type=agent, status="paused") == ["b"]
    assert await listed(owner_type=agent, workflow_id="") == ["a", "b", "c"]


@requirement("store:schedules:list:owner")
async def test_none_asks_for_schedules_that_nobody_owns(
    schedules: ScheduleStore, make: Make, namespace: str
) -> None:
    mine = {"target": workflow(namespace)}
    for name, owner in {
        "a": {},
        "b": {"owner_type": "agent", "owner_id": "x"},
        "c": {"owner_type": "agent"},
        "d": {"owner_id": "x"},
    }.items():
        await schedules.create_schedule(make(name, **mine, **owner))

    async def listed(**question: Any) -> list[str]:
        return names(await schedules.list_schedules(workflow_id=namespace, **question))

    assert await listed() == ["a", "b", "c", "d"]
    assert await listed(owner_type=None) == ["a", "d"]
    assert await listed(owner_id=None) == ["a", "c"]
    assert await listed(owner_type=None, owner_id=None) == ["a"]
    assert await listed(owner_type="agent", owner_id=None) == ["c"]


@requirement("store:schedules:list:most")
async def test_a_listing_that_is_cut_says_so(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    for rows, warnings in ((8000, 1), (7999, 0)):
        caplog.clear()
        answer: Value = {"ok": True, "result": [make("a").to_row()] * rows}
        with caplog.at_level(logging.WARNING):
            listed = await ConvexStore(Refusing(answer)).schedules.list_schedules()
        assert (len(listed), len(caplog.records)) == (rows, warnings)


@requirement("store:schedules:list:table")
@pytest.mark.parametrize(
    "text",
    [
        'Table "mastra_schedules" is not in the schema',
        "Uncaught Error: table mastra_schedules not found",
        "Table `mastra_schedules` does not exist",
    ],
)
async def test_without_tables_there_are_no_schedules(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    schedules = ConvexStore(Refusing(FunctionError(text))).schedules
    with caplog.at_level(logging.WARNING):
        assert await schedules.list_schedules() == []
        assert await schedules.list_due_schedules(now_ms=1) == []
    assert len(caplog.records) == 2
    for other in ("mastra_schedules is locked", "mastra_threads not found"):
        broken = ConvexStore(Refusing(FunctionError(other))).schedules
        with pytest.raises(FunctionError, match=other):
            await broken.list_schedules()
        with pytest.raises(FunctionError, match=other):
            await broken.list_due_schedules(now_ms=1)


# --- Due


@requirement("store:schedules:due")
async def test_due_are_active_schedules_whose_time_has_come(
    schedules: ScheduleStore, make: Make
) -> None:
    for name, at, status in (
        ("late", -300, "active"),
        ("paused", -300, "paused"),
        ("now", -100, "active"),
        ("future", -99, "active"),
        ("later", -200, "active"),
        ("tie", -200, "active"),
    ):
        await schedules.create_schedule(make(name, next_fire_at_ms=at, status=status))
    assert names(await schedules.list_due_schedules(now_ms=-100)) == ["late", "later", "tie", "now"]
    assert names(await schedules.list_due_schedules(now_ms=-200)) == ["late", "later", "tie"]
    assert await schedules.list_due_schedules(now_ms=-301) == []


@requirement("store:schedules:due:limit")
async def test_due_schedules_come_up_to_a_limit(schedules: ScheduleStore, make: Make) -> None:
    await asyncio.gather(
        *(
            schedules.create_schedule(make(f"{number}", next_fire_at_ms=-1000 + number))
            for number in range(103)
        )
    )
    for limit, count in ((None, 100), (1, 1), (2.9, 2), (0, 0), (-5, 0), (500, 103)):
        due = await schedules.list_due_schedules(now_ms=-898, limit=limit)
        assert names(due) == [f"{number}" for number in range(count)], limit


# --- Update


@requirement("store:schedules:update")
async def test_an_update_changes_what_it_says(
    schedules: ScheduleStore, make: Make, clock: Clock
) -> None:
    begun = make(
        "a", timezone="UTC", metadata={"a": 1}, owner_type="agent", owner_id="x", last_run_id="r"
    )
    await schedules.create_schedule(begun)
    changes: list[dict[str, Any]] = [
        {"cron": "5 5 * * *"},
        {"status": "paused"},
        {"next_fire_at_ms": 2000},
        {"timezone": "Asia/Tokyo"},
        {"metadata": {"b": 2}},
        {"owner_type": "team"},
        {"owner_id": "y"},
        {"status": "active", "cron": "6 6 * * *", "next_fire_at_ms": 3000},
    ]
    expected = begun
    for change in changes:
        clock.advance_ms(1000)
        expected = replace(expected, **change, updated_at_ms=clock.now_ms())
        assert await schedules.update_schedule(id=begun.id, **change) == expected
        assert await schedules.get_schedule(id=begun.id) == expected


@requirement("store:schedules:update:clear")
async def test_none_clears_what_can_be_absent(schedules: ScheduleStore, make: Make) -> None:
    begun = make("a", timezone="UTC", metadata={"a": 1}, owner_type="agent", owner_id="x")
    await schedules.create_schedule(begun)
    cleared = await schedules.update_schedule(
        id=begun.id, timezone=None, metadata=None, owner_type=None, owner_id=None
    )
    assert replace(cleared, updated_at_ms=20) == make("a")
    assert await schedules.get_schedule(id=begun.id) == cleared
    # None where nothing can be absent leaves it.
    kept = await schedules.update_schedule(
        id=begun.id, cron=None, status=None, next_fire_at_ms=None, target=None, timezone=None
    )
    assert replace(kept, updated_at_ms=20) == make("a")


@requirement("store:schedules:update:target")
async def test_a_new_target_is_found_by_its_workflow(
    schedules: ScheduleStore, make: Make, namespace: str
) -> None:
    schedule = make("a", target=workflow(f"{namespace}-old"))
    await schedules.create_schedule(schedule)
    for target, found in (
        (workflow(f"{namespace}-new"), ["a"]),
        (AGENT, []),
        ({**workflow(f"{namespace}-new"), "inputData": 1}, ["a"]),
    ):
        updated = await schedules.update_schedule(id=schedule.id, target=target)
        assert updated.target == target
        listed = await schedules.list_schedules(workflow_id=f"{namespace}-new")
        assert names(listed) == found
        assert await schedules.list_schedules(workflow_id=f"{namespace}-old") == []
    with pytest.raises(InvalidArgument, match="workflowId"):
        await schedules.update_schedule(id=schedule.id, target={"type": "workflow"})


@requirement("store:schedules:update:nothing")
async def test_an_update_of_nothing_only_reads(
    deployment: Deployment, make: Make, clock: Clock
) -> None:
    counted = StockDeployment(deployment)
    schedules = ConvexStore(counted, now_ms=clock.now_ms).schedules
    schedule = await schedules.create_schedule(make("a"))
    assert await schedules.update_schedule(id=schedule.id) == schedule
    assert counted.operations == ["createSchedule", "load"]


@requirement("store:schedules:update:absent")
async def test_updating_an_absent_schedule_is_not_found(
    schedules: ScheduleStore, make: Make
) -> None:
    absent = make("nobody").id
    for cron in (None, "* * * * *"):
        with pytest.raises(NotFound) as refused:
            await schedules.update_schedule(id=absent, cron=cron)
        assert refused.value.message == f"Schedule {absent} not found"
    assert await schedules.get_schedule(id=absent) is None


# --- Claim


async def claim(
    schedules: ScheduleStore, schedule: Schedule, run: str = "run", **changes: Any
) -> bool:
    fields = {"expected_next_fire_at_ms": schedule.next_fire_at_ms, **changes}
    return await schedules.update_schedule_next_fire(
        id=schedule.id,
        new_next_fire_at_ms=schedule.next_fire_at_ms + 1000,
        last_fire_at_ms=schedule.next_fire_at_ms + 1,
        last_run_id=run,
        **fields,
    )


@requirement("store:schedules:claim")
async def test_a_claimed_fire_moves_the_schedule_on(
    schedules: ScheduleStore, make: Make, clock: Clock
) -> None:
    schedule = await schedules.create_schedule(make("a", next_fire_at_ms=-500))
    clock.advance_ms(7000)
    assert await claim(schedules, schedule) is True
    moved = await schedules.get_schedule(id=schedule.id)
    assert moved == replace(
        schedule,
        next_fire_at_ms=500,
        last_fire_at_ms=-499,
        last_run_id="run",
        updated_at_ms=clock.now_ms(),
    )
    assert await schedules.list_due_schedules(now_ms=-500) == []
    assert moved is not None
    assert await claim(schedules, moved, "next") is True


@requirement("store:schedules:claim:lost")
async def test_a_fire_that_is_no_more_is_not_claimed(schedules: ScheduleStore, make: Make) -> None:
    schedule = await schedules.create_schedule(make("a"))
    assert await claim(schedules, make("nobody")) is False
    assert await claim(schedules, schedule, expected_next_fire_at_ms=999) is False
    assert await schedules.get_schedule(id=schedule.id) == schedule
    assert await claim(schedules, schedule) is True
    moved = await schedules.get_schedule(id=schedule.id)
    assert await claim(schedules, schedule, "second") is False
    assert await schedules.get_schedule(id=schedule.id) == moved
    paused = await schedules.create_schedule(make("b", status="paused"))
    assert await claim(schedules, paused) is False
    assert await schedules.get_schedule(id=paused.id) == paused


@requirement("store:schedules:claim:concurrent")
async def test_of_many_who_claim_one_gets_it(schedules: ScheduleStore, make: Make) -> None:
    schedule = await schedules.create_schedule(make("a"))
    runs = [f"run{number}" for number in range(50)]
    claimed = await asyncio.gather(*(claim(schedules, schedule, run) for run in runs))
    assert claimed.count(True) == 1
    moved = await schedules.get_schedule(id=schedule.id)
    assert moved is not None
    assert moved.last_run_id == runs[claimed.index(True)]


PROCESSES = 8
RACE_S, WAIT_S = 20, 60
NOW_MS = 1_767_225_600_000


@requirement("store:schedules:claim:processes")
@pytest.mark.parametrize(("way", "count"), [("folder", 1000), ("http", 200)])
async def test_eight_processes_fire_each_due_schedule_once(
    way: str, count: int, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        place = [str(tmp_path)]
        if way == "http":
            place = [stack.enter_context(served(tmp_path)), "race-key"]
        deployment = (
            RemoteDeployment(place[0], place[1]) if way == "http" else EmbeddedDeployment(tmp_path)
        )
        async with deployment:
            await create_due(Wire(deployment), count)
            fired, seconds = await anyio.to_thread.run_sync(race, place)
            assert sorted(fired) == sorted(f"s{number}" for number in range(count))
            assert seconds < RACE_S
            await assert_each_fired_once(ConvexStore(deployment).schedules, count)


async def create_due(wire: Wire, count: int) -> None:
    rows: list[Any] = [
        Schedule(
            id=f"s{number}", target=AGENT, cron="* * * * *", next_fire_at_ms=NOW_MS - number
        ).to_row()
        for number in range(count)
    ]
    await wire.insert_batch(TABLE, rows)


async def assert_each_fired_once(schedules: ScheduleStore, count: int) -> None:
    listed = await schedules.list_schedules()
    assert {each.next_fire_at_ms for each in listed} == {NOW_MS + 3_600_000}
    assert all(each.last_run_id == f"run-{each.id}" for each in listed)
    histories = await asyncio.gather(
        *(schedules.list_triggers(schedule_id=each.id) for each in listed)
    )
    assert Counter(map(len, histories)) == {1: count}


def race(place: list[str]) -> tuple[list[str], float]:
    """Let the processes claim; what they fired, and how long it took from start to end."""
    command = [sys.executable, "-m", "tests.contract.claim_due_schedules", *place, str(NOW_MS)]
    with ExitStack() as stack:
        racers = [stack.enter_context(process(command)) for _ in range(PROCESSES)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        begun = time.monotonic()
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [racer.communicate(timeout=WAIT_S) for racer in racers]
        seconds = time.monotonic() - begun
    assert [racer.returncode for racer in racers] == [0] * PROCESSES, answers
    claims: list[list[str]] = [json.loads(output) for output, _ in answers]
    return [schedule_id for claimed in claims for schedule_id in claimed], seconds


@contextmanager
def process(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when this is left, however it is left."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    started = subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.defpath, **environment},
        encoding="utf-8",
        **pipes,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a deployment on a folder, served by a process of its own."""
    command = [sys.executable, "-m", "convex_memory", "deployment"]
    settings = {"MEMORY_DATA_DIR": str(folder), "MEMORY_DEPLOYMENT_KEY": "race-key"}
    with process([*command, "--host", "127.0.0.1", "--port", "0"], **settings) as server:
        assert server.stderr is not None
        for line in server.stderr:
            url = re.search(r"http://127\.0\.0\.1:\d+", line)
            if url:
                yield url.group()
                return
        pytest.fail("The server named no URL on stderr.")


# --- Delete, triggers


def trigger(schedule: Schedule, at: float, **fields: Any) -> ScheduleTrigger:
    defaults: dict[str, Any] = {
        "id": f"{schedule.id}-{at}",
        "run_id": f"run-{at}",
        "scheduled_fire_at_ms": at - 1,
        "outcome": "published",
    }
    return ScheduleTrigger(schedule_id=schedule.id, actual_fire_at_ms=at, **{**defaults, **fields})


async def history(schedules: ScheduleStore, schedule: Schedule, **question: Any) -> list[float]:
    found = await schedules.list_triggers(schedule_id=schedule.id, **question)
    return [each.actual_fire_at_ms for each in found]


@requirement("store:schedules:delete")
async def test_a_deleted_schedule_takes_its_history_along(
    schedules: ScheduleStore, make: Make
) -> None:
    doomed, kept = make("a"), make("b")
    for schedule in (doomed, kept):
        await schedules.create_schedule(schedule)
    await asyncio.gather(
        *(schedules.record_trigger(trigger(doomed, number)) for number in range(60)),
        *(schedules.record_trigger(trigger(kept, number)) for number in range(3)),
    )
    await schedules.delete_schedule(id=doomed.id)
    assert await schedules.get_schedule(id=doomed.id) is None
    assert await history(schedules, doomed) == []
    assert await schedules.get_schedule(id=kept.id) == kept
    assert await history(schedules, kept) == [2, 1, 0]
    await schedules.delete_schedule(id=doomed.id)
    await schedules.create_schedule(doomed)


@requirement("store:schedules:triggers:record")
async def test_a_recorded_trigger_is_read_back(schedules: ScheduleStore, make: Make) -> None:
    schedule = make("a")
    full = trigger(
        schedule,
        5,
        outcome="failed",
        error="no tea",
        trigger_kind="queue-drain",
        parent_trigger_id="parent",
        metadata={"$a": [1]},
    )
    plain = trigger(schedule, 4, run_id=None, id="")
    assert await schedules.record_trigger(full) == full
    recorded = await schedules.record_trigger(plain)
    assert recorded.id != ""
    assert recorded == replace(plain, id=recorded.id)
    assert recorded.trigger_kind == "schedule-fire"
    another = await schedules.record_trigger(plain)
    assert another.id != recorded.id
    assert await schedules.list_triggers(schedule_id=schedule.id) == [full, another, recorded]


@requirement("store:schedules:triggers:duplicate")
async def test_a_second_trigger_with_one_id_is_refused(
    schedules: ScheduleStore, make: Make
) -> None:
    first = trigger(make("a"), 1)
    await schedules.record_trigger(first)
    with pytest.raises(FunctionError) as refused:
        await schedules.record_trigger(replace(first, outcome="failed"))
    assert f'Schedule trigger with id "{first.id}" already exists' in refused.value.message
    assert await schedules.list_triggers(schedule_id=first.schedule_id) == [first]


@requirement("store:schedules:triggers:list")
async def test_triggers_come_newest_first(schedules: ScheduleStore, make: Make) -> None:
    schedule, other = make("a"), make("b")
    times = [3, 1, 2, 5, 4]
    for at in times:
        await schedules.record_trigger(trigger(schedule, at))
    await schedules.record_trigger(trigger(other, 9))
    assert await history(schedules, schedule) == [5, 4, 3, 2, 1]
    assert await history(schedules, schedule, limit=2) == [5, 4]
    assert await history(schedules, schedule, limit=0) == []
    assert await history(schedules, schedule, from_actual_fire_at_ms=3) == [5, 4, 3]
    assert await history(schedules, schedule, to_actual_fire_at_ms=3) == [2, 1]
    bounds = {"from_actual_fire_at_ms": 2, "to_actual_fire_at_ms": 5}
    assert await history(schedules, schedule, **bounds) == [4, 3, 2]
    assert await history(schedules, schedule, **bounds, limit=1) == [4]
    assert await history(schedules, make("nobody")) == []
    await asyncio.gather(
        *(schedules.record_trigger(trigger(schedule, 10 + number)) for number in range(100))
    )
    assert await history(schedules, schedule) == list(range(109, 9, -1))
    assert len(await history(schedules, schedule, limit=1000)) == 105


@requirement("store:schedules:clear")
async def test_clearing_schedules_deletes_all(
    store: ConvexStore, schedules: ScheduleStore, make: Make
) -> None:
    await schedules.init()
    one = make("0")
    await asyncio.gather(
        *(schedules.create_schedule(make(f"{number}")) for number in range(30)),
        *(schedules.record_trigger(trigger(one, number)) for number in range(30)),
    )
    await schedules.dangerously_clear_all()
    assert await schedules.list_schedules() == []
    assert await history(schedules, one) == []
    assert store.get_store("schedules") is schedules


# --- On the wire


@requirement("wire:schedules:create")
async def test_schedules_are_inserted_once(wire: Wire, make: Make) -> None:
    row = make("a").to_row()
    assert await wire.send("createSchedule", TABLE, record=row) == {"ok": True}
    assert bare(await wire.load(TABLE, id=row["id"])) == row
    text = await wire.refusal("createSchedule", TABLE, record={**row, "cron": "x"})
    assert text == f'Schedule with id "{row["id"]}" already exists'
    for record_id in ("", None):
        text = await wire.refusal("createSchedule", TABLE, record={**row, "id": record_id})
        assert text == "Schedule is missing an id"
    assert bare(await wire.load(TABLE, id=row["id"])) == row
    assert await wire.refusal("createSchedule", TABLE, record={**row, "id": "n", "x": 1})
    assert await wire.load(TABLE, id="n") is None


@requirement("wire:schedules:due")
async def test_due_schedules_are_docs_in_order(wire: Wire, make: Make) -> None:
    for name, at in (("c", -7.5), ("a", -9), ("b", -9)):
        await wire.insert(TABLE, make(name, next_fire_at_ms=at).to_row())
    reply = await wire.send("listDueSchedules", TABLE, now=-7.5)
    assert set(reply) == {"ok", "result"}
    assert [row["id"].rpartition("-")[2] for row in reply["result"]] == ["a", "b", "c"]
    stored = await wire.load(TABLE, id=make("a").id)
    assert reply["result"][0] == stored
    assert set(stored) == {*make("a").to_row(), "_id", "_creationTime"}
    limits: list[tuple[Value, int]] = [
        (None, 3),
        (2, 2),
        (1.99, 1),
        (0.5, 0),
        (0, 0),
        (-1, 0),
        ("2", 3),
        (True, 3),
        (1e300, 3),
    ]
    for limit, count in limits:
        due = await wire.result("listDueSchedules", TABLE, now=-7.5, limit=limit)
        assert len(due) == count, limit


@requirement("wire:schedules:claim")
async def test_a_claim_compares_sets_and_stamps(wire: Wire, make: Make, clock: Clock) -> None:
    row = make("a", timezone="UTC").to_row()
    await wire.insert(TABLE, row, make("b", status="paused").to_row())

    async def claim(**fields: Any) -> dict[str, Any]:
        request = {
            "id": row["id"],
            "expectedNextFireAt": 1000,
            "newNextFireAt": 2000,
            "lastFireAt": 1001.5,
            "lastRunId": None,
        }
        return await wire.send("updateScheduleNextFire", TABLE, **{**request, **fields})

    for fields in (
        {"id": make("nobody").id},
        {"id": make("b").id},
        {"expectedNextFireAt": 1000.5},
        {"expectedNextFireAt": "1000"},
        {"expectedNextFireAt": None},
    ):
        assert await claim(**fields) == {"ok": True, "result": False}
    assert bare(await wire.load(TABLE, id=row["id"])) == row
    clock.advance_ms(123.75)
    assert await claim() == {"ok": True, "result": True}
    assert bare(await wire.load(TABLE, id=row["id"])) == {
        **row,
        "next_fire_at": 2000,
        "last_fire_at": 1001.5,
        "last_run_id": None,
        "updated_at": int(clock.now_ms()),
    }
    assert await claim() == {"ok": True, "result": False}
    with pytest.raises(FunctionError):
        await claim(expectedNextFireAt=2000, newNextFireAt="soon")


@requirement("wire:schedules:update")
async def test_columns_are_patched(wire: Wire, make: Make) -> None:
    row = make("a").to_row()
    await wire.insert(TABLE, row)
    before = await wire.load(TABLE, id=row["id"])
    patch: Any = {"cron": "x", "timezone": "UTC", "metadata": "{}", "updated_at": 77}
    reply = await wire.send("updateSchedule", TABLE, id=row["id"], patch=patch)
    assert reply == {"ok": True, "result": {**before, **patch}}
    assert await wire.load(TABLE, id=row["id"]) == reply["result"]
    assert await wire.result("updateSchedule", TABLE, id=row["id"], patch={}) == reply["result"]
    text = await wire.refusal("updateSchedule", TABLE, id="nobody", patch={"cron": "x"})
    assert text == "Schedule nobody not found"
    assert await wire.refusal("updateSchedule", TABLE, id=row["id"], patch={"colour": "red"})
    assert await wire.refusal("updateSchedule", TABLE, id=row["id"], patch={"cron": None})
    assert await wire.load(TABLE, id=row["id"]) == reply["result"]


@requirement("wire:schedules:triggers")
async def test_triggers_are_docs_newest_first(wire: Wire, make: Make) -> None:
    schedule = make("a")
    for at, name in ((5, "x"), (7, "y"), (7, "z"), (6.5, "w")):
        await wire.insert(TRIGGERS, trigger(schedule, at, id=f"{schedule.id}-{name}").to_row())

    async def found(**fields: Any) -> list[str]:
        rows = await wire.result("listScheduleTriggers", TRIGGERS, scheduleId=schedule.id, **fields)
        return [row["id"].rpartition("-")[2] for row in rows]

    assert await found() == ["z", "y", "w", "x"]
    assert await found(fromActualFireAt=6.5) == ["z", "y", "w"]
    assert await found(fromActualFireAt=6.5, toActualFireAt=7) == ["w"]
    assert await found(toActualFireAt=5) == []
    assert await found(fromActualFireAt=None, toActualFireAt=None, limit=None) == await found()
    for limit, count in ((1, 1), (2.9, 2), (0, 0), (-3, 0), ("1", 4), (1e300, 4)):
        assert len(await found(limit=limit)) == count, limit
    rows = await wire.result("listScheduleTriggers", TRIGGERS, scheduleId=schedule.id, limit=1)
    assert rows == [await wire.load(TRIGGERS, id=f"{schedule.id}-z")]
    assert await wire.result("listScheduleTriggers", TRIGGERS, scheduleId="nobody") == []


@requirement("wire:schedules:triggers:record")
async def test_triggers_are_inserted_once(wire: Wire, make: Make) -> None:
    row = trigger(make("a"), 5).to_row()
    assert await wire.send("recordScheduleTrigger", TRIGGERS, record=row) == {"ok": True}
    text = await wire.refusal("recordScheduleTrigger", TRIGGERS, record=row)
    assert text == f'Schedule trigger with id "{row["id"]}" already exists'
    text = await wire.refusal("recordScheduleTrigger", TRIGGERS, record={**row, "id": ""})
    assert text == "Schedule trigger is missing an id"
    assert bare(await wire.load(TRIGGERS, id=row["id"])) == row


@requirement("wire:schedules:triggers:delete")
@pytest.mark.parametrize(("count", "more"), [(0, []), (25, []), (26, [True]), (51, [True, True])])
async def test_the_oldest_triggers_go_first(
    wire: Wire, make: Make, count: int, more: list[bool]
) -> None:
    schedule, other = make("a"), make("b")
    rows: list[Any] = [trigger(schedule, count - number).to_row() for number in range(count)]
    await wire.insert_batch(TRIGGERS, [*rows, trigger(other, 1).to_row()])
    left = count
    for expected in [*more, False]:
        reply = await wire.send("deleteScheduleTriggers", TRIGGERS, scheduleId=schedule.id)
        assert reply == {"ok": True, "hasMore": expected}
        left = max(0, left - 25)
        rest = await wire.result("listScheduleTriggers", TRIGGERS, scheduleId=schedule.id)
        assert [row["actual_fire_at"] for row in rest] == list(range(count, count - left, -1))
    assert len(await wire.result("listScheduleTriggers", TRIGGERS, scheduleId=other.id)) == 1


OF_SCHEDULES = ("createSchedule", "listDueSchedules", "updateSchedule", "updateScheduleNextFire")
OF_TRIGGERS = ("recordScheduleTrigger", "listScheduleTriggers", "deleteScheduleTriggers")


@requirement("wire:schedules:tables")
@pytest.mark.parametrize("op", [*OF_SCHEDULES, *OF_TRIGGERS])
async def test_operations_are_for_their_table_only(wire: Wire, namespace: str, op: str) -> None:
    own, other = (TABLE, TRIGGERS) if op in OF_SCHEDULES else (TRIGGERS, TABLE)
    for table in (other, "mastra_threads", "mastra_background_tasks"):
        assert await wire.refusal(op, table) == f"{op} is only supported for {own}"
    for table in (f"mastra_vector_{namespace}", f"{namespace}_things"):
        unsupported = {"ok": False, "error": f"Unsupported operation {op}"}
        assert await wire.send(op, table) == unsupported
