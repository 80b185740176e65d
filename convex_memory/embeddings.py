"""What the two vector adapters share: their answers, and what they refuse before any call."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from convex_memory.errors import DimensionMismatch, InvalidArgument, InvalidResponse
from convex_memory.limits import (
    DOCUMENT_NESTING_MAX,
    MESSAGE_ID_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_RESULTS_MAX,
)
from convex_memory.values import FiniteFloats, Value, are_finite_floats, check, whole_numbers

COSINE: Final = "cosine"
"""The one metric; Convex's vector indexes have no other."""
MESSAGES_INDEX: Final = "memory_messages"
"""What the index with the vectors of messages is called, as in Mastra."""

Metadata = Mapping[str, Value]


class _Listable(Protocol):
    """An array of another library, numpy's for instance."""

    def tolist(self) -> object: ...


Vector = Sequence[float] | _Listable
"""Finite numbers: any sequence, or an array with `tolist`."""


@dataclass(frozen=True, slots=True)
class VectorMatch:
    """One record found.

    `score` is the cosine similarity, from -1 to 1. `metadata` is `None` when the record has
    none, `vector` when it was not asked for.
    """

    id: str
    score: float
    metadata: dict[str, Value] | None = None
    vector: list[float] | None = None


@dataclass(frozen=True, slots=True)
class VectorMatches:
    """The answer to a query.

    `matches` are best first, equal scores in the order in which the records were created.
    `exhausted` says that nothing which should be among them can be missing; where it is false,
    `exact`, where there is that, or a narrower filter finds more. `pending` counts texts of the
    index that have no vector yet.
    """

    matches: list[VectorMatch]
    exhausted: bool
    pending: int = 0


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """One index: how long its vectors are and how many it holds.

    `count_is_limited` says that counting stopped at `count`. `embedder` is the id of what makes
    its vectors of texts, `None` where callers make them; `pending` counts texts that wait for it.
    """

    index_name: str
    dimension: int
    metric: str
    count: int
    count_is_limited: bool = False
    embedder: str | None = None
    pending: int = 0


def vector_of(where: str, vector: Vector, dimension: int | None = None) -> list[float]:
    """A vector as plain floats.

    Args:
        where: How to name it in an error.
        vector: Any sequence of finite numbers, or an array with `tolist`.
        dimension: The length it must have; `None` accepts any but zero.

    Raises:
        InvalidArgument: It is empty, or an element is not a finite number.
        DimensionMismatch: It has another length.
    """
    listed = vector if isinstance(vector, list | tuple) else _listed(where, vector)
    if not listed:
        raise InvalidArgument(f"{where} is empty; a vector has at least one number.")
    if are_finite_floats(listed):
        numbers = FiniteFloats(cast(Sequence[float], listed))
    else:
        numbers = FiniteFloats(
            _number(where, position, item) for position, item in enumerate(listed)
        )
    if dimension is not None and len(numbers) != dimension:
        raise DimensionMismatch(
            f"{where} has {len(numbers)} dimensions; the index has {dimension}. "
            "Embed with the model the index was made for.",
            details={"given": len(numbers), "dimension": dimension},
        )
    return numbers


def _listed(where: str, vector: object) -> Sequence[object]:
    if hasattr(vector, "tolist"):
        vector = cast(_Listable, vector).tolist()
    if isinstance(vector, str | bytes | bytearray) or not isinstance(vector, Sequence):
        raise InvalidArgument(f"{where} must be a list of numbers, not {type(vector).__name__}.")
    return vector


def _number(where: str, position: int, item: object) -> float:
    # numpy's scalars reach this through `list(array)`; its float64 is a float, float32 is not.
    if not isinstance(item, int | float) and hasattr(item, "tolist"):
        item = cast(_Listable, item).tolist()
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise InvalidArgument(
            f"{where} holds {type(item).__name__} at position {position}; "
            "a vector holds numbers only."
        )
    try:
        number = float(item)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidArgument(
            f"{where} is not finite at position {position}; NaN and infinity cannot be ranked."
        )
    return number


def ids_of(where: str, ids: Sequence[str] | None, count: int) -> list[str]:
    """The ids of `count` records: those given, or new random ones.

    Raises:
        InvalidArgument: Another number than `count`, or one that is not an id.
    """
    if ids is None:
        return [str(uuid.uuid4()) for _ in range(count)]
    if isinstance(ids, str):
        raise InvalidArgument(f"{where}: ids must be a list of ids, not one text.")
    if len(ids) != count:
        raise InvalidArgument(f"{where}: ids length ({len(ids)}) must match vectors ({count}).")
    return [id_of(where, id) for id in ids]


