"""`convex-memory functions`: what it writes into a Convex project, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.cli import main
from server.convex_project import CONVEX_NPM_VERSION, TYPESCRIPT_NPM_VERSION
from server.function_files import HEADER, RECORD, load_source
from tests.application.connections import ROOT, connected, settings_in
from tests.bridge.serving import Bridge, bridge, node, run

COMMAND_TIMEOUT_S = 240
MODULES = sorted(
    path.relative_to(ROOT / "convex").as_posix()
    for path in (ROOT / "convex").rglob("*.ts")
    if path.relative_to(ROOT / "convex").parts[0] != "_generated"
    and path.name not in ("schema.ts", "crons.ts")
)
MASTRAS = ("mastra/cache.ts", "mastra/nativeVector.ts", "mastra/storage.ts")
# What `npx convex` writes into a project that has none: not the options that ours is written with.
PLAIN_TSCONFIG = {
    "compilerOptions": {
        "allowJs": True,
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "moduleResolution": "Bundler",
        "skipLibCheck": True,
        "target": "ESNext",
        "lib": ["ES2021", "dom"],
        "module": "ESNext",
        "isolatedModules": True,
        "noEmit": True,
    },
    "include": ["./**/*"],
    "exclude": ["./_generated"],
}


class Written:
    """A run of the command, and what it said."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


class Command:
    """The command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, folder: Path, *options: str) -> Written:
        self._capsys.readouterr()
        status = main(["functions", str(folder), *options])
        return Written(status, *self._capsys.readouterr())

    def done(self, folder: Path, *options: str) -> str:
        """What it says when it works."""
        written = self(folder, *options)
        assert (written.status, written.err) == (0, "")
        return written.out

    def refused(self, folder: Path, *options: str) -> str:
        """What it says when it does not; nothing may have changed."""
        before = everything_in(folder.parent)
        written = self(folder, *options)
        assert (written.status, written.out) == (2, "")
        assert everything_in(folder.parent) == before
        return written.err


@pytest.fixture
def functions(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A Convex project with a schema and a function of its own."""
    return make_app(tmp_path / "app")


def make_app(root: Path) -> Path:
    write(
        root,
        {
            "package.json": json.dumps({"dependencies": {"convex": CONVEX_NPM_VERSION}}),
            "convex/schema.ts": (
                'import { defineSchema, defineTable } from "convex/server";\n'
                'import { v } from "convex/values";\n'
                "\n"
                "export default defineSchema({\n"
                '  tasks: defineTable({ text: v.string() }).index("by_text", ["text"]),\n'
                "});\n"
            ),
            "convex/crons.ts": (
                'import { cronJobs } from "convex/server";\n'
                "\n"
                "const crons = cronJobs();\n"
                "export default crons;\n"
            ),
            "convex/tasks.ts": (
                'import { v } from "convex/values";\n'
                'import { mutation, query } from "./_generated/server";\n'
                "\n"
                "export const add = mutation({\n"
                "  args: { text: v.string() },\n"
                '  handler: async (ctx, { text }) => await ctx.db.insert("tasks", { text }),\n'
                "});\n"
                "export const list = query({\n"
                "  args: {},\n"
                "  handler: async (ctx) => {\n"
                '    const tasks = await ctx.db.query("tasks").withIndex("by_text").take(10);\n'
                "    return tasks.map(({ text }) => text);\n"
                "  },\n"
                "});\n"
            ),
            "convex/tsconfig.json": json.dumps(PLAIN_TSCONFIG),
        },
    )
    return root


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below one, with the content of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def modules_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.ts"))


def pretend_older(folder: Path, path: str, text: str) -> None:
    """Make a file and the record of it what an older version would have left."""
    write(folder, {path: text})
    record = json.loads((folder / RECORD).read_bytes())
    record["files"][path] = hashlib.sha256(text.encode()).hexdigest()
    (folder / RECORD).write_text(json.dumps(record))


# --- Where it writes, and what


