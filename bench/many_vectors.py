"""A million vectors through the adapter: inverted lists, their recall, time and memory.

Without `--vectors` they are drawn at random, in clusters. `bench/real_vectors.py` makes a file of
real ones; the queries are then rows of the file that are not stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from bench.report import CHECKOUT, RESULTS, Report, percentile, positive
from bench.vectors import INDEX, Floats, clustered, near
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector

MS_MOST: Final = 10
RECALL_LEAST: Final = 0.95
MEMORY_MB_MOST: Final = 450
_QUERIES: Final = 200
_AT_ONCE: Final = 5_000
_BLOCK: Final = 100_000
_ASKING: Final = """
import asyncio, json, sys, time
import numpy
import convex_memory.embedded.engine, convex_memory.embedded.functions
import convex_memory.embedded.vector_index.searching, simsimd
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector
def memory():
    lines = open("/proc/self/status").read().splitlines()
    held = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(held[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile", "VmHWM")}
queries = numpy.load(sys.argv[2])
before = memory()
async def main():
    async with EmbeddedDeployment(sys.argv[1]) as deployment:
        adapter, answers = ConvexVector(deployment), {}
        begin = time.perf_counter()
        await adapter.query("bench", queries[0].tolist())
        cold = (time.perf_counter() - begin) * 1000
        for name, exact, some in (("lists", False, queries), ("exact", True, queries[:20])):
            ms, ids, approximate = [], [], 0
            for query in some:
                listed = query.tolist()
                begin = time.perf_counter()
                found = await adapter.query("bench", listed, exact=exact)
                ms.append((time.perf_counter() - begin) * 1000)
                ids.append([int(each.id) for each in found.matches])
                approximate += not found.exhausted
            answers[name] = {"ms": ms, "ids": ids, "approximate": approximate, "memory": memory()}
        print(json.dumps({"cold": cold, "before": before, **answers}))
asyncio.run(main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, default=1_000_000, help="(default 1000000)")
    parser.add_argument("--dimension", type=positive, default=384, help="if drawn (default 384)")
    parser.add_argument("--vectors", type=Path, help="a file of numpy's, unit vectors in float32")
    parser.add_argument(
        "--folder", type=Path, default=RESULTS / "many", help="kept; filled when it is not yet"
    )
    asked = parser.parse_args()
    report = Report("many_vectors", asked)
    if asked.vectors is None:
        vectors = clustered(asked.rows, asked.dimension, 1)
        queries = near(vectors, _QUERIES, 2)
    else:
        held = np.load(asked.vectors, mmap_mode="r")
        if len(held) < asked.rows + _QUERIES:
            raise SystemExit(
                f"{asked.vectors} has {len(held):,} rows; queries need {_QUERIES} more."
            )
        vectors, queries = held[: asked.rows], np.array(held[asked.rows : asked.rows + _QUERIES])
    shape = f"{len(vectors):,} x {vectors.shape[1]}"
    if not (asked.folder / "filled").exists():
        asyncio.run(fill(report, asked.folder, vectors, queries, shape))
    measure(report, asked.folder, vectors, queries, shape)
    return report.finish()


async def fill(report: Report, folder: Path, vectors: Floats, queries: Floats, shape: str) -> None:
    """Store the vectors, have the lists made, and see what that keeps waiting."""
    async with EmbeddedDeployment(folder) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.create_index(INDEX, vectors.shape[1])
        began = time.perf_counter()
        for start in range(0, len(vectors), _AT_ONCE):
            block = np.array(vectors[start : start + _AT_ONCE]).tolist()
            ids = [str(at) for at in range(start, start + len(block))]
            await adapter.upsert(INDEX, block, ids=ids)
        rate = len(vectors) / (time.perf_counter() - began)
    writes: list[float] = []
    lags: list[float] = []
    async with EmbeddedDeployment(folder) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.create_index("beside", vectors.shape[1])
        began = time.perf_counter()
        await adapter.query(INDEX, queries[0].tolist())
        first = time.perf_counter() - began
        while (await adapter.query(INDEX, queries[0].tolist())).exhausted:
            for query in queries[:20]:
                asked = time.perf_counter()
                await adapter.upsert("beside", [query.tolist()], ids=["one"])
                writes.append((time.perf_counter() - asked) * 1000)
                asked = time.perf_counter()
                await asyncio.sleep(0.01)
                lags.append((time.perf_counter() - asked) * 1000 - 10)
        made = time.perf_counter() - began - first
        await adapter.delete_index("beside")
    (folder / "filled").touch()
    report.table(
        f"{shape}: filled, read for the first time, lists made in the background",
        ("", "value"),
        [
            ("rows a second, 100 a transaction", rate),
            ("seconds to read all rows and answer", first),
            ("seconds until there were lists", made),
            ("one row stored meanwhile, ms p50", median(writes)),
            ("one row stored meanwhile, ms p95", percentile(writes, 95)),
            ("event loop late meanwhile, ms p95", percentile(lags, 95)),
            ("event loop late meanwhile, ms at most", max(lags)),
        ],
    )


def measure(report: Report, folder: Path, vectors: Floats, queries: Floats, shape: str) -> None:
    """Ask in a process of its own, and compare with brute force."""
    np.save(folder / "queries.npy", queries)
    asked = subprocess.run(
        [sys.executable, "-c", _ASKING, str(folder), str(folder / "queries.npy")],
        cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(asked.stdout)
    units = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = np.concatenate(
        [
            np.array(vectors[start : start + _BLOCK]) @ units.T
            for start in range(0, len(vectors), _BLOCK)
        ]
    )
    rows = []
    for name in ("lists", "exact"):
        shares = []
        for at, ids in enumerate(answer[name]["ids"]):
            least = np.partition(cosines[:, at], -10)[-10]
            shares.append(sum(bool(cosines[id, at] >= least - 1e-6) for id in set(ids)) / 10)
        ms, memory = answer[name]["ms"], answer[name]["memory"]
        rows.append(
            (
                name, median(ms), percentile(ms, 95), min(ms), float(np.mean(shares)),
                _held(memory) - _held(answer["before"]),
                memory["RssAnon"] - answer["before"]["RssAnon"],
            )
        )  # fmt: skip
    report.table(
        f"{shape}: the 10 nearest, {len(queries)} queries (exact: 20)",
        ("", "ms p50", "ms p95", "ms min", "recall@10", "MB more", "of it own memory"),
        rows,
    )
    report.table(
        f"{shape}: a new process",
        ("", "value"),
        [
            ("ms to open and ask", answer["cold"]),
            ("MB before", _held(answer["before"])),
        ],
    )
    report.require(f"{shape}: ms p50,", rows[0][1], at_most=MS_MOST)
    report.require(f"{shape}: recall@10,", rows[0][4], at_least=RECALL_LEAST)
    report.require(f"{shape}: recall@10 with exact,", rows[1][4], at_least=1.0)
    report.require(f"{shape}: answers from lists,", answer["lists"]["approximate"], at_least=1)
    report.require(f"{shape}: MB for the index,", rows[0][5], at_most=MEMORY_MB_MOST)


def _held(memory: dict[str, float]) -> float:
    return memory["RssAnon"] + memory["RssFile"]


if __name__ == "__main__":
    sys.exit(main())
