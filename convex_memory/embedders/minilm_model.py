"""all-MiniLM-L6-v2 in numpy: six layers of BERT, then the mean over the tokens.

The weights are stored as int8 with a scale for each row or column and multiplied out when they
are loaded, so this computes what onnxruntime computes from the same file, in float32. The texts
of a batch stand one after the other without padding; only attention looks at each alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from convex_memory.embedders.onnx_file import tensors_in
from convex_memory.embedders.windows import normalised

if TYPE_CHECKING:
    from mmap import mmap

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DIMENSION: Final = 384
HEADS: Final = 12
HEAD_WIDTH: Final = DIMENSION // HEADS
_MATRICES_PER_LAYER: Final = 6
_NORM_EPSILON: Final = np.float32(1e-12)
_STEP_FLOATS: Final = 1 << 14
"""Floats of one step of GELU: with its workspace they stay in a core's second-level cache."""

_ERF_P: Final = np.float32(0.3275911)
_ERF_A: Final = tuple(
    np.float32(a) for a in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
)
"""Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: |error| <= 1.5e-7."""


@dataclass(frozen=True, slots=True)
class _Linear:
    matrix: Floats
    bias: Floats

    def __call__(self, inputs: Floats) -> Floats:
        outputs: Floats = inputs @ self.matrix
        outputs += self.bias
        return outputs


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Floats
    bias: Floats

    def apply_to(self, rows: Floats) -> None:
        rows -= rows.mean(axis=1, keepdims=True)
        spread = np.einsum("ij,ij->i", rows, rows)[:, np.newaxis]
        spread /= np.float32(rows.shape[1])
        spread += _NORM_EPSILON
        rows /= np.sqrt(spread)
        rows *= self.weight
        rows += self.bias


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer; `attend` gives queries, keys and values side by side."""

    attend: _Linear
    merge: _Linear
    merge_norm: _Norm
    widen: _Linear
    narrow: _Linear
    narrow_norm: _Norm


class MiniLMModel:
    """The weights, ready to compute with. Any number of threads may do so at once.

    Args:
        content: The ONNX file, known to be the very one this is written for.
    """

    def __init__(self, content: mmap) -> None:
        tensors = tensors_in(content)
        embeddings = "inner.embeddings."
        # Not multiplied out: a text needs a few of its 30,522 rows.
        self._words = tensors[f"{embeddings}word_embeddings.weight_q"]
        self._word_scales = tensors[f"{embeddings}word_embeddings.weight_scale"]
        self._positions = _multiplied(tensors, f"{embeddings}position_embeddings.weight")
        # Every token is of the first type: there is no second text to tell apart.
        self._positions += tensors[f"{embeddings}token_type_embeddings.weight"][0]
        self._norm = _norm(tensors, f"{embeddings}LayerNorm")
        self._layers = list(_layers(tensors))

    def vectors_of(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Embed texts given as token ids, special tokens included, at most 512 each.

        Returns:
            One row of length 1 for each: float32, (texts, 384).
        """
        borders = [0, *accumulate(map(len, texts))]
        ids = np.concatenate([np.asarray(text, np.intp) for text in texts])
        rows: Floats = self._words[ids] * self._word_scales[ids]
        rows += np.concatenate([self._positions[: len(text)] for text in texts])
        self._norm.apply_to(rows)
        for layer in self._layers:
            rows += layer.merge(_attended(layer.attend(rows), borders))
            layer.merge_norm.apply_to(rows)
            inner = layer.widen(rows)
            _gelu(inner)
            rows += layer.narrow(inner)
            layer.narrow_norm.apply_to(rows)
        # The sum has the direction of the mean, and the length goes anyway.
        return normalised(np.add.reduceat(rows, borders[:-1], axis=0))


def _attended(projected: Floats, borders: Sequence[int]) -> Floats:
    """What the tokens of each text see of each other, from queries, keys and values."""
    heads = projected.reshape(-1, 3, HEADS, HEAD_WIDTH)
    seen = np.empty((len(heads), HEADS, HEAD_WIDTH), np.float32)
    for begin, end in pairwise(borders):
        queries, keys, values = (heads[begin:end, at].transpose(1, 0, 2) for at in range(3))
        scores = queries @ keys.transpose(0, 2, 1)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        seen[begin:end] = (scores @ values).transpose(1, 0, 2)
    return seen.reshape(-1, DIMENSION)


def _gelu(values: Floats) -> None:
    """Replace each x by x * (1 + erf(x / sqrt(2))) / 2."""
    flat = values.reshape(-1)
    workspace = np.empty((3, min(_STEP_FLOATS, flat.size)), np.float32)
    for start in range(0, flat.size, _STEP_FLOATS):
        step = flat[start : start + _STEP_FLOATS]
        scaled, t, erf = workspace[:, : step.size]
        np.multiply(step, np.float32(sqrt(0.5)), out=scaled)
        np.abs(scaled, out=t)
        t *= _ERF_P
        t += np.float32(1)
        np.reciprocal(t, out=t)
        np.multiply(t, _ERF_A[0], out=erf)
        for a in _ERF_A[1:]:
            erf += a
            erf *= t
        np.multiply(scaled, scaled, out=t)
        np.negative(t, out=t)
        np.exp(t, out=t)
        erf *= t
        np.subtract(np.float32(1), erf, out=erf)
        np.copysign(erf, scaled, out=erf)
        erf += np.float32(1)
        step *= erf
        step *= np.float32(0.5)


# --- What the file calls things


def _multiplied(tensors: dict[str, NDArray[Any]], name: str) -> Floats:
    product: Floats = np.multiply(tensors[f"{name}_q"], tensors[f"{name}_scale"], dtype=np.float32)
    return product


def _norm(tensors: dict[str, NDArray[Any]], name: str) -> _Norm:
    return _Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _layers(tensors: dict[str, NDArray[Any]]) -> Iterator[_Layer]:
    # The matrices have no names of their own; they stand in the order in which they are used.
    names = [name.removesuffix("_q") for name in tensors if name.startswith("val_")]
    matrices = [name for name in names if f"{name}_q" in tensors]
    for number, first in enumerate(range(0, len(matrices), _MATRICES_PER_LAYER)):
        query, key, value, merge, widen, narrow = (
            _multiplied(tensors, name) for name in matrices[first : first + _MATRICES_PER_LAYER]
        )
        prefix = f"inner.encoder.layer.{number}."
        attention = f"{prefix}attention."
        query_bias, key_bias, value_bias = (
            tensors[f"{attention}self.{part}.bias"] for part in ("query", "key", "value")
        )
        # Attention divides by this; dividing the queries once does the same.
        scale = np.float32(1 / sqrt(HEAD_WIDTH))
        yield _Layer(
            attend=_Linear(
                np.concatenate([query * scale, key, value], axis=1),
                np.concatenate([query_bias * scale, key_bias, value_bias]),
            ),
            merge=_Linear(merge, tensors[f"{attention}output.dense.bias"]),
            merge_norm=_norm(tensors, f"{attention}output.LayerNorm"),
            widen=_Linear(widen, tensors[f"{prefix}intermediate.dense.bias"]),
            narrow=_Linear(narrow, tensors[f"{prefix}output.dense.bias"]),
            narrow_norm=_norm(tensors, f"{prefix}output.LayerNorm"),
        )
