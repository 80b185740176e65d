"""Observational memory of the store: records, their history, the buffer."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_memory.deployment import Deployment
from convex_memory.errors import FunctionError, InvalidArgument, InvalidResponse, NotFound
from convex_memory.store import (
    ConvexStore,
    ExtractionFailure,
    MemoryStore,
    ObservationalMemory,
    ObservationChunk,
)
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.observing import NOTHING, OBSERVATIONS, Observer, begun
from tests.contract.requirements import requirement
from tests.contract.wire import Wire, bare

pytestmark = pytest.mark.anyio


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


@pytest.fixture
def memory(deployment: Deployment, clock: Clock) -> MemoryStore:
    """The domain over Mastra's functions alone: observational memory needs no others."""
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).memory


@pytest.fixture
def observer(memory: MemoryStore, namespace: str) -> Observer:
    return Observer(memory, namespace)


# --- Beginning, reading


@requirement("store:observations:domain")
async def test_observational_memory_is_part_of_memory(store: ConvexStore) -> None:
    assert store.observations is store.memory
    assert store.memory.supports_observational_memory is True


@requirement("store:observations:get")
async def test_a_memory_is_found_by_thread_or_resource(memory: MemoryStore, namespace: str) -> None:
    ann, bob = f"{namespace}-ann", f"{namespace}-bob"
    of_thread = await begun(memory, ann, thread_id=f"{namespace}-t")
    of_resource = await begun(memory, ann)
    find = memory.get_observational_memory
    assert await find(thread_id=f"{namespace}-t", resource_id=ann) == of_thread
    # The thread alone is the key.
    assert await find(thread_id=f"{namespace}-t", resource_id=bob) == of_thread
    for nothing in (None, ""):
        assert await find(thread_id=nothing, resource_id=ann) == of_resource
        assert await find(thread_id=nothing, resource_id=bob) is None
    assert await find(thread_id=f"{namespace}-u", resource_id=ann) is None


@requirement("store:observations:initialize")
async def test_a_memory_begins_empty(
    memory: MemoryStore, wire: Wire, clock: Clock, namespace: str
) -> None:
    resource, thread = f"{namespace}-ann", f"{namespace}-t"
    record = await memory.initialize_observational_memory(
        thread_id=thread,
        resource_id=resource,
        scope="thread",
        config={"observation": {"$tokens": 3}},
        observed_timezone="Europe/Berlin",
    )
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    assert record == ObservationalMemory(
        id=record.id,
        scope="thread",
        thread_id=thread,
        resource_id=resource,
        created_at=now,
        updated_at=now,
        config={"observation": {"$tokens": 3}},
        observed_timezone="Europe/Berlin",
    )
    assert await memory.get_observational_memory(thread_id=thread, resource_id=resource) == record
    row = bare(await wire.load(OBSERVATIONS, id=record.id))
    given_nothing = {name for name, value in row.items() if value is None}
    time = clock.now_text()
    assert {name: value for name, value in row.items() if value is not None} == {
        "id": record.id,
        "lookupKey": f"thread:{thread}",
        "scope": "thread",
        "resourceId": resource,
        "threadId": thread,
        "activeObservations": "",
        "originType": "initial",
        "config": '{"observation":{"$tokens":3}}',
        "generationCount": 0,
        "pendingMessageTokens": 0,
        "totalTokensObserved": 0,
        "observationTokenCount": 0,
        "isObserving": False,
        "isReflecting": False,
        "isBufferingObservation": False,
        "isBufferingReflection": False,
        "lastBufferedAtTokens": 0,
        "observedTimezone": "Europe/Berlin",
        "createdAt": time,
        "updatedAt": time,
    }
    assert {"lastObservedAt", "lastReflectionAt", "lastBufferedAtTime"} <= given_nothing
    assert "bufferedObservationChunks" not in row


@requirement("store:observations:initialize:again")
async def test_of_two_beginnings_the_later_counts(memory: MemoryStore, namespace: str) -> None:
    first = await begun(memory, namespace)
    second = await begun(memory, namespace)
    assert first.id != second.id
    assert await memory.get_observational_memory(thread_id=None, resource_id=namespace) == second
    history = await memory.get_observational_memory_history(thread_id=None, resource_id=namespace)
    assert [record.id for record in history] == [second.id, first.id]


