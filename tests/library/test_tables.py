"""The embedded deployment's tables are those of the wire protocol, field by field."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from convex_memory.embedded.migrations import migrate
from convex_memory.embedded.tables import (
    NATIVE_VECTORS,
    TABLES,
    TYPED_TABLES,
    Table,
    check_identifier,
)
from convex_memory.errors import InvalidArgument
from tests.declared_tables import DECLARED, TYPED, DeclaredTable, chosen_index


def named(table: DeclaredTable) -> str:
    return table.name


every_table = pytest.mark.parametrize("declared", DECLARED.values(), ids=named)


def test_every_table_of_the_protocol_is_there_and_one_of_our_own() -> None:
    assert set(TABLES) == {*DECLARED, NATIVE_VECTORS.name}
    assert all(TABLES[name].name == name for name in TABLES)


def test_requests_name_the_typed_tables_as_the_protocol_does() -> None:
    assert {logical: table.name for logical, table in TYPED_TABLES.items()} == {
        table.logical: table.name for table in TYPED
    }


def test_no_two_tables_share_the_number_in_their_ids() -> None:
    numbers = [table.number for table in TABLES.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 256 for number in numbers)


@every_table
def test_a_table_has_exactly_the_declared_fields(declared: DeclaredTable) -> None:
    assert {
        field.name: (field.kind, field.optional, field.nullable)
        for field in TABLES[declared.name].fields.values()
    } == {
        field.name: (field.kind, field.optional, field.nullable)
        for field in declared.fields.values()
    }
    assert all(name == field.name for name, field in TABLES[declared.name].fields.items())


@every_table
def test_a_field_with_choices_has_exactly_those(declared: DeclaredTable) -> None:
    assert {
        field.name: field.choices
        for field in TABLES[declared.name].fields.values()
        if field.choices is not None
    } == {name: frozenset(texts) for name, texts in declared.choices.items()}


@every_table
def test_a_table_has_exactly_the_declared_indexes(declared: DeclaredTable) -> None:
    assert dict(TABLES[declared.name].indexes) == dict(declared.indexes)


@pytest.mark.parametrize("declared", TYPED, ids=named)
def test_indexes_are_preferred_in_the_declared_order(declared: DeclaredTable) -> None:
    assert tuple(TABLES[declared.name].indexes) == declared.preferred


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_indexes_are_over_fields_of_the_table_and_named_once(table: Table) -> None:
    assert not set(table.indexes) & set(table.own_indexes)
    for fields in (*table.indexes.values(), *table.own_indexes.values()):
        assert set(fields) <= set(table.fields)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_names_are_ones_that_convex_takes(table: Table) -> None:
    for name in (table.name, *table.fields, *table.indexes, *table.own_indexes):
        assert check_identifier(name, "name") == name


@pytest.mark.parametrize("name", ["", "a-b", "1a", "a" * 65, 'a"b', "é", "a b"], ids=ascii)
def test_a_name_that_convex_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a valid name"):
        check_identifier(name, "table")


def test_threads_and_resources_of_a_row_are_text_fields_of_it() -> None:
    for table in TABLES.values():
        for name in (table.thread_field, table.resource_field):
            assert name is None or table.fields[name].kind == "string"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    migrate(opened, tmp_path / "memory.db")
    yield opened
    opened.close()


@pytest.mark.parametrize("declared", TYPED, ids=named)
def test_equality_on_the_fields_of_an_index_is_read_in_order_without_sorting(
    connection: sqlite3.Connection, declared: DeclaredTable
) -> None:
    filtered = {
        fields[:count]
        for fields in declared.indexes.values()
        for count in range(1, len(fields) + 1)
    }
    for names in filtered:
        fields, covered = chosen_index(declared, names)
        equal = " AND ".join(f'"{name}" = ?' for name in fields[:covered])
        order = ", ".join(f'"{name}"' for name in (*fields[covered:], "_sequence"))
        plan = connection.execute(
            f'EXPLAIN QUERY PLAN SELECT * FROM "{declared.name}" WHERE {equal} ORDER BY {order}',
            ["x"] * covered,
        ).fetchall()
        steps = [str(step[3]) for step in plan]
        assert len(steps) == 1, (names, steps)
        assert steps[0].startswith(f"SEARCH {declared.name} USING INDEX "), steps
