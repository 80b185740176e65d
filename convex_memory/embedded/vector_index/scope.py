"""What is searched, and what is found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from convex_memory.embedded.tables import Table
from convex_memory.values import are_finite_floats


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows to search.

    Attributes:
        table: The table.
        key: The column that names the index.
        name: The index's name.
        document: The column with the metadata a filter looks at, as JSON text.
        after: Rows up to this sequence take no part.
    """

    table: Table
    key: str
    name: str
    document: str
    after: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """One row and its cosine similarity in [-1, 1]; -1 where there is none."""

    sequence: int
    score: float


def is_finite_vector(values: Any) -> bool:
    """Whether `values` is a list of finite numbers."""
    if not isinstance(values, list):
        return False
    return are_finite_floats(values) or all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
