"""Metadata fields as small numbers, so that a filter is decided without reading rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.vector_index.growing import Growing
from convex_memory.embedded.vector_index.wanted import Wanted

Numbers = NDArray[np.int32]
Mask = NDArray[np.bool_]

CODED_FIELDS: Final = ("thread_id", "resource_id", "role")
"""What Mastra keeps beside the vector of a message: coded in every index from the beginning."""
COLUMNS_MAX: Final = 16
"""Fields of one index that are coded; filters on further ones look at the rows."""
_ABSENT: Final = 0
_UNDECIDED: Final = -1
"""Neither absent nor a scalar: only the metadata itself can tell whether it matches."""


class Column:
    """One field of every row.

    Args:
        name: The field.
    """

    __slots__ = ("_numbers", "name", "of_rows")

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers: dict[Any, int] = {}
        self.of_rows: Growing[np.int32] = Growing(np.empty(0, dtype=np.int32))

    @classmethod
    def known(cls, name: str, values: Sequence[Any], of_rows: Numbers) -> Column:
        """Return a column that was coded before, given its values in the order of their numbers."""
        column = cls(name)
        column._numbers = {_key(value): number for number, value in enumerate(values, 1)}
        column.of_rows = Growing(of_rows)
        return column

    def values(self) -> list[Any]:
        """Return its values in the order of their numbers."""
        return [key[1] if isinstance(key, tuple) else key for key in list(self._numbers)]

    def numbers(self, documents: Sequence[Any]) -> list[int]:
        """Return the numbers of a field's values, new ones for new values."""
        return [self._number(document) for document in documents]

    def number_of(self, value: Any) -> int | None:
        """Return the number that a scalar has in this column, or None when no row has it."""
        return self._numbers.get(_key(value))

    def _number(self, document: Any) -> int:
        if document is None:
            return _ABSENT
        if not isinstance(document, Mapping):
            return _UNDECIDED
        if self.name not in document:
            return _ABSENT
        key = _key(document[self.name])
        return _UNDECIDED if key is None else self._numbers.setdefault(key, len(self._numbers) + 1)


def can_be_coded(name: str) -> bool:
    """Whether a filter's path names a member of the document itself."""
    return bool(name) and "." not in name


def read_document(text: str | None) -> Any:
    """Return a row's document, or None where it has none."""
    return None if text is None else json.loads(text)


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column as one moment shows it."""

    column: Column
    of_rows: Numbers


def chosen(wanted: Wanted, columns: Mapping[str, ColumnView], rows: int) -> tuple[Mask, Mask]:
    """Return the rows that certainly take part, and those that do or may."""
    sure = np.full(rows, wanted.is_said, dtype=np.bool_)
    possible = np.ones(rows, dtype=np.bool_)
    for clause in wanted.clauses:
        holds = np.zeros(rows, dtype=np.bool_)
        unclear = np.zeros(rows, dtype=np.bool_)
        for name, value in clause:
            view = columns.get(name)
            if view is None:
                unclear[:] = True
                continue
            number = view.column.number_of(value)
            if number is not None:
                holds |= view.of_rows == number
            unclear |= view.of_rows == _UNDECIDED
        sure &= holds
        possible &= holds | unclear
    return sure, possible


def _key(value: Any) -> Any:
    """Return what a scalar is known under; types are strict, and 1 is 1.0."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float):
        # Not a number equals nothing, itself neither.
        return ("number", value) if value == value else None
    return ("null", None) if value is None else None
