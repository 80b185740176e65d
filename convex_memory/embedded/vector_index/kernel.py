"""Dot products of int8 codes: by simsimd where it is there and right, otherwise by numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8]
_Dots = Callable[[Codes, Codes, NDArray[np.float32]], None]

_KERNEL_ROWS: Final = 8192
"""Rows of one call: the kernel keeps the interpreter to itself meanwhile, some 0.2 ms."""
_NUMPY_ROWS: Final = 1024
"""Rows turned into float32 at a time: few enough to stay in cache."""


def dots(codes: Codes, query: Codes, out: NDArray[np.float32]) -> None:
    """Write the dot product of each row of `codes` with `query` into `out`.

    The products are those of whole numbers below 2^31, rounded to float32 at most `dimension`
    times.

    Args:
        codes: (rows, dimension), contiguous.
        query: (dimension,).
        out: (rows,).
    """
    _chosen()(codes, query, out)


@lru_cache(maxsize=1)
def _chosen() -> _Dots:
    try:
        import simsimd  # noqa: F401
    except ImportError:
        return dots_by_numpy
    return dots_by_simsimd if _is_right(dots_by_simsimd) else dots_by_numpy


def _is_right(candidate: _Dots) -> bool:
    """Try a kernel on what kernels get wrong: odd lengths, remainders and extremes."""
    random = np.random.default_rng(7)
    for dimension in (2, 3, 31, 64, 100, 384, 1537):
        codes = random.integers(-127, 128, (67, dimension), dtype=np.int8)
        codes[0], codes[1] = 127, -127
        query = random.integers(-127, 128, dimension, dtype=np.int8)
        query[: dimension // 2] = 127
        out = np.zeros(67, dtype=np.float32)
        try:
            candidate(codes, query, out)
        except Exception:
            return False
        wanted = codes.astype(np.int64) @ query.astype(np.int64)
        if not np.array_equal(out, wanted.astype(np.float32)):
            return False
    return True


def dots_by_simsimd(codes: Codes, query: Codes, out: NDArray[np.float32]) -> None:
    """`dots` by simsimd."""
    import simsimd

    row = query.reshape(1, -1)
    for start in range(0, len(codes), _KERNEL_ROWS):
        rows = codes[start : start + _KERNEL_ROWS]
        found = simsimd.cdist(row, rows, metric="dot")
        out[start : start + len(rows)] = np.asarray(found).reshape(-1)


def dots_by_numpy(codes: Codes, query: Codes, out: NDArray[np.float32]) -> None:
    """`dots` by BLAS, a block of rows at a time."""
    wide = query.astype(np.float32)
    block = np.empty((min(_NUMPY_ROWS, len(codes)), codes.shape[1]), dtype=np.float32)
    for start in range(0, len(codes), _NUMPY_ROWS):
        rows = codes[start : start + _NUMPY_ROWS]
        held = block[: len(rows)]
        held[:] = rows
        np.dot(held, wide, out=out[start : start + len(rows)])
