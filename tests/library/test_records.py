"""Records to rows and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.errors import InvalidArgument, InvalidResponse, LimitExceeded
from convex_memory.records import (
    Message,
    Resource,
    Thread,
    iso_text,
    normalised,
    utc_now,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON_TEXT = "2026-01-31T12:00:00.000Z"


def message(id: str = "m1", *, at: datetime = NOON, content: Any = "hi") -> Message:
    return Message(
        id=id, thread_id="t", resource_id="r", role="user", content=content, created_at=at
    )


def message_row(**changes: Any) -> dict[str, Any]:
    return {
        "_id": "x",
        "_creationTime": 1.5,
        "id": "m1",
        "thread_id": "t",
        "content": '{"format":2,"parts":[]}',
        "role": "user",
        "type": "v2",
        "createdAt": NOON_TEXT,
        "resourceId": "r",
        **changes,
    }


def test_now_has_the_precision_that_rows_have() -> None:
    assert utc_now().microsecond % 1000 == 0


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (NOON, NOON_TEXT),
        (NOON.astimezone(timezone(timedelta(hours=9))), NOON_TEXT),
        (NOON.replace(microsecond=999_999), "2026-01-31T12:00:00.999Z"),
        ("2026-01-31T12:00:00Z", NOON_TEXT),
        ("2026-01-31T13:00:00+01:00", NOON_TEXT),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
    ],
)
def test_instants_are_written_in_utc_to_the_millisecond(instant: datetime | str, text: str) -> None:
    assert iso_text(instant) == text


@pytest.mark.parametrize("instant", [datetime(2026, 1, 1), "soon", ""])  # noqa: DTZ001
def test_what_is_no_instant_is_refused_by_name(instant: datetime | str) -> None:
    with pytest.raises(InvalidArgument, match="since"):
        iso_text(instant, "since")


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )
)  # fmt: skip
def test_written_instants_sort_as_instants_do(instant: datetime) -> None:
    later = instant + timedelta(milliseconds=1)
    assert iso_text(instant) < iso_text(later)
    assert datetime.fromisoformat(iso_text(instant)) <= instant


def test_a_thread_goes_to_a_row_and_back() -> None:
    thread = Thread(
        id="t", resource_id="r", title="", metadata={"a": [1]}, created_at=NOON, updated_at=NOON
    )
    row = thread.to_row()
    assert row == {
        "id": "t",
        "resourceId": "r",
        "title": "",
        "metadata": {"a": [1]},
        "createdAt": NOON_TEXT,
        "updatedAt": NOON_TEXT,
    }
    assert Thread.from_row({**row, "_id": "x", "_creationTime": 1.0}) == thread


@pytest.mark.parametrize(
    ("stored", "metadata"),
    [
        ('{"a":1}', {"a": 1}),
        ('"{\\"a\\":1}"', {"a": 1}),
        ("not json", {}),
        ("[1]", {}),
        (None, {}),
        ({"a": 1.0, "b": 1.5}, {"a": 1, "b": 1.5}),
    ],
)
def test_stored_metadata_is_read_in_every_form(stored: Any, metadata: dict[str, Any]) -> None:
    row = {
        "id": "t",
        "resourceId": "r",
        "title": "T",
        "metadata": stored,
        "createdAt": NOON_TEXT,
        "updatedAt": NOON_TEXT,
    }
    assert Thread.from_row(row).metadata == metadata
    assert Resource.from_row(row).metadata == metadata


@pytest.mark.parametrize("name", ["$where", "naïve"])
def test_metadata_that_cannot_be_stored_is_refused_by_key(name: str) -> None:
    with pytest.raises(InvalidArgument, match="metadata"):
        Thread(id="t", resource_id="r", metadata={name: 1}).to_row()


def test_metadata_nested_too_deeply_is_refused() -> None:
    metadata: dict[str, Any] = {}
    for _ in range(16):
        metadata = {"inner": metadata}
    with pytest.raises(LimitExceeded):
        Thread(id="t", resource_id="r", metadata=metadata).to_row()


def test_a_message_goes_to_a_row_and_back() -> None:
    content = {"format": 2, "parts": [{"type": "text", "text": "é $"}], "metadata": {"$k": None}}
    sent = message(content=content)
    row = sent.to_row()
    assert row["content"] == json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    assert Message.from_row(row) == sent


def test_text_is_stored_as_the_format_2_message_that_says_it() -> None:
    for text in ("hi", '{"a": 1}', '"quoted"', ""):
        stored = Message.from_row(message(content=text).to_row())
        assert stored.content == {
            "format": 2,
            "parts": [{"type": "text", "text": text}],
        }
        assert stored.text == text


@pytest.mark.parametrize(
    ("stored", "content"),
    [
        ("", {}),
        ("legacy words", "legacy words"),
        ('"legacy words"', "legacy words"),
        ("42", "42"),
        ("[1, 2]", "[1, 2]"),
        ('{"format":2', '{"format":2'),
        (
            '[{"type":"text","text":"v1"}]',
            {"format": 2, "parts": [{"type": "text", "text": "v1"}]},
        ),
    ],
)
def test_stored_content_of_every_age_is_read(stored: str, content: Any) -> None:
    assert Message.from_row(message_row(content=stored)).content == content


def test_a_missing_resource_is_none_and_is_not_written() -> None:
    row = message_row()
    del row["resourceId"]
    read = Message.from_row(row)
    assert read.resource_id is None
    assert "resourceId" not in read.to_row()


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_content_that_is_not_json_is_refused(content: Any) -> None:
    with pytest.raises(InvalidArgument, match="JSON"):
        message(content=content).to_row()


@pytest.mark.parametrize(
    "row",
    [
        None,
        "text",
        [],
        {},
        message_row(id=None),
        message_row(createdAt="yesterday"),
        message_row(content=5),
    ],
)
def test_an_answer_that_is_no_message_is_refused(row: Any) -> None:
    with pytest.raises(InvalidResponse):
        Message.from_row(row)


def test_message_metadata_is_that_of_its_content() -> None:
    assert message(content={"metadata": {"a": 1}}).metadata == {"a": 1}
    assert message(content={"metadata": "text"}).metadata == {}
    assert message(content="text").metadata == {}


def test_a_resource_goes_to_a_row_without_what_it_does_not_say() -> None:
    resource = Resource(id="r", created_at=NOON, updated_at=NOON)
    assert resource.to_row() == {"id": "r", "createdAt": NOON_TEXT, "updatedAt": NOON_TEXT}
    full = Resource(id="r", working_memory="w", metadata={"a": 1}, created_at=NOON, updated_at=NOON)
    assert Resource.from_row(full.to_row()) == full


def test_normalised_messages_are_unique_oldest_first_and_format_2() -> None:
    later = NOON + timedelta(seconds=1)
    messages = [message("b", at=later), message("a"), message("c"), message("a", content="new")]
    result = normalised(messages)
    assert [each.id for each in result] == ["a", "c", "b"]
    assert result[0].text == "new"
    assert all(not isinstance(each.content, str) for each in result)
