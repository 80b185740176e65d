"""Vectors as int8 codes, and how far a score by codes may be from the true one.

A unit vector x is kept as x̂ = code · scale with e ≥ ‖x - x̂‖; the query q as q̂ likewise. Then
|x·q - x̂·q̂| ≤ e·‖q‖ + ‖x̂‖·‖q - q̂‖ (Cauchy-Schwarz, twice) with ‖q‖ = 1 and ‖x̂‖ ≤ 1 + e.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from convex_memory.embedded.vector_index.kernel import Codes, dots
from convex_memory.embedded.vector_index.scoring import Floats

_STEPS: Final = 127
_ROUNDING: Final = 2.0**-23
"""What one float32 operation may be off, in parts, twice over."""


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows as codes.

    Attributes:
        codes: (rows, dimension).
        scale: (rows,); 0 for a row that cannot be compared.
        error: (rows,); at least the distance between a row and what its codes say.
    """

    codes: Codes
    scale: Floats
    error: Floats


def coded(units: Floats) -> CodedRows:
    """Return unit vectors as codes."""
    scale = np.abs(units).max(axis=1) / np.float32(_STEPS)
    codes = np.rint(units / scale[:, None])
    rest = units - codes * scale[:, None]
    error = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64))
    # The rest itself was rounded, by at most 2^-24 of a unit vector's coordinates.
    error = (error * 1.0001 + 2e-7).astype(np.float32)
    return CodedRows(codes.astype(np.int8), scale, error)


@dataclass(frozen=True, slots=True)
class CodedQuery:
    """A query as codes.

    Attributes:
        codes: (dimension,).
        scale: What one step of a code is worth.
        error: The distance between the query and what its codes say.
    """

    codes: Codes
    scale: float
    error: float

    def bounds(self, codes: list[Codes], scale: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Return estimated scores of rows, and how far each may be from `scoring.scores_of`.

        Args:
            codes: The rows' codes, in pieces.
            scale: As in `CodedRows`.
            error: As in `CodedRows`.
        """
        estimate = np.empty(len(scale), dtype=np.float32)
        start = 0
        for piece in codes:
            dots(piece, self.codes, estimate[start : start + len(piece)])
            start += len(piece)
        estimate *= scale
        estimate *= np.float32(self.scale)
        # Both the estimate and the score itself are sums of `dimension` rounded products.
        slack = (2 * len(self.codes) + 64) * _ROUNDING
        half = error * np.float32(1 + self.error)
        half += np.float32(self.error * 1.0001 + slack)
        return estimate, half


def closer_bounds(
    codes: Codes, scale: Floats, error: Floats, target: Floats
) -> tuple[Floats, Floats]:
    """Return what `CodedQuery.bounds` does, from the query itself: closer, and for few rows."""
    estimate = codes.astype(np.float32) @ target
    estimate *= scale
    slack = np.float32((2 * len(target) + 64) * _ROUNDING)
    return estimate, error + slack


def coded_query(target: Floats) -> CodedQuery:
    """Return a unit vector as codes."""
    wide = target.astype(np.float64)
    scale = float(np.abs(wide).max()) / _STEPS
    codes = np.rint(wide / scale)
    error = float(np.linalg.norm(wide - codes * scale))
    return CodedQuery(codes.astype(np.int8), scale, error)
