"""An index in a file beside the database, so that a process need not make it anew.

The file is a cache: it is mapped into memory, by every process alike, and used only when every
byte of it is as it was written; otherwise the index is made of the rows again. It is written
once, under a name of its own, and never changed.

Layout, little-endian: magic, length and CRC-32 of the header, the header as JSON, then the
sections, each at a multiple of 64 bytes. Of each section the header has the sums of its blocks
of 4 KiB, as 64-bit numbers, under a CRC-32: as safe against damage, and several times faster.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.vector_index.columns import Column
from convex_memory.embedded.vector_index.lists import Lists
from convex_memory.embedded.vector_index.view import Parts, Rows, View

_MAGIC: Final = b"CMVECTOR"
_FORMAT: Final = 2
_HEAD: Final = struct.Struct("<8sQI")
_ALIGNED: Final = 64
_BLOCK: Final = 4096
_COPIED_ROWS: Final = 8192
"""Rows put in order at a time."""
_KINDS: Final = {"sequence": "<i8", "scale": "<f4", "error": "<f4", "codes": "<i1"}


class Unusable(Exception):
    """The file is not there, is damaged, or is not the one that was meant."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    offset: int
    length: int
    check: int


def write(
    view: View, path: Path, token: str, order: NDArray[np.int64], lists: Lists | None
) -> None:
    """Write an index to a file that is not there yet, and have it on the disk.

    Args:
        view: The index.
        path: The file.
        token: What the file will be known by.
        order: The rows to write, one after the other.
        lists: What stands where in that order.

    Raises:
        OSError: It cannot be written.
    """
    columns = list(view.columns.values())
    names = ("sequence", "scale", "error", *(f"column {at}" for at in range(len(columns))))
    arrays: list[NDArray[Any]] = [view.sequence, view.scale, view.error]
    arrays += [column.of_rows for column in columns]
    ready: dict[str, NDArray[Any]] = {}
    if lists is not None:
        ready = {"centres": lists.centres, "starts": lists.starts}
    with path.open("xb") as file:
        # The header comes last: until then, the file is none.
        head: dict[str, Any] = {
            "format": _FORMAT,
            "token": token,
            "rows": len(order),
            "dimension": view.dimension,
            "columns": [[each.column.name, each.column.values()] for each in columns],
            "placed for": None if lists is None else lists.placed_for,
        }
        room = _aligned(_HEAD.size + _header_room(head, len(names) + len(ready) + 1))
        file.seek(room)
        sections = [
            _write_section(file, name, iter([array[order]]))
            for name, array in zip(names, arrays, strict=True)
        ]
        sections += [_write_section(file, name, iter([array])) for name, array in ready.items()]
        sections.append(_write_section(file, "codes", _codes_in_order(view, order)))
        head["sections"] = [[each.name, each.offset, each.length, each.check] for each in sections]
        text = json.dumps(head).encode()
        file.truncate(file.tell())
        file.seek(0)
        file.write(_HEAD.pack(_MAGIC, len(text), zlib.crc32(text)) + text)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, token: str, dimension: int) -> Rows:
    """Return the rows that a file holds; their codes stay in the file.

    Args:
        path: The file.
        token: What it is known by.
        dimension: The length of its vectors.

    Raises:
        Unusable: There is no such file, or it is not as it was written.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_WILLNEED"):
            # All of it is checked at once: read ahead as fast as the disk goes.
            mapped.madvise(mmap.MADV_WILLNEED)
        held = memoryview(mapped)
        head = _header(held)
        if (head["format"], head["token"], head["dimension"]) != (_FORMAT, token, dimension):
            raise Unusable(f"{path} is another file.")
        sections = {
            name: _section(held, _Section(name, offset, length, check))
            for name, offset, length, check in head["sections"]
        }
        rows = _rows(head, sections)
        rows.token = token
        return rows
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise Unusable(f"{path} cannot be used.") from error


def _rows(head: Mapping[str, Any], sections: Mapping[str, memoryview]) -> Rows:
    count, dimension = head["rows"], head["dimension"]
    arrays = {name: np.frombuffer(sections[name], kind) for name, kind in _KINDS.items()}
    columns = []
    for at, (name, values) in enumerate(head["columns"]):
        of_rows = np.frombuffer(sections[f"column {at}"], "<i4")
        if len(of_rows) != count:
            raise ValueError(name)
        columns.append(Column.known(name, values, of_rows))
    if any(len(arrays[name]) != count for name in ("sequence", "scale", "error")):
        raise ValueError("rows")
    return Rows.known(
        Parts(
            arrays["sequence"],
            arrays["codes"].reshape(count, dimension),
            arrays["scale"],
            arrays["error"],
        ),
        columns,
        _lists(head, sections),
    )


def _lists(head: Mapping[str, Any], sections: Mapping[str, memoryview]) -> Lists | None:
    if head["placed for"] is None:
        return None
    centres = np.frombuffer(sections["centres"], "<f4").reshape(-1, head["dimension"])
    starts = np.frombuffer(sections["starts"], "<i8")
    if len(starts) != len(centres) + 1 or starts[0] != 0 or starts[-1] != head["rows"]:
        raise ValueError("lists")
    return Lists(centres, starts, head["placed for"])


def _header(held: memoryview) -> dict[str, Any]:
    magic, length, check = _HEAD.unpack_from(held)
    text = bytes(held[_HEAD.size : _HEAD.size + length])
    if magic != _MAGIC or len(text) != length or zlib.crc32(text) != check:
        raise ValueError("header")
    head: dict[str, Any] = json.loads(text)
    return head


def _section(held: memoryview, section: _Section) -> memoryview:
    part = held[section.offset : section.offset + section.length]
    if len(part) != section.length or _check([part]) != section.check:
        raise ValueError(section.name)
    return part


# --- Sections


def _write_section(file: BinaryIO, name: str, arrays: Iterator[NDArray[Any]]) -> _Section:
    offset = _aligned(file.tell())
    file.seek(offset)
    sums = _Sums()
    for array in arrays:
        part = memoryview(array.tobytes())
        file.write(part)
        sums.add(part)
    return _Section(name, offset, file.tell() - offset, sums.check())


def _codes_in_order(view: View, order: NDArray[np.int64]) -> Iterator[NDArray[np.int8]]:
    for start in range(0, len(order), _COPIED_ROWS):
        yield view.gathered(order[start : start + _COPIED_ROWS])


def _check(parts: list[memoryview]) -> int:
    sums = _Sums()
    for part in parts:
        sums.add(part)
    return sums.check()


class _Sums:
    """The sums of the blocks of what is added, however it is cut into pieces."""

    def __init__(self) -> None:
        self._crc = 0
        self._rest = b""

    def add(self, part: memoryview) -> None:
        """Go on with another piece."""
        if self._rest:
            missing = _BLOCK - len(self._rest)
            self._rest += bytes(part[:missing])
            part = part[missing:]
            if len(self._rest) < _BLOCK:
                return
            self._blocks(memoryview(self._rest))
        whole = len(part) // _BLOCK * _BLOCK
        self._blocks(part[:whole])
        self._rest = bytes(part[whole:])

    def check(self) -> int:
        """Return the checksum of all pieces."""
        return zlib.crc32(self._rest, self._crc)

    def _blocks(self, part: memoryview) -> None:
        blocks = np.frombuffer(part, "<u8").reshape(-1, _BLOCK // 8)
        self._crc = zlib.crc32(blocks.sum(axis=1, dtype=np.uint64).astype("<u8"), self._crc)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED


def _header_room(head: Mapping[str, Any], sections: int) -> int:
    """Return a length that the header will keep to, its sections being 64 bytes each at most."""
    return len(json.dumps(head).encode()) + 128 * (sections + 1)
