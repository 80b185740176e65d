"""`updateThread` and `updateResource` on the wire."""

from __future__ import annotations

import json
from typing import Final

import pytest

from convex_memory.deployment import Deployment
from convex_memory.values import Value
from tests.contract.requirements import requirement
from tests.contract.wire import (
    TIME,
    Record,
    Wire,
    bare,
    thread,
)

pytestmark = pytest.mark.anyio

LATER: Final = "2026-02-02T00:00:00.000Z"


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


@requirement("wire:update-thread")
async def test_updating_a_thread_sets_its_title_and_merges_its_metadata(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", metadata={"x": {"deep": 1}, "y": 2}))
    before = await wire.load("mastra_threads", id="a")
    changes: Record = {"title": "new", "metadata": {"x": {}, "z": None}, "updatedAt": LATER}
    result = await wire.result("updateThread", "mastra_threads", id="a", **changes)
    merged = {"x": {}, "y": 2, "z": None}
    assert result == {**before, "title": "new", "updatedAt": LATER, "metadata": merged}
    assert await wire.load("mastra_threads", id="a") == result


@requirement("wire:update-thread")
async def test_updating_an_absent_thread_answers_null(wire: Wire) -> None:
    changes: Record = {"title": "new", "metadata": {}, "updatedAt": LATER}
    reply = await wire.send("updateThread", "mastra_threads", id="a", **changes)
    assert reply == {"ok": True, "result": None}
    assert await wire.ids("mastra_threads") == []


STORED: Final[list[tuple[Value, Record]]] = [
    ('{"x":1}', {"x": 1}),
    ('"{\\"x\\":1}"', {"x": 1}),
    (json.dumps(json.dumps(json.dumps({"x": {"y": [1]}}))), {"x": {"y": [1]}}),
    ('{"big":12345678901234567890}', {"big": 12345678901234567890.0}),
    ("", {}),
    ("not json", {}),
    ('{"x":NaN}', {}),
    ('"text"', {}),
    ("[1]", {}),
    ("[" * 100_000, {}),
    ("null", {}),
    ("5", {}),
    ([1], {}),
    (5, {}),
    (True, {}),
    (None, {}),
]


def shortened(value: object) -> str:
    return repr(value)[:30]


@requirement("wire:update-thread:text")
@pytest.mark.parametrize(("stored", "meant"), STORED, ids=shortened)
async def test_stored_metadata_may_be_text_and_what_is_no_object_is_empty(
    wire: Wire, stored: Value, meant: Record
) -> None:
    await wire.insert("mastra_threads", thread("a", metadata=stored))
    changes: Record = {"title": "", "metadata": {"new": 1}, "updatedAt": TIME}
    result = await wire.result("updateThread", "mastra_threads", id="a", **changes)
    assert result["metadata"] == {**meant, "new": 1}


@requirement("wire:update-thread:text")
@pytest.mark.parametrize(("stored", "meant"), STORED, ids=shortened)
async def test_stored_metadata_of_a_resource_may_be_text_too(
    wire: Wire, stored: Value, meant: Record
) -> None:
    record = {"id": "r", "metadata": stored, "createdAt": TIME, "updatedAt": TIME}
    await wire.insert("mastra_resources", record)
    result = await wire.result(
        "updateResource", "mastra_resources", resourceId="r", metadata={"new": 1}, updatedAt=TIME
    )
    assert result["metadata"] == {**meant, "new": 1}


@requirement("wire:update-thread:text:refusals")
async def test_text_whose_object_cannot_be_stored_is_refused_by_the_key(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", metadata='{"$ref":1}'))
    changes: Record = {"title": "new", "metadata": {}, "updatedAt": LATER}
    text = await wire.refusal("updateThread", "mastra_threads", id="a", **changes)
    assert text.startswith("Field name $ref starts with '$', which is reserved.")
    assert (await wire.load("mastra_threads", id="a"))["title"] == ""


@requirement("wire:update-thread:refusals")
async def test_an_update_that_breaks_a_thread_changes_nothing(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a"))
    changes: Record = {"title": None, "metadata": {"x": 1}, "updatedAt": LATER}
    text = await wire.refusal("updateThread", "mastra_threads", id="a", **changes)
    assert "title of mastra_threads must be string" in text
    assert bare(await wire.load("mastra_threads", id="a")) == thread("a")


@requirement("wire:update-resource")
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {"metadata": {}}),
        ({"workingMemory": "w"}, {"workingMemory": "w", "metadata": {}}),
        ({"metadata": {"x": 1}}, {"metadata": {"x": 1}}),
        ({"metadata": None}, {"metadata": {}}),
        ({"workingMemory": "", "metadata": {}}, {"workingMemory": "", "metadata": {}}),
    ],
    ids=repr,
)
async def test_updating_an_absent_resource_creates_it_and_answers_the_record(
    wire: Wire, given: Record, stored: Record
) -> None:
    times = {"createdAt": TIME, "updatedAt": LATER}
    result = await wire.result(
        "updateResource", "mastra_resources", resourceId="r", **given, **times
    )
    assert result == {"id": "r", **stored, **times}
    assert bare(await wire.load("mastra_resources", id="r")) == result


@requirement("wire:update-resource")
async def test_updating_a_resource_keeps_what_is_not_given(wire: Wire) -> None:
    record: Record = {
        "id": "r",
        "workingMemory": "w",
        "metadata": {"x": 1, "y": 2},
        "createdAt": TIME,
        "updatedAt": TIME,
    }
    await wire.insert("mastra_resources", record)
    row = await wire.load("mastra_resources", id="r")
    steps: list[tuple[Record, Record]] = [
        ({}, {}),
        ({"metadata": {"y": 3, "z": 4}}, {"metadata": {"x": 1, "y": 3, "z": 4}}),
        ({"workingMemory": ""}, {"workingMemory": ""}),
        ({"workingMemory": "v", "metadata": {}}, {"workingMemory": "v"}),
    ]
    for more, changed in steps:
        result = await wire.result(
            "updateResource",
            "mastra_resources",
            resourceId="r",
            createdAt=LATER,
            updatedAt=LATER,
            **more,
        )
        row = {**row, "updatedAt": LATER, **changed}
        assert result == row
        assert await wire.load("mastra_resources", id="r") == row
