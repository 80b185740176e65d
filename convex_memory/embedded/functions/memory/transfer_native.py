"""Native vector tables as rows move out of them and into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import allow_only, text_argument, whole_argument
from convex_memory.embedded.tables import NATIVE_VECTORS, TABLES, check_identifier
from convex_memory.errors import DimensionMismatch, InvalidArgument, NotFound
from convex_memory.limits import VECTOR_DIMENSION_MAX, VECTOR_DIMENSION_MIN


@dataclass(frozen=True, slots=True)
class NativeTable:
    """A table that a native-vector config names.

    Attributes:
        name: Its name.
        dimension: The length of its vectors.
        id_field: The field by which a row is known.
        vector_field: The field that holds the vector.
    """

    name: str
    dimension: int
    id_field: str
    vector_field: str

    def whole(self, row: Row) -> Record:
        """Return the row as its callers know it, the vector among its fields."""
        return {**row.fields["record"], self.vector_field: row.fields["embedding"]}


def native_tables(documents: Documents) -> list[NativeTable]:
    """Return the native vector tables that have been written to, by name."""
    rows = documents.connection.execute(
        "SELECT name, dimension, id_field, vector_field FROM native_tables ORDER BY name"
    )
    return [NativeTable(row[0], int(row[1]), row[2], row[3]) for row in rows]


def native_named(documents: Documents, name: str) -> NativeTable | None:
    """Return a native vector table, or None while it has not been written to."""
    return next((each for each in native_tables(documents) if each.name == name), None)


def no_table(name: str) -> NotFound:
    """Return the refusal for a table that is not there."""
    own = ", ".join(table.name for table in TABLES.values() if table is not NATIVE_VECTORS)
    return NotFound(
        f"There is no table {name!a} here; there are {own} and the native vector tables that were "
        "written to."
    )


def established(documents: Documents, name: str, given: Any, *, dry_run: bool) -> NativeTable:
    """Return a native vector table, made on its first write as those of callers are.

    Args:
        documents: The transaction.
        name: The table.
        given: `{dimension, idField, vectorField}` of it, where it may have to be made.
        dry_run: Whether nothing is made.

    Raises:
        NotFound: There is none, and it cannot be made.
        InvalidArgument: The one there has other fields, or `given` is wrong.
        DimensionMismatch: It has another dimension.
    """
    there = native_named(documents, name)
    if given is None:
        if there is None:
            raise no_table(name)
        return there
    wanted = _native_argument(name, given)
    if there is None:
        if not dry_run:
            documents.connection.execute(
                "INSERT INTO native_tables (name, dimension, id_field, vector_field) "
                "VALUES (?, ?, ?, ?)",
                (wanted.name, wanted.dimension, wanted.id_field, wanted.vector_field),
            )
        return wanted
    if there.dimension != wanted.dimension:
        raise mismatch(name, there.dimension, wanted.dimension)
    if there != wanted:
        raise InvalidArgument(
            f"Table {name} holds its ids in {there.id_field} and its vectors in "
            f"{there.vector_field}, not in {wanted.id_field} and {wanted.vector_field}."
        )
    return there


def _native_argument(name: str, given: Any) -> NativeTable:
    if not isinstance(given, Mapping):
        raise InvalidArgument("native must be {dimension, idField, vectorField}.")
    allow_only(given, "dimension", "idField", "vectorField")
    check_identifier(name, "table")
    if name in TABLES:
        raise no_table(name)
    return NativeTable(
        name,
        whole_argument(given, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX),
        check_identifier(text_argument(given, "idField"), "idField"),
        check_identifier(text_argument(given, "vectorField"), "vectorField"),
    )


def mismatch(table: str, wanted: int, got: int) -> DimensionMismatch:
    """Return the refusal of vectors of another length than the table's."""
    return DimensionMismatch(
        f"Expected a vector with dimensions {wanted}, received {got} (table {table}).",
        details={"dimension": wanted, "received": got},
    )
