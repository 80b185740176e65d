"""Rows as SQL holds them: the statements of a table, and records to columns and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from convex_memory.embedded.tables import Field, Table
from convex_memory.embedded.vector_blobs import read_vector, write_vector
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import DOCUMENT_BYTES_MAX, DOCUMENT_NESTING_MAX
from convex_memory.values import are_finite_floats, check

Record = dict[str, Any]
"""Field name → value. An absent field is an absent key."""

_NULL_NUMBER: Final = b"\0"


@dataclass(slots=True)
class Row:
    """One stored row. `sequence` is its place in creation order, never used twice."""

    sequence: int
    created: float
    fields: Record


# --- Statements


@lru_cache(maxsize=64)
def select_statement(table: Table) -> str:
    """Return the SELECT of all rows of a table, without conditions."""
    names = ", ".join(f'"{name}"' for name in ("_sequence", "_created", *table.fields))
    return f'SELECT {names} FROM "{table.name}"'


@lru_cache(maxsize=64)
def insert_statement(table: Table) -> str:
    """Return the INSERT of a row: its time of creation, then its columns."""
    names = ", ".join(f'"{name}"' for name in ("_created", *table.fields))
    marks = ", ".join("?" * (len(table.fields) + 1))
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'


@lru_cache(maxsize=64)
def put_back_statement(table: Table) -> str:
    """Return the INSERT of a row that has a sequence already."""
    names = ", ".join(f'"{name}"' for name in ("_sequence", "_created", *table.fields))
    marks = ", ".join("?" * (len(table.fields) + 2))
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'


@lru_cache(maxsize=64)
def update_statement(table: Table) -> str:
    """Return the UPDATE of all columns of a row."""
    names = ", ".join(f'"{name}" = ?' for name in table.fields)
    return f'UPDATE "{table.name}" SET {names} WHERE "_sequence" = ?'


# --- Columns


@lru_cache(maxsize=64)
def decoder(table: Table) -> Callable[[Sequence[Any]], Row]:
    """Return what makes rows of the columns that `select_statement` selects."""
    plain = tuple(
        (position, field.name)
        for position, field in enumerate(table.fields.values(), 2)
        if field.kind == "string" and not field.nullable
    )
    coded = tuple(
        (position, field)
        for position, field in enumerate(table.fields.values(), 2)
        if field.kind != "string" or field.nullable
    )

    def decode(columns: Sequence[Any]) -> Row:
        fields = {name: columns[at] for at, name in plain if columns[at] is not None}
        for at, field in coded:
            if columns[at] is not None:
                fields[field.name] = _field_value(field, columns[at])
        return Row(columns[0], columns[1], fields)

    return decode


def _field_value(field: Field, column: Any) -> Any:
    if field.kind == "string":
        return None if column == 0 else column
    if field.kind in ("any", "strings"):
        return json.loads(column)
    if field.kind == "vector":
        return read_vector(column)
    if column == _NULL_NUMBER:
        return None
    return bool(column) if field.kind == "boolean" else column


def column_value(field: Field, value: Any) -> Any:
    """Return what the column holds for a value of the right type; other types never match."""
    if value is None:
        return {"string": 0, "any": "null", "strings": "null"}.get(field.kind, _NULL_NUMBER)
    if field.kind == "string":
        return value if isinstance(value, str) else b"no such text"
    if field.kind == "number":
        return value if _is_number(value) else b"no such number"
    if field.kind == "boolean":
        return int(value) if isinstance(value, bool) else b"no such boolean"
    if field.kind == "vector":
        return write_vector(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def checked_columns(table: Table, record: Record) -> list[Any]:
    """Return the columns of a record.

    Raises:
        InvalidArgument: It breaks the table's declaration.
        LimitExceeded: It is larger or deeper than a document may be.
    """
    columns: list[Any] = []
    known = 0
    for name, field in table.fields.items():
        if name not in record:
            if not field.optional:
                raise InvalidArgument(
                    f"A row of {table.name} needs the field {name} ({field.kind})."
                )
            columns.append(None)
            continue
        known += 1
        value = record[name]
        if not _fits(field, value):
            raise InvalidArgument(_misfit(table, field, value))
        columns.append(column_value(field, value))
    if known != len(record):
        extra = sorted(set(record) - set(table.fields))
        raise InvalidArgument(
            f"A row of {table.name} has no field {extra[0]}; its fields are "
            f"{', '.join(table.fields)}."
        )
    size = check(record, table.name, nesting_max=DOCUMENT_NESTING_MAX)
    if size > DOCUMENT_BYTES_MAX:
        raise LimitExceeded(
            f"A row of {table.name} would be {size:,} bytes; a document holds at most "
            f"{DOCUMENT_BYTES_MAX:,} (1 MiB). Split it into several.",
            details={"limitBytes": DOCUMENT_BYTES_MAX, "bytes": size},
        )
    return columns


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "any": lambda value: True,
    "strings": lambda value: (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ),
    "vector": lambda value: (
        isinstance(value, list) and (are_finite_floats(value) or all(map(_is_number, value)))
    ),
}


def _fits(field: Field, value: Any) -> bool:
    if value is None and field.kind != "any":
        return field.nullable
    return _FITS[field.kind](value) and (field.choices is None or value in field.choices)


def _misfit(table: Table, field: Field, value: Any) -> str:
    wanted = (
        f"one of {', '.join(sorted(field.choices))}"
        if field.choices
        else {"strings": "array of string", "vector": "array of number"}.get(field.kind, field.kind)
    )
    null = " or null" if field.nullable else ""
    got = "null" if value is None else type(value).__name__
    return f"Field {field.name} of {table.name} must be {wanted}{null}, not {got}."
