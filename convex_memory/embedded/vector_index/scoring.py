"""The score of a row: the cosine in float32, by one formula that every search ends with.

A row's score depends on its numbers and on the query alone, never on its place or on the rows
it is scored with, so equal rows score equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SMALL: Final = 1e-30
_LARGE: Final = 1e30
"""Magnitudes whose squares float64, and which float32, hold with room to spare."""


def direction(query: Sequence[float]) -> Floats | None:
    """Return the query as a unit vector, or None when it is zero and has no direction."""
    target = _in_reach(np.asarray(query, dtype=np.float64)).astype(np.float32)
    # The norm in float64: squares of large float32 coordinates overflow float32.
    norm = float(np.linalg.norm(target.astype(np.float64)))
    return target / np.float32(norm) if norm > 0 else None


def scores_of(units: Floats, target: Floats) -> Floats:
    """Return the scores of rows that are unit vectors."""
    # Not BLAS: its last bit depends on a row's place, and equal rows must score equal.
    scores: Floats = np.einsum("ij,j->i", units, target)
    return scores


def unit_rows(blobs: Sequence[bytes], dimension: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the comparable rows as unit vectors, and which of the rows those are.

    Args:
        blobs: Stored vectors (`vector_blobs`).
        dimension: A row of another length is not comparable, nor is one that is zero.
    """
    length32 = dimension * 4 + 1
    if all(len(blob) == length32 and blob[-1:] == b"f" for blob in blobs):
        raw = np.frombuffer(b"".join(blobs), dtype=np.uint8).reshape(len(blobs), length32)
        rows: NDArray[Any] = np.ascontiguousarray(raw[:, :-1]).view(np.float32)
        comparable = np.ones(len(blobs), dtype=np.bool_)
    else:
        vectors = [_stored(blob) for blob in blobs]
        comparable = np.asarray([len(vector) == dimension for vector in vectors], dtype=np.bool_)
        rows = np.zeros((int(comparable.sum()), dimension), dtype=np.float64)
        for at, vector in enumerate(v for v in vectors if len(v) == dimension):
            rows[at] = vector if vector.dtype == np.float32 else _in_reach(vector)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    directed = norms > 0
    if not directed.all():
        comparable[np.flatnonzero(comparable)[~directed]] = False
        rows, norms = rows[directed], norms[directed]
    return (rows / norms[:, None]).astype(np.float32), comparable


def _stored(blob: bytes) -> NDArray[Any]:
    kind = np.dtype(np.float32 if blob[-1:] == b"f" else np.float64)
    return np.frombuffer(blob, dtype=kind, count=len(blob) // kind.itemsize)


def _in_reach(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a vector that float32, or the square of a float64, cannot hold.

    Only its direction counts.
    """
    largest = float(abs(vector).max(initial=0))
    return vector if largest == 0 or _SMALL < largest < _LARGE else vector / largest
