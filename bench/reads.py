"""What it costs to recall 20 messages of a short thread and of a very long one."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from mcp import Client

from bench.report import RESULTS, Report, percentile, positive
from bench.sentences import RESOURCE, Sentences
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.limits import PAGE_MESSAGES_MAX, SAVE_MESSAGES_MAX
from convex_memory.records import Thread
from convex_memory.store import ConvexStore, MemoryStore
from server.app import create_server
from server.settings import Settings

RATIO_MOST: Final = 2.0
PAGE: Final = 20
SEARCHES: Final = 20
WORDS: Final = {"a common word": 10, "a rare word": 4000}
"""Places in the order of frequency."""
CHARS: Final = 200_000

Read = Callable[[], Awaitable[int]]
"""Reads once and returns how many messages came."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=positive, default=100, help="messages (default 100)")
    parser.add_argument("--long", type=positive, default=100_000, help="messages (default 100000)")
    parser.add_argument("--reads", type=positive, default=300, help="of each kind (default 300)")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where (bench/results)")
    asked = parser.parse_args()
    if min(asked.short, asked.long) < 2 * PAGE:
        parser.error(f"a thread needs at least {2 * PAGE} messages, to have a middle to read")
    asked.folder.mkdir(parents=True, exist_ok=True)
    report = Report("reads", asked)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        asyncio.run(measure(report, Path(folder), asked))
    return report.finish()


async def measure(report: Report, folder: Path, asked: argparse.Namespace) -> None:
    settings = Settings(data_dir=folder, resource_id=RESOURCE)
    async with EmbeddedDeployment(folder) as deployment:
        memory = ConvexStore(deployment).memory
        seconds = await fill(memory, "short", asked.short) + await fill(memory, "long", asked.long)
        report.table(
            "filled first, 100 messages a call",
            ("", "messages", "seconds", "a second"),
            [("", asked.short + asked.long, seconds, (asked.short + asked.long) / seconds)],
        )
        async with Client(create_server(settings)) as client:
            short = await kinds_of_read(memory, client, "short", asked.short)
            long = await kinds_of_read(memory, client, "long", asked.long)
            reads = {kind: await timed(short[kind], long[kind], asked.reads) for kind in short}
            searches = {
                f"{tool}, {how}": await timed(
                    search(client, tool, "short", place),
                    search(client, tool, "long", place),
                    SEARCHES,
                    least=0,
                )
                for tool in ("search_memory", "recall_thread")
                for how, place in WORDS.items()
            }
    tell(report, asked, f"recalling {PAGE} messages", reads)
    for kind, (of_short, of_long) in reads.items():
        report.require(f"{kind}, ratio", median(of_long) / median(of_short), at_most=RATIO_MOST)
    tell(report, asked, f"searching one thread for {PAGE} messages (no bound)", searches)


async def fill(memory: MemoryStore, thread_id: str, count: int) -> float:
    """Save a thread of `count` messages and return the seconds it took."""
    sentences = Sentences()
    thread = Thread(id=thread_id, resource_id=RESOURCE)
    messages = [sentences.message(thread_id, place) for place in range(count)]
    began = time.perf_counter()
    for first in range(0, count, SAVE_MESSAGES_MAX):
        await memory.save_conversation(
            thread=thread, messages=messages[first : first + SAVE_MESSAGES_MAX]
        )
    return time.perf_counter() - began


async def kinds_of_read(
    memory: MemoryStore, client: Client, thread_id: str, count: int
) -> Mapping[str, Read]:
    """Return every kind of read of one thread."""
    middle = await cursor_at(memory, thread_id, count // 2)
    central = f"{thread_id}:{count // 2}"

    async def page(cursor: str | None) -> int:
        got = await memory.page_messages(
            thread_id=thread_id, limit=PAGE, cursor=cursor, resource_id=RESOURCE
        )
        return len(got.messages)

    async def around() -> int:
        got = await memory.messages_around(
            message_id=central, before=PAGE // 2, after=PAGE // 2 - 1, thread_id=thread_id
        )
        return len(got.messages)

    async def tool(**arguments: Any) -> int:
        got = await called(client, "recall_thread", thread_id=thread_id, limit=PAGE, **arguments)
        return len(got["messages"])

    return {
        "page_messages, newest": lambda: page(None),
        "page_messages, in the middle": lambda: page(middle),
        "messages_around, in the middle": around,
        "recall_thread, newest": tool,
        "recall_thread, in the middle": lambda: tool(cursor=middle),
        "recall_thread, around": lambda: tool(around=central),
    }


async def cursor_at(memory: MemoryStore, thread_id: str, place: int) -> str | None:
    """Walk from the newest message to the middle of a thread and return the cursor there."""
    cursor: str | None = None
    while place > 0:
        step = min(place, PAGE_MESSAGES_MAX)
        page = await memory.page_messages(thread_id=thread_id, limit=step, cursor=cursor)
        cursor, place = page.cursor, place - step
    return cursor


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    if answer.is_error or answer.structured_content is None:
        raise RuntimeError(f"{tool} refused: {answer.content}")
    structured: dict[str, Any] = answer.structured_content
    return structured


def search(client: Client, tool: str, thread_id: str, place: int) -> Read:
    """Return a search of one thread for the word at a place of the order of frequency."""
    word = Sentences().words[place]
    found = "hits" if tool == "search_memory" else "messages"

    async def once() -> int:
        answer = await called(
            client, tool, query=word, thread_id=thread_id, limit=PAGE, max_chars=CHARS
        )
        return len(answer[found])

    return once


async def timed(
    short: Read, long: Read, reads: int, least: int = PAGE
) -> tuple[list[float], list[float]]:
    """Read both threads in turns and return the milliseconds of each.

    Raises:
        RuntimeError: A read gave fewer messages than it must.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(reads + reads // 10):
        for read, kept in zip((short, long), times, strict=True):
            began = time.perf_counter()
            got = await read()
            milliseconds = (time.perf_counter() - began) * 1000
            if got < least:
                raise RuntimeError(f"A read gave {got} messages instead of {least}.")
            if turn >= reads // 10:
                kept.append(milliseconds)
    return times


def tell(
    report: Report,
    asked: argparse.Namespace,
    title: str,
    times: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> None:
    columns = [
        f"of {count:,}: ms {figure}"
        for count in (asked.short, asked.long)
        for figure in ("p50", "p95")
    ]
    report.table(
        title,
        ("how", "reads", *columns, "p50 ratio"),
        [
            (
                kind,
                len(short),
                median(short),
                percentile(short, 95),
                median(long),
                percentile(long, 95),
                median(long) / median(short),
            )
            for kind, (short, long) in times.items()
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
