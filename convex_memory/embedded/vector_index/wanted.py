"""Which rows take part in a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from convex_memory.conditions import Condition, Element, Every, Node, Not, Regex, Some
from convex_memory.filters import Filter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows take part in a search.

    Attributes:
        node: What is asked of a row's document where the fields it names are scalars or absent.
        matches: Decides, given a row's document.
    """

    node: Node
    matches: Callable[[Any], bool]

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths of the fields that are asked about."""
        return tuple(dict.fromkeys(_paths(self.node)))


def wanted_by(filter: Filter | None) -> Wanted | None:
    """Return what a filter asks of rows; None when all of them take part."""
    if filter is None or filter.is_empty:
        return None
    return Wanted(filter.root, filter.matches)


def _paths(node: Node) -> Iterator[str]:
    match node:
        case Every(of) | Some(of):
            for inner in of:
                yield from _paths(inner)
        case Not(inner):
            yield from _paths(inner)
        case Condition(path):
            yield path
        case Regex() | Element():
            # The rows decide these: coded fields say nothing of them.
            return
