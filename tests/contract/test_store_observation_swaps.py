"""Swaps of observational memory: what becomes active, what waits on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.store import Activation, ConvexStore, MemoryStore, ObservationChunk
from tests.contract.boundaries import WORKED_VALUES
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.observing import NOTHING, OBSERVATIONS, Observer
from tests.contract.requirements import requirement
from tests.contract.wire import Wire

pytestmark = pytest.mark.anyio

any_examples = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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


@requirement("store:observations:swap:empty")
async def test_swapping_nothing_writes_nothing(
    wire: Wire, observer: Observer, clock: Clock
) -> None:
    record = await observer.begin()
    before = await wire.load(OBSERVATIONS, id=record.id)
    clock.advance_ms(1000)
    assert await observer.swap() == NOTHING
    # Chunks of the caller's own do not make up for an empty buffer.
    assert await observer.swap(buffered_chunks=[observer.chunk("a", 1)]) == NOTHING
    assert await wire.load(OBSERVATIONS, id=record.id) == before
    answer = await wire.result(
        "omSwapBuffered",
        OBSERVATIONS,
        id=record.id,
        activationRatio=1,
        messageTokensThreshold=1,
        currentPendingTokens=1,
        now="2026-01-01T00:00:00.000Z",
    )
    assert answer == {
        "chunksActivated": 0,
        "messageTokensActivated": 0,
        "observationTokensActivated": 0,
        "messagesActivated": 0,
        "activatedCycleIds": [],
        "activatedMessageIds": [],
    }
    await observer.append("a", 1)
    assert await observer.swap(buffered_chunks=[]) == NOTHING
    assert len((await observer.read()).buffered_observation_chunks) == 1


@requirement("store:observations:swap:whole")
async def test_a_swap_tells_what_it_activated(
    memory: MemoryStore, wire: Wire, observer: Observer
) -> None:
    record = await observer.begin()
    await memory.update_active_observations(
        id=record.id,
        observations="",
        token_count=0,
        last_observed_at=at(0),
        observed_message_ids=["m0"],
    )
    a = await observer.append("a", 300, message_ids=["m1", "m2"], token_count=7)
    b = await observer.append("b", 400, message_ids=["m3"], token_count=8.5)
    before = await observer.read()
    answer = await wire.result(
        "omSwapBuffered",
        OBSERVATIONS,
        id=record.id,
        activationRatio=1,
        messageTokensThreshold=1000,
        currentPendingTokens=1000,
        now="2026-01-01T00:00:00.000Z",
    )
    assert answer == {
        "chunksActivated": 2,
        "messageTokensActivated": 700,
        "observationTokensActivated": 15.5,
        "messagesActivated": 3,
        "activatedCycleIds": ["a", "b"],
        "activatedMessageIds": ["m1", "m2", "m3"],
        "observations": f"{a.observations}\n\n{b.observations}",
        "perChunk": [
            {
                "cycleId": "a",
                "messageTokens": 300,
                "observationTokens": 7,
                "messageCount": 2,
                "observations": a.observations,
            },
            {
                "cycleId": "b",
                "messageTokens": 400,
                "observationTokens": 8.5,
                "messageCount": 1,
                "observations": b.observations,
            },
        ],
    }
    assert await observer.read() == replace(
        before,
        active_observations=f"{a.observations}\n\n{b.observations}",
        observation_token_count=15.5,
        last_observed_at=b.last_observed_at,
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        buffered_observation_chunks=[],
    )
    assert await observer.swap() == NOTHING


@requirement("wire:observations:columns")
async def test_a_swap_writes_mastras_columns(wire: Wire, observer: Observer, clock: Clock) -> None:
    record = await observer.begin()
    for name in "ab":
        await observer.append(name, 600)
    before = await wire.load(OBSERVATIONS, id=record.id)
    clock.advance_ms(1000)
    await observer.swap(threshold=1000, pending=1400, ratio=0.5)
    part = await wire.load(OBSERVATIONS, id=record.id)
    left = json.loads(before["bufferedObservationChunks"])[1:]
    assert json.loads(part["bufferedObservationChunks"]) == left
    changed = {name for name in part if part[name] != before.get(name)}
    assert changed == {
        "activeObservations",
        "observationTokenCount",
        "bufferedObservationChunks",
        "lastObservedAt",
        "updatedAt",
    }
    await observer.swap()
    emptied = await wire.load(OBSERVATIONS, id=record.id)
    assert emptied["bufferedObservationChunks"] is None
    assert emptied["totalTokensObserved"] == 0


@requirement("store:observations:swap:part")
async def test_chunks_that_are_not_activated_stay(observer: Observer) -> None:
    await observer.begin()
    chunks = [await observer.append(name, 600) for name in "abc"]
    first = await observer.swap(ratio=0.5, threshold=1000, pending=1100)
    assert (first.chunks_activated, first.activated_cycle_ids) == (1, ["a"])
    assert (await observer.read()).buffered_observation_chunks == chunks[1:]
    second = await observer.swap(ratio=1, threshold=1000, pending=1200)
    assert (second.chunks_activated, second.activated_cycle_ids) == (2, ["b", "c"])
    assert (await observer.read()).buffered_observation_chunks == []


@requirement("store:observations:swap:boundary")
async def test_activated_text_follows_after_a_boundary(observer: Observer) -> None:
    await observer.begin()
    a, b = [await observer.append(name, 600) for name in "ab"]
    for _ in range(2):
        await observer.swap(ratio=0.5, threshold=1000, pending=1100)
    stored = await observer.read()
    assert stored.active_observations == (
        f"{a.observations}\n\n--- message boundary (2025-06-01T00:00:02.000Z) ---\n\n"
        f"{b.observations}"
    )
    assert stored.observation_token_count == a.token_count + b.token_count
    await observer.append("c", 1)
    await observer.swap(last_observed_at=at(99))
    assert "(2025-06-01T00:01:39.000Z) ---\n\nobserved c" in (
        (await observer.read()).active_observations
    )


@requirement("store:observations:swap:count")
@pytest.mark.parametrize(
    ("tokens", "ratio", "threshold", "pending", "force", "count"), WORKED_VALUES
)
async def test_as_many_become_active_as_the_rules_say(
    observer: Observer,
    tokens: list[int],
    ratio: float,
    threshold: int,
    pending: int,
    force: bool,
    count: int,
) -> None:
    await observer.begin()
    chunks = [await observer.append(f"c{n}", tokens_of) for n, tokens_of in enumerate(tokens)]
    swapped = await observer.swap(
        ratio=ratio, threshold=threshold, pending=pending, force_max_activation=force
    )
    assert swapped.chunks_activated == count
    assert swapped.message_tokens_activated == sum(tokens[:count])
    assert (await observer.read()).buffered_observation_chunks == chunks[count:]


@requirement("store:observations:swap:dates")
async def test_a_swap_says_up_to_when_it_observed(wire: Wire, observer: Observer) -> None:
    record = await observer.begin()
    await observer.append("a", 1)
    b = await observer.append("b", 1)
    await observer.swap()
    assert (await observer.read()).last_observed_at == b.last_observed_at
    await observer.append("c", 1)
    await observer.swap(last_observed_at=at(50))
    assert (await observer.read()).last_observed_at == at(50)
    undated = {"id": "d", "cycleId": "d", "observations": "d", "tokenCount": 1, "messageIds": []}
    buffer = {"bufferedObservationChunks": json.dumps([undated])}
    await wire.send("patch", OBSERVATIONS, id=record.id, record=buffer)
    now = "2026-02-03T04:05:06.000Z"
    await wire.result(
        "omSwapBuffered",
        OBSERVATIONS,
        id=record.id,
        activationRatio=1,
        messageTokensThreshold=1,
        currentPendingTokens=1,
        now=now,
    )
    row = await wire.load(OBSERVATIONS, id=record.id)
    assert (row["lastObservedAt"], row["updatedAt"]) == (now, now)


@requirement("store:observations:swap:pending")
async def test_a_swap_takes_its_messages_off_what_is_pending(
    memory: MemoryStore, observer: Observer
) -> None:
    record = await observer.begin()
    await memory.set_pending_message_tokens(id=record.id, token_count=1000)
    for pending_after, tokens in ((700, 300), (0, 800)):
        await observer.append("a", tokens)
        await observer.swap()
        assert (await observer.read()).pending_message_tokens == pending_after


@requirement("store:observations:swap:hints")
async def test_a_swap_passes_on_the_hints_of_its_last_chunk(
    memory: MemoryStore, observer: Observer
) -> None:
    record = await observer.begin()
    hinted = replace(
        observer.chunk("a", 1), suggested_continuation="go on", current_task="making tea"
    )
    for chunk, hints in (
        (hinted, ("go on", "making tea")),
        (observer.chunk("b", 1), (None, None)),
        (replace(hinted, current_task=None), ("go on", None)),
        (replace(hinted, suggested_continuation=""), ("", "making tea")),
    ):
        await memory.update_buffered_observations(id=record.id, chunk=hinted)
        await memory.update_buffered_observations(id=record.id, chunk=chunk)
        swapped = await observer.swap()
        assert swapped.chunks_activated == 2
        assert (swapped.suggested_continuation, swapped.current_task) == hints


@requirement("store:observations:swap:fresh")
async def test_a_swap_decides_by_the_chunks_that_are_sent(
    memory: MemoryStore, observer: Observer
) -> None:
    record = await observer.begin()
    await memory.set_pending_message_tokens(id=record.id, token_count=5000)
    chunks = [await observer.append(name, 100) for name in "ab"]
    fresh = [replace(chunk, message_tokens=600) for chunk in chunks]
    swapped = await observer.swap(ratio=0.5, threshold=1000, pending=1100, buffered_chunks=fresh)
    assert (swapped.chunks_activated, swapped.message_tokens_activated) == (1, 600)
    stored = await observer.read()
    assert stored.pending_message_tokens == 4400
    assert stored.buffered_observation_chunks == fresh[1:]


@requirement("store:observations:swap:stale")
async def test_a_list_that_was_overtaken_loses_and_repeats_nothing(observer: Observer) -> None:
    await observer.begin()
    a, b = [await observer.append(name, 600) for name in "ab"]
    read = [a, b]
    c = await observer.append("c", 600)
    first = await observer.swap(ratio=0.5, threshold=1000, pending=1100, buffered_chunks=read)
    assert first.activated_cycle_ids == ["a"]
    assert (await observer.read()).buffered_observation_chunks == [b, c]
    second = await observer.swap(ratio=1, threshold=1000, pending=9000, buffered_chunks=read)
    assert second.activated_cycle_ids == ["b"]
    assert (await observer.read()).buffered_observation_chunks == [c]
    assert await observer.swap(buffered_chunks=read) == NOTHING
    third = await observer.swap()
    assert third.activated_cycle_ids == ["c"]
    text = (await observer.read()).active_observations
    assert [text.count(each.observations) for each in (a, b, c)] == [1, 1, 1]


@requirement("store:observations:swap:own")
async def test_a_list_of_the_callers_own_replaces_the_buffer(observer: Observer) -> None:
    await observer.begin()
    await observer.append("a", 600)
    own = [replace(observer.chunk(name, 600), id=name) for name in "xy"]
    swapped = await observer.swap(ratio=0.5, threshold=1000, pending=1100, buffered_chunks=own)
    assert swapped.activated_cycle_ids == ["x"]
    assert (await observer.read()).buffered_observation_chunks == own[1:]


@requirement("store:observations:swap:refusals")
async def test_a_swap_without_numbers_is_refused(wire: Wire, observer: Observer) -> None:
    record = await observer.begin()
    await observer.append("a", 1)
    before = await wire.load(OBSERVATIONS, id=record.id)
    numbers: dict[str, Any] = {
        "activationRatio": 1,
        "messageTokensThreshold": 1,
        "currentPendingTokens": 1,
    }
    now = "2026-01-01T00:00:00.000Z"
    for name in numbers:
        refused = await wire.refusal(
            "omSwapBuffered", OBSERVATIONS, id=record.id, now=now, **{**numbers, name: "1"}
        )
        assert name in refused
    await wire.refusal(
        "omSwapBuffered", OBSERVATIONS, id=record.id, now=now, bufferedChunks=[1], **numbers
    )
    assert await wire.load(OBSERVATIONS, id=record.id) == before


# --- Exactly once


async def assert_exactly_once(
    observer: Observer, appended: list[ObservationChunk], activated: list[Activation]
) -> None:
    """Every chunk is in the active text or in the buffer, once; the counts say the same."""
    stored = await observer.read()
    active = [cycle for activation in activated for cycle in activation.activated_cycle_ids]
    waiting = [chunk.cycle_id for chunk in stored.buffered_observation_chunks]
    assert sorted(active + waiting) == sorted(chunk.cycle_id for chunk in appended)
    for chunk in appended:
        times = stored.active_observations.count(chunk.observations)
        assert times == (1 if chunk.cycle_id in active else 0)
    tokens = {chunk.cycle_id: chunk.token_count for chunk in appended}
    assert stored.observation_token_count == sum(tokens[cycle] for cycle in active)
    assert sum(each.observation_tokens_activated for each in activated) == (
        stored.observation_token_count
    )
    ids = [name for activation in activated for name in activation.activated_message_ids]
    assert len(ids) == len(set(ids))


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 2000), st.integers(0, 40)),
    st.tuples(st.just("read"), st.just(0), st.just(0)),
    st.tuples(
        st.sampled_from(("swap", "swap with what was read")),
        st.sampled_from((0, 1100, 2500, 9000)),
        st.integers(0, 10),
    ),
)


@requirement("store:observations:swap:exactly-once")
@any_examples
@given(steps=st.lists(STEP, max_size=20))
async def test_every_chunk_is_somewhere_exactly_once(
    memory: MemoryStore, observer: Observer, steps: list[tuple[str, int, int]]
) -> None:
    record = await observer.begin()
    pending = 10_000.0
    await memory.set_pending_message_tokens(id=record.id, token_count=pending)
    appended: list[ObservationChunk] = []
    activated: list[Activation] = []
    read: list[ObservationChunk] | None = None
    for step, size, tokens in steps:
        if step == "append":
            appended.append(await observer.append(f"{len(appended)}.", size, token_count=tokens))
        elif step == "read":
            read = (await observer.read()).buffered_observation_chunks
        else:
            activated.append(
                await observer.swap(
                    ratio=tokens / 10,
                    threshold=1000,
                    pending=size,
                    buffered_chunks=read if step == "swap with what was read" else None,
                )
            )
            pending = max(0, pending - activated[-1].message_tokens_activated)
    await assert_exactly_once(observer, appended, activated)
    stored = await observer.read()
    assert stored.pending_message_tokens == pending
    waiting = {chunk.id: chunk for chunk in appended}
    for chunk in stored.buffered_observation_chunks:
        assert waiting[chunk.id] == chunk


@requirement("store:observations:swap:concurrent")
async def test_appends_and_swaps_at_the_same_time_lose_nothing(observer: Observer) -> None:
    await observer.begin()
    appended: list[ObservationChunk] = []
    activated: list[Activation] = []

    async def append(number: int) -> None:
        appended.append(await observer.append(f"{number}.", 400, token_count=number))

    async def swap() -> None:
        read = (await observer.read()).buffered_observation_chunks
        activated.append(
            await observer.swap(ratio=0.5, threshold=1000, pending=1100, buffered_chunks=read)
        )

    await asyncio.gather(
        *(work for number in range(15) for work in (append(number), swap(), observer.read()))
    )
    await assert_exactly_once(observer, appended, activated)
