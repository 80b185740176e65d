"""What a small read costs: beside the same SELECT by hand, on the event loop and in a thread."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.report import RESULTS, Report, percentile, positive
from bench.sentences import RESOURCE, Sentences
from convex_memory.cache import ConvexServerCache
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment
from convex_memory.records import Thread
from convex_memory.store import ConvexStore

PAGE: Final = 20
MESSAGES: Final = 2000
WRITERS: Final = 8
POINTS: Final = ("a cached value", "a thread")
RATIO_MOST: Final = 1.0
"""Ours, adapter and function and all, beside nothing but a SELECT in a thread."""
LATE_MS_MOST: Final = 50
"""How late a timer may be at p99, while messages are read and written."""

Read = Callable[[], Awaitable[object]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=positive, default=2000, help="of each kind (default 2000)")
    parser.add_argument("--callers", type=positive, default=64, help="in flight (default 64)")
    parser.add_argument(
        "--seconds", type=positive, default=3, help="of reading beside writers (default 3)"
    )
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where (bench/results)")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("point_reads", asked)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        asyncio.run(measure(report, Path(folder), asked))
    return report.finish()


async def measure(report: Report, folder: Path, asked: argparse.Namespace) -> None:
    async with EmbeddedDeployment(folder) as deployment:
        store, cache = ConvexStore(deployment), ConvexServerCache(deployment)
        await fill(store, cache)
        key = "mastra:cache:k"
        ours = ours_of(store, cache)
        with closing(sqlite3.connect(folder / DATABASE_NAME, check_same_thread=False)) as hand:
            kinds = {name: (read, *by_hand(hand, name, key)) for name, read in ours.items()}
            await one_at_a_time(report, asked.reads, kinds)
            await many_at_once(report, asked.reads, asked.callers, kinds)
        await while_writing(report, asked, store, ours)


async def fill(store: ConvexStore, cache: ConvexServerCache) -> None:
    sentences = Sentences()
    thread = Thread(id="t", resource_id=RESOURCE)
    for first in range(0, MESSAGES, 100):
        batch = [sentences.message("t", place) for place in range(first, first + 100)]
        await store.memory.save_conversation(thread=thread, messages=batch)
    await cache.set("k", {"a": 1, "b": "two", "c": [3], "d": None}, ttl_ms=0)


def ours_of(store: ConvexStore, cache: ConvexServerCache) -> Mapping[str, Read]:
    return {
        "a cached value": lambda: cache.get("k"),
        "a thread": lambda: store.memory.get_thread_by_id(thread_id="t"),
        f"a page of {PAGE}": lambda: store.memory.page_messages(thread_id="t", limit=PAGE),
    }


def by_hand(connection: sqlite3.Connection, name: str, key: str) -> tuple[Read, Read]:
    """Return reads of the same rows with nothing around: on the loop, and in a thread."""
    selects = {
        "a cached value": ("SELECT * FROM mastra_cache WHERE key = ?", key),
        "a thread": ("SELECT * FROM mastra_threads WHERE id = ?", "t"),
        f"a page of {PAGE}": (
            "SELECT * FROM mastra_messages WHERE thread_id = ? "
            f"ORDER BY createdAt DESC LIMIT {PAGE}",
            "t",
        ),
    }
    statement, value = selects[name]

    def rows() -> list[Any]:
        found = connection.execute(statement, (value,)).fetchall()
        if not found:
            raise RuntimeError(f"{name} is not there")
        return found

    async def here() -> object:
        return rows()

    async def there() -> object:
        return await asyncio.to_thread(rows)

    return here, there


async def one_at_a_time(
    report: Report, reads: int, kinds: Mapping[str, tuple[Read, Read, Read]]
) -> None:
    rows = []
    for name, ways in kinds.items():
        waits: list[list[float]] = [[], [], []]
        for turn in range(reads + reads // 10):
            for way, kept in zip(ways, waits, strict=True):
                began = time.perf_counter()
                await way()
                if turn >= reads // 10:
                    kept.append((time.perf_counter() - began) * 1e6)
        figures = [(median(each), percentile(each, 99)) for each in waits]
        (ours, ours99), (here, here99), (there, there99) = figures
        rows.append((name, reads, ours, ours99, here, here99, there, there99, ours / there))
        if name in POINTS:
            report.require(f"{name}: beside a SELECT in a thread", ours / there, at_most=RATIO_MOST)
    columns = [
        f"{who} us {figure}"
        for who in ("ours", "SELECT", "in a thread")
        for figure in ("p50", "p99")
    ]
    report.table("one caller", ("what", "reads", *columns, "ours / in a thread"), rows)


async def many_at_once(
    report: Report, reads: int, callers: int, kinds: Mapping[str, tuple[Read, Read, Read]]
) -> None:
    rows = []
    for name, (ours, _, there) in kinds.items():
        rates = [await rate(way, reads, callers) for way in (ours, there, ours, there)]
        best = max(rates[0], rates[2]), max(rates[1], rates[3])
        rows.append((name, reads, *best, best[0] / best[1]))
    report.table(
        f"{callers} callers, reads a second",
        ("what", "reads", "ours", "SELECT in a thread", "ratio"),
        rows,
    )


async def rate(read: Read, reads: int, callers: int) -> float:
    left = iter(range(reads))

    async def caller() -> None:
        for _ in left:
            await read()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return reads / (time.perf_counter() - began)


async def while_writing(
    report: Report, asked: argparse.Namespace, store: ConvexStore, ours: Mapping[str, Read]
) -> None:
    """Read while others write, and see how late a timer is that stands for everybody else."""
    rows = []
    for name, read in ours.items():
        waits, late = await watched(store, name, read, asked.seconds)
        figures = [(median(each), percentile(each, 99)) for each in (waits, late)]
        rows.append((name, len(waits), *figures[0], *figures[1]))
        report.require(f"{name}: a timer is late, ms p99,", figures[1][1], at_most=LATE_MS_MOST)
    report.table(
        f"one reader while {WRITERS} write",
        ("what", "reads", "read ms p50", "p99", "timer late ms p50", "p99"),
        rows,
    )


async def watched(
    store: ConvexStore, name: str, read: Read, seconds: float
) -> tuple[list[float], list[float]]:
    """Return how long reads took and how late the timer was, in milliseconds."""
    waits: list[float] = []
    late: list[float] = []
    done = asyncio.Event()
    sentences = Sentences()

    async def write(number: int) -> None:
        thread = Thread(id=f"{name} {number}", resource_id=RESOURCE)
        place = 0
        while not done.is_set():
            message = sentences.message(thread.id, place)
            await store.memory.save_conversation(thread=thread, messages=[message])
            place += 1

    async def tick() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - began - 0.001) * 1000)

    tasks = [asyncio.ensure_future(write(number)) for number in range(WRITERS)]
    tasks.append(asyncio.ensure_future(tick()))
    ends = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        await read()
        waits.append((time.perf_counter() - began) * 1000)
    done.set()
    await asyncio.gather(*tasks)
    return waits, late


if __name__ == "__main__":
    sys.exit(main())
