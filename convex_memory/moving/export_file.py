"""The file: JSON Lines in UTF-8, a header first, a row on each line, a last line that closes it.

    {"format": "convex-memory", "version": 1, "program": …, "exported_at": …, "source": …,
     "consistency": …, "tables": [{"table": …, "native"?: …}]}
    {"table": "mastra_threads", "row": {…}}
    {"table": "mastra_messages", "notes": {"expiresAt": 1767225600000}, "row": {…}}
    {"end": {"rows": 1, "tables": {"mastra_threads": 1}, "sha256": …}}

Rows are in Convex's value coding (`row_text`); `notes` is what a deployment has noted of a row
beside it. Rows of one table stand in the order of their
creation; the tables may be mixed. The checksum is over every byte before the last line, so a file
that was cut short is known. Compressed files are gzip over the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from convex_memory.errors import ConfigurationError
from convex_memory.limits import IDENTIFIER_CHARS_MAX

FORMAT: Final = "convex-memory"
VERSION: Final = 1
"""Raised when an older program could not read the file any more."""
STANDARD: Final = "-"
"""The name that stands for standard input or output."""
LINE_BYTES_MAX: Final = 16 << 20
"""A document of 1 MiB is about 8 MiB of JSON text at most, and one call takes 16 MiB."""

_BUFFER_BYTES: Final = 1 << 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_ROW: Final = re.compile(
    rb'\{"table":"([A-Za-z_][A-Za-z0-9_]{0,%d})","row":(\{.*\})\}\n?' % (IDENTIFIER_CHARS_MAX - 1),
    re.DOTALL,
)
_SAID: Final = ("program", "exported_at", "source", "consistency")
_NOTED: Final = re.compile(
    rb'\{"table":"([A-Za-z_][A-Za-z0-9_]{0,%d})","notes":' % (IDENTIFIER_CHARS_MAX - 1)
)
_BETWEEN: Final = ',"row":'
_MEMBERS: Final = frozenset({"table", "row", "notes"})
_NO_NOTES: Final[Mapping[int, str]] = {}
_DECODER: Final = json.JSONDecoder()
_END: Final = b'{"end":'


class RowLine(NamedTuple):
    """One row of the file: its line, counted from 1, its table, its text and that of its notes."""

    line: int
    table: str
    text: str
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class MovedTable:
    """A table of the file.

    Attributes:
        name: Its name.
        native: Of a native vector table, `{dimension, idField, vectorField}`.
    """

    name: str
    native: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says.

    Attributes:
        program: The version that wrote the file.
        exported_at: When, ISO-8601 UTC.
        source: `embedded` or `convex`.
        consistency: `snapshot` when all rows are of one moment; `pages` when they were read one
            after the other.
        tables: The tables that were asked for, also those without rows.
    """

    program: str
    exported_at: str
    source: str
    consistency: str
    tables: Sequence[MovedTable]


# --- Writing


