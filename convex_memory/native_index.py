"""Native vector tables: how they are declared, and what their filter fields can answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from convex_memory.embeddings import Metadata, dimension_of
from convex_memory.errors import InvalidArgument
from convex_memory.filters import Equality, Filter
from convex_memory.values import Value

SEARCHES_MAX: Final = 16
"""Searches one query is split into; an OR of more equalities is filtered here instead."""


@dataclass(frozen=True, slots=True)
class NativeIndex:
    """A table with a vector index, as `convex/schema.ts` declares it.

    Args:
        table_name: The table.
        dimension: Of its vector index, 2 to 4096.
        vector_index_name: The vector index on `vector_field`.
        id_field: The field with the record's id.
        id_index_name: The index on `id_field`.
        vector_field: The field with the embedding.
        metadata_field: The field with the metadata.
        filter_fields: The filter fields of the vector index; copies of metadata members, which
            may hold text, numbers, booleans and null.

    Raises:
        InvalidArgument: The dimension is out of range.
    """

    table_name: str
    dimension: int
    vector_index_name: str = "by_embedding"
    id_field: str = "id"
    id_index_name: str = "by_record_id"
    vector_field: str = "embedding"
    metadata_field: str = "metadata"
    filter_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dimension_of(f"The native index over {self.table_name}", self.dimension)

    def config(self) -> dict[str, Value]:
        """The `config` argument of the native vector functions."""
        return {
            "tableName": self.table_name,
            "vectorIndexName": self.vector_index_name,
            "dimension": self.dimension,
            "idField": self.id_field,
            "idIndexName": self.id_index_name,
            "vectorField": self.vector_field,
            "metadataField": self.metadata_field,
            "filterFields": list(self.filter_fields),
        }

    def check_filterable(self, where: str, metadata: Metadata) -> None:
        """Refuse metadata that a search by filter fields would pass over.

        Raises:
            InvalidArgument: A filter field holds an array or an object: Convex compares it
                whole, while a filter would look into it.
        """
        for name in self.filter_fields:
            if isinstance(metadata.get(name), Mapping | list | tuple):
                raise InvalidArgument(
                    f"{where}: {name} is a filter field of the index; it holds text, a number, "
                    "a boolean or null."
                )


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How a filter is answered.

    Attributes:
        searches: One search each, narrowed to an equality or, `None`, not at all. None of
            them: nothing can match.
        complete: Whether they say all that the filter says; otherwise what they find has to
            be filtered.
    """

    searches: tuple[Equality | None, ...]
    complete: bool


def plan_search(filter: Filter, filter_fields: frozenset[str]) -> SearchPlan:
    """How to answer a filter on a table with these filter fields."""
    if filter.is_empty:
        return SearchPlan((None,), complete=True)
    whole = _searchable(filter, filter_fields)
    if whole is not None:
        return SearchPlan(whole, complete=True)
    narrowing = [
        searches
        for part in filter.parts()
        if (searches := _searchable(part, filter_fields)) is not None
    ]
    return SearchPlan(min(narrowing, key=len, default=(None,)), complete=False)


def _searchable(filter: Filter, filter_fields: frozenset[str]) -> tuple[Equality, ...] | None:
    alternatives = filter.alternatives()
    if alternatives is None or len(alternatives) > SEARCHES_MAX:
        return None
    if any(equality.field not in filter_fields for equality in alternatives):
        return None
    return alternatives