def test_an_empty_folder_becomes_a_project(tmp_path: Path, functions: Command) -> None:
    told = functions.done(tmp_path / "Our Memory")
    root = tmp_path / "Our Memory"
    starters = {"schema.ts", "crons.ts"} & {path.name for path in (ROOT / "convex").iterdir()}
    assert modules_in(root / "convex") == sorted({*MODULES, *starters})
    for path in MODULES:
        written = (root / "convex" / path).read_bytes()
        assert written == HEADER + (ROOT / "convex" / path).read_bytes()
    assert (root / "convex/schema.ts").read_bytes() == (ROOT / "convex/schema.ts").read_bytes()
    assert (root / "convex/tsconfig.json").is_file()
    assert not (root / "convex/_generated").exists()
    assert not (root / "convex/README.md").exists()
    package = json.loads((root / "package.json").read_bytes())
    assert package["name"] == "our-memory"
    assert package["private"] is True
    steps = [line.strip().partition("  ")[0] for line in told.splitlines()]
    first = steps.index("npm install")
    assert steps[first : first + 3] == [
        "npm install",
        "npx convex dev --once",
        "npx convex deploy",
    ]
    for word in ("CONVEX_URL", "CONVEX_ADMIN_KEY", "convex deployment token create", "doctor"):
        assert word in told


def test_writing_again_changes_nothing_and_says_so(tmp_path: Path, functions: Command) -> None:
    functions.done(tmp_path / "memory")
    before = everything_in(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert "nothing to change" in functions.done(tmp_path / "memory")
    assert everything_in(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_the_packages_named_are_those_that_the_functions_are_tested_with() -> None:
    tested = json.loads((ROOT / "package.json").read_bytes())["devDependencies"]
    assert (tested["convex"], tested["typescript"]) == (CONVEX_NPM_VERSION, TYPESCRIPT_NPM_VERSION)


def test_the_version_and_functions_told_are_those_of_the_deployment() -> None:
    from convex_memory.embedded.functions.memory.meta import FUNCTIONS_VERSION

    source = load_source()
    assert str(source.version) == FUNCTIONS_VERSION
    listed = re.findall(r'"(memory/[^"]+)"', (ROOT / "convex/memory/meta.ts").read_text())
    assert list(source.functions) == listed


@pytest.mark.parametrize(
    ("files", "given", "expected"),
    [
        ({"package.json": "{}"}, ".", "convex"),
        ({"package.json": "{}"}, "convex", "convex"),
        ({"package.json": "{}", "convex/a.ts": "export {};"}, "convex", "convex"),
        ({"convex.json": "{}"}, ".", "convex"),
        ({"convex.json": '{"functions": "back/end/"}'}, ".", "back/end"),
        ({"convex.json": '{"functions": "back/end/"}'}, "back/end", "back/end"),
        ({"package.json": "{}", "convex.json": '{"functions": "./fns"}'}, ".", "fns"),
        ({"package.json": '{"dependencies": {"react-scripts": "5"}}'}, ".", "src/convex"),
        ({"other.txt": "", "convex/a.ts": "export {};"}, ".", "convex"),
        ({"fns/schema.js": "export default {};"}, "fns", "fns"),
    ],
)
def test_the_functions_folder_is_found_as_convex_finds_it(
    files: dict[str, str], given: str, expected: str, tmp_path: Path, functions: Command
) -> None:
    root = tmp_path / "project"
    write(root, files)
    functions.done(root / given)
    assert (root / expected / "memory/meta.ts").is_file()
    assert len(list(root.rglob("meta.ts"))) == 1
    assert (root / "package.json").exists() == ("package.json" in files)


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        ({"notes.txt": "x"}, ".", ["no Convex project", "package.json", "empty"]),
        ({"notes.txt": "x"}, "notes.txt", ["is a file"]),
        ({"convex.json": "{"}, ".", ["convex.json", "JSON"]),
        ({"convex.json": "[]"}, ".", ["convex.json", "object"]),
        ({"convex.json": '{"functions": 1}'}, ".", ["convex.json", "functions"]),
    ],
)
def test_what_is_no_project_is_refused(
    files: dict[str, str], given: str, words: list[str], tmp_path: Path, functions: Command
) -> None:
    write(tmp_path / "project", files)
    told = functions.refused(tmp_path / "project" / given)
    assert [word for word in words if word not in told] == []