class ExportWriter:
    """Writes a file from its first line to its last.

    Args:
        write: Gets the bytes, in order.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self._counts: dict[str, int] = {}

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return sum(self._counts.values())

    @property
    def counts(self) -> Mapping[str, int]:
        """Table → rows written so far."""
        return self._counts

    def begin(self, header: Header) -> None:
        """Write the header."""
        tables = [
            {"table": table.name} | ({"native": dict(table.native)} if table.native else {})
            for table in header.tables
        ]
        self._put(
            _line(
                {
                    "format": FORMAT,
                    "version": VERSION,
                    "program": header.program,
                    "exported_at": header.exported_at,
                    "source": header.source,
                    "consistency": header.consistency,
                    "tables": tables,
                }
            )
        )

    def put(self, table: str, texts: Sequence[str], notes: Mapping[int, str] = _NO_NOTES) -> None:
        """Write rows of a table, and the notes of some of them, by position."""
        head = f'{{"table":"{table}",'
        lines = "".join(
            [
                f'{head}"notes":{notes[at]},"row":{text}}}\n'
                if at in notes
                else f'{head}"row":{text}}}\n'
                for at, text in enumerate(texts)
            ]
        )
        if lines.count("\n") != len(texts):
            raise ValueError("The text of a row is one line.")
        self._put(lines.encode())
        self._counts[table] = self._counts.get(table, 0) + len(texts)

    def end(self) -> None:
        """Write the last line, which makes the file whole."""
        end = {"rows": self.rows, "tables": self._counts, "sha256": self._digest.hexdigest()}
        self._put(_line({"end": end}))

    def _put(self, content: bytes) -> None:
        self._digest.update(content)
        self._write(content)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# --- Reading


class ExportReader:
    """Reads a file's lines, once; `opened_for_reading` opens it.

    Attributes:
        name: How errors name the file.
        line: The line read last, counted from 1.
        is_ended: Whether the last line has been read.
        is_whole: Whether it was the one that belongs to those before it.

    Args:
        stream: The bytes, not compressed any more.
        name: How errors name the file.
        counted: The bytes of the file itself.
    """

    def __init__(self, stream: BinaryIO, name: str, counted: _Counted) -> None:
        self.name = name
        self._counted = counted
        self.line = 0
        self.is_ended = False
        self.is_whole = False
        self._stream = stream
        self._digest = hashlib.sha256()
        self._rows = 0

    @property
    def bytes_read(self) -> int:
        """How much of the file itself has been read."""
        return self._counted.bytes_read

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._stream.close()
        self._counted.close()

    def header(self) -> Header:
        """Read the first line.

        Raises:
            ConfigurationError: It is not the header of a file that this program can read.
        """
        content = self._next()
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ConfigurationError(
                f"{self.name} is not an export of convex-memory: its first line is not the header "
                "that every export begins with. Give a file that `convex-memory export` wrote."
            )
        if fields.get("version") != VERSION:
            raise ConfigurationError(
                f"{self.name} is an export of format {fields.get('version')!a}; this program reads "
                f"format {VERSION}. Update convex-memory, or export again with this version."
            )
        try:
            tables = [MovedTable(each["table"], each.get("native")) for each in fields["tables"]]
            said = {name: str(fields[name]) for name in _SAID}
        except (KeyError, TypeError, AttributeError) as error:
            raise self.flaw("the header is incomplete") from error
        return Header(**said, tables=tables)

    def rows(self) -> Iterator[RowLine]:
        """Yield the rows that are left; afterwards `is_whole` says whether the file was whole.

        Raises:
            ConfigurationError: A line is not one of an export; the message names it.
        """
        while content := self._next():
            if content.startswith(_END):
                self._read_end(content)
                if self._next():
                    raise self.flaw("it comes after the last line of an export")
                return
            row = self._row(content)
            if row is None:
                return
            self._digest.update(content)
            self._rows += 1
            yield row

    def flaw(self, what: str) -> ConfigurationError:
        """Return the error for the line read last."""
        return ConfigurationError(
            f"Line {self.line:,} of {self.name} cannot be read: {what}. Export again; or, if the "
            "file was changed by hand, correct the line and import with --partial.",
            details={"line": self.line},
        )

    def _row(self, content: bytes) -> RowLine | None:
        """Return the row on a line; None for a line in the middle of which the file ends."""
        try:
            written = self._as_written(content) if content.endswith(b"\n") else None
            if written is not None:
                return written
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            if not content.endswith(b"\n"):
                return None
            is_text = not isinstance(error, UnicodeDecodeError)
            raise self.flaw("it is not JSON" if is_text else "it is not UTF-8") from error
        match fields:
            case {"table": str(table), "row": dict(row)} if fields.keys() <= _MEMBERS:
                notes = json.dumps(fields["notes"]) if "notes" in fields else None
                return RowLine(self.line, table, json.dumps(row, ensure_ascii=False), notes)
        raise self.flaw('a line is {"table": …, "row": {…}}')

    def _as_written(self, content: bytes) -> RowLine | None:
        """Return the row on a line as `ExportWriter` writes it, its text uninspected."""
        parts = _ROW.fullmatch(content)
        if parts is not None:
            return RowLine(self.line, parts[1].decode(), parts[2].decode())
        noted = _NOTED.match(content)
        if noted is None:
            return None
        rest = content[noted.end() :].decode()
        _, end = _DECODER.raw_decode(rest)
        if not rest.startswith(_BETWEEN, end) or not rest.endswith("}}\n"):
            return None
        text = rest[end + len(_BETWEEN) : -2]
        return RowLine(self.line, noted[1].decode(), text, rest[:end])

    def _next(self) -> bytes:
        content = self._stream.readline(LINE_BYTES_MAX + 1)
        if not content:
            return b""
        self.line += 1
        if len(content) > LINE_BYTES_MAX:
            raise self.flaw(f"it is longer than {LINE_BYTES_MAX >> 20} MiB, as no row is")
        if self.line == 1:
            self._digest.update(content)
        return content

    def _read_end(self, content: bytes) -> None:
        try:
            end = json.loads(content)["end"]
            said = (end["rows"], end["sha256"])
        except (ValueError, KeyError, TypeError):
            return
        self.is_ended = True
        self.is_whole = said == (self._rows, self._digest.hexdigest())


def opened_for_reading(source: str) -> ExportReader:
    """Open a file, or standard input for `-`; compressed ones are known by their content.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if source == STANDARD:
        counted = _Counted(cast(BinaryIO, sys.stdin.buffer), closes=False)
        name = "the input"
    else:
        counted, name = _Counted(_opened(source), closes=True), source
    buffered = io.BufferedReader(counted, _BUFFER_BYTES)
    if buffered.peek(2)[:2] != _GZIP_MAGIC:
        return ExportReader(cast(BinaryIO, buffered), name, counted)
    unpacked = io.BufferedReader(_Unpacked(buffered), _BUFFER_BYTES)
    return ExportReader(cast(BinaryIO, unpacked), name, counted)


def _opened(source: str) -> BinaryIO:
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"{source} cannot be read ({error.strerror}). Give a file that `convex-memory export` "
            "wrote, or - for standard input."
        ) from error


class _Counted(io.RawIOBase):
    """Bytes as they come, counted."""

    def __init__(self, source: BinaryIO, *, closes: bool) -> None:
        self._source = source
        self._closes = closes
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._source.read(len(buffer))
        buffer[: len(content)] = content
        self.bytes_read += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._closes:
                self._source.close()


class _Unpacked(io.RawIOBase):
    """What is packed in a gzip file, as far as it can be had.

    `gzip` keeps back what it has unpacked before the place where a file was cut.
    """

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(_GZIP_BITS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            if self._inflate.eof:
                # Several files in a row are one.
                packed = self._inflate.unused_data
                self._inflate = zlib.decompressobj(_GZIP_BITS)
            else:
                packed = self._inflate.unconsumed_tail
            packed = packed or self._source.read1(_BUFFER_BYTES)
            if not packed:
                return 0
            try:
                content = self._inflate.decompress(packed, len(buffer))
            except zlib.error:
                return 0
        buffer[: len(content)] = content
        return len(content)
