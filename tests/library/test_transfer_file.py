"""The file of an export: written, read, cut short, changed, and put in its place."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from convex_memory.errors import ConfigurationError, StorageFailed
from convex_memory.moving import ExportWriter, Header, MovedTable, opened_for_writing
from convex_memory.moving.batches import batches
from convex_memory.moving.export_file import ExportReader, RowLine, opened_for_reading

NATIVE = {"dimension": 3, "idField": "id", "vectorField": "embedding"}
HEADER = Header(
    "1.2.3",
    "2026-01-01T00:00:00.000Z",
    "embedded",
    "snapshot",
    [MovedTable("mastra_threads"), MovedTable("articles", NATIVE)],
)
ROWS = [("mastra_threads", f'{{"id":"{n}","title":"\N{SNOWMAN}"}}') for n in range(5)]
ROWS += [("articles", '{"id":"a","embedding":[1,0.5,-0.0]}')]
NOTES = '{"text":"},\\"row\\":{","expiresAt":5}'
"""Notes that look like a row."""


def written(rows: list[tuple[str, str]] | None = None) -> bytes:
    """A whole export."""
    out = io.BytesIO()
    writer = ExportWriter(out.write)
    writer.begin(HEADER)
    for table, text in ROWS if rows is None else rows:
        writer.put(table, [text])
    writer.end()
    return out.getvalue()


def reader_of(tmp_path: Path, content: bytes) -> ExportReader:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    return opened_for_reading(str(path))


def read(tmp_path: Path, content: bytes) -> tuple[list[RowLine], ExportReader]:
    reader = reader_of(tmp_path, content)
    try:
        reader.header()
        return list(reader.rows()), reader
    finally:
        reader.close()


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, content)
    return caught.value.message


def test_a_file_says_what_it_is_first_and_whether_it_is_whole_last() -> None:
    lines = written().splitlines(keepends=True)
    header, end = json.loads(lines[0]), json.loads(lines[-1])
    assert header == {
        "format": "convex-memory",
        "version": 1,
        "program": "1.2.3",
        "exported_at": "2026-01-01T00:00:00.000Z",
        "source": "embedded",
        "consistency": "snapshot",
        "tables": [{"table": "mastra_threads"}, {"table": "articles", "native": NATIVE}],
    }
    digest = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    tables = {"mastra_threads": 5, "articles": 1}
    assert end == {"end": {"rows": 6, "tables": tables, "sha256": digest}}
    assert lines[1].decode() == f'{{"table":"mastra_threads","row":{ROWS[0][1]}}}\n'


def test_what_was_written_is_read(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, written())
    assert reader.header() == HEADER
    assert list(reader.rows()) == [
        RowLine(line, table, text) for line, (table, text) in enumerate(ROWS, 2)
    ]
    assert (reader.is_ended, reader.is_whole) == (True, True)
    assert reader.bytes_read == len(written())
    reader.close()


def test_an_export_without_rows_is_whole(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, written([]))
    assert (rows, reader.is_whole) == ([], True)


def test_notes_stand_beside_their_rows(tmp_path: Path) -> None:
    out = io.BytesIO()
    writer = ExportWriter(out.write)
    writer.begin(HEADER)
    texts = [text for _, text in ROWS[:3]]
    writer.put("mastra_threads", texts, {1: NOTES})
    writer.end()
    rows, reader = read(tmp_path, out.getvalue())
    assert reader.is_whole
    assert [row.text for row in rows] == texts
    assert [row.notes for row in rows] == [None, NOTES, None]
    [batch] = batches(iter(rows))
    assert (batch.texts, batch.notes) == (texts, {1: NOTES})


def test_a_compressed_file_is_known_by_its_content(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, gzip.compress(written()))
    assert [(row.table, row.text) for row in rows] == ROWS
    assert reader.is_whole


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_short_anywhere_is_never_whole(tmp_path: Path, compressed: bool) -> None:
    whole = gzip.compress(written(), mtime=0) if compressed else written()
    unreadable = 0
    for end in (*range(0, len(whole), 7), *range(len(whole) - 40, len(whole))):
        try:
            rows, reader = read(tmp_path, whole[:end])
        except ConfigurationError:
            # So short that nothing says what it is.
            unreadable = end
            continue
        # The end of the last line, and what gzip writes behind it, say nothing about the rows.
        assert not reader.is_whole or end >= len(whole) - (9 if compressed else 1)
        expected = [json.loads(text) for _, text in ROWS[: len(rows)]]
        assert [json.loads(row.text) for row in rows] == expected
    assert unreadable < (len(whole) if compressed else whole.index(b"\n") + 1)


def test_a_file_that_was_changed_is_not_whole(tmp_path: Path) -> None:
    lines = written().splitlines(keepends=True)
    for changed in (
        [lines[0], *lines[2:]],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines[:-1], lines[1], lines[-1]],
        [lines[0], lines[1].replace(b'"0"', b'"9"'), *lines[2:]],
        [lines[0].replace(b"1.2.3", b"1.2.4"), *lines[1:]],
        [*lines[:-1], lines[-1].replace(b'"rows":6', b'"rows":7')],
    ):
        _, reader = read(tmp_path, b"".join(changed))
        assert (reader.is_ended, reader.is_whole) == (True, False)


def test_lines_written_by_hand_are_read_too(tmp_path: Path) -> None:
    head = written([]).splitlines(keepends=True)[0]
    by_hand = b'{ "row": {"id": "\xc3\xa9", "n": [1, 2]}, "table": "mastra_threads" }\r\n'
    [row], reader = read(tmp_path, head + by_hand)
    assert (row.line, row.table, json.loads(row.text)) == (
        2,
        "mastra_threads",
        {"id": "\N{LATIN SMALL LETTER E WITH ACUTE}", "n": [1, 2]},
    )
    assert not reader.is_ended


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense\n", "it is not JSON"),
        (b"\n", "it is not JSON"),
        (b'{"table":"mastra_threads","row":{"id":"\xff"}}\n', "it is not UTF-8"),
        (b'{"table":"mastra_threads","row":[]}\n', 'a line is {"table"'),
        (b'{"table":"mastra_threads"}\n', 'a line is {"table"'),
        (b'{"table":5,"row":{}}\n', 'a line is {"table"'),
        (b'{"table":"t","row":{},"more":1}\n', 'a line is {"table"'),
        (b'{"table":"t","notes":{},"row":[]}\n', 'a line is {"table"'),
        (b'{"table":"t","notes":{"row":{}}\n', "it is not JSON"),
        (b"[" * 100_000 + b"\n", "it is not JSON"),
        (b'{"table":"t","row":{"x":"' + b"x" * (16 << 20) + b'"}}\n', "longer than 16 MiB"),
    ],
    ids=range(11),
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, told: str) -> None:
    lines = written().splitlines(keepends=True)
    message = refused(tmp_path, b"".join([*lines[:3], line, *lines[3:]]))
    assert message.startswith(f"Line 4 of {tmp_path / 'file.jsonl'} cannot be read: ")
    assert told in message
    assert "--partial" in message


def test_what_comes_after_the_end_is_refused(tmp_path: Path) -> None:
    assert "after the last line" in refused(tmp_path, written() * 2)
    assert "after the last line" in refused(tmp_path, gzip.compress(written()) * 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"PK\x03\x04 a zip of another program",
        b'{"_id":"1","_creationTime":1}\n',
        b'{"format":"other","version":1}\n',
        b"[1]\n",
        b"\x1f\x8b no gzip after all",
    ],
    ids=range(7),
)
def test_a_file_of_another_program_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "is not an export of convex-memory" in refused(tmp_path, content)


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    newer = written().replace(b'"version":1', b'"version":2', 1)
    message = refused(tmp_path, newer)
    assert "format 2; this program reads format 1. Update convex-memory" in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            opened_for_reading(str(path))


def test_a_row_on_two_lines_is_not_written() -> None:
    writer = ExportWriter(lambda content: None)
    with pytest.raises(ValueError, match="one line"):
        writer.put("mastra_threads", ['{"a":\n1}'])


def test_rows_are_gathered_by_table_count_and_size() -> None:
    def rows(*tables_and_sizes: tuple[str, int]) -> Any:
        return (RowLine(n, table, "x" * size) for n, (table, size) in enumerate(tables_and_sizes))

    found = list(batches(rows(*[("a", 1)] * 501, ("b", 1), ("a", 1))))
    assert [(each.table, each.first_line, each.last_line) for each in found] == [
        ("a", 0, 499),
        ("a", 500, 500),
        ("b", 501, 501),
        ("a", 502, 502),
    ]
    # Where a row between was left out, the lines would not be those of the rows any more.
    apart = (RowLine(line, "a", "x") for line in (2, 3, 5))
    assert [(each.first_line, each.last_line) for each in batches(apart)] == [(2, 3), (5, 5)]
    half = 1 << 19
    found = list(batches(rows(("a", half), ("a", half), ("a", 1), ("a", 3 * half), ("a", 1))))
    assert [len(each.texts) for each in found] == [2, 1, 1, 1]
    assert list(batches(rows())) == []


# --- Its place


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with opened_for_writing(str(path), force=False) as stream:
        stream.write(b"content")
        assert not path.exists()
        [partial] = tmp_path.iterdir()
        assert partial.name.endswith(".part")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_compressed_file_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.gz"
    with opened_for_writing(str(path), force=False) as stream:
        stream.write(b"content" * 1000)
    assert gzip.decompress(path.read_bytes()) == b"content" * 1000


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    def fail(error: BaseException) -> None:
        with opened_for_writing(str(tmp_path / "out.jsonl.gz"), force=False) as stream:
            stream.write(b"content")
            raise error

    for error in (KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(error)):
            fail(error)
    with pytest.raises(StorageFailed, match=r"No space left.*no complete export"):
        fail(OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")
    with (
        pytest.raises(ConfigurationError, match="--force"),
        opened_for_writing(str(path), force=False),
    ):
        pytest.fail("It was opened.")
    assert path.read_bytes() == b"old"
    with opened_for_writing(str(path), force=True) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_file_that_somebody_makes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def write_beside_another() -> None:
        with opened_for_writing(str(path), force=False) as stream:
            stream.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(ConfigurationError, match="--force"):
        write_beside_another()
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent" / "out", "cannot be written to"),
    ):
        with (
            pytest.raises(ConfigurationError, match=told),
            opened_for_writing(str(path), force=False),
        ):
            pytest.fail("It was opened.")


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    with opened_for_writing(str(path), force=False) as stream:
        stream.write(b"content")
    reader.join(10)
    assert received == [b"content"]
    assert list(tmp_path.iterdir()) == [path]
