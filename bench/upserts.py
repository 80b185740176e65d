"""How many embeddings are stored a second, durably, and when another process finds one."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from bench.report import CHECKOUT, RESULTS, Report, percentile, positive
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector

RATE_LEAST: Final = 10_000
ONE_MS_MOST: Final = 1.0
INDEX: Final = "bench"
_OTHER: Final = """
import asyncio, json, sys, time
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector
async def main():
    async with EmbeddedDeployment(sys.argv[1]) as deployment:
        for line in sys.stdin:
            began = time.perf_counter()
            found = await ConvexVector(deployment).query("bench", json.loads(line), top_k=1)
            taken = (time.perf_counter() - began) * 1000
            print(json.dumps([found.matches[0].id if found.matches else None, taken]), flush=True)
asyncio.run(main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, default=20_000, help="a round (default 20000)")
    parser.add_argument("--rounds", type=positive, default=3, help="(default 3)")
    parser.add_argument("--ones", type=positive, default=200, help="one by one (default 200)")
    parser.add_argument("--dimension", type=positive, default=384, help="(default 384)")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="on the disk to measure")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("upserts", asked)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        asyncio.run(measure(report, asked, Path(folder)))
    return report.finish()


async def measure(report: Report, asked: argparse.Namespace, folder: Path) -> None:
    random = np.random.default_rng(1)
    drawn = random.standard_normal((asked.rows + asked.ones, asked.dimension), dtype=np.float32)
    vectors: list[list[float]] = drawn.tolist()
    many, ones = vectors[: asked.rows], vectors[asked.rows :]
    rates: dict[str, list[float]] = {"new": [], "in place of others": []}
    async with EmbeddedDeployment(folder) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.create_index(INDEX, asked.dimension)
        for round in range(asked.rounds):
            ids = [f"{round}-{at}" for at in range(asked.rows)]
            for rate in rates.values():
                began = time.perf_counter()
                await adapter.upsert(INDEX, many, ids=ids)
                rate.append(asked.rows / (time.perf_counter() - began))
        waits, seen, right = await _one_by_one(adapter, folder, ones)
    report.table(
        f"{asked.rows:,} rows of {asked.dimension} numbers, 100 a transaction, durable",
        ("", "rows a second p50", "most"),
        [(name, median(rate), max(rate)) for name, rate in rates.items()],
    )
    report.table(
        "one row, durable, and the next query of another process",
        ("", "ms p50", "ms p95"),
        [
            ("one row", median(waits), percentile(waits, 95)),
            ("another process finds it", median(seen), percentile(seen, 95)),
        ],
    )
    report.require("rows a second", median(rates["new"]), at_least=RATE_LEAST)
    report.require("ms for one row,", median(waits), at_most=ONE_MS_MOST)
    report.require("share of rows that another process found at once,", right, at_least=1.0)


async def _one_by_one(
    adapter: ConvexVector, folder: Path, ones: list[list[float]]
) -> tuple[list[float], list[float], float]:
    waits: list[float] = []
    seen: list[float] = []
    right = 0
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OTHER, str(folder),
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    assert other.stdin is not None
    assert other.stdout is not None
    await _ask(other, ones[0])
    for at, vector in enumerate(ones):
        began = time.perf_counter()
        await adapter.upsert(INDEX, [vector], ids=[f"one-{at}"])
        waits.append((time.perf_counter() - began) * 1000)
        found, taken = await _ask(other, vector)
        seen.append(taken)
        right += found == f"one-{at}"
    other.stdin.close()
    await other.wait()
    return waits, seen, right / len(ones)


async def _ask(other: asyncio.subprocess.Process, vector: list[float]) -> tuple[Any, float]:
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write(json.dumps(vector).encode() + b"\n")
    await other.stdin.drain()
    found, taken = json.loads(await other.stdout.readline())
    return found, taken


if __name__ == "__main__":
    sys.exit(main())
