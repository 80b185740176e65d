"""What every measurement says: the machine it ran on, its tables, its requirements, its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = CHECKOUT / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound that a measured value has to keep."""

    what: str
    measured: float
    bound: float
    at_most: bool

    @property
    def kept(self) -> bool:
        """Whether the measured value is on the right side of the bound."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    def __str__(self) -> str:
        relation = "at most" if self.at_most else "at least"
        return (
            f"{'kept' if self.kept else 'MISSED'}: {self.what} {_shown(self.measured)}, "
            f"must be {relation} {_shown(self.bound)}"
        )


@dataclass(slots=True)
class Report:
    """Collects what one script measured, prints it as it comes, and keeps it as JSON.

    Args:
        name: The script's; names the JSON file.
        asked: Its arguments, kept beside the figures.
    """

    name: str
    asked: argparse.Namespace
    _tables: list[dict[str, Any]] = field(default_factory=list)
    _requirements: list[Requirement] = field(default_factory=list)
    _machine: dict[str, Any] = field(default_factory=lambda: machine())

    def __post_init__(self) -> None:
        """Say what runs where."""
        shape = ", ".join(f"{name} {value}" for name, value in self._machine.items())
        print(f"{self.name}: {shape}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table and keep it. The first column is text, the others are figures."""
        self._tables.append({"title": title, "columns": list(columns), "rows": list(rows)})
        cells = [list(columns), *([_shown(value) for value in row] for row in rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
        print(f"\n{title}")
        for row in cells:
            first, *others = (
                cell.rjust(width) if at else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            print(f"  {'  '.join((first, *others))}".rstrip(), flush=True)

    def require(
        self, what: str, measured: float, *, at_most: float | None = None, at_least: float = 0
    ) -> None:
        """Hold a measured value against its bound."""
        bound = at_least if at_most is None else at_most
        self._requirements.append(Requirement(what, measured, bound, at_most is not None))

    def finish(self) -> int:
        """Print the verdicts, write the JSON and return the script's exit status."""
        print()
        for requirement in self._requirements:
            print(requirement)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(self._as_json(), indent=1) + "\n", encoding="utf-8")
        print(f"written to {path.relative_to(CHECKOUT)}")
        return 0 if all(requirement.kept for requirement in self._requirements) else 1

    def _as_json(self) -> Mapping[str, Any]:
        return {
            "bench": self.name,
            "machine": self._machine,
            "arguments": {name: str(value) for name, value in vars(self.asked).items()},
            "tables": self._tables,
            "requirements": [
                {
                    "what": each.what,
                    "measured": each.measured,
                    "at_most" if each.at_most else "at_least": each.bound,
                    "kept": each.kept,
                }
                for each in self._requirements
            ],
        }


def machine() -> dict[str, Any]:
    """Return the shape of this machine, and how busy it was."""
    shape: dict[str, Any] = {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "mcp": version("mcp"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if hasattr(os, "getloadavg"):
        shape["load"] = round(os.getloadavg()[0], 1)
    return shape


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of at least two values; 50 is the median."""
    if percent == 50:
        return median(values)
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def positive(text: str) -> int:
    """Read a count of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
