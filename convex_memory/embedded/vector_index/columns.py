"""Metadata fields as small numbers, so that a filter is decided without reading rows."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.conditions import Condition, holds
from convex_memory.embedded.vector_index.growing import Growing
from convex_memory.limits import SAFE_INTEGER_MAX

Numbers = NDArray[np.int32]
Mask = NDArray[np.bool_]

CODED_FIELDS: Final = ("thread_id", "resource_id", "role")
"""What Mastra keeps beside the vector of a message: coded in every index from the beginning."""
COLUMNS_MAX: Final = 16
"""Fields of one index that are coded; filters on further ones look at the rows."""
_ABSENT: Final = 0
_UNDECIDED: Final = -1
"""Neither absent nor a scalar: only the metadata itself can tell whether it matches."""
NO_DOCUMENT: Final = -2
"""There is no metadata: nothing but the empty filter matches."""
_ASKED_ONE_BY_ONE_MAX: Final = 8192
"""Values of a field that a test without a short cut is made with; with more, the rows decide."""
_ORDERED: Final[Mapping[str, Callable[[Any, Any], Mask]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class Column:
    """One field of every row.

    Args:
        name: The field.

    Attributes:
        name: The field.
        of_rows: The number of each row's value.
        has_undecided: Whether there may be rows that only their metadata decides.
    """

    __slots__ = ("_numbers", "_ranked", "_reals", "_values", "has_undecided", "name", "of_rows")

    def __init__(self, name: str) -> None:
        self.name = name
        self.of_rows: Growing[np.int32] = Growing(np.empty(0, dtype=np.int32))
        self.has_undecided = False
        self._numbers: dict[Any, int] = {}
        self._values: list[Any] = []
        self._reals: Growing[np.float64] = Growing(np.empty(0, dtype=np.float64))
        self._ranked = _Ranked([], np.empty(0, dtype=np.int32))

    @classmethod
    def known(cls, name: str, values: Sequence[Any], of_rows: Numbers) -> Column:
        """Return a column that was coded before, given its values in the order of their numbers."""
        column = cls(name)
        for value in values:
            column._number_for(_key(value), value)
        column.of_rows = Growing(of_rows)
        column.has_undecided = bool((of_rows == _UNDECIDED).any())
        return column

    def values(self) -> list[Any]:
        """Return its values in the order of their numbers."""
        return self._values[:]

    def numbers(self, documents: Sequence[Any]) -> list[int]:
        """Return the numbers of a field's values, new ones for new values."""
        return [self._number(document) for document in documents]

    def table(self, condition: Condition) -> tuple[Mask, Mask] | None:
        """Return for which numbers a condition on this field surely holds, and may hold.

        Args:
            condition: The condition.

        Returns:
            Two arrays to be indexed by numbers, which count from the end where they are below
            zero; None where only the rows can tell.
        """
        of_values = self._of_values(condition)
        if of_values is None:
            return None
        is_absence = condition.operator == "exists" and condition.operand is False
        # 0 is absent, then the values, then what -2 and -1 lead to.
        sure = np.concatenate([[is_absence], of_values, [False, False]])
        possible = sure.copy()
        possible[_UNDECIDED] = True
        return sure, possible

    def _of_values(self, condition: Condition) -> Mask | None:
        count = len(self._values)
        match condition:
            case Condition(_, "exists", operand):
                return np.full(count, operand is True, dtype=np.bool_)
            case Condition(_, "eq", operand):
                return self._equal_to([operand], count)
            case Condition(_, "in", list() as operands):
                return self._equal_to(operands, count)
            case Condition(_, name, str() as text) if name in _ORDERED:
                return self._texts(name, text)[:count]
            case Condition(_, name, real) if name in _ORDERED:
                # What is no number is NaN here, and neither above nor below anything.
                return _ORDERED[name](self._reals.view()[:count], real)
        if count > _ASKED_ONE_BY_ONE_MAX:
            return None
        held = [holds(condition, {condition.path: value}) for value in self._values[:count]]
        return np.asarray(held, dtype=np.bool_)

    def _equal_to(self, operands: Sequence[Any], count: int) -> Mask:
        found = np.zeros(count, dtype=np.bool_)
        for operand in operands:
            key = _key(operand)
            number = None if key is None else self._numbers.get(key)
            if number is not None and number <= count:
                found[number - 1] = True
        return found

    def _texts(self, name: str, text: str) -> Mask:
        ranked = self._ranked
        if len(ranked.rank_of) < len(self._values):
            self._ranked = ranked = ranked.with_all(self._values[:])
        return _ORDERED[name](ranked.rank_of, ranked.rank(text)) & (ranked.rank_of >= 0)

    def _number(self, document: Any) -> int:
        if document is None:
            return NO_DOCUMENT
        if isinstance(document, Mapping):
            if self.name not in document:
                return _ABSENT
            value = document[self.name]
            key = _key(value)
            if key is not None:
                return self._number_for(key, value)
        self.has_undecided = True
        return _UNDECIDED

    def _number_for(self, key: Any, value: Any) -> int:
        number = self._numbers.get(key)
        if number is None:
            is_real = isinstance(value, int | float) and not isinstance(value, bool)
            self._reals.append(np.asarray([value if is_real else np.nan], dtype=np.float64))
            self._values.append(value)
            number = self._numbers[key] = len(self._values)
        return number


class _Ranked:
    """The texts among values in their order. Never changes.

    Args:
        order: Their places among the values, smallest text first.
        rank_of: Of each value; -1 for what is no text.
        values: The values.
    """

    def __init__(self, order: list[int], rank_of: Numbers, values: Sequence[Any] = ()) -> None:
        self._order = order
        self._values = values
        self.rank_of = rank_of

    def with_all(self, values: list[Any]) -> _Ranked:
        """Return the order of these values, which begin with those that are ordered here."""
        newer = range(len(self.rank_of), len(values))
        order = [*self._order, *(at for at in newer if isinstance(values[at], str))]
        # Sorted up to the newer ones: that costs little more than a walk along them.
        order.sort(key=values.__getitem__)
        rank_of = np.full(len(values), -1, dtype=np.int32)
        rank_of[order] = np.arange(len(order), dtype=np.int32)
        return _Ranked(order, rank_of, values)

    def rank(self, text: str) -> float:
        """Return a number that compares with ranks as the text does with the ranked texts."""
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._values[self._order[middle]] < text:
                low = middle + 1
            else:
                high = middle
        is_there = low < len(self._order) and self._values[self._order[low]] == text
        return low if is_there else low - 0.5


def can_be_coded(name: str) -> bool:
    """Whether a filter's path names a member of the document itself."""
    return bool(name) and "." not in name


def read_document(text: str | None) -> Any:
    """Return a row's document, or None where it has none."""
    return None if text is None else json.loads(text)


def _key(value: Any) -> Any:
    """Return what a scalar is known under; types are strict, and 1 is 1.0."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float):
        # Not a number equals nothing, itself neither; a float64 does not hold every large one.
        exact = isinstance(value, float) or abs(value) <= SAFE_INTEGER_MAX
        return ("number", value) if value == value and exact else None
    return ("null", None) if value is None else None
