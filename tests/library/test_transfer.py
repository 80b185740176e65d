"""Exporting and importing, by the library: interrupted, resumed, refused, in pieces."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import (
    ConfigurationError,
    Conflict,
    ConvexMemoryError,
    DeploymentTimeout,
    FunctionNotDeployed,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
)
from convex_memory.moving import (
    ExportWriter,
    Header,
    Imported,
    ImportOptions,
    export_rows,
    import_rows,
    inventory_of,
)
from convex_memory.moving.inventory import lane_of
from convex_memory.values import Value

pytestmark = pytest.mark.anyio

TIME = "2026-01-01T00:00:00.000Z"
RESTORE = "memory/transfer:restore"
PAGE = "memory/transfer:page"

Row = dict[str, Any]
Before = Callable[[str, Mapping[str, Any]], None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched:
    """A deployment whose calls are seen, and may be made to fail, before they are done."""

    def __init__(self, deployment: Deployment, before: Before | None = None) -> None:
        self._deployment = deployment
        self._before = before
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.running: list[tuple[str, str]] = []
        self.together_max = 0

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        if self._before is not None:
            self._before(path, args)
        self.calls.append((path, args))
        running = (path, lane_of(str(args.get("table"))))
        if path in (RESTORE, PAGE) and not args.get("dryRun"):
            assert running not in self.running, "Two calls of one lane at once."
        self.running.append(running)
        self.together_max = max(self.together_max, len(self.running))
        try:
            await asyncio.sleep(0)
            return await self._deployment.call(kind, path, args, timeout_ms=timeout_ms, retry=retry)
        finally:
            self.running.remove(running)

    async def aclose(self) -> None:
        await self._deployment.aclose()

    def restored(self) -> int:
        """How many rows were sent to be stored."""
        return sum(
            len(args["rows"])
            for path, args in self.calls
            if path == RESTORE and not args.get("dryRun")
        )


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[EmbeddedDeployment]:
    async with EmbeddedDeployment(tmp_path / "there") as deployment:
        yield deployment


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[EmbeddedDeployment]:
    async with EmbeddedDeployment(tmp_path / "here") as deployment:
        yield deployment


def thread(thread_id: str, **fields: Any) -> Row:
    row = {"id": thread_id, "resourceId": "ann", "title": "", "createdAt": TIME, "updatedAt": TIME}
    return row | fields


def message(number: int, **fields: Any) -> Row:
    row = {
        "id": f"m{number}",
        "thread_id": f"t{number % 7}",
        "content": json.dumps({"format": 2, "parts": [{"type": "text", "text": f"says {number}"}]}),
        "role": "user",
        "type": "v2",
        "createdAt": TIME,
    }
    return row | fields


def vector(number: int) -> Row:
    return {"id": f"v{number}", "indexName": "i", "embedding": [float(number), 0.1, -0.0]}


INDEX = {"id": "i", "indexName": "i", "metric": "cosine", "createdAt": TIME, "dimension": 3}


async def store(deployment: Deployment, table: str, *rows: Row, **arguments: Any) -> None:
    for start in range(0, len(rows), 500):
        texts: list[Value] = [json.dumps(row) for row in rows[start : start + 500]]
        await deployment.call(
            "mutation",
            RESTORE,
            {"table": table, "rows": texts, "onExisting": "replace"} | arguments,
        )


async def fill(deployment: Deployment, messages: int = 1200, vectors: int = 700) -> int:
    """Store rows in several tables; return how many."""
    await store(deployment, "mastra_threads", *(thread(f"t{n}") for n in range(7)))
    await store(deployment, "mastra_messages", *(message(n) for n in range(messages)))
    await store(deployment, "mastra_vector_indexes", INDEX)
    await store(deployment, "mastra_vectors", *(vector(n) for n in range(vectors)))
    return 7 + messages + 1 + vectors


async def export(deployment: Deployment, path: Path, tables: list[str] | None = None) -> Path:
    inventory = await inventory_of(deployment)
    chosen = inventory.chosen(tables)
    with path.open("wb") as file:
        writer = ExportWriter(file.write)
        writer.begin(Header("1", TIME, inventory.kind, "pages", chosen))
        await export_rows(deployment, writer, chosen)
        writer.end()
    return path


async def rows_of(deployment: Deployment) -> dict[str, list[Row]]:
    """Every row of every table, in order."""
    rows: dict[str, list[Row]] = {}
    for table in (await inventory_of(deployment)).tables:
        cursor = None
        while True:
            more: Row = {} if cursor is None else {"cursor": cursor}
            answer: Any = await deployment.call("query", PAGE, {"table": table, **more})
            rows.setdefault(table, []).extend(json.loads(text) for text in answer["rows"])
            cursor = answer["cursor"]
            if cursor is None:
                break
    return rows


async def imported(
    deployment: Deployment, path: Path | str, target: str = "here", **options: Any
) -> Imported:
    return await import_rows(deployment, str(path), target, ImportOptions(**options))


def notes_beside(path: Path) -> list[Path]:
    return list(path.parent.glob(f".{path.name}.*"))


# --- There and back


async def test_everything_arrives_once_and_in_order(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there)
    source, target = Watched(there), Watched(here)
    path = await export(source, tmp_path / "e.jsonl")
    assert source.together_max > 1
    assert await imported(target, path) == Imported(stored=count)
    assert target.together_max > 1
    assert await rows_of(here) == await rows_of(there)
    assert await imported(here, path) == Imported(unchanged=count)
    assert await imported(here, path, replace=True) == Imported(unchanged=count)
    assert notes_beside(path) == []


async def test_only_some_tables_move_when_they_are_named(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await fill(there, 10, 10)
    path = await export(there, tmp_path / "e.jsonl", ["threads", "mastra_vectors"])
    assert await imported(here, path) == Imported(stored=17)
    moved = {table for table, rows in (await rows_of(here)).items() if rows}
    assert moved == {"mastra_threads", "mastra_vectors"}
    chosen = (await inventory_of(there)).chosen(["cache_list_items"])
    assert [table.name for table in chosen] == ["mastra_cache", "mastra_cache_list_items"]
    with pytest.raises(ConfigurationError, match=r"no table 'mesages'.*messages"):
        (await inventory_of(there)).chosen(["mesages"])


async def test_rows_in_flight_are_few_however_many_there_are(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await store(there, "mastra_documents", *(
        {"table": "t", "primaryKey": str(n), "record": {"text": "x" * 100_000}} for n in range(60)
    ))  # fmt: skip
    source, target = Watched(there), Watched(here)
    path = await export(source, tmp_path / "e.jsonl")
    await imported(target, path)
    sizes = [sum(map(len, args["rows"])) for called, args in target.calls if called == RESTORE]
    assert max(sizes) <= (1 << 20)
    assert sum(sizes) > 6_000_000
    assert len([1 for called, _ in source.calls if called == PAGE]) > 6


async def test_rows_that_differ_are_kept_and_named_or_replaced(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await store(there, "mastra_threads", *(thread(f"t{n}") for n in range(9)))
    path = await export(there, tmp_path / "e.jsonl")
    changed = [thread(f"t{n}", title="mine") for n in range(7)]
    await store(here, "mastra_threads", *changed)
    kept = await imported(here, path)
    rows = [(line, "mastra_threads") for line in range(2, 7)]
    assert kept == Imported(stored=2, kept=7, kept_rows=rows)
    assert (await rows_of(here))["mastra_threads"][:7] == changed
    dry = await imported(here, path, replace=True, dry_run=True)
    assert dry == Imported(replaced=7, unchanged=2)
    assert (await rows_of(here))["mastra_threads"][:7] == changed
    assert await imported(here, path, replace=True) == dry
    assert await rows_of(here) == await rows_of(there)


async def test_a_dry_run_writes_nothing_and_leaves_no_note(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there, 20, 20)
    path = await export(there, tmp_path / "e.jsonl")
    assert await imported(here, path, dry_run=True) == Imported(stored=count)
    assert not any((await rows_of(here)).values())
    assert notes_beside(path) == []


# --- Interrupted


class Stopping:
    """Lets so many calls that store through, and fails the next."""

    def __init__(self, calls: int, error: BaseException) -> None:
        self.left = calls
        self._error = error

    def __call__(self, path: str, args: Mapping[str, Any]) -> None:
        if path == RESTORE and not args.get("dryRun"):
            self.left -= 1
            if self.left < 0:
                raise self._error


async def interrupted(here: Deployment, path: Path, calls: int = 3) -> None:
    failing = Watched(here, Stopping(calls, DeploymentTimeout("No answer.")))
    with pytest.raises(DeploymentTimeout):
        await imported(failing, path)


async def test_an_interrupted_import_goes_on_where_it_was(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there)
    path = await export(there, tmp_path / "e.jsonl")
    await interrupted(here, path)
    stored = sum(map(len, (await rows_of(here)).values()))
    assert 0 < stored < count
    [note] = notes_beside(path)
    assert note.stat().st_mode & 0o777 == 0o600
    assert "here" not in note.read_text()
    again = Watched(here)
    result = await imported(again, path)
    assert result.skipped > 0
    assert result.rows == count
    assert again.restored() == count - result.skipped < count
    assert await rows_of(here) == await rows_of(there)
    assert notes_beside(path) == []


async def test_an_import_interrupted_again_and_again_gets_done(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there)
    path = await export(there, tmp_path / "e.jsonl")
    skipped = [0]
    for _ in range(20):
        try:
            last = await imported(Watched(here, Stopping(2, DeploymentTimeout("x"))), path)
        except DeploymentTimeout:
            [note] = notes_beside(path)
            skipped.append(json.loads(note.read_text())["done"])
            assert skipped[-1] >= skipped[-2]
            continue
        break
    assert last.rows == count
    assert len(skipped) > 2
    assert await rows_of(here) == await rows_of(there)


async def test_a_note_is_not_followed_where_the_rows_are_gone(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there)
    path = await export(there, tmp_path / "e.jsonl")
    await interrupted(here, path)
    async with EmbeddedDeployment(tmp_path / "anew") as anew:
        # The same folder as far as anybody can tell, with another database in it.
        assert await imported(anew, path) == Imported(stored=count)
        assert await rows_of(anew) == await rows_of(there)


@pytest.mark.parametrize("change", ["the file", "its target", "the policy", "nonsense", "cut"])
async def test_a_note_of_another_import_is_not_followed(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment, change: str
) -> None:
    count = await fill(there)
    path = await export(there, tmp_path / "e.jsonl")
    await interrupted(here, path)
    [note] = notes_beside(path)
    if change == "the file":
        path.write_bytes(path.read_bytes())
    elif change == "nonsense":
        note.write_text('{"size": 5, "first": {"t": 3}}')
    elif change == "cut":
        note.write_text(note.read_text()[:20])
    target = "elsewhere" if change == "its target" else "here"
    result = await imported(here, path, target, replace=change == "the policy")
    assert result.skipped == 0
    assert (result.rows, result.kept) == (count, 0)
    assert await rows_of(here) == await rows_of(there)


async def test_a_cancelled_import_has_noted_what_is_stored(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there)
    path = await export(there, tmp_path / "e.jsonl")
    started = asyncio.Event()
    calls = 0

    def count_calls(called: str, args: Mapping[str, Any]) -> None:
        nonlocal calls
        calls += called == RESTORE
        if calls == 4:
            started.set()

    running = asyncio.create_task(imported(Watched(here, count_calls), path))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [note] = notes_beside(path)
    done = json.loads(note.read_text())["done"]
    stored = sum(map(len, (await rows_of(here)).values()))
    # The header is a line too.
    assert 0 < done - 1 <= stored < count
    assert (await imported(here, path)).rows == count
    assert await rows_of(here) == await rows_of(there)


async def test_a_folder_that_cannot_be_written_to_has_no_note(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    count = await fill(there, 10, 10)
    path = await export(there, tmp_path / "e.jsonl")
    with path.open("rb") as file:
        # The file by its descriptor: nothing can be made beside that.
        assert (await imported(here, f"/dev/fd/{file.fileno()}")).rows == count


# --- Refused


async def test_a_file_cut_short_or_changed_stores_nothing(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await fill(there, 30, 30)
    path = await export(there, tmp_path / "e.jsonl")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for content, told in (
        (whole[:-200], "was cut short: it ends after line"),
        (b"".join(lines[:-1]), "was cut short: it ends after line"),
        (whole[: len(whole) // 2], "was cut short: it ends after line"),
        (b"".join(lines[:20] + lines[21:]), "its checksum is another"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            await imported(here, path)
        assert told in caught.value.message
        assert "Nothing was stored." in caught.value.message
        assert "--partial" in caught.value.message
    assert not any((await rows_of(here)).values())
    # What there is can be had.
    result = await imported(here, path, partial=True)
    assert result.stored == len(lines) - 3
    assert len(result.warnings) == 0
    path.write_bytes(whole[:-1000])
    assert (await imported(here, path, partial=True)).rows > 0


async def test_a_row_beyond_the_limits_is_named_before_anything_is_stored(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await fill(there, 600, 0)
    path = await export(there, tmp_path / "e.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    deep = "[" * 16 + "]" * 16
    for row, kind, told in (
        ('{"id":"t","metadata":' + deep + "}", LimitExceeded, "nested too deeply"),
        ('{"id":"' + "x" * (1 << 20) + '"}', LimitExceeded, "1,048,576"),
        ('{"id":"t","metadata":{"$x":1}}', InvalidArgument, "reserved"),
        ('{"id":"t","metadata":{"$integer":"BwAAAAAAAAA="}}', InvalidArgument, "int64"),
        ('{"id":"t",}', InvalidArgument, "not JSON"),
    ):
        bad = f'{{"table":"mastra_threads","row":{row}}}\n'
        path.write_text("".join([*lines[:600], bad, *lines[600:]]))
        with pytest.raises(kind) as caught:
            await imported(here, path, partial=True)
        assert caught.value.message.startswith(f"Line 601 of {path} (mastra_threads): ")
        assert told in caught.value.message
        assert caught.value.message.endswith("Nothing was stored.")
        assert caught.value.details["line"] == 601
    assert not any((await rows_of(here)).values())


async def test_a_row_that_the_deployment_refuses_is_named_by_its_line(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await fill(there, 600, 0)
    path = await export(there, tmp_path / "e.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if '"id":"m550"' in line)
    lines[at] = lines[at].replace('"role":"user"', '"role":5')
    path.write_text("".join(lines))
    with pytest.raises(InvalidArgument) as caught:
        await imported(here, path, partial=True)
    assert caught.value.message == (
        f"Line {at + 1} (mastra_messages): Field role of mastra_messages must be string, not int."
    )
    ids = [row["id"] for row in (await rows_of(here))["mastra_messages"]]
    assert ids == [f"m{n}" for n in range(500)]
    lines[at] = lines[at].replace('"role":5', '"role":"user"')
    path.write_text("".join(lines))
    assert (await imported(here, path)).rows == 608
    assert await rows_of(here) == await rows_of(there)


async def test_conflicts_are_named_by_their_line(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await store(there, "mastra_threads", thread("a"), thread("b"))
    path = await export(there, tmp_path / "e.jsonl")
    await store(here, "mastra_threads", thread("b", resourceId="bob"))
    with pytest.raises(Conflict, match=r"^Line 3 \(mastra_threads\): Thread 'b' is there already"):
        await imported(here, path)
    assert [row["id"] for row in (await rows_of(here))["mastra_threads"]] == ["b"]


async def test_a_table_that_nobody_knows_is_refused_before(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    await fill(there, 5, 5)
    path = await export(there, tmp_path / "e.jsonl")
    text = path.read_text()
    path.write_text(text.replace("mastra_threads", "mastra_dreams"))
    with pytest.raises(ConfigurationError, match=r"mastra_dreams.*Update convex-memory"):
        await imported(here, path, partial=True)
    path.write_text(text.replace('"table":"mastra_threads","row"', '"table":"mastra_x","row"'))
    with pytest.raises(ConfigurationError, match="the header has no table 'mastra_x'"):
        await imported(here, path, partial=True)
    assert not any((await rows_of(here)).values())


async def test_a_native_vector_table_of_another_shape_is_refused_before(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    native = {"dimension": 3, "idField": "id", "vectorField": "embedding"}
    await fill(there, 5, 5)
    row = {"id": "a", "embedding": [1, 2, 3], "metadata": {"x": 1}, "lang": "en"}
    await store(there, "articles", row, native=native)
    path = await export(there, tmp_path / "e.jsonl")
    other = {"id": "b", "embedding": [1, 2]}
    await store(here, "articles", other, native=native | {"dimension": 2})
    with pytest.raises(InvalidArgument, match=r"dimensions 2, received 3 \(table articles\)"):
        await imported(here, path)
    assert (await rows_of(here))["mastra_threads"] == []
    async with EmbeddedDeployment(tmp_path / "empty") as empty:
        assert (await imported(empty, path)).stored == 19
        assert (await rows_of(empty))["articles"] == [row]


async def test_a_deployment_without_the_functions_says_to_deploy_them(
    tmp_path: Path, here: EmbeddedDeployment
) -> None:
    def absent(path: str, args: Mapping[str, Any]) -> None:
        if path.startswith("memory/"):
            raise FunctionNotDeployed(f"Could not find function for '{path}'.")

    with pytest.raises(FunctionNotDeployed, match="Deploy the functions of this version"):
        await inventory_of(Watched(here, absent))
    with pytest.raises(FunctionNotDeployed, match="Deploy the functions of this version"):
        await imported(Watched(here, absent), tmp_path / "absent")


async def test_answers_that_make_no_sense_are_told(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    class Odd(Watched):
        answers: dict[str, Any]

        async def call(self, kind: Kind, path: str, args: Any, **rest: Any) -> Value:
            if path in self.answers:
                value: Value = self.answers[path]
                return value
            return await super().call(kind, path, args, **rest)

    await fill(there, 5, 5)
    path = await export(there, tmp_path / "e.jsonl")
    counts = ("done", "stored", "replaced", "unchanged", "dropped")
    stuck: Row = dict.fromkeys(counts, 0) | {"kept": []}
    for answers in (
        {"memory/transfer:tables": {"tables": 5}},
        {RESTORE: None},
        {RESTORE: {"done": 1}},
        {RESTORE: stuck},
    ):
        odd = Odd(here)
        odd.answers = answers
        with pytest.raises(InvalidResponse):
            await imported(odd, path)
    for answer in (
        None,
        {"rows": [5], "cursor": None},
        {"rows": [], "cursor": "same"},
    ):
        odd = Odd(there)
        odd.answers = {PAGE: answer}
        with pytest.raises(InvalidResponse):
            await export(odd, tmp_path / "other.jsonl")


async def test_vectors_that_nobody_could_search_are_told(
    tmp_path: Path, there: EmbeddedDeployment, here: EmbeddedDeployment
) -> None:
    class Declared(Watched):
        async def call(self, kind: Kind, path: str, args: Any, **rest: Any) -> Value:
            answer: Any = await super().call(kind, path, args, **rest)
            if path == "memory/transfer:tables":
                answer["dimensions"] = [4.0]
            value: Value = answer
            return value

    await fill(there, 1, 1)
    path = await export(there, tmp_path / "e.jsonl")
    result = await imported(Declared(here), path)
    [warning] = result.warnings
    assert "no vector table for 3 dimensions" in warning
    assert "memory_vectors_3: nativeVectors(3)" in warning
    assert replace(result, warnings=[]) == Imported(stored=10)


async def test_an_export_that_fails_is_not_whole(tmp_path: Path, there: EmbeddedDeployment) -> None:
    await fill(there)
    pages = 0

    def fail_late(path: str, args: Mapping[str, Any]) -> None:
        nonlocal pages
        pages += path == PAGE
        if pages == 10:
            raise DeploymentTimeout("No answer.")

    path = tmp_path / "e.jsonl"
    with pytest.raises(ConvexMemoryError):
        await export(Watched(there, fail_late), path)
    assert b'{"end"' not in path.read_bytes()


# --- Standard input


class Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(content))


async def test_standard_input_is_stored_as_it_comes(
    tmp_path: Path,
    there: EmbeddedDeployment,
    here: EmbeddedDeployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = await fill(there, 600, 5)
    content = (await export(there, tmp_path / "e.jsonl")).read_bytes()
    monkeypatch.setattr("sys.stdin", Input(content[:-300]))
    with pytest.raises(ConfigurationError, match=r"the input was cut short.*rows of it are stored"):
        await imported(here, "-")
    stored = sum(map(len, (await rows_of(here)).values()))
    assert 0 < stored <= count
    monkeypatch.setattr("sys.stdin", Input(content))
    assert await imported(here, "-") == Imported(stored=count - stored, unchanged=stored)
    assert await rows_of(here) == await rows_of(there)
    assert list(tmp_path.glob(".*")) == []