def test_the_functions_are_not_written_over_themselves(functions: Command) -> None:
    written = functions(ROOT)
    assert written.status == 2
    assert "where the functions come from" in written.err
    assert not (ROOT / "convex" / RECORD).exists()


@pytest.mark.parametrize(
    ("package", "installed", "expected"),
    [
        ({}, None, f"npm install convex@{CONVEX_NPM_VERSION}"),
        ({"dependencies": {"convex": "^1.17.0"}}, None, "npm install"),
        (
            {"devDependencies": {"convex": "*"}},
            "1.46.2",
            f"npm install convex@{CONVEX_NPM_VERSION}",
        ),
        ({"dependencies": {"convex": "*"}}, "1.48.0", None),
    ],
)
def test_the_install_command_is_the_one_that_is_missing(
    package: dict[str, Any],
    installed: str | None,
    expected: str | None,
    tmp_path: Path,
    functions: Command,
) -> None:
    write(tmp_path / "app", {"package.json": json.dumps(package)})
    if installed is not None:
        text = json.dumps({"version": installed})
        write(tmp_path, {"node_modules/convex/package.json": text})
    told = functions.done(tmp_path / "app").splitlines()
    assert [line.strip() for line in told if "npm install" in line] == [expected] * bool(expected)


# --- What is not ours


def test_a_schema_and_crons_of_the_project_are_left_with_the_lines_to_add(
    app: Path, functions: Command
) -> None:
    before = {name: (app / "convex" / name).read_bytes() for name in ("schema.ts", "crons.ts")}
    told = functions.done(app)
    assert {name: (app / "convex" / name).read_bytes() for name in before} == before
    assert "left as yours: crons.ts, schema.ts, tsconfig.json" in told
    for name in ("schema.ts", "crons.ts"):
        join(app / "convex", name, told)
    told = functions.done(app)
    assert "nothing to change" in told
    assert "needs these two lines" not in told


def join(folder: Path, name: str, told: str) -> None:
    """Do to a file what the command said, word for word."""
    lines = told.split(f"convex/{name} is yours, and needs these two lines of ours:\n")[1]
    imported, line = (each.strip() for each in lines.strip().splitlines()[:2])
    module = re.search(r'"\./(.+)"', imported)
    assert module is not None
    assert (folder / f"{module[1]}.ts").is_file()
    text = (folder / name).read_text()
    if name == "schema.ts":
        start, own, end = line.partition("/* your tables */")
        assert own
        tables = text.split("defineSchema({\n")[1].split("});")[0]
        rest = text.split("export default")[0]
        text = f"{rest}{start}\n{tables}{end}\n"
    else:
        text = text.replace("export default", f"{line}\nexport default")
    (folder / name).write_text(f"{imported}\n{text}")


@pytest.mark.parametrize("name", ["schema.js", "crons.js"])
def test_a_starter_in_javascript_is_as_good(name: str, app: Path, functions: Command) -> None:
    (app / "convex" / name).with_suffix(".ts").rename(app / "convex" / name)
    told = functions.done(app)
    assert f"convex/{name} is yours, and needs these two lines" in told
    assert not (app / "convex" / name).with_suffix(".ts").exists()


@pytest.mark.parametrize("option", [[], ["--force"]])
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"lib/errors.ts": "export {};"}, ["convex/lib/errors.ts is yours"]),
        ({"lib/limits.js": "export {};"}, ["convex/lib/limits.js is yours", "limits.ts"]),
        ({"memory/meta.tsx": "export {};"}, ["convex/memory/meta.tsx is yours"]),
        ({"memory": "text"}, ["convex/memory is not a plain folder"]),
        ({"memory/meta.ts/x": "text"}, ["convex/memory/meta.ts is not a plain file"]),
        (
            {"mastra/storage.ts": "export {};", "lib/values.ts": "export {};"},
            ["convex/mastra/storage.ts is yours", "convex/lib/values.ts is yours"],
        ),
    ],
)
def test_files_of_the_user_are_never_replaced(
    files: dict[str, str], words: list[str], option: list[str], app: Path, functions: Command
) -> None:
    write(app / "convex", files)
    told = functions.refused(app, *option)
    assert "Nothing was written" in told
    assert [word for word in words if word not in told] == []
    assert len(told.strip().splitlines()) == 1 + len(files)


