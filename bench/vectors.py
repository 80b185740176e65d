"""Vector search of the embedded deployment, beside numpy and beside local modes of peers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.report import CHECKOUT, RESULTS, Report, positive
from bench.vector_peers import PEERS
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector

INDEX: Final = "bench"
OF_SGEMV_MOST: Final = {384: 0.7, 1536: 0.5}
OF_READING_MOST: Final = 1.6
FILTERED_MOST: Final = 1.0
FASTER_THAN: Final = {"sqlite-vec": 15.0, "qdrant-client local": 15.0}
COLD_MS_MOST: Final = 50
LIMITS: Final = (1, 10, 100, 256)
_COLD: Final = """
import asyncio, sys, time
import numpy
import convex_memory.embedded.engine, convex_memory.embedded.functions
import convex_memory.embedded.vector_index.searching, simsimd
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.vector import ConvexVector
query = numpy.load(sys.argv[2])[0].tolist()
async def main():
    began = time.perf_counter()
    async with EmbeddedDeployment(sys.argv[1]) as deployment:
        await ConvexVector(deployment).query("bench", query, top_k=10)
        print((time.perf_counter() - began) * 1000)
asyncio.run(main())
"""

Floats = NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, default=100_000, help="vectors (default 100000)")
    parser.add_argument(
        "--dimensions", type=positive, nargs="+", default=[384, 1536], help="(default 384 1536)"
    )
    parser.add_argument("--queries", type=positive, default=50, help="of each kind (default 50)")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where (bench/results)")
    parser.add_argument("--peers", help="a Python that has numpy and some of the peers installed")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="of them")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("vectors", asked)
    for dimension in asked.dimensions:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            asyncio.run(measure(report, asked, dimension, Path(folder)))
    return report.finish()


def clustered(count: int, dimension: int, seed: int) -> Floats:
    """Return unit vectors in clusters of 200, with a spectrum that falls off."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, count // 200), dimension), dtype=np.float32)
    vectors = centres[random.integers(0, len(centres), count)]
    vectors += 0.8 * random.standard_normal((count, dimension), dtype=np.float32)
    vectors *= (np.arange(1, dimension + 1) ** -0.35).astype(np.float32)
    found: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def near(vectors: Floats, count: int, seed: int) -> Floats:
    """Return queries near some of the vectors."""
    random = np.random.default_rng(seed)
    some = vectors[random.integers(0, len(vectors), count)]
    return some + 0.03 * random.standard_normal(some.shape, dtype=np.float32)


async def measure(report: Report, asked: argparse.Namespace, dimension: int, folder: Path) -> None:
    vectors = clustered(asked.rows, dimension, 1)
    queries = near(vectors, asked.queries, 2)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    shape = f"{asked.rows:,} x {dimension}"
    async with EmbeddedDeployment(folder / "ours") as deployment:
        ours = ConvexVector(deployment)
        await ours.create_index(INDEX, dimension)
        began = time.perf_counter()
        await ours.upsert(
            INDEX,
            vectors.tolist(),
            ids=[str(at) for at in range(len(vectors))],
            metadata=[{"tenth": at % 10, "hundredth": at % 100} for at in range(len(vectors))],
        )
        filled = len(vectors) / (time.perf_counter() - began)
        await exactness(report, ours, vectors, queries, shape)
        with contextlib.ExitStack() as stack:
            peers = list(_peers(asked, folder, stack))
            await turns(report, asked, ours, vectors, queries, peers, shape)
        await filters(report, ours, queries, shape)
    cold = [_cold_ms(folder) for _ in range(5)]
    report.table(
        f"{shape}: filled through the adapter, opened anew",
        ("", "rows a second", "open and first query, ms p50"),
        [("ours", filled, median(cold))],
    )
    if dimension == 384:
        report.require(f"{shape}: ms to open and ask,", median(cold), at_most=COLD_MS_MOST)


async def exactness(
    report: Report, ours: ConvexVector, vectors: Floats, queries: Floats, shape: str
) -> None:
    random = np.random.default_rng(3)
    anywhere = random.standard_normal((10, vectors.shape[1]), dtype=np.float32)
    rows: list[Sequence[object]] = []
    for name, some in (("near a vector", queries[:10]), ("anywhere", anywhere)):
        recalls = []
        for limit in LIMITS:
            found = [await ours.query(INDEX, query.tolist(), top_k=limit) for query in some]
            recalls.append(
                float(
                    np.mean(
                        [
                            recall(vectors, query, [int(each.id) for each in answer.matches], limit)
                            for query, answer in zip(some, found, strict=True)
                        ]
                    )
                )
            )
        rows.append((name, *recalls))
        report.require(f"{shape}: recall, {name},", min(recalls), at_least=1.0)
    report.table(f"{shape}: recall", ("queries", *(f"@{limit}" for limit in LIMITS)), rows)


def recall(vectors: Floats, query: Floats, ids: Sequence[int], limit: int) -> float:
    """Return the share of `ids` that belong there; vectors equally near are equally good."""
    cosines = vectors @ (query / np.linalg.norm(query))
    least = np.partition(cosines, -limit)[-limit]
    return sum(bool(cosines[at] >= least - 1e-6) for at in set(ids)) / limit