def id_of(where: str, id: object) -> str:
    """One id of a record or index.

    Raises:
        InvalidArgument: It is not text of 1 to 512 characters.
    """
    if not isinstance(id, str) or not 1 <= len(id) <= MESSAGE_ID_CHARS_MAX:
        raise InvalidArgument(
            f"{where}: an id or index name is text of 1 to {MESSAGE_ID_CHARS_MAX} characters."
        )
    check(id, f"{where}: an id")
    return id


def metadata_of(
    where: str, metadata: Sequence[Metadata | None] | None, count: int
) -> list[Metadata | None]:
    """The metadata of `count` records, `None` for those that have none.

    Raises:
        InvalidArgument: Another number than `count`, an entry that is no object, or a key or
            value that Convex refuses (the error names the key).
        LimitExceeded: An entry is too large or nested too deeply.
    """
    if metadata is None:
        return [None] * count
    if isinstance(metadata, Mapping | str):
        raise InvalidArgument(f"{where}: metadata must be a list of objects, one per vector.")
    if len(metadata) != count:
        raise InvalidArgument(
            f"{where}: metadata length ({len(metadata)}) must match vectors ({count})."
        )
    return [
        None if entry is None else one_metadata_of(where, entry, f"metadata[{position}]")
        for position, entry in enumerate(metadata)
    ]


def one_metadata_of(where: str, metadata: object, name: str = "metadata") -> Metadata:
    """One metadata object, checked; errors as `metadata_of`."""
    if not isinstance(metadata, Mapping):
        raise InvalidArgument(f"{where}: {name} must be an object.")
    check(metadata, f"{where}: {name}", nesting_max=DOCUMENT_NESTING_MAX - 1)
    return metadata


def dimension_of(where: str, dimension: object) -> int:
    """The length of an index's vectors.

    Raises:
        InvalidArgument: It is not an integer from 2 to 4096, what Convex's indexes offer.
    """
    whole = isinstance(dimension, int) and not isinstance(dimension, bool)
    if not whole or not VECTOR_DIMENSION_MIN <= cast(int, dimension) <= VECTOR_DIMENSION_MAX:
        raise InvalidArgument(
            f"{where}: dimension must be an integer from {VECTOR_DIMENSION_MIN} "
            f"to {VECTOR_DIMENSION_MAX}."
        )
    return cast(int, dimension)


def top_k_of(where: str, top_k: object) -> int:
    """How many matches to return.

    Raises:
        InvalidArgument: It is not an integer from 1 to 256.
    """
    if (
        isinstance(top_k, bool)
        or not isinstance(top_k, int)
        or not 1 <= top_k <= VECTOR_RESULTS_MAX
    ):
        raise InvalidArgument(f"{where}: top_k must be an integer from 1 to {VECTOR_RESULTS_MAX}.")
    return top_k


def object_in(path: str, value: object) -> Mapping[str, Value]:
    """An object that a function answered with.

    Raises:
        InvalidResponse: It is something else.
    """
    if not isinstance(value, Mapping):
        raise InvalidResponse(f"{path} answered with {type(value).__name__} instead of an object.")
    return value


def list_in(path: str, value: object) -> Sequence[Value]:
    """A list that a function answered with.

    Raises:
        InvalidResponse: It is something else.
    """
    if not isinstance(value, list | tuple):
        raise InvalidResponse(f"{path} answered with {type(value).__name__} instead of a list.")
    return value


def number_in(path: str, value: object) -> float:
    """A number that a function answered with.

    Raises:
        InvalidResponse: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResponse(f"{path} answered with {type(value).__name__} instead of a number.")
    return value


def optional_text_in(path: str, value: object) -> str | None:
    """Text that a function answered with, or None for null.

    Raises:
        InvalidResponse: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise InvalidResponse(f"{path} answered with {type(value).__name__} instead of text.")
    return value


def stored_metadata(value: Value) -> dict[str, Value] | None:
    """Metadata as a record holds it, with whole numbers as integers."""
    whole = whole_numbers(value)
    return dict(whole) if isinstance(whole, Mapping) else None


def stored_vector(value: Value) -> list[float]:
    """A vector as a record holds it; `[]` when it is none."""
    if not isinstance(value, list | tuple):
        return []
    return [float(item) for item in value if isinstance(item, int | float)]


def messages_index_name(dimension: int) -> str:
    """Return the index that holds the vectors of messages of this dimension.

    The name that Mastra's semantic recall gives it.
    """
    return MESSAGES_INDEX if dimension == 1536 else f"{MESSAGES_INDEX}_{dimension}"
