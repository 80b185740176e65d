"""Which rows a filter wants, as far as coded fields can tell.

Three-valued: of each part of a filter, the rows for which it surely holds, and those for which
it holds or may. What neither is sure nor impossible is decided by the row's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from convex_memory.conditions import Condition, Every, Node, Not, Some
from convex_memory.embedded.vector_index.columns import NO_DOCUMENT, Column, Mask, Numbers
from convex_memory.embedded.vector_index.wanted import Wanted


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column as one moment shows it."""

    column: Column
    of_rows: Numbers


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows.

    Attributes:
        sure: Those that take part.
        possible: Those that do or may; the same array where all are decided.
    """

    sure: Mask
    possible: Mask


def chosen(wanted: Wanted, columns: Mapping[str, ColumnView], rows: int) -> Chosen:
    """Return the rows that take part in a search."""
    found = _of(wanted.node, columns, rows)
    for view in columns.values():
        # All columns agree on it, and a row without metadata matches no filter.
        there = view.of_rows != NO_DOCUMENT
        return _both(found, Chosen(there, there))
    return found


def _of(node: Node, columns: Mapping[str, ColumnView], rows: int) -> Chosen:
    match node:
        case Every(of) if of:
            return reduce(_both, (_of(inner, columns, rows) for inner in of))
        case Some(of) if of:
            return reduce(_either, (_of(inner, columns, rows) for inner in of))
        case Every() | Some():
            all_or_none = np.full(rows, isinstance(node, Every), dtype=np.bool_)
            return Chosen(all_or_none, all_or_none)
        case Not(inner):
            found = _of(inner, columns, rows)
            return _pair(~found.possible, found, ~found.sure)
        case Condition(path) if path in columns:
            decided = _decided(node, columns[path])
            if decided is not None:
                return decided
    return Chosen(np.zeros(rows, dtype=np.bool_), np.ones(rows, dtype=np.bool_))


def _decided(condition: Condition, view: ColumnView) -> Chosen | None:
    table = view.column.table(condition)
    if table is None:
        return None
    sure = table[0][view.of_rows]
    return Chosen(sure, table[1][view.of_rows] if view.column.has_undecided else sure)


def _both(one: Chosen, other: Chosen) -> Chosen:
    sure = one.sure & other.sure
    if one.sure is one.possible and other.sure is other.possible:
        return Chosen(sure, sure)
    return Chosen(sure, one.possible & other.possible)


def _either(one: Chosen, other: Chosen) -> Chosen:
    sure = one.sure | other.sure
    if one.sure is one.possible and other.sure is other.possible:
        return Chosen(sure, sure)
    return Chosen(sure, one.possible | other.possible)


def _pair(sure: Mask, of: Chosen, possible: Mask) -> Chosen:
    return Chosen(sure, sure if of.sure is of.possible else possible)
