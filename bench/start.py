"""How long a newly started server takes to say which tools it has, beside the bare SDK."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.report import Report, positive
from bench.stdio_client import ALONE, BARE_SERVER, ERAS, OUR_SERVER, StdioClient
from server.daemon import handshake
from server.daemon.folder import Folder
from server.daemon.reaching import question

RATIO_MOST: Final = 1.2
WARM_MS_MOST: Final = 150
HOST_MIB_MOST: Final = 20
BARE: Final = "bare SDK"
OWN: Final = "convex-memory, in its own process"
COLD: Final = "convex-memory, starting the daemon"
WARM: Final = "convex-memory, the daemon runs"


class Way(NamedTuple):
    """One way of starting a server."""

    command: Sequence[str]
    settings: Mapping[str, str] = {}


WAYS: Final = {
    BARE: Way(BARE_SERVER),
    OWN: Way(OUR_SERVER, ALONE),
    COLD: Way(OUR_SERVER),
    WARM: Way(OUR_SERVER),
}


class Start(NamedTuple):
    """One start: until `tools/list` was answered.

    Attributes:
        cpu_ms: Of the process that was started; what a daemon uses is not its.
        resident_mib: The same.
    """

    wall_ms: float
    cpu_ms: float
    resident_mib: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=positive, default=15, help="starts of each (default 15)")
    asked = parser.parse_args()
    report = Report("start", asked)
    starts: dict[tuple[str, str], list[Start]] = {}
    with tempfile.TemporaryDirectory() as warm:
        try:
            for name in WAYS:
                # Writes the bytecode and fills the disk cache: not what is measured.
                start(name, ERAS[0], Path(warm))
            for _ in range(asked.rounds):
                for era in ERAS:
                    for name in WAYS:
                        starts.setdefault((era, name), []).append(start(name, era, Path(warm)))
        finally:
            end_daemon(Path(warm))
    for era in ERAS:
        tell(report, era, {name: starts[era, name] for name in WAYS})
    return report.finish()


def start(name: str, era: str, warm: Path) -> Start:
    """Start a server in one way, ask for its tools, and end it."""
    if name == WARM:
        return started(WAYS[name], era, warm)
    with tempfile.TemporaryDirectory() as empty:
        try:
            return started(WAYS[name], era, Path(empty))
        finally:
            end_daemon(Path(empty))


def started(way: Way, era: str, folder: Path) -> Start:
    client = StdioClient(way.command, era, folder, way.settings)
    try:
        client.open()
        client.request("tools/list")
        wall = time.perf_counter() - client.started
    finally:
        ended = client.end()
    return Start(wall * 1000, ended.cpu_seconds * 1000, ended.resident_mib or 0)


def end_daemon(folder: Path) -> None:
    """End the folder's daemon, if there is one, and wait for its end."""
    answered = question(Folder(str(folder)), handshake.STOP)
    if answered is not None:
        with answered[1] as connection:
            connection.settimeout(None)
            connection.recv(1)


def tell(report: Report, era: str, starts: Mapping[str, Sequence[Start]]) -> None:
    rows = {name: figures(each) for name, each in starts.items()}
    bare = rows[BARE][0]
    report.table(
        f"process start to tools/list answered, protocol {era}",
        ("server", "starts", "wall ms p50", "wall ms min", "CPU ms p50", "MiB p50", "p50 ratio"),
        [(name, len(starts[name]), *row, row[0] / bare) for name, row in rows.items()],
    )
    report.require(f"start ratio alone, protocol {era},", rows[OWN][0] / bare, at_most=RATIO_MOST)
    report.require(
        f"ms to tools/list with a daemon, protocol {era},", rows[WARM][0], at_most=WARM_MS_MOST
    )
    report.require(f"MiB of a host, protocol {era},", rows[WARM][3], at_most=HOST_MIB_MOST)


def figures(starts: Sequence[Start]) -> tuple[float, float, float, float]:
    walls = [each.wall_ms for each in starts]
    return (
        median(walls),
        min(walls),
        median(each.cpu_ms for each in starts),
        median(each.resident_mib for each in starts),
    )


if __name__ == "__main__":
    sys.exit(main())