def test_a_linked_folder_is_in_the_way_because_convex_does_not_follow_it(
    app: Path, functions: Command
) -> None:
    (app / "elsewhere").mkdir()
    (app / "convex/mastra").symlink_to(app / "elsewhere")
    assert "convex/mastra is not a plain folder" in functions.refused(app)


def test_other_files_beside_ours_stay(app: Path, functions: Command) -> None:
    mine = {"lib/mine.ts": "export const a = 1;", "memory/lib/b.ts": "export {};", "http.ts": ""}
    write(app / "convex", mine)
    functions.done(app)
    assert {path: (app / "convex" / path).read_text() for path in mine} == mine


def test_mastras_handlers_give_way_to_force_and_a_copy_is_kept(
    app: Path, functions: Command
) -> None:
    reference = ROOT / "tests/bridge/mastra_reference/mastra"
    shutil.copytree(reference, app / "convex/mastra")
    told = functions.refused(app)
    for path in MASTRAS:
        assert f"convex/{path} is Mastra's own handler" in told
    told = functions.done(app, "--force")
    for path in MASTRAS:
        copy = app / "convex" / f"{path}.bak"
        assert copy.read_bytes() == (reference / Path(path).name).read_bytes()
        assert (app / "convex" / path).read_bytes().startswith(HEADER)
        assert f"{path}.bak" in told
    assert "memory/upkeep:adopt" in told


def test_mastras_tables_are_named_as_those_to_take_out(app: Path, functions: Command) -> None:
    schema = ROOT / "tests/bridge/mastra_reference/schema.ts"
    shutil.copy(schema, app / "convex/schema.ts")
    told = functions.done(app)
    assert "take the tables of @mastra/convex out" in told
    assert "memory/upkeep:adopt" in told


# --- Another version


def test_files_of_an_older_version_are_brought_up_to_date(app: Path, functions: Command) -> None:
    functions.done(app)
    folder = app / "convex"
    fresh = (folder / "memory/meta.ts").read_bytes()
    pretend_older(folder, "memory/meta.ts", "older\n")
    pretend_older(folder, "lib/old/gone.ts", "of old\n")
    (folder / "memory/threads.ts").unlink()
    told = functions.done(app)
    assert (folder / "memory/meta.ts").read_bytes() == fresh
    assert (folder / "memory/threads.ts").is_file()
    assert not (folder / "lib/old").exists()
    assert "1 files added" in told
    assert "updated: memory/meta.ts" in told
    assert "removed: lib/old/gone.ts" in told
    assert "nothing to change" in functions.done(app)


def test_a_schema_that_was_left_as_written_follows_and_an_edited_one_does_not(
    tmp_path: Path, functions: Command
) -> None:
    functions.done(tmp_path / "memory")
    folder = tmp_path / "memory/convex"
    fresh = (folder / "schema.ts").read_bytes()
    pretend_older(folder, "schema.ts", "older\n")
    assert "updated: schema.ts" in functions.done(tmp_path / "memory")
    assert (folder / "schema.ts").read_bytes() == fresh
    write(folder, {"schema.ts": "// memoryTables and mine\n"})
    told = functions.done(tmp_path / "memory")
    assert "left as yours: schema.ts" in told
    assert "needs these two lines" not in told
    assert (folder / "schema.ts").read_text() == "// memoryTables and mine\n"


@pytest.mark.parametrize("path", ["memory/meta.ts", "lib/gone.ts"])
def test_an_edited_file_of_ours_gives_way_to_force_and_a_copy_is_kept(
    path: str, app: Path, functions: Command
) -> None:
    functions.done(app)
    folder = app / "convex"
    if path == "lib/gone.ts":
        pretend_older(folder, path, "of old\n")
    for number, copy in enumerate((f"{path}.bak", f"{path}.2.bak")):
        text = f"edited {number}\n"
        write(folder, {path: text})
        if path == "lib/gone.ts":
            record = json.loads((folder / RECORD).read_bytes())
            record["files"][path] = "0" * 64
            (folder / RECORD).write_text(json.dumps(record))
        assert f"convex/{path} is ours, and was edited" in functions.refused(app)
        told = functions.done(app, "--force")
        assert (folder / copy).read_text() == text
        assert copy in told
        assert (folder / path).exists() == (path in MODULES)


