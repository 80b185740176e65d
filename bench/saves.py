"""How many messages are saved a second, each on the disk before its caller goes on."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.report import RESULTS, Report, percentile, positive
from bench.sentences import RESOURCE, Sentences
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore

RATE_LEAST: Final = 2000
FSYNCS: Final = 300
BLOCK_BYTES: Final = 4096

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=positive, default=10_000, help="a run (default 10000)")
    parser.add_argument("--callers", type=positive, default=64, help="in flight (default 64)")
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each (default 3)")
    parser.add_argument(
        "--folder", type=Path, default=RESULTS, help="on the disk to measure (bench/results)"
    )
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("saves", asked)
    cases: dict[str, tuple[Save, int, int]] = {}
    ways: dict[str, Save] = {
        "save_conversation": save_conversation,
        "save_messages": save_messages,
    }
    for way, save in ways.items():
        cases[f"{way}, {asked.callers} callers"] = save, asked.callers, asked.saves
        cases[f"{way}, 1 caller"] = save, 1, max(1, asked.saves // 10)
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    fsyncs: list[float] = []
    for _ in range(asked.rounds):
        fsyncs.append(fsync_rate(asked.folder))
        for name, (save, callers, saves) in cases.items():
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                runs[name].append(asyncio.run(run(Path(folder), save, callers, saves)))
    tell(report, fsyncs, runs)
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


async def run(folder: Path, save: Save, callers: int, saves: int) -> Run:
    """Save from several callers at once, each with a thread of its own, and count them after.

    Raises:
        RuntimeError: A message that was acknowledged is not there.
    """
    sentences = Sentences()
    waits: list[float] = []
    async with EmbeddedDeployment(folder) as deployment:
        memory = ConvexStore(deployment).memory
        threads = [Thread(id=f"thread-{each}", resource_id=RESOURCE) for each in range(callers)]
        for thread in threads:
            await memory.save_thread(thread)
        left = iter([sentences.message(f"thread-{each % callers}", each) for each in range(saves)])
        by_id = {thread.id: thread for thread in threads}

        async def caller(messages: Iterator[Message]) -> None:
            for message in messages:
                asked = time.perf_counter()
                await save(memory, by_id[message.thread_id], message)
                waits.append((time.perf_counter() - asked) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(caller(left) for _ in range(callers)))
        seconds = time.perf_counter() - began
        kept = (await memory.stats()).messages
    if kept != saves:
        raise RuntimeError(f"{saves} saves were acknowledged but {kept} messages are there.")
    return Run(seconds, waits)


def tell(report: Report, fsyncs: Sequence[float], runs: dict[str, list[Run]]) -> None:
    fsync = median(fsyncs)
    rates = {name: median(each.rate for each in several) for name, several in runs.items()}
    report.table(
        "acknowledged single-message saves, synchronous=FULL",
        ("how", "runs", "saves", "a second", "wait ms p50", "wait ms p99", "of fsync rate"),
        [
            ("write 4 KiB and fsync", len(fsyncs), FSYNCS, fsync, 1000 / fsync, "", 1.0),
            *(
                (
                    name,
                    len(several),
                    len(several[0].waits_ms),
                    rates[name],
                    median(percentile(each.waits_ms, 50) for each in several),
                    median(percentile(each.waits_ms, 99) for each in several),
                    rates[name] / fsync,
                )
                for name, several in runs.items()
            ),
        ],
    )
    for name, several in runs.items():
        if not name.endswith("1 caller"):
            rate = median(each.rate for each in several)
            report.require(f"{name}, a second,", rate, at_least=RATE_LEAST)


if __name__ == "__main__":
    sys.exit(main())
