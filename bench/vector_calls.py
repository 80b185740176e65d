"""What `vector_query` costs over stdio beyond the query itself, and upserts over stdio."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.report import RESULTS, Report, percentile, positive
from bench.stdio_client import BARE_SERVER, ERAS, OUR_SERVER, StdioClient
from bench.vectors import INDEX, Floats, clustered, near
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.limits import VECTOR_UPSERT_BATCH
from convex_memory.vector import ConvexVector

ADDED_MOST: Final = 1.0
"""What a call adds to the query itself, in calls of a tool that does nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, default=20_000, help="(default 20000)")
    parser.add_argument("--dimension", type=positive, default=384, help="(default 384)")
    parser.add_argument("--calls", type=positive, default=200, help="of each (default 200)")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="on the disk to measure")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("vector_calls", asked)
    vectors = clustered(asked.rows, asked.dimension, 1)
    queries = near(vectors, asked.calls, 2)
    for era in ERAS:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder, ExitStack() as stack:
            asyncio.run(measure(report, era, Path(folder), vectors, queries, stack))
    return report.finish()


async def measure(
    report: Report, era: str, folder: Path, vectors: Floats, queries: Floats, stack: ExitStack
) -> None:
    async with EmbeddedDeployment(folder) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.create_index(INDEX, vectors.shape[1])
        await adapter.upsert(INDEX, vectors.tolist(), ids=[str(at) for at in range(len(vectors))])
        bare, ours = (_opened(command, era, folder, stack) for command in (BARE_SERVER, OUR_SERVER))
        times: dict[str, list[float]] = {"noop": [], "query": [], "vector_query": []}
        for turn in range(2):
            for query in queries:
                vector = query.tolist()
                asked: dict[str, Any] = {"index": INDEX, "vector": vector}
                times["noop"].append(bare.call_tool("noop", {}) * 1000)
                began = time.perf_counter()
                await adapter.query(INDEX, vector)
                times["query"].append((time.perf_counter() - began) * 1000)
                times["vector_query"].append(ours.call_tool("vector_query", asked) * 1000)
            if turn == 0:
                # The first round warms up.
                times = {name: [] for name in times}
    noop, own, called = (median(ms) for ms in times.values())
    report.table(
        f"one call after the other over stdio, protocol {era}; "
        f"{len(vectors):,} x {vectors.shape[1]}, the 10 nearest",
        ("", "ms p50", "ms p95"),
        [
            ("bare SDK: noop", noop, percentile(times["noop"], 95)),
            ("the query, through the adapter", own, percentile(times["query"], 95)),
            ("vector_query", called, percentile(times["vector_query"], 95)),
            ("added, of noop", (called - own) / noop, ""),
        ],
    )
    report.require(f"vector_query adds, of noop, {era},", (called - own) / noop, at_most=ADDED_MOST)
    _upserts(report, era, ours, vectors)


def _upserts(report: Report, era: str, ours: StdioClient, vectors: Floats) -> None:
    seconds = []
    for start in range(0, min(len(vectors), 20 * VECTOR_UPSERT_BATCH), VECTOR_UPSERT_BATCH):
        items = [
            {"id": f"new {at}", "vector": vectors[at].tolist()}
            for at in range(start, start + VECTOR_UPSERT_BATCH)
        ]
        seconds.append(ours.call_tool("upsert_embeddings", {"index": INDEX, "items": items}))
    report.table(
        f"upsert_embeddings over stdio, {VECTOR_UPSERT_BATCH} a call, protocol {era}",
        ("", "value"),
        [
            ("ms a call p50", median(seconds) * 1000),
            ("rows a second", VECTOR_UPSERT_BATCH / median(seconds)),
        ],
    )


def _opened(command: Any, era: str, folder: Path, stack: ExitStack) -> StdioClient:
    client = StdioClient(command, era, folder)
    stack.callback(client.end)
    client.open()
    return client


if __name__ == "__main__":
    sys.exit(main())
