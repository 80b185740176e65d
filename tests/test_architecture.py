"""Rules about the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
PACKAGES = ("convex_memory", "server", "tools")


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def loaded_by(statement: str) -> set[str]:
    """Return the modules that are loaded after a statement in a fresh interpreter."""
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stderr == ""
    return set(finished.stdout.split())


def test_imports_point_one_way() -> None:
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout


def test_modules_and_functions_can_be_read() -> None:
    long = []
    for path in modules():
        source = path.read_text(encoding="utf-8")
        if source.count("\n") > MODULE_LINES_MAX:
            long.append(str(path))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # The docstring is for readers; what must fit a screen is the code.
                documented = ast.get_docstring(node) is not None
                body = node.body[1:] if documented and len(node.body) > 1 else node.body
                lines = (node.end_lineno or 0) - body[0].lineno
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path}:{node.lineno} {node.name} {lines}")
    assert long == []


def test_only_one_module_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if "os.environ" in path.read_text(encoding="utf-8")
        or "getenv" in path.read_text(encoding="utf-8")
    }
    assert readers <= {"server/environment.py"}


def test_only_the_command_knows_the_conformance_fixtures() -> None:
    inside = ROOT / "server" / "conformance"
    knowing = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if path.parent != inside and "server.conformance" in path.read_text(encoding="utf-8")
    }
    assert knowing == {"server/cli.py"}
    assert "server.conformance" not in loaded_by("import server.cli, server.app")


def test_the_folder_of_functions_holds_no_python() -> None:
    assert list((ROOT / "convex").rglob("*.py")) == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import convex_memory", {"anyio", "asyncio", "sqlite3", "numpy", "pydantic", "mcp"}),
        ("from convex_memory import ConvexStore, ConvexVector", {"numpy", "sqlite3", "convex"}),
        ("from convex_memory import EmbeddedDeployment", {"numpy", "sqlite3", "starlette"}),
        ("from convex_memory import RemoteDeployment", {"aiohttp", "httpx2", "convex", "numpy"}),
        ("import server.cli", {"mcp", "pydantic", "anyio", "numpy"}),
        ("import server.settings", {"mcp", "numpy", "sqlite3"}),
        ("import server.app", {"numpy", "sqlite3", "convex", "tools.schedules"}),
    ],
)
def test_what_is_heavy_is_loaded_when_it_is_needed(statement: str, absent: set[str]) -> None:
    assert loaded_by(statement) & absent == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_says_nothing(package: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {package}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
