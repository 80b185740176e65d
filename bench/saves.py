"""How many messages are saved a second, each on the disk before its caller goes on.

Beside a loop that does nothing but insert the text by hand, with the same durability.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench.report import RESULTS, Report, percentile, positive
from bench.sentences import RESOURCE, Sentences
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore

RATE_LEAST: Final = 2000
FSYNCS: Final = 300
BLOCK_BYTES: Final = 4096
PROCESSES: Final = (1, 2, 4)

Save = Callable[[MemoryStore, Thread, Message], Awaitable[object]]


class Run(NamedTuple):
    """One run: how long it took, and how long each save waited."""

    seconds: float
    waits_ms: Sequence[float]

    @property
    def rate(self) -> float:
        """Saves a second."""
        return len(self.waits_ms) / self.seconds


async def save_conversation(memory: MemoryStore, thread: Thread, message: Message) -> object:
    return await memory.save_conversation(thread=thread, messages=[message])


async def save_messages(memory: MemoryStore, thread: Thread, message: Message) -> object:
    return await memory.save_messages([message])


class Case(NamedTuple):
    """Who saves how: `saves` in each process."""

    way: str
    callers: int
    processes: int
    saves: int

    def __str__(self) -> str:
        callers = "1 caller" if self.callers == 1 else f"{self.callers} callers"
        if self.way == BARE:
            callers = "a row a commit"
        if self.processes == 1:
            return f"{self.way}, {callers}"
        return f"{self.way}, {self.processes} processes, {callers} each"


WAYS: Final[dict[str, Save]] = {
    "save_conversation": save_conversation,
    "save_messages": save_messages,
}
BARE: Final = "sqlite3 by hand"


def cases_of(asked: argparse.Namespace) -> list[Case]:
    few = max(1, asked.saves // 10)
    cases = [
        Case(way, callers, 1, few if callers == 1 else asked.saves)
        for way in WAYS
        for callers in sorted({1, min(8, asked.callers), asked.callers})
    ]
    for processes in (each for each in PROCESSES if each <= asked.processes):
        cases.append(Case(BARE, 1, processes, few))
        if processes > 1:
            cases += [Case("save_conversation", callers, processes, few) for callers in (1, 8)]
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=positive, default=10_000, help="a run (default 10000)")
    parser.add_argument("--callers", type=positive, default=64, help="in flight (default 64)")
    parser.add_argument("--processes", type=positive, default=4, help="at most (default 4)")
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each (default 3)")
    parser.add_argument(
        "--folder", type=Path, default=RESULTS, help="on the disk to measure (bench/results)"
    )
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("saves", asked)
    runs: dict[Case, list[Run]] = {case: [] for case in cases_of(asked)}
    fsyncs: list[float] = []
    for _ in range(asked.rounds):
        fsyncs.append(fsync_rate(asked.folder))
        for case, several in runs.items():
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                several.append(run(Path(folder), case))
    tell(report, asked.callers, fsyncs, runs)
    return report.finish()


def fsync_rate(folder: Path) -> float:
    """Return how often a second this disk takes 4 KiB and says that they are safe."""
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        block = os.urandom(BLOCK_BYTES)
        began = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(block)
            os.fsync(file.fileno())
        return FSYNCS / (time.perf_counter() - began)


def run(folder: Path, case: Case) -> Run:
    """Save in so many processes at once, and count what is there afterwards.

    Raises:
        RuntimeError: A message that was acknowledged is not there.
    """
    table = "by_hand" if case.way == BARE else "mastra_messages"
    if case.way == BARE:
        with closing(connection_by_hand(folder)) as connection:
            connection.execute(
                f"CREATE TABLE {table} (id TEXT PRIMARY KEY, thread TEXT, content TEXT, at TEXT)"
            )
    if case.processes == 1:
        result = save_in_one(folder, case, 0, lambda: None)
    else:
        result = save_in_several(folder, case)
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        kept = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    if kept != case.saves * case.processes:
        raise RuntimeError(f"{len(result.waits_ms)} saves were acknowledged, {kept} are there.")
    return result


def save_in_several(folder: Path, case: Case) -> Run:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(case.processes)
    with ProcessPoolExecutor(case.processes, context, _meet_at, (ready,)) as pool:
        save = partial(_save_when_all_are_ready, folder, case)
        parts = list(pool.map(save, range(case.processes)))
    waits = [wait for part in parts for wait in part.waits_ms]
    return Run(median(part.seconds for part in parts), waits)


_ready: Any = None


def _meet_at(ready: Any) -> None:
    global _ready
    _ready = ready


def _save_when_all_are_ready(folder: Path, case: Case, process: int) -> Run:
    return save_in_one(folder, case, process, _ready.wait)


def save_in_one(folder: Path, case: Case, process: int, ready: Callable[[], object]) -> Run:
    """Save in this process, once everybody is ready."""
    if case.way == BARE:
        return save_by_hand(folder, case, process, ready)
    return asyncio.run(save_ours(folder, case, process, ready))


async def save_ours(folder: Path, case: Case, process: int, ready: Callable[[], object]) -> Run:
    """Save from several callers at once, each with a thread of its own."""
    sentences = Sentences()
    waits: list[float] = []
    save = WAYS[case.way]
    async with EmbeddedDeployment(folder) as deployment:
        memory = ConvexStore(deployment).memory
        names = [f"{process}-{each}" for each in range(case.callers)]
        threads = {name: Thread(id=name, resource_id=RESOURCE) for name in names}
        for thread in threads.values():
            await memory.save_thread(thread)
        left = iter(
            [sentences.message(names[each % case.callers], each) for each in range(case.saves)]
        )

        async def caller() -> None:
            for message in left:
                asked = time.perf_counter()
                await save(memory, threads[message.thread_id], message)
                waits.append((time.perf_counter() - asked) * 1000)

        ready()
        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(case.callers)))
        return Run(time.perf_counter() - began, waits)


def connection_by_hand(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / DATABASE_NAME, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def save_by_hand(folder: Path, case: Case, process: int, ready: Callable[[], object]) -> Run:
    """The least that can be done: one row of the same text for each commit, nothing derived."""
    sentences = Sentences()
    waits: list[float] = []
    with closing(connection_by_hand(folder)) as connection:
        messages = [sentences.message(f"{process}", each) for each in range(case.saves)]
        ready()
        began = time.perf_counter()
        for message in messages:
            asked = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO by_hand VALUES (?, ?, ?, ?)",
                (message.id, message.thread_id, message.text, str(message.created_at)),
            )
            connection.execute("COMMIT")
            waits.append((time.perf_counter() - asked) * 1000)
        return Run(time.perf_counter() - began, waits)


def tell(
    report: Report, callers: int, fsyncs: Sequence[float], runs: dict[Case, list[Run]]
) -> None:
    fsync = median(fsyncs)
    rates = {case: median(each.rate for each in several) for case, several in runs.items()}
    report.table(
        "acknowledged single-message saves, synchronous=FULL",
        ("how", "runs", "saves", "a second", "wait ms p50", "wait ms p99", "of fsync rate"),
        [
            ("write 4 KiB and fsync", len(fsyncs), FSYNCS, fsync, 1000 / fsync, "", 1.0),
            *(
                (
                    str(case),
                    len(several),
                    len(several[0].waits_ms),
                    rates[case],
                    median(percentile(each.waits_ms, 50) for each in several),
                    median(percentile(each.waits_ms, 99) for each in several),
                    rates[case] / fsync,
                )
                for case, several in runs.items()
            ),
        ],
    )
    for case, rate in rates.items():
        if case.processes == 1 and case.callers == callers > 1:
            report.require(f"{case}, a second,", rate, at_least=RATE_LEAST)


if __name__ == "__main__":
    sys.exit(main())
