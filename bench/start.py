"""How long a newly started server takes to say which tools it has, beside the bare SDK."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.report import Report, positive
from bench.stdio_client import BARE_SERVER, ERAS, OUR_SERVER, StdioClient

RATIO_MOST: Final = 1.2
SERVERS: Final = {"bare SDK": BARE_SERVER, "convex-memory": OUR_SERVER}


class Start(NamedTuple):
    """One start: until `tools/list` was answered."""

    wall_ms: float
    cpu_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=positive, default=15, help="starts of each (default 15)")
    asked = parser.parse_args()
    report = Report("start", asked)
    for command in SERVERS.values():
        # Writes the bytecode and fills the disk cache: not what is measured.
        started(command, ERAS[0])
    starts: dict[tuple[str, str], list[Start]] = {}
    for _ in range(asked.rounds):
        for era in ERAS:
            for name, command in SERVERS.items():
                starts.setdefault((era, name), []).append(started(command, era))
    for era in ERAS:
        tell(report, era, *(starts[era, name] for name in SERVERS))
    return report.finish()


def started(command: Sequence[str], era: str) -> Start:
    """Start a server on an empty folder, ask for its tools, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        client = StdioClient(command, era, Path(folder))
        try:
            client.open()
            client.request("tools/list")
            wall = time.perf_counter() - client.started
        finally:
            ended = client.end()
    return Start(wall * 1000, ended.cpu_seconds * 1000)


def tell(report: Report, era: str, bare: Sequence[Start], ours: Sequence[Start]) -> None:
    rows = [figures(starts) for starts in (bare, ours)]
    ratios = [ours_figure / bare_figure for bare_figure, ours_figure in zip(*rows, strict=True)]
    report.table(
        f"process start to tools/list answered, protocol {era}",
        ("server", "starts", "wall ms p50", "wall ms min", "CPU ms p50"),
        [
            *((name, len(bare), *row) for name, row in zip(SERVERS, rows, strict=True)),
            ("ratio", "", *ratios),
        ],
    )
    report.require(f"start ratio, protocol {era},", ratios[0], at_most=RATIO_MOST)


def figures(starts: Sequence[Start]) -> tuple[float, float, float]:
    walls = [each.wall_ms for each in starts]
    return median(walls), min(walls), median(each.cpu_ms for each in starts)


if __name__ == "__main__":
    sys.exit(main())
