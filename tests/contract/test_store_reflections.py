"""Observational memory of the store: reflections, flags, configuration."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from convex_memory.deployment import Deployment
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.store import ConvexStore, MemoryStore, ObservationalMemory
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.observing import OBSERVATIONS, Observer
from tests.contract.requirements import requirement
from tests.contract.wire import Record, Wire, bare

pytestmark = pytest.mark.anyio

NOW = "2026-01-01T00:00:00.000Z"


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


async def observed(memory: MemoryStore, observer: Observer, text: str) -> ObservationalMemory:
    """Begin a memory and give it an active text."""
    record = await observer.begin(timezone="Asia/Tokyo", a=1)
    await memory.update_active_observations(
        id=record.id,
        observations=text,
        token_count=30,
        last_observed_at=at(1),
        observed_message_ids=["m1"],
    )
    return await observer.read()


async def reflect(memory: MemoryStore, id: str, text: str, *, lines: int = 0) -> None:
    """Buffer a reflection of 3 tokens, made from 30."""
    await memory.update_buffered_reflection(
        id=id,
        reflection=text,
        token_count=3,
        input_token_count=30,
        reflected_observation_line_count=lines,
    )


async def history(memory: MemoryStore, observer: Observer) -> list[ObservationalMemory]:
    return await memory.get_observational_memory_history(
        thread_id=None, resource_id=observer.resource_id
    )


# --- A reflection at once


@requirement("store:observations:reflect")
async def test_a_reflection_begins_the_next_generation(
    memory: MemoryStore, wire: Wire, observer: Observer, clock: Clock
) -> None:
    before = await observed(memory, observer, "a\nb\nc")
    await observer.append("waits", 1)
    await memory.set_pending_message_tokens(id=before.id, token_count=5)
    await memory.set_reflecting_flag(id=before.id, is_reflecting=True)
    read = replace(await observer.read(), metadata={"k": 1})
    clock.advance_ms(1000)
    new = await memory.create_reflection_generation(
        current_record=read, reflection="abc", token_count=4
    )
    assert new == ObservationalMemory(
        id=new.id,
        scope="resource",
        thread_id=None,
        resource_id=observer.resource_id,
        created_at=new.created_at,
        updated_at=new.created_at,
        last_observed_at=at(1),
        origin_type="reflection",
        generation_count=1,
        active_observations="abc",
        total_tokens_observed=30,
        observation_token_count=4,
        config={"a": 1},
        metadata={"k": 1},
        observed_timezone="Asia/Tokyo",
    )
    assert new.created_at.timestamp() * 1000 == clock.now_ms()
    assert await observer.read() == new
    assert await history(memory, observer) == [new, replace(read, metadata=None)]
    row = await wire.load(OBSERVATIONS, id=new.id)
    assert row["lastReflectionAt"] == row["createdAt"] == row["updatedAt"]
    assert row["activeObservationsPendingUpdate"] is None


# --- A reflection through the buffer


@requirement("store:observations:reflect:buffer")
async def test_buffered_reflections_add_up(memory: MemoryStore, observer: Observer) -> None:
    before = await observed(memory, observer, "a\nb\nc")
    await reflect(memory, before.id, "first", lines=3)
    first = await observer.read()
    assert first == replace(
        before,
        buffered_reflection="first",
        buffered_reflection_tokens=3,
        buffered_reflection_input_tokens=30,
        reflected_observation_line_count=3,
    )
    await reflect(memory, before.id, "second", lines=2)
    assert await observer.read() == replace(
        first,
        buffered_reflection="first\n\nsecond",
        buffered_reflection_tokens=6,
        buffered_reflection_input_tokens=60,
        reflected_observation_line_count=2,
    )


@requirement("store:observations:reflect:swap")
async def test_a_swapped_reflection_begins_the_next_generation(
    memory: MemoryStore, wire: Wire, observer: Observer, clock: Clock
) -> None:
    before = await observed(memory, observer, "a\nb\nc\nd")
    chunk = await observer.append("waits", 1)
    await reflect(memory, before.id, "ab", lines=2)
    read = await observer.read()
    clock.advance_ms(1000)
    new = await memory.swap_buffered_reflection_to_active(current_record=read, token_count=9)
    assert new == ObservationalMemory(
        id=new.id,
        scope="resource",
        thread_id=None,
        resource_id=observer.resource_id,
        created_at=new.created_at,
        updated_at=new.created_at,
        last_observed_at=at(1),
        origin_type="reflection",
        generation_count=1,
        active_observations="ab\n\nc\nd",
        total_tokens_observed=30,
        observation_token_count=9,
        config={"a": 1},
        observed_timezone="Asia/Tokyo",
    )
    assert new.created_at.timestamp() * 1000 == clock.now_ms()
    assert await observer.read() == new
    old = (await history(memory, observer))[1]
    assert old == replace(before, updated_at=new.created_at, buffered_observation_chunks=[chunk])
    row = await wire.load(OBSERVATIONS, id=old.id)
    for name in (
        "bufferedReflection",
        "bufferedReflectionTokens",
        "bufferedReflectionInputTokens",
        "reflectedObservationLineCount",
    ):
        assert row[name] is None


def current_record(record: ObservationalMemory, **changes: Any) -> Record:
    """What a caller sends of the record it has read."""
    return {
        "id": record.id,
        "lookupKey": f"resource:{record.resource_id}",
        "scope": "resource",
        "threadId": None,
        "resourceId": record.resource_id,
        "config": "{}",
        "metadata": None,
        "observedTimezone": None,
        "lastObservedAt": None,
        "totalTokensObserved": 3,
        "generationCount": 7,
        **changes,
    }


@requirement("store:observations:reflect:carried")
async def test_the_next_generation_takes_over_what_was_sent(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    before = await observed(memory, observer, "a\nb")
    await reflect(memory, before.id, "ab", lines=2)
    carried = current_record(
        before, config='{"sent":1}', metadata='{"m":1}', observedTimezone="UTC", lastObservedAt=NOW
    )
    new_id = f"{before.id}-new"
    result = await wire.result(
        "omSwapBufferedReflection",
        OBSERVATIONS,
        currentRecord=carried,
        newId=new_id,
        tokenCount=9,
        now="2026-02-01T00:00:00.000Z",
    )
    del carried["id"]
    assert result == {
        **carried,
        "id": new_id,
        "generationCount": 8,
        "originType": "reflection",
        "activeObservations": "ab",
        "activeObservationsPendingUpdate": None,
        "lastReflectionAt": "2026-02-01T00:00:00.000Z",
        "createdAt": "2026-02-01T00:00:00.000Z",
        "updatedAt": "2026-02-01T00:00:00.000Z",
        "observationTokenCount": 9,
        "pendingMessageTokens": 0,
        "lastBufferedAtTokens": 0,
        "lastBufferedAtTime": None,
        "isObserving": False,
        "isReflecting": False,
        "isBufferingObservation": False,
        "isBufferingReflection": False,
    }
    assert bare(await wire.load(OBSERVATIONS, id=new_id)) == result


@requirement("store:observations:reflect:lines")
@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a\nb\nc", 0, "R\n\na\nb\nc"),
        ("a\nb\nc", None, "R\n\na\nb\nc"),
        ("a\nb\nc", 1, "R\n\nb\nc"),
        ("a\nb\nc", 3, "R"),
        ("a\nb\nc", 99, "R"),
        ("a\n\n\nb\n\n", 1, "R\n\nb"),
        ("a\n \t\n", 1, "R"),
        ("a\r\nb", 1, "R\n\nb"),
        ("a\n\ufeff\u00a0b\x1f", 1, "R\n\nb\x1f"),
        ("", 0, "R"),
    ],
)
async def test_uncovered_lines_follow_the_reflection(
    memory: MemoryStore, wire: Wire, observer: Observer, text: str, lines: int | None, expected: str
) -> None:
    before = await observed(memory, observer, text)
    await reflect(memory, before.id, "R")
    covered = {"reflectedObservationLineCount": lines}
    await wire.send("patch", OBSERVATIONS, id=before.id, record=covered)
    new = await memory.swap_buffered_reflection_to_active(
        current_record=await observer.read(), token_count=1
    )
    assert new.active_observations == expected


@requirement("store:observations:reflect:none")
async def test_without_a_reflection_there_is_nothing_to_swap(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    before = await observed(memory, observer, "a")
    for nothing in (None, ""):
        await wire.send("patch", OBSERVATIONS, id=before.id, record={"bufferedReflection": nothing})
        with pytest.raises(Conflict, match="No buffered reflection to swap"):
            await memory.swap_buffered_reflection_to_active(current_record=before, token_count=1)
    assert await history(memory, observer) == [before]
    for no_record in (None, "record"):
        await wire.refusal("omSwapBufferedReflection", OBSERVATIONS, currentRecord=no_record)


@requirement("store:observations:reflect:once")
async def test_of_swaps_at_the_same_time_one_begins_a_generation(
    memory: MemoryStore, observer: Observer
) -> None:
    before = await observed(memory, observer, "a\nb")
    await reflect(memory, before.id, "ab", lines=2)
    read = await observer.read()
    outcomes = await asyncio.gather(
        *(
            memory.swap_buffered_reflection_to_active(current_record=read, token_count=1)
            for _ in range(5)
        ),
        return_exceptions=True,
    )
    begun = [each for each in outcomes if isinstance(each, ObservationalMemory)]
    assert len(begun) == 1
    assert [type(each) for each in outcomes if each not in begun] == [Conflict] * 4
    assert [record.id for record in await history(memory, observer)] == [begun[0].id, before.id]


@requirement("store:observations:reflect:id")
async def test_a_new_generation_cannot_take_another_id(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    before = await observed(memory, observer, "a")
    await reflect(memory, before.id, "A", lines=1)
    read = await observer.read()
    for taken in (before.id, None):
        await wire.refusal(
            "omSwapBufferedReflection",
            OBSERVATIONS,
            currentRecord=current_record(before),
            newId=taken,
            tokenCount=1,
            now=NOW,
        )
    assert await history(memory, observer) == [read]


# --- Flags


@requirement("store:observations:flags")
async def test_flags_are_set_one_by_one(
    memory: MemoryStore, observer: Observer, clock: Clock
) -> None:
    before = await observer.begin()
    expected = before
    for flag in (True, False):
        await memory.set_observing_flag(id=before.id, is_observing=flag)
        expected = replace(expected, is_observing=flag)
        assert await observer.read() == expected
        await memory.set_reflecting_flag(id=before.id, is_reflecting=flag)
        expected = replace(expected, is_reflecting=flag)
        assert await observer.read() == expected
        await memory.set_buffering_reflection_flag(id=before.id, is_buffering=flag)
        expected = replace(expected, is_buffering_reflection=flag)
        assert await observer.read() == expected
        tokens = 500 if flag else None
        await memory.set_buffering_observation_flag(
            id=before.id, is_buffering=flag, last_buffered_at_tokens=tokens
        )
        expected = replace(expected, is_buffering_observation=flag, last_buffered_at_tokens=500)
        assert await observer.read() == expected
    await memory.set_buffering_observation_flag(
        id=before.id, is_buffering=False, last_buffered_at_tokens=0
    )
    assert await observer.read() == before
    clock.advance_ms(1000)
    await memory.set_reflecting_flag(id=before.id, is_reflecting=True)
    assert (await observer.read()).updated_at.timestamp() * 1000 == clock.now_ms()


@requirement("store:observations:flags:absent")
async def test_flags_of_an_absent_record_are_not_found(memory: MemoryStore, namespace: str) -> None:
    absent = f"{namespace}-absent"
    for work, name in (
        (memory.set_observing_flag(id=absent, is_observing=True), "OBSERVING_FLAG"),
        (memory.set_reflecting_flag(id=absent, is_reflecting=True), "REFLECTING_FLAG"),
        (
            memory.set_buffering_observation_flag(id=absent, is_buffering=True),
            "BUFFERING_OBSERVATION_FLAG",
        ),
        (
            memory.set_buffering_reflection_flag(id=absent, is_buffering=True),
            "BUFFERING_REFLECTION_FLAG",
        ),
        (
            memory.set_pending_message_tokens(id=absent, token_count=1),
            "PENDING_MESSAGE_TOKENS",
        ),
    ):
        with pytest.raises(NotFound, match=f"record not found: {absent}") as refused:
            await work
        assert refused.value.id == f"MASTRA_STORAGE_CONVEX_SET_{name}_NOT_FOUND"
        assert refused.value.details == {"id": absent}


@requirement("store:observations:pending")
async def test_pending_tokens_are_set(memory: MemoryStore, observer: Observer) -> None:
    record = await observer.begin()
    for count in (7, 0, 2.5):
        await memory.set_pending_message_tokens(id=record.id, token_count=count)
        assert await observer.read() == replace(record, pending_message_tokens=count)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="finite non-negative") as refused:
            await memory.set_pending_message_tokens(id=record.id, token_count=wrong)
        assert refused.value.id == (
            "MASTRA_STORAGE_CONVEX_SET_PENDING_MESSAGE_TOKENS_INVALID_INPUT"
        )
    assert (await observer.read()).pending_message_tokens == 2.5


# --- Configuration


@requirement("store:observations:config")
@pytest.mark.parametrize(
    ("stored", "given", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}, {"a": {"b": 1, "c": 3, "d": 4}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, {"a": [{"c": 1}]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"$schema": {"ключ": 0.5}}, {"$schema": {"ключ": 0.5}}),
    ],
)
async def test_a_configuration_is_merged_at_every_level(
    memory: MemoryStore, observer: Observer, stored: Any, given: Any, merged: Any
) -> None:
    record = await observer.begin(**stored)
    await memory.update_observational_memory_config(id=record.id, config=given)
    assert await observer.read() == replace(record, config=merged)


@requirement("store:observations:config:text")
async def test_what_is_no_object_counts_as_an_empty_configuration(
    wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    for stored, given, merged in (
        ('{"a":1}', '{"b":{"c":2}}', {"a": 1, "b": {"c": 2}}),
        ('{"a":1}', "[2]", {"a": 1}),
        ('{"a":1}', "not JSON", {"a": 1}),
        ('{"a":1}', "[" * 100_000, {"a": 1}),
        ('{"a":1}', {"b": 2}, {"a": 1}),
        ('{"a":1}', None, {"a": 1}),
        ("[1]", '{"b":2}', {"b": 2}),
        ("not JSON", '{"b":2}', {"b": 2}),
        ("null", '{"b":2}', {"b": 2}),
        ("", "", {}),
    ):
        config: Any = given
        await wire.send("patch", OBSERVATIONS, id=record.id, record={"config": stored})
        sent = await wire.send(
            "omUpdateConfig", OBSERVATIONS, id=record.id, config=config, updatedAt=NOW
        )
        assert sent == {"ok": True}
        row = await wire.load(OBSERVATIONS, id=record.id)
        assert json.loads(row["config"]) == merged
        assert " " not in row["config"]