def whole_record(namespace: str) -> ObservationalMemory:
    """A record with something in every member."""
    chunk = ObservationChunk(
        id="ombuf-1",
        cycle_id="cycle-1",
        observations="she likes tea",
        token_count=4,
        message_ids=["m1"],
        message_tokens=12.5,
        last_observed_at=at(5),
        created_at=at(6),
    )
    return ObservationalMemory(
        id=f"{namespace}-whole",
        scope="resource",
        thread_id=None,
        resource_id=namespace,
        created_at=at(1),
        updated_at=at(2),
        last_observed_at=at(3),
        origin_type="reflection",
        generation_count=4,
        active_observations="a\nb",
        buffered_observation_chunks=[chunk],
        buffered_observations="old buffer",
        buffered_observation_tokens=3,
        buffered_reflection="waiting",
        buffered_reflection_tokens=5,
        buffered_reflection_input_tokens=6,
        reflected_observation_line_count=1,
        total_tokens_observed=70,
        observation_token_count=8,
        pending_message_tokens=9,
        is_observing=True,
        is_reflecting=True,
        is_buffering_observation=True,
        is_buffering_reflection=True,
        last_buffered_at_tokens=10,
        last_buffered_at_time=at(4),
        config={"a": {"$b": [1, None]}},
        metadata={"ключ": True},
        observed_message_ids=["m1", "m2"],
        observed_timezone="Asia/Tokyo",
    )


@requirement("store:observations:insert")
async def test_a_whole_record_is_read_back(memory: MemoryStore, namespace: str) -> None:
    record = whole_record(namespace)
    assert all(getattr(record, each.name) is not False for each in fields(record))
    await memory.insert_observational_memory_record(record)
    stored = await memory.get_observational_memory(thread_id=None, resource_id=namespace)
    kept = replace(record, buffered_observations=None, buffered_observation_tokens=None)
    assert stored == kept
    await memory.insert_observational_memory_record(replace(kept, active_observations="new"))
    history = await memory.get_observational_memory_history(thread_id=None, resource_id=namespace)
    assert history == [replace(kept, active_observations="new")]


@requirement("store:observations:insert:columns")
async def test_a_whole_record_is_stored_as_mastra_does(
    memory: MemoryStore, wire: Wire, namespace: str
) -> None:
    record = whole_record(namespace)
    await memory.insert_observational_memory_record(record)
    row = await wire.load(OBSERVATIONS, id=record.id)
    assert row["activeObservationsPendingUpdate"] is None
    assert row["lastReflectionAt"] is None
    assert row["lookupKey"] == f"resource:{namespace}"
    assert row["config"] == '{"a":{"$b":[1,null]}}'
    assert row["metadata"] == '{"ключ":true}'
    assert row["lastObservedAt"] == "2025-06-01T00:00:03.000Z"
    assert json.loads(row["bufferedObservationChunks"]) == [
        {
            "id": "ombuf-1",
            "cycleId": "cycle-1",
            "observations": "she likes tea",
            "tokenCount": 4,
            "messageIds": ["m1"],
            "messageTokens": 12.5,
            "lastObservedAt": "2025-06-01T00:00:05.000Z",
            "createdAt": "2025-06-01T00:00:06.000Z",
        }
    ]
    empty = replace(record, id=f"{namespace}-empty", buffered_observation_chunks=[])
    await memory.insert_observational_memory_record(empty)
    assert (await wire.load(OBSERVATIONS, id=empty.id))["bufferedObservationChunks"] == "[]"


