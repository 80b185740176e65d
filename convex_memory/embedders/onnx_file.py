"""The tensors of an ONNX file, without the runtime that would execute it.

An ONNX file is a protocol buffer: keys of field number and wire type, then values
(https://protobuf.dev/programming-guides/encoding/). Of its messages only these are read
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.graph, then
GraphProto.initializer, and of each TensorProto its dims, data_type, name and raw_data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mmap import mmap

    from numpy.typing import NDArray

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMPY_TYPES: Final = {1: "<f4", 3: "<i1", 7: "<i8"}


def tensors_in(content: mmap) -> dict[str, NDArray[Any]]:
    """The initializers of the graph, by name, in the order in which they stand.

    Args:
        content: A whole file, known to be sound. The arrays are views of it.
    """
    import numpy as np

    tensors = {}
    for begin, end in _parts(content, 0, len(content), _GRAPH):
        for tensor_begin, tensor_end in _parts(content, begin, end, _INITIALIZER):
            shape: list[int] = []
            name, numpy_type, raw = "", None, (0, 0)
            for field, start, stop in _fields(content, tensor_begin, tensor_end):
                if field == _DIMS:
                    shape.append(start)
                elif field == _DATA_TYPE:
                    numpy_type = _NUMPY_TYPES.get(start)
                elif field == _NAME:
                    name = content[start:stop].decode()
                elif field == _RAW_DATA:
                    raw = (start, stop)
            if numpy_type is not None:
                count = (raw[1] - raw[0]) // np.dtype(numpy_type).itemsize
                tensors[name] = np.frombuffer(content, numpy_type, count, raw[0]).reshape(shape)
    return tensors


def _parts(content: mmap, begin: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    return ((start, stop) for field, start, stop in _fields(content, begin, end) if field == wanted)


def _fields(content: mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, then where its value begins and ends; a varint is its own value, twice."""
    while at < end:
        key, at = _varint(content, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, at = _varint(content, at)
            yield key >> 3, value, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(content, at)
        else:
            size = {_FIXED32: 4, _FIXED64: 8}[wire_type]
        yield key >> 3, at, at + size
        at += size


def _varint(content: mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