def test_files_are_known_as_ours_without_the_record(app: Path, functions: Command) -> None:
    functions.done(app)
    record = app / "convex" / RECORD
    for text in ("", "[]", '{"version": "x", "files": {}}'):
        record.write_text(text)
        functions.done(app)
        assert json.loads(record.read_bytes())["version"] == load_source().version
    record.unlink()
    written = (app / "convex/memory/meta.ts").read_text()
    (app / "convex/memory/meta.ts").write_text(written + "// mine\n")
    assert "memory/meta.ts is ours, and was edited" in functions.refused(app)


def test_line_ends_that_git_changed_are_no_edit(app: Path, functions: Command) -> None:
    functions.done(app)
    for path in (app / "convex").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "nothing to change" in functions.done(app)
    pretend_older(app / "convex", "memory/meta.ts", "older\n")
    (app / "convex/memory/meta.ts").write_bytes(b"older\r\n")
    assert "updated: memory/meta.ts" in functions.done(app)


def test_functions_of_a_newer_version_are_left(app: Path, functions: Command) -> None:
    functions.done(app)
    record = app / "convex" / RECORD
    record.write_text(json.dumps({**json.loads(record.read_bytes()), "version": 99}))
    for option in ([], ["--force"]):
        told = functions.refused(app, *option)
        assert "version 99" in told
        assert "Update convex-memory" in told


def test_a_record_names_nothing_outside_the_folder(app: Path, functions: Command) -> None:
    functions.done(app)
    write(app, {"precious.ts": "mine\n"})
    pretend_older(app / "convex", "../precious.ts", "mine\n")
    functions.done(app, "--force")
    assert (app / "precious.ts").read_text() == "mine\n"


