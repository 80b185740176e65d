"""What a call of `cache_get` costs over stdio, beside a tool that does nothing on the bare SDK."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.report import Report, percentile, positive
from bench.stdio_client import ALONE, BARE_SERVER, ERAS, OUR_SERVER, StdioClient

RATIO_MOST: Final = 1.3
BLOCK: Final = 20
"""Calls in a row to one server before it is the other's turn."""
LEAVES: Final = {"MEMORY_DAEMON_IDLE_MS": "0"}
"""The daemon ends with its last host."""
KEY: Final = "session:42"
VALUE: Final = {"user": "Ada", "language": "en", "step": 7, "done": False}


class Case(NamedTuple):
    """A tool to call, on one of the servers."""

    name: str
    client: StdioClient
    tool: str
    arguments: Mapping[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=positive, default=1000, help="calls of each (default 1000)")
    parser.add_argument("--warm-up", type=positive, default=100, help="calls before (default 100)")
    asked = parser.parse_args()
    report = Report("overhead", asked)
    for era in ERAS:
        with ExitStack() as stack:
            cases = opened(stack, era)
            times = timed(cases, asked.warm_up, asked.calls)
        tell(report, era, times)
    return report.finish()


def opened(stack: ExitStack, era: str) -> Sequence[Case]:
    """Start every server, with a value in ours, and return what to call."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    clients = []
    for command, settings in ((BARE_SERVER, {}), (OUR_SERVER, ALONE), (OUR_SERVER, LEAVES)):
        client = StdioClient(command, era, folder, settings)
        stack.callback(client.end)
        client.open()
        clients.append(client)
    bare, alone, shared = clients
    alone.call_tool("cache_set", {"key": KEY, "value": VALUE, "ttl_ms": 0})
    return (
        Case("bare SDK: noop", bare, "noop", {}),
        Case("convex-memory alone: cache_get, found", alone, "cache_get", {"key": KEY}),
        Case("convex-memory alone: cache_get, absent", alone, "cache_get", {"key": "nothing"}),
        Case("through the daemon: cache_get, found", shared, "cache_get", {"key": KEY}),
        Case("through the daemon: cache_get, absent", shared, "cache_get", {"key": "nothing"}),
    )


def timed(cases: Sequence[Case], warm_up: int, calls: int) -> Mapping[str, list[float]]:
    """Call in turns, a block at a time, and return each case's milliseconds."""
    for case in cases:
        for _ in range(warm_up):
            case.client.call_tool(case.tool, case.arguments)
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    while len(times[cases[0].name]) < calls:
        for case in cases:
            times[case.name] += [
                case.client.call_tool(case.tool, case.arguments) * 1000 for _ in range(BLOCK)
            ]
    return times


def tell(report: Report, era: str, times: Mapping[str, list[float]]) -> None:
    bare, *ours = (percentile(values, 50) for values in times.values())
    report.table(
        f"one call after the other over stdio, protocol {era}",
        ("tool", "calls", "ms p50", "ms p95", "p50 ratio"),
        [
            (
                name,
                len(values),
                percentile(values, 50),
                percentile(values, 95),
                percentile(values, 50) / bare,
            )
            for name, values in times.items()
        ],
    )
    alone, _, shared, _ = ours
    report.require(f"cache_get ratio alone, protocol {era},", alone / bare, at_most=RATIO_MOST)
    report.require(f"cache_get ratio, protocol {era},", shared / bare, at_most=RATIO_MOST)


if __name__ == "__main__":
    sys.exit(main())
