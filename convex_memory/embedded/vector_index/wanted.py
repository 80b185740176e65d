"""Which rows take part in a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convex_memory.filters import Filter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows take part in a search.

    Attributes:
        clauses: In each of them, one of the (field, scalar) equalities must hold.
        is_said: Whether `clauses` say everything that is asked of a row whose fields are scalars.
        matches: Decides, given a row's document.
    """

    clauses: tuple[tuple[tuple[str, Any], ...], ...]
    is_said: bool
    matches: Callable[[Any], bool]


def wanted_by(filter: Filter | None) -> Wanted | None:
    """Return what a filter asks of rows; None when all of them take part."""
    if filter is None or filter.is_empty:
        return None
    alternatives = [part.alternatives() for part in filter.parts()]
    clauses = tuple(
        tuple((each.field, each.value) for each in choices)
        for choices in alternatives
        if choices is not None
    )
    return Wanted(clauses, len(clauses) == len(alternatives), filter.matches)
