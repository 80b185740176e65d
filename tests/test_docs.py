"""The documents say what is so."""

from __future__ import annotations

import re
from pathlib import Path

from convex_memory.embedded.functions import FUNCTIONS
from server.cli import ENVIRONMENT
from server.settings import VARIABLES
from tools import TOOLSETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows_under(heading: str, text: str = README) -> list[list[str]]:
    """Return the cells of the tables under a heading."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set(row[0]) <= set("- ")]


def code_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_readme_names_every_tool_of_every_toolset() -> None:
    table = {code_in(row[0])[0]: code_in(row[1]) for row in rows_under("Tools")[1:]}
    assert table == {name: sorted_as_said(name, table) for name in TOOLSETS}


def sorted_as_said(name: str, table: dict[str, list[str]]) -> list[str]:
    """Return the toolset's tools, in the order of the README where it names the same ones."""
    tools = set(TOOLSETS[name].tools)
    said = table.get(name, [])
    return said if set(said) == tools and len(said) == len(tools) else sorted(tools)


def test_readme_names_every_setting() -> None:
    named = {variable for row in rows_under("Settings")[1:] for variable in code_in(row[0])}
    assert named == set(VARIABLES)


def test_help_names_no_setting_that_is_not_there() -> None:
    named = set(re.findall(r"[A-Z]+_[A-Z_]+", ENVIRONMENT))
    assert named <= set(VARIABLES)


def test_the_functions_are_all_described() -> None:
    text = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`memory/[^|]+) \|", text, re.MULTILINE)
    described = {path for row in rows for path in paths_in(code_in(row))}
    assert described == {path for path in FUNCTIONS if path.startswith("memory/")}


def paths_in(named: list[str]) -> list[str]:
    """Return the paths that a row names; `:name` is of the module of the first."""
    module = named[0].split(":")[0]
    return [f"{module}{each}" if each.startswith(":") else each for each in named]


def test_local_links_lead_somewhere() -> None:
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document):
            assert (ROOT / target).exists(), target