@requirement("store:observations:read")
async def test_rows_of_other_writers_are_read_with_defaults(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    await wire.send(
        "patch",
        OBSERVATIONS,
        id=record.id,
        record={
            "originType": "",
            "config": "not JSON",
            "metadata": "[1]",
            "activeObservationsPendingUpdate": "old buffer",
            "bufferedObservationTokens": 0,
            "bufferedReflection": "",
            "bufferedReflectionTokens": 0,
            "bufferedReflectionInputTokens": 0,
            "reflectedObservationLineCount": 0,
            "bufferedObservationChunks": "{}",
            "bufferedMessageIds": ["m"],
            "lastObservedAt": None,
        },
    )
    assert await observer.read() == replace(record, config={}, buffered_observations="old buffer")


@requirement("store:observations:read:invalid")
@pytest.mark.parametrize(
    "broken",
    [
        {"scope": "planet"},
        {"originType": "elsewhere"},
        {"createdAt": "yesterday"},
        {"lastBufferedAtTime": "soon"},
        {"bufferedObservationChunks": "[5]"},
        {"bufferedObservationChunks": '[{"id": "c"}]'},
    ],
    ids=lambda broken: next(iter(broken)),
)
async def test_a_row_that_is_no_record_is_invalid(
    wire: Wire, observer: Observer, broken: dict[str, Any]
) -> None:
    record = await observer.begin()
    await wire.send("patch", OBSERVATIONS, id=record.id, record=broken)
    with pytest.raises(InvalidResponse):
        await observer.read()


# --- History


async def generations(memory: MemoryStore, resource_id: str, count: int) -> list[str]:
    """Store generations a second apart; return their ids, newest first."""
    for number in range(count):
        await memory.insert_observational_memory_record(
            ObservationalMemory(
                id=f"{resource_id}-{number}",
                scope="resource",
                thread_id=None,
                resource_id=resource_id,
                generation_count=number,
                created_at=at(number),
                updated_at=at(number),
            )
        )
    return [f"{resource_id}-{number}" for number in reversed(range(count))]


@requirement("store:observations:history")
async def test_the_history_is_newest_first(memory: MemoryStore, namespace: str) -> None:
    ids = await generations(memory, namespace, 12)
    await generations(memory, f"{namespace}-other", 2)

    async def history(**options: Any) -> list[str]:
        found = await memory.get_observational_memory_history(
            thread_id=None, resource_id=namespace, **options
        )
        return [record.id for record in found]

    assert await history() == ids[:10]
    assert await history(limit=None) == ids
    assert await memory.get_observational_memory_history(thread_id="x", resource_id="y") == []
    newest = await memory.get_observational_memory(thread_id=None, resource_id=namespace)
    assert newest is not None
    assert newest.id == ids[0]


@requirement("store:observations:history:dates")
async def test_the_history_is_cut_by_dates(memory: MemoryStore, namespace: str) -> None:
    ids = await generations(memory, namespace, 5)

    async def history(**options: Any) -> list[str]:
        found = await memory.get_observational_memory_history(
            thread_id=None, resource_id=namespace, **options
        )
        return [record.id for record in found]

    assert await history(from_date=at(3)) == ids[:2]
    assert await history(to_date=at(1)) == ids[3:]
    assert await history(from_date=at(1), to_date="2025-06-01T00:00:03Z") == ids[1:4]
    assert await history(from_date=at(1), to_date=at(3), offset=1, limit=1) == [ids[2]]
    assert await history(from_date=at(9)) == []
    with pytest.raises(InvalidArgument, match="from_date"):
        await history(from_date=datetime(2025, 6, 1))  # noqa: DTZ001


@requirement("store:observations:history:pages")
async def test_the_history_is_paged(memory: MemoryStore, wire: Wire, namespace: str) -> None:
    ids = await generations(memory, namespace, 5)

    async def history(**options: Any) -> list[str]:
        found = await memory.get_observational_memory_history(
            thread_id=None, resource_id=namespace, **options
        )
        return [record.id for record in found]

    assert await history(limit=2) == ids[:2]
    assert await history(limit=2, offset=2) == ids[2:4]
    assert await history(limit=2, offset=4) == ids[4:]
    assert await history(offset=5) == []
    assert await history(limit=0) == []
    key = f"resource:{namespace}"
    unbounded = await wire.result("omGetHistory", OBSERVATIONS, lookupKey=key)
    assert [row["id"] for row in unbounded] == ids
    empty_bounds: dict[str, Any] = {"limit": 1.5, "from": "", "to": None, "offset": None}
    rows = await wire.result("omGetHistory", OBSERVATIONS, lookupKey=key, **empty_bounds)
    assert [row["id"] for row in rows] == ids[:1]


@requirement("store:observations:history:refusals")
@pytest.mark.parametrize("name", ["limit", "offset"])
async def test_a_page_of_the_history_that_cannot_be_is_refused(
    memory: MemoryStore, namespace: str, name: str
) -> None:
    options: dict[str, Any] = {name: -1}
    with pytest.raises(InvalidArgument, match=name):
        await memory.get_observational_memory_history(
            thread_id=None, resource_id=namespace, **options
        )


# --- Active observations


@requirement("store:observations:active")
async def test_active_observations_are_replaced(memory: MemoryStore, observer: Observer) -> None:
    record = await observer.begin()
    await memory.set_pending_message_tokens(id=record.id, token_count=900)
    await memory.update_active_observations(
        id=record.id,
        observations="likes tea",
        token_count=4,
        last_observed_at=at(1),
        observed_message_ids=["m1", "m2"],
    )
    first = await observer.read()
    assert first == replace(
        record,
        active_observations="likes tea",
        observation_token_count=4,
        total_tokens_observed=4,
        last_observed_at=at(1),
        observed_message_ids=["m1", "m2"],
    )
    await memory.update_active_observations(
        id=record.id, observations="", token_count=2.5, last_observed_at="2025-06-01T00:00:02Z"
    )
    assert await observer.read() == replace(
        first,
        active_observations="",
        observation_token_count=2.5,
        total_tokens_observed=6.5,
        last_observed_at=at(2),
        observed_message_ids=None,
    )


@requirement("store:observations:active:tokens")
async def test_a_token_count_that_is_none_is_0(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    for count in (float("nan"), float("inf"), -1):
        await memory.update_active_observations(
            id=record.id, observations="x", token_count=count, last_observed_at=at(1)
        )
    for wrong in (-3, "7", None, True):
        request: dict[str, Any] = {
            "observations": "y",
            "tokenCount": wrong,
            "lastObservedAt": "2025-06-01T00:00:00.000Z",
            "observedMessageIds": None,
            "updatedAt": "2025-06-01T00:00:00.000Z",
        }
        assert await wire.send("omUpdateActive", OBSERVATIONS, id=record.id, **request) == {
            "ok": True
        }
    stored = await observer.read()
    assert (stored.observation_token_count, stored.total_tokens_observed) == (0, 0)


@requirement("store:observations:active:timezone")
async def test_the_time_zone_is_kept(memory: MemoryStore, observer: Observer) -> None:
    record = await observer.begin()
    for zone, expected in (("Asia/Tokyo", "Asia/Tokyo"), (None, "Asia/Tokyo"), ("UTC", "UTC")):
        await memory.update_active_observations(
            id=record.id,
            observations="x",
            token_count=1,
            last_observed_at=at(1),
            observed_timezone=zone,
        )
        assert (await observer.read()).observed_timezone == expected


# --- The buffer


@requirement("store:observations:buffer")
async def test_chunks_wait_in_order(observer: Observer) -> None:
    record = await observer.begin()
    chunks = [await observer.append(name, 10) for name in "abc"]
    stored = await observer.read()
    assert stored == replace(record, buffered_observation_chunks=chunks)
    assert [chunk.cycle_id for chunk in stored.buffered_observation_chunks] == ["a", "b", "c"]


@requirement("store:observations:buffer:ids")
async def test_a_chunk_gets_an_id_and_a_date(
    memory: MemoryStore, observer: Observer, clock: Clock
) -> None:
    record = await observer.begin()
    given = replace(observer.chunk("a", 1), id="mine", created_at=at(0))
    buffered = [
        await memory.update_buffered_observations(id=record.id, chunk=given) for _ in range(2)
    ]
    assert (await observer.read()).buffered_observation_chunks == buffered
    assert len({chunk.id for chunk in buffered}) == 2
    for chunk in buffered:
        assert chunk.id.startswith("ombuf-")
        assert chunk.created_at.timestamp() * 1000 == clock.now_ms()
        assert replace(chunk, id="mine", created_at=at(0)) == given


@requirement("store:observations:buffer:members")
async def test_every_member_of_a_chunk_comes_back(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    plain = observer.chunk("a", 1)
    full = replace(
        plain,
        cycle_id="b",
        token_count=2.5,
        message_ids=[],
        suggested_continuation="",
        current_task="making tea",
        thread_title="Tea",
        extracted_values={"count": 3, "half": 0.5, "deep": {"list": [1, None, "x"]}},
        extraction_failures=[ExtractionFailure(slug="dates", error="none found")],
    )
    buffered = [
        await memory.update_buffered_observations(id=record.id, chunk=chunk)
        for chunk in (plain, full)
    ]
    assert (await observer.read()).buffered_observation_chunks == buffered
    row = await wire.load(OBSERVATIONS, id=record.id)
    first, second = json.loads(row["bufferedObservationChunks"])
    assert set(first) == {
        "id",
        "cycleId",
        "observations",
        "tokenCount",
        "messageIds",
        "messageTokens",
        "lastObservedAt",
        "createdAt",
    }
    assert set(second) - set(first) == {
        "suggestedContinuation",
        "currentTask",
        "threadTitle",
        "extractedValues",
        "extractionFailures",
    }


@requirement("store:observations:buffer:time")
async def test_the_buffered_at_time_changes_when_given(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    chunk = observer.chunk("a", 1)
    for time, expected in ((None, None), (at(7), at(7)), (None, at(7))):
        await memory.update_buffered_observations(
            id=record.id, chunk=chunk, last_buffered_at_time=time
        )
        assert (await observer.read()).last_buffered_at_time == expected
    request: dict[str, Any] = {"lastBufferedAtTime": "", "updatedAt": "2025-06-01T00:00:00.000Z"}
    await wire.send(
        "omAppendBufferedChunk", OBSERVATIONS, id=record.id, chunk=chunk.to_wire(), **request
    )
    assert (await observer.read()).last_buffered_at_time == at(7)


@requirement("store:observations:buffer:broken")
@pytest.mark.parametrize("stored", [None, "", "not JSON", "{}", '""', "null", "[[", "NaN"])
async def test_a_broken_buffer_counts_as_empty(
    wire: Wire, observer: Observer, stored: str | None
) -> None:
    record = await observer.begin()
    broken = {"bufferedObservationChunks": stored}
    await wire.send("patch", OBSERVATIONS, id=record.id, record=broken)
    assert (await observer.read()).buffered_observation_chunks == []
    assert await observer.swap() == NOTHING
    chunk = await observer.append("a", 1)
    assert (await observer.read()).buffered_observation_chunks == [chunk]


@requirement("store:observations:buffer:refusals")
async def test_a_chunk_that_cannot_be_stored_is_refused(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    await observer.append("a", 1)
    before = await wire.load(OBSERVATIONS, id=record.id)
    for key in ("$set", "ключ"):
        chunk = replace(observer.chunk("b", 1), extracted_values={key: 1})
        with pytest.raises(InvalidArgument, match="extracted_values"):
            await memory.update_buffered_observations(id=record.id, chunk=chunk)
    with pytest.raises(FunctionError, match="1 MiB"):
        await memory.update_buffered_observations(
            id=record.id, chunk=replace(observer.chunk("b", 1), observations="x" * (1 << 20))
        )
    for no_chunk in (None, "chunk", [1]):
        await wire.refusal("omAppendBufferedChunk", OBSERVATIONS, id=record.id, chunk=no_chunk)
    assert await wire.load(OBSERVATIONS, id=record.id) == before


# --- Everything else


@requirement("store:observations:stamps")
async def test_every_change_stamps_the_record(
    memory: MemoryStore, observer: Observer, clock: Clock
) -> None:
    record = await observer.begin()

    async def stamped(work: Any) -> None:
        clock.advance_ms(1000)
        await work
        stored = await observer.read()
        assert stored.updated_at.timestamp() * 1000 == clock.now_ms()
        assert stored.created_at == record.created_at

    await stamped(
        memory.update_active_observations(
            id=record.id, observations="x", token_count=1, last_observed_at=at(1)
        )
    )
    await stamped(observer.append("a", 1))
    await stamped(observer.swap())
    await stamped(
        memory.update_buffered_reflection(
            id=record.id,
            reflection="r",
            token_count=1,
            input_token_count=1,
            reflected_observation_line_count=0,
        )
    )
    await stamped(memory.update_observational_memory_config(id=record.id, config={}))
    await stamped(memory.set_observing_flag(id=record.id, is_observing=True))
    await stamped(memory.set_pending_message_tokens(id=record.id, token_count=1))


@requirement("store:observations:clear")
async def test_clearing_deletes_every_generation_of_one_memory(
    memory: MemoryStore, namespace: str
) -> None:
    await generations(memory, namespace, 20)
    other = await begun(memory, namespace, thread_id=f"{namespace}-t")
    for _ in range(2):
        await memory.clear_observational_memory(thread_id=None, resource_id=namespace)
        left = await memory.get_observational_memory_history(thread_id=None, resource_id=namespace)
        assert left == []
    found = await memory.get_observational_memory(thread_id=f"{namespace}-t", resource_id=namespace)
    assert found == other


@requirement("store:observations:clear-all")
async def test_clearing_the_domain_clears_observations(memory: MemoryStore, namespace: str) -> None:
    await generations(memory, namespace, 30)
    await memory.dangerously_clear_all()
    assert await memory.get_observational_memory(thread_id=None, resource_id=namespace) is None


@requirement("wire:observations:reads")
async def test_reads_answer_with_documents(wire: Wire, observer: Observer) -> None:
    record = await observer.begin()
    key = f"resource:{record.resource_id}"
    row = await wire.load(OBSERVATIONS, id=record.id)
    assert {"_id", "_creationTime"} <= set(row)
    assert await wire.send("omGetLatest", OBSERVATIONS, lookupKey=key) == {
        "ok": True,
        "result": row,
    }
    assert await wire.result("omGetHistory", OBSERVATIONS, lookupKey=key, limit=1) == [row]
    assert await wire.send("omGetLatest", OBSERVATIONS, lookupKey="resource:nobody") == {
        "ok": True,
        "result": None,
    }


@requirement("wire:observations:tables")
@pytest.mark.parametrize(
    "op",
    [
        "omGetLatest",
        "omGetHistory",
        "omUpdateActive",
        "omAppendBufferedChunk",
        "omSwapBuffered",
        "omUpdateBufferedReflection",
        "omSwapBufferedReflection",
        "omUpdateConfig",
    ],
)
async def test_operations_belong_to_one_table(wire: Wire, op: str) -> None:
    only = f"{op} is only supported for mastra_observational_memory"
    for table in ("mastra_threads", "mastra_workflow_snapshot", "mastra_background_tasks"):
        assert await wire.refusal(op, table, id="a", lookupKey="k") == only
    for table in ("mastra_vector_a", "somewhere", "mastra_observational"):
        assert await wire.send(op, table, id="a", lookupKey="k") == {
            "ok": False,
            "error": f"Unsupported operation {op}",
        }


@requirement("store:observations:absent")
async def test_an_absent_record_is_not_found(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    absent = f"{(await observer.begin()).id}-not"
    current = replace(await observer.read(), id=absent)
    for work in (
        memory.update_active_observations(
            id=absent, observations="x", token_count=1, last_observed_at=at(1)
        ),
        memory.update_buffered_observations(id=absent, chunk=observer.chunk("a", 1)),
        memory.swap_buffered_to_active(
            id=absent,
            activation_ratio=1,
            message_tokens_threshold=1,
            current_pending_tokens=1,
        ),
        memory.update_buffered_reflection(
            id=absent,
            reflection="r",
            token_count=1,
            input_token_count=1,
            reflected_observation_line_count=0,
        ),
        memory.swap_buffered_reflection_to_active(current_record=current, token_count=1),
        memory.update_observational_memory_config(id=absent, config={}),
    ):
        with pytest.raises(NotFound, match=f"Observational memory record not found: {absent}"):
            await work
    assert await wire.ids(OBSERVATIONS, id=absent) == []
