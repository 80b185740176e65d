"""Rows and their ids, and the log of their changes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.embedded import database_file
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.tables import CACHE_LIST_ITEMS, MESSAGES, TABLES, THREADS, Table
from convex_memory.errors import (
    InvalidArgument,
    LimitExceeded,
)
from convex_memory.limits import DOCUMENT_BYTES_MAX
from tests.library.engine_work import (
    indexes,
    item,
    put,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "memory.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    async with aclosing(Engine(path)) as engine:
        yield engine


# --- Rows


async def test_ids_are_never_used_twice(engine: Engine) -> None:
    def recreate(documents: Documents) -> str:
        row = documents.insert(CACHE_LIST_ITEMS, item(1))
        documents.delete(CACHE_LIST_ITEMS, row)
        return documents.id_of(CACHE_LIST_ITEMS, row.sequence)

    ids = [await engine.write(recreate) for _ in range(5)]
    assert len(set(ids)) == 5


async def test_creation_times_grow_even_when_the_clock_does_not(path: Path) -> None:
    clock = iter([5000.0, 5000.0, 4000.0, 6000.0])
    async with aclosing(Engine(path, now_ms=lambda: next(clock))) as engine:
        created = [(await engine.write(put(number))).created for number in range(4)]
    assert created == [5000.0, 5000.0 + 1 / 1024, 5000.0 + 2 / 1024, 6000.0]


@given(sequence=st.integers(1, 2**63 - 1), salt=st.binary(min_size=8, max_size=8))
def test_an_id_says_its_row_to_its_own_deployment_and_table_only(
    sequence: int, salt: bytes
) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:

        def documents(salt: bytes) -> Documents:
            return Documents(connection, salt, lambda: 0, lambda: 0, writable=False)

        own, other = documents(salt), documents(bytes(byte ^ 1 for byte in salt))
        document_id = own.id_of(MESSAGES, sequence)
        assert len(document_id) == 31
        assert set(document_id) <= set("0123456789abcdefghjkmnpqrstvwxyz")
        assert own.sequence_of(MESSAGES, document_id) == sequence
        assert own.sequence_of(THREADS, document_id) is None
        assert other.sequence_of(MESSAGES, document_id) is None
        assert own.sequence_of(MESSAGES, document_id[:-1]) is None
        changed = ("1" if document_id[0] == "0" else "0") + document_id[1:]
        assert own.sequence_of(MESSAGES, changed) is None


@pytest.mark.parametrize("text", ["", "x", "größe", "0" * 31, "u" * 31, "A" * 31, "0" * 10_000])
async def test_what_is_no_id_names_no_row(engine: Engine, text: str) -> None:
    found = await engine.read(lambda documents: documents.sequence_of(MESSAGES, text))
    assert found is None


def _every_field(table: Table) -> dict[str, Any]:
    values: dict[str, Any] = {
        "string": "text",
        "number": 1.5,
        "boolean": True,
        "any": {"a": [1, None, {"b": "c"}]},
        "strings": ["a", "b"],
        "vector": [1.0, 0.1],
    }
    return {
        name: min(field.choices) if field.choices else values[field.kind]
        for name, field in table.fields.items()
    }


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
async def test_every_field_of_every_table_comes_back_as_it_was(
    engine: Engine, table: Table
) -> None:
    full = _every_field(table)
    least = {name: full[name] for name, field in table.fields.items() if not field.optional}
    empty = full | {name: None for name, field in table.fields.items() if field.nullable}

    def keep(documents: Documents) -> list[Any]:
        rows = [documents.insert(table, record) for record in (full, least, empty)]
        found = [documents.at(table, row.sequence) for row in rows]
        return [row and row.fields for row in found]

    assert await engine.write(keep) == [full, least, empty]


async def test_rows_that_break_the_declaration_are_refused(engine: Engine) -> None:
    for record, error, told in (
        ({"key": "k"}, InvalidArgument, "needs the field keyPrefix"),
        (item(1) | {"extra": 1}, InvalidArgument, "has no field extra; its fields are key"),
        (item(1) | {"index": "1"}, InvalidArgument, "must be number, not str"),
        (item(1) | {"value": None}, InvalidArgument, "must be string, not null"),
        (item(1, "x" * DOCUMENT_BYTES_MAX), LimitExceeded, "1 MiB"),
    ):

        def work(documents: Documents, record: dict[str, Any] = record) -> None:
            documents.insert(CACHE_LIST_ITEMS, record)

        with pytest.raises(error, match=told):
            await engine.write(work)
    assert await engine.read(indexes) == []


# --- The change log


async def test_the_change_log_keeps_only_its_newest_part(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_file, "CHANGES_KEPT", 10)
    thread = {"id": "t", "resourceId": "r", "title": "", "createdAt": "", "updatedAt": ""}

    def create(documents: Documents) -> None:
        for number in range(25):
            documents.insert(THREADS, {**thread, "id": f"t{number}"})

    def logged(documents: Documents) -> list[str]:
        rows = documents.connection.execute("SELECT id FROM changes ORDER BY sequence")
        return [row[0] for row in rows]

    async with aclosing(Engine(path)) as engine:
        await engine.write(create)
    async with aclosing(Engine(path)) as engine:
        assert await engine.read(logged) == [f"t{number}" for number in range(15, 25)]