@dataclass(slots=True)
class Peer:
    """A peer in a process of its own."""

    name: str
    process: subprocess.Popen[str]
    fill_seconds: float
    ms: list[float] = field(default_factory=list)
    filtered_ms: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    def ask(self, query: int, k: int, tenth: int | None = None) -> tuple[list[int], float]:
        """Return the ids it found, and the milliseconds it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"query": query, "k": k, "tenth": tenth}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["ids"], answer["ms"]


def _peers(asked: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> Iterator[Peer]:
    for name in asked.only if asked.peers else ():
        own = folder / name.replace(" ", "-")
        own.mkdir()
        files = (str(folder / "vectors.npy"), str(folder / "queries.npy"), str(own))
        process = subprocess.Popen(
            [asked.peers, str(CHECKOUT / "bench" / "vector_peers.py"), name, *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        line = process.stdout.readline()
        if line:
            yield Peer(name, process, json.loads(line)["seconds"])
        else:
            print(f"{name} could not be started, and is not compared")


def _ms(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1000


async def _asked_ms(ours: ConvexVector, query: Floats, filter: dict[str, Any] | None) -> float:
    listed = query.tolist()
    began = time.perf_counter()
    await ours.query(INDEX, listed, top_k=10, filter=filter)
    return (time.perf_counter() - began) * 1000


async def turns(
    report: Report,
    asked: argparse.Namespace,
    ours: ConvexVector,
    vectors: Floats,
    queries: Floats,
    peers: Sequence[Peer],
    shape: str,
) -> None:
    own: list[float] = []
    sgemv: list[float] = []
    reading: list[float] = []
    codes = np.ones(vectors.size // 8, dtype=np.int64)
    for at, query in enumerate(queries):
        own.append(await _asked_ms(ours, query, None))
        sgemv.append(_ms(lambda query=query: np.argpartition(vectors @ query, -10)[-10:]))  # type: ignore[misc]
        reading.append(_ms(codes.max))
        for peer in peers:
            ids, taken = peer.ask(at, 10)
            peer.ms.append(taken)
            peer.recalls.append(recall(vectors, query, ids, 10))
            peer.filtered_ms.append(peer.ask(at, 10, at % 10)[1])
    base = median(own)
    report.table(
        f"{shape}: the 10 nearest",
        ("", "ms p50", "ms min", "x ours", "10 % filtered ms p50", "recall", "filled in s"),
        [
            ("ours, through the adapter", base, min(own), 1.0, "", 1.0, ""),
            ("numpy float32", median(sgemv), min(sgemv), median(sgemv) / base, "", 1.0, ""),
            ("reading codes", median(reading), min(reading), median(reading) / base, "", "", ""),
            *(
                (
                    peer.name, median(peer.ms), min(peer.ms), median(peer.ms) / base,
                    median(peer.filtered_ms), float(np.mean(peer.recalls)), peer.fill_seconds,
                )
                for peer in peers
            ),
        ],
    )  # fmt: skip
    dimension = vectors.shape[1]
    bound = OF_SGEMV_MOST.get(dimension, OF_SGEMV_MOST[384])
    report.require(f"{shape}: of numpy's time", base / median(sgemv), at_most=bound)
    if dimension >= 1536:
        what = f"{shape}: of the time to read the codes"
        report.require(what, base / median(reading), at_most=OF_READING_MOST)
    for peer in peers:
        if peer.name in FASTER_THAN:
            what = f"{shape}: times faster than {peer.name}"
            report.require(what, median(peer.ms) / base, at_least=FASTER_THAN[peer.name])


async def filters(report: Report, ours: ConvexVector, queries: Floats, shape: str) -> None:
    kinds: dict[str, Callable[[int], dict[str, Any] | None]] = {
        "all": lambda at: None,
        "10 %": lambda at: {"tenth": at % 10},
        "1 %": lambda at: {"hundredth": at % 100},
        "10 %, by range": lambda at: {"hundredth": {"$lt": 10}},
    }
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for filter in kinds.values():
        await _asked_ms(ours, queries[0], filter(0))
    for at, query in enumerate(queries):
        for name, filter in kinds.items():
            taken[name].append(await _asked_ms(ours, query, filter(at)))
    report.table(
        f"{shape}: filtered, after a first query with each filter",
        ("selected", "ms p50", "ms min", "of unfiltered"),
        [
            (name, median(ms), min(ms), median(ms) / median(taken["all"]))
            for name, ms in taken.items()
        ],
    )
    for name in ("10 %", "1 %", "10 %, by range"):
        ratio = median(taken[name]) / median(taken["all"])
        report.require(f"{shape}: {name} selected, of unfiltered", ratio, at_most=FILTERED_MOST)


def _cold_ms(folder: Path) -> float:
    finished = subprocess.run(
        [sys.executable, "-c", _COLD, str(folder / "ours"), str(folder / "queries.npy")],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    return float(finished.stdout)


if __name__ == "__main__":
    sys.exit(main())
