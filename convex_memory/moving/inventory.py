"""What of a deployment moves, as it says itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import Deployment
from convex_memory.errors import ConfigurationError, FunctionNotDeployed, InvalidResponse
from convex_memory.moving.export_file import MovedTable

TABLES_FUNCTION: Final = "memory/transfer:tables"
PAGE_FUNCTION: Final = "memory/transfer:page"
RESTORE_FUNCTION: Final = "memory/transfer:restore"

_PREFIX: Final = "mastra_"
FIRST: Final = frozenset({"mastra_vector_indexes"})
"""Tables that move before all others: they say by whom the rows of others are followed."""
_CACHE: Final = ("mastra_cache", "mastra_cache_list_items")
"""The items are nothing without the keys of their lists."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The tables of a deployment, and what it can hold.

    Attributes:
        kind: `embedded` or `convex`.
        tables: By name, in the order in which they move.
        rows: Table → how many rows, where the deployment knows without reading them all.
        left_out: Table → why its rows cannot move.
        dimensions: Lengths of vectors that can be searched; None for any.
        special_values: Whether int64, bytes, NaN and infinities can be stored.
        notes: What can be noted of rows beside them.
    """

    kind: str
    tables: Mapping[str, MovedTable]
    rows: Mapping[str, int]
    left_out: Mapping[str, str]
    dimensions: frozenset[int] | None
    special_values: bool
    notes: frozenset[str] = frozenset()

    def chosen(self, names: Sequence[str] | None) -> list[MovedTable]:
        """Return the tables of these names, in the order in which they move; all for None.

        `messages` means `mastra_messages`. The keys of the cache and the items of its lists are
        nothing apart, so either name means both.

        Raises:
            ConfigurationError: A name is that of no table; the message lists those there are.
        """
        if names is None:
            return list(self.tables.values())
        wanted = {self._table_of(name) for name in names}
        if wanted & set(_CACHE):
            wanted |= set(_CACHE)
        return [table for name, table in self.tables.items() if name in wanted]

    def _table_of(self, name: str) -> str:
        for table in (name, f"{_PREFIX}{name}"):
            if table in self.tables:
                return table
        short = [each.removeprefix(_PREFIX) for each in self.tables]
        raise ConfigurationError(
            f"There is no table {name[:80]!a}. Choose from {', '.join(short)}."
        )


def lane_of(table: str) -> str:
    """Return what a table moves with: one after the other in a lane, lanes beside each other."""
    return _CACHE[0] if table in _CACHE else table


async def inventory_of(deployment: Deployment) -> Inventory:
    """Ask a deployment what of it moves.

    Raises:
        FunctionNotDeployed: It has none of our functions, or older ones.
        DeploymentError: It gave no usable answer.
    """
    if not await Capabilities(deployment).has(RESTORE_FUNCTION):
        raise FunctionNotDeployed(
            f"This deployment does not have the function {RESTORE_FUNCTION}, which moves rows. "
            "Deploy the functions of this version there first: `convex-memory functions DIR`, then "
            "`npx convex deploy` in that project."
        )
    answer: Any = await deployment.call("query", TABLES_FUNCTION, {})
    try:
        dimensions = answer["dimensions"]
        return Inventory(
            kind=str(answer["deployment"]),
            tables={
                each["table"]: MovedTable(each["table"], each.get("native"))
                for each in answer["tables"]
            },
            rows={
                each["table"]: int(each["rows"])
                for each in answer["tables"]
                if each["rows"] is not None
            },
            left_out={each["table"]: str(each["why"]) for each in answer["leftOut"]},
            dimensions=None if dimensions is None else frozenset(map(int, dimensions)),
            special_values=bool(answer["specialValues"]),
            notes=frozenset(map(str, answer.get("notes", ()))),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidResponse(f"{TABLES_FUNCTION} did not answer with tables.") from error
