"""`convex-memory export` and `import`: what they write, say, survive and refuse."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.functions.memory.transfer_notes import NAMES
from convex_memory.remote import RemoteDeployment
from server.cli import main
from server.progress import Progress
from tests.application.connections import ROOT
from tests.application.moving_folders import fill, rows_in, rows_of, write_documents
from tests.bridge.serving import BRIDGE, Bridge, bridge
from tests.declared_tables import DECLARED

WAIT_S: Final = 60


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CONVEX_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("MEMORY_EMBEDDER", "off")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with rows in every table, and the one that commands use."""
    asyncio.run(fill(tmp_path / "memory"))
    return tmp_path / "memory"


@pytest.fixture(scope="module")
def convex() -> Iterator[Bridge]:
    with bridge(ROOT / "convex", schema=BRIDGE / "our_functions" / "schema.ts") as running:
        yield running


Use = Callable[[Path | Bridge], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have the commands use another memory from now on."""

    def use(memory: Path | Bridge) -> None:
        if isinstance(memory, Path):
            monkeypatch.delenv("CONVEX_URL", raising=False)
            monkeypatch.delenv("CONVEX_ADMIN_KEY", raising=False)
            monkeypatch.setenv("MEMORY_DATA_DIR", str(memory))
        else:
            monkeypatch.setenv("CONVEX_URL", memory.url)
            monkeypatch.setenv("CONVEX_ADMIN_KEY", memory.admin_key)

    return use


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must succeed; return what it says."""
    capsys.readouterr()
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert captured.err == ""
    return captured.out


def failed(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    """Run a command that must fail; return the one line it says."""
    capsys.readouterr()
    assert main(list(arguments)) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("convex-memory: ")
    return line


# --- There and back


def test_everything_moves_to_convex_and_back(
    filled: Path,
    tmp_path: Path,
    convex: Bridge,
    use: Use,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = asyncio.run(rows_in(filled))
    # Nothing is left out: there are rows of every table, the native one's among them.
    assert set(before) == {*DECLARED, "contract_articles"}
    assert len(before["mastra_messages"]) == 154
    noted = [row["(noted)"] for rows in before.values() for row in rows if "(noted)" in row]
    assert {name for notes in noted for name in notes} == set(NAMES)
    count = sum(map(len, before.values()))
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl.gz"

    said = told(capsys, "export", str(here))
    assert said.startswith(f"Exported {count:,} rows of folder {filled} to {here} (")
    assert dict(re.findall(r"  (\S+) +([\d,]+)\n", said)) == {
        table: f"{len(rows):,}" for table, rows in before.items()
    }
    use(convex)
    convex.reset(time.time() * 1000)
    try:
        said = told(capsys, "import", str(here))
        assert said == f"{count:,} rows of {here} into Convex {convex.url}: {count:,} stored.\n"
        said = told(capsys, "import", str(here))
        assert said == (
            f"All {count:,} rows of {here} were in Convex {convex.url} already; nothing was "
            "changed.\n"
        )

        async def remote() -> object:
            async with RemoteDeployment(convex.url, convex.admin_key) as deployment:
                return await rows_of(deployment)

        assert asyncio.run(remote()) == before
        said = told(capsys, "export", str(there))
        assert said.startswith(f"Exported {count:,} rows of Convex {convex.url} to {there} (")
    finally:
        convex.reset(0)
    use(tmp_path / "back")
    said = told(capsys, "import", str(there))
    assert f": {count:,} stored." in said
    assert asyncio.run(rows_in(tmp_path / "back")) == before
    assert convex.admin_key not in gzip.decompress(there.read_bytes()).decode()
    # The file itself is as good as the folder: a dry run compares them.
    use(filled)
    assert "nothing was changed" in told(capsys, "import", str(there), "--dry-run")


def test_tools_find_what_was_imported(
    filled: Path, tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "export", str(tmp_path / "e.jsonl"))
    stats = told(capsys, "stats", "--json")
    use(tmp_path / "new")
    told(capsys, "import", str(tmp_path / "e.jsonl"))
    assert told(capsys, "stats", "--json") == stats

    async def search() -> list[str]:
        async with EmbeddedDeployment(tmp_path / "new") as deployment:
            answer: object = await deployment.call(
                "query", "memory/search:messages", {"query": "loaf 77", "limit": 1}
            )
        assert isinstance(answer, dict)
        return [hit["message"]["content"] for hit in answer["hits"]]

    [content] = asyncio.run(search())
    assert "Loaf 77" in content


def test_some_tables_can_be_chosen(
    filled: Path, tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "some.jsonl.gz")
    said = told(capsys, "export", path, "--tables", "threads, mastra_messages,cache")
    assert set(re.findall(r"  (\S+) ", said)) == {
        "mastra_threads",
        "mastra_messages",
        "mastra_cache",
        "mastra_cache_list_items",
    }
    line = failed(capsys, 2, "export", str(tmp_path / "x"), "--tables", "thread")
    assert "no table 'thread'. Choose from threads, messages" in line
    assert not (tmp_path / "x").exists()


def test_an_export_goes_through_a_pipe(
    filled: Path, tmp_path: Path, use: Use, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    command = [sys.executable, "-m", "convex_memory"]
    environment = {**os.environ, "MEMORY_DATA_DIR": str(tmp_path / "piped")}
    with subprocess.Popen([*command, "export", "-"], cwd=ROOT, stdout=subprocess.PIPE) as out:
        done = subprocess.run(
            [*command, "import", "-"],
            cwd=ROOT,
            env=environment,
            stdin=out.stdout,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (out.returncode, done.returncode) == (0, 0), done.stderr
    assert re.fullmatch(rb"([\d,]+) rows of the input into folder .*: \1 stored\.\n", done.stdout)
    assert asyncio.run(rows_in(tmp_path / "piped")) == asyncio.run(rows_in(filled))
    # What the export has to say went to stderr.
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert captured.err.startswith(b"Exported ")


# --- What is there already


def test_rows_that_differ_are_told_and_replaced_only_when_asked(
    tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    write_documents(tmp_path / "old.jsonl", 8, 10)
    write_documents(tmp_path / "new.jsonl", 9, 20)
    told(capsys, "import", str(tmp_path / "old.jsonl"))
    new = tmp_path / "new.jsonl"
    folder = tmp_path / "memory"
    kept = told(capsys, "import", str(new), "--dry-run")
    lines = "2 (mastra_documents), 3 (mastra_documents), 4 (mastra_documents), "
    lines += "5 (mastra_documents), 6 (mastra_documents) and others"
    assert kept == (
        f"9 rows of {new} into folder {folder}: 1 would be stored, 8 kept as they are there.\n"
        f"There with other content, and kept: line {lines}. "
        "With --replace those of the file take their places.\n"
        "Nothing was written.\n"
    )
    assert told(capsys, "import", str(new), "--replace") == (
        f"9 rows of {new} into folder {folder}: 1 stored, 8 replaced.\n"
    )
    rows = asyncio.run(rows_in(folder))["mastra_documents"]
    assert {len(row["record"]["text"]) for row in rows} == {20}


def test_a_file_that_is_there_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text("precious")
    assert "--force" in failed(capsys, 2, "export", str(path))
    assert path.read_text() == "precious"
    told(capsys, "export", str(path), "--force")
    assert path.read_text().startswith('{"format":"convex-memory"')
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_memory_is_an_empty_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "e.jsonl")
    assert told(capsys, "export", path).startswith("Exported 0 rows of folder ")
    assert told(capsys, "import", path) == f"There are no rows in {path}; nothing was changed.\n"


# --- Refused


def test_a_damaged_file_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.jsonl"
    write_documents(path, 50, 100)
    whole = path.read_bytes()
    for content, words in (
        (whole[:-100], "was cut short"),
        (whole.replace(b"xxx", b"yyy", 1), "its checksum is another"),
        (b"nonsense", "is not an export of convex-memory"),
        (whole.replace(b'"version":1', b'"version":9', 1), "Update convex-memory"),
        (gzip.compress(whole)[:-20], "was cut short"),
    ):
        path.write_bytes(content)
        assert words in failed(capsys, 2, "import", str(path))
    assert "cannot be read" in failed(capsys, 2, "import", str(tmp_path / "absent"))
    assert asyncio.run(rows_in(tmp_path / "memory")) == {}
    path.write_bytes(whole[:-100])
    assert ": 50 stored." in told(capsys, "import", str(path), "--partial")


def test_a_row_refused_on_the_way_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.jsonl"
    write_documents(path, 1200, 5)
    lines = path.read_text().splitlines(keepends=True)
    bad = lines[1100].replace('"record"', '"recorded"')
    path.write_text("".join([*lines[:1100], bad, *lines[1101:]]))
    line = failed(capsys, 1, "import", str(path), "--partial")
    assert line == (
        "convex-memory: Line 1,101 (mastra_documents): A row of mastra_documents needs the field "
        "record (any). What stands before is stored. Settle this, in the memory or in the file "
        "(one that you change needs --partial); the same command goes on from there."
    )
    assert len(asyncio.run(rows_in(tmp_path / "memory"))["mastra_documents"]) == 1000
    path.write_text("".join(lines))
    said = told(capsys, "import", str(path))
    assert ": 200 stored, 1,000 unchanged." in said


def test_mastras_functions_alone_are_told_to_be_too_few(
    tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    write_documents(tmp_path / "e.jsonl", 1, 1)
    with bridge(BRIDGE / "mastra_reference") as stock:
        use(stock)
        for arguments in (["export", str(tmp_path / "x")], ["import", str(tmp_path / "e.jsonl")]):
            line = failed(capsys, 2, *arguments)
            assert "convex-memory functions DIR" in line
            assert "npx convex deploy" in line
            assert stock.admin_key not in line
    assert not (tmp_path / "x").exists()


# --- Killed and interrupted


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "convex_memory", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_import_killed_on_the_way_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.jsonl"
    count = 40_000
    write_documents(path, count, 200)
    process = started("import", str(path))
    wait_for(lambda: bool(list(tmp_path.glob(".e.jsonl.*.importing"))), process)
    process.kill()
    process.communicate()
    stored = len(asyncio.run(rows_in(tmp_path / "memory"))["mastra_documents"])
    assert 0 < stored < count
    said = told(capsys, "import", str(path))
    match = re.search(r": ([\d,]+) stored, (?:[\d,]+ unchanged, )?([\d,]+) stored by the run", said)
    assert match is not None, said
    anew, skipped = (int(number.replace(",", "")) for number in match.groups())
    assert anew == count - stored
    assert 0 < skipped <= stored
    rows = asyncio.run(rows_in(tmp_path / "memory"))["mastra_documents"]
    assert [row["primaryKey"] for row in rows] == [str(number) for number in range(count)]
    assert "nothing was changed" in told(capsys, "import", str(path))
    assert [each.name for each in tmp_path.glob(".e.jsonl*")] == []


def test_an_import_that_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write_documents(path, 40_000, 200)
    process = started("import", str(path))
    wait_for(lambda: bool(list(tmp_path.glob(".e.jsonl.*.importing"))), process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (130, "")
    assert error.splitlines()[-1] == (
        "Interrupted. What stands before is stored; the same command goes on from there."
    )
    assert "Traceback" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_an_interrupted_export_leaves_nothing_that_looks_whole(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "source.jsonl", tmp_path / "out" / "e.jsonl.gz"
    write_documents(source, 3000, 20_000)
    told(capsys, "import", str(source))
    target.parent.mkdir()
    process = started("export", str(target))
    wait_for(lambda: bool(list(target.parent.iterdir())), process)
    process.send_signal(number)
    _, error = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in error
    left = list(target.parent.iterdir())
    if number == signal.SIGINT:
        assert (process.returncode, left) == (130, [])
    else:
        assert [each.suffix for each in left] == [".part"]
        failed(capsys, 2, "import", str(left[0]))


# --- Memory


def peak_bytes(*arguments: str) -> int:
    """The most memory that a command had."""
    # What getrusage says begins with the memory of the process that started the command.
    code = (
        "import sys; from pathlib import Path; from server.cli import main; "
        "status = main(sys.argv[1:]); print(Path('/proc/self/status').read_text()); "
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=4 * WAIT_S,
        check=True,
    )
    match = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert match is not None
    return int(match[1]) * 1024


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks: dict[str, list[int]] = {"import": [], "again": [], "export": []}
    sizes = []
    for name, count in (("small", 800), ("large", 2400)):
        path = tmp_path / f"{name}.jsonl"
        write_documents(path, count, 30_000)
        sizes.append(path.stat().st_size)
        monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / name))
        peaks["import"].append(peak_bytes("import", str(path)))
        peaks["again"].append(peak_bytes("import", str(path)))
        peaks["export"].append(peak_bytes("export", str(tmp_path / f"{name}-out.jsonl")))
    assert sizes[1] - sizes[0] > 44 << 20
    for small, large in peaks.values():
        # Page caches and the calls in flight are the same for both.
        assert large - small < 16 << 20, peaks


# --- Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_gets_a_bar_that_goes_away(tmp_path: Path) -> None:
    clock, stream = Ticking(), Terminal()
    progress = Progress(stream, clock=clock)
    progress.show("importing", 0, 0.0)
    assert stream.getvalue() == ""
    clock.now = 2.0
    progress.show("importing", 5000, 0.5)
    assert stream.getvalue() == "\rimporting [############............]  50% 5,000 rows, 2,500/s"
    progress.show("importing", 5001, 0.5)
    assert stream.getvalue().count("\r") == 1
    clock.now = 4.0
    progress.show("importing", 6000, None)
    assert stream.getvalue().rpartition("\r")[2].rstrip() == "importing 6,000 rows, 1,500/s"
    progress.end()
    lines = stream.getvalue().split("\r")
    assert lines[-1] == ""
    assert set(lines[-2]) == {" "}
    assert "\n" not in stream.getvalue()


def test_elsewhere_there_is_a_line_now_and_then() -> None:
    clock, stream = Ticking(), io.StringIO()
    progress = Progress(stream, clock=clock)
    for second in range(31):
        clock.now = float(second)
        progress.show("exporting", second * 1000, second / 40)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "exporting 25%, 10,000 rows, 1,000/s",
        "exporting 50%, 20,000 rows, 1,000/s",
        "exporting 75%, 30,000 rows, 1,000/s",
    ]


def test_other_things_than_rows_are_counted_and_some_are_not() -> None:
    clock, stream = Ticking(), io.StringIO()
    progress = Progress(stream, counted="MiB", clock=clock)
    progress.show("backing up", 0, 0.0)
    clock.now = 10.0
    progress.show("backing up", 500, 0.5)
    progress.show("checking", 0, None)
    clock.now = 20.0
    progress.show("checking", 0, None)
    assert stream.getvalue().splitlines() == ["backing up 50%, 500 MiB, 50/s", "checking, 10 s"]


def test_a_header_names_no_key_and_no_folder(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.jsonl"
    told(capsys, "export", str(path))
    header = json.loads(path.read_text().splitlines()[0])
    assert set(header) == {
        "format",
        "version",
        "program",
        "exported_at",
        "source",
        "consistency",
        "tables",
    }
    assert (header["source"], header["consistency"]) == ("embedded", "snapshot")