@pytest.mark.parametrize("fails_at", ["first", "middle", "last"])
def test_what_cannot_be_written_whole_is_not_written(
    fails_at: str, app: Path, functions: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions.done(app)
    folder = app / "convex"
    pretend_older(folder, "memory/meta.ts", "older\n")
    pretend_older(folder, "lib/old/gone.ts", "of old\n")
    deleted = [path for path in MODULES if path.startswith(("memory/lib/", "lib/", "mastra/"))]
    for path in deleted:
        (folder / path).unlink()
    (folder / "mastra").rmdir()
    writes = len(deleted) + len(["memory/meta.ts", RECORD])
    failing_call = {"first": 1, "middle": writes // 2, "last": writes}[fails_at]
    replace, calls = Path.replace, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    told = functions.refused(app)
    assert "No space left on device" in told
    assert "Nothing was changed" in told
    assert calls == failing_call
    monkeypatch.undo()
    assert "removed: lib/old/gone.ts" in functions.done(app)


# --- Whether what is written works


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of nothing but ours, as the command makes it, with its packages installed."""
    root = tmp_path_factory.mktemp("alone") / "memory"
    assert main(["functions", str(root)]) == 0
    generate(root)
    return root


@pytest.fixture(scope="module")
def merged(
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An app with tables, functions and options of its own, and ours as the command said."""
    root = make_app(tmp_path_factory.mktemp("merged") / "app")
    shutil.copytree(ROOT / "tests/bridge/mastra_reference/mastra", root / "convex/mastra")
    told = run(
        [sys.executable, "-m", "convex_memory", "functions", str(root), "--force"],
        timeout_s=COMMAND_TIMEOUT_S,
    )
    for name in ("schema.ts", "crons.ts"):
        if f"convex/{name} is yours" in told:
            join(root / "convex", name, told)
    generate(root)
    return root


def generate(root: Path) -> None:
    """Have Convex's command write `_generated`, from the source alone."""
    node()
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    convex(root, "codegen", "--system-udfs", "--typecheck", "disable")


def convex(root: Path, *arguments: str) -> None:
    command = [node(), str(ROOT / "node_modules/convex/bin/main.js"), *arguments]
    in_folder(root, command)


def in_folder(root: Path, command: list[str]) -> None:
    done = subprocess.run(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def alone_served(alone: Path) -> Iterator[Bridge]:
    with bridge(alone / "convex") as running:
        yield running


@pytest.fixture(scope="module")
def merged_served(merged: Path) -> Iterator[Bridge]:
    with bridge(merged / "convex") as running:
        yield running


@pytest.mark.anyio
@pytest.mark.parametrize("served", ["alone_served", "merged_served"])
async def test_an_assistant_works_on_what_was_written(
    served: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    running: Bridge = request.getfixturevalue(served)
    settings = settings_in(
        tmp_path, convex_url=running.url, convex_admin_key=running.admin_key, toolsets=("memory",)
    )
    async with connected("memory/2026", settings) as caller:
        await caller.save("t", "the heron stood in the reeds", "and flew at dusk")
    async with connected("memory/2026", settings) as caller:
        answer = await caller.call("recall_thread", thread_id="t", order="oldest")
        contents = [message["content"] for message in answer["messages"]]
        assert contents == ["the heron stood in the reeds", "and flew at dusk"]
        found = await caller.call("search_memory", query="herons in reeds", limit=1)
        assert [hit["content"] for hit in found["hits"]] == ["the heron stood in the reeds"]


def test_the_app_beside_ours_works_as_before(merged_served: Bridge) -> None:
    def call(kind: str, path: str, args: dict[str, Any]) -> Any:
        body = {"path": path, "args": args, "format": "json"}
        return httpx2.post(f"{merged_served.url}/api/{kind}", json=body).json()

    assert call("mutation", "tasks:add", {"text": "water the plants"})["status"] == "success"
    assert call("query", "tasks:list", {})["value"] == ["water the plants"]
    assert call("query", "memory/meta:version", {})["status"] == "error"


def test_the_apps_own_compiler_options_do_not_matter(merged: Path) -> None:
    in_folder(merged, [node(), str(ROOT / "node_modules/typescript/bin/tsc"), "-p", "convex"])


@pytest.mark.parametrize("project", ["alone", "merged"])
def test_convexs_own_command_bundles_what_was_written(
    project: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = tmp_path / "project"
    shutil.copytree(request.getfixturevalue(project), root, symlinks=True)
    shutil.rmtree(root / "convex/_generated")
    # It would be sent there; it is written into a file instead.
    target = ["--url", "http://127.0.0.1:9", "--admin-key", "none", "--typecheck", "disable"]
    push = ["--push-all-modules", "--write-push-request", str(tmp_path / "push")]
    convex(root, "deploy", *target, *push)
    sent = json.loads((tmp_path / "push.json").read_bytes())["appDefinition"]
    sent_modules = {module["path"] for module in sent["changedModules"]}
    starters = {"crons.js"} if (root / "convex/crons.ts").exists() else set()
    expected = {path.removesuffix(".ts") + ".js" for path in MODULES} | starters
    own = {"tasks.js"} if project == "merged" else set()
    bundled = {path for path in sent_modules if not path.startswith("_deps/")}
    # A module of types alone leaves nothing to send.
    assert bundled <= expected | own
    assert {"mastra/storage.js", "mastra/nativeVector.js", "memory/messages.js"} | own <= bundled
    assert sent["schema"] is not None


def test_the_wheel_brings_the_same_functions(tmp_path: Path) -> None:
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        timeout_s=COMMAND_TIMEOUT_S,
    )
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "packages")
    statement = "import sys; from convex_memory.__main__ import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", statement, "functions", "installed"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "packages")},
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        check=True,
    )
    assert main(["functions", str(tmp_path / "checkout")]) == 0
    written = everything_in(tmp_path / "installed/convex")
    assert written == everything_in(tmp_path / "checkout/convex")
    assert "memory/meta.ts" in written


# --- What the README says of it


def test_moving_to_convex_takes_under_ten_lines_of_commands_that_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.split("\n## Move to Convex\n")[1].split("\n## ")[0]
    lines = section.split("```")[1].strip().splitlines()
    assert len(lines) < 10
    ours = [line.split("#")[0].split()[1:] for line in lines if line.startswith("convex-memory")]
    assert [command for command, *_ in ours] == ["export", "functions", "doctor", "import"]
    for command, *_ in ours:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
    assert "usage: convex-memory" in capsys.readouterr().out
    assert section.count("https://") == 1
