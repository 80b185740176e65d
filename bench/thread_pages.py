"""What it costs to read pages of one long thread: our functions, and Mastra's with its adapter."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from statistics import median
from typing import Any, Final, NamedTuple

from bench.counting_proxy import CountingProxy, Traffic
from bench.deployments import KEY, Rows, bridge, embedded
from bench.reads import cursor_at
from bench.report import CHECKOUT, Report, positive
from bench.sentences import RESOURCE, Sentences
from convex_memory.records import Thread
from convex_memory.remote import RemoteDeployment
from convex_memory.store import ConvexStore

THREAD: Final = "long"
PAGE: Final = 20
WARM_UPS: Final = 2
TIMEOUT_MS: Final = 300_000
BYTES_MOST: Final = 2.0
"""Of what a page is of the whole thread."""

MASTRA: Final = "@mastra/convex: Mastra's functions"
OURS: Final = ("convex_memory: our functions", "convex_memory: embedded deployment")


class Read(NamedTuple):
    """One read: how long it took, and what went over the wire for it."""

    ms: float
    traffic: Traffic


Served = AbstractContextManager[str]
"""Serves a deployment while it is open, and gives its URL."""
Ask = Callable[[], Awaitable[tuple[float, Sequence[str]]]]
"""Reads once: milliseconds, and the ids that came."""


class Contender(NamedTuple):
    """A deployment behind a counting proxy, and an adapter's way to each kind of page."""

    name: str
    proxy: CountingProxy
    reads: Mapping[str, Ask]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=positive, default=10_000, help="(default 10000)")
    parser.add_argument("--rounds", type=positive, default=15, help="reads of each (default 15)")
    asked = parser.parse_args()
    if asked.messages < 4 * PAGE or asked.messages % (2 * PAGE):
        parser.error(f"the thread needs a multiple of {2 * PAGE} messages, at least {4 * PAGE}")
    if shutil.which("node") is None or not (CHECKOUT / "node_modules").is_dir():
        parser.error("this needs Node.js 20 and `npm ci --ignore-scripts`")
    report = Report("thread_pages", asked)
    reads = asyncio.run(measure(asked.messages, asked.rounds))
    for kind in expected(asked.messages):
        tell(report, kind, asked.messages, {name: reads[kind, name] for name in (MASTRA, *OURS)})
    return report.finish()


async def measure(count: int, rounds: int) -> Mapping[tuple[str, str], Sequence[Read]]:
    """Read every kind of page in turns, and return the reads by kind and contender."""
    pages, rows = expected(count), conversation(count)
    reads: dict[tuple[str, str], list[Read]] = {}
    async with AsyncExitStack() as stack:
        mine, local = OURS
        contenders = [
            await mastra(stack, count, bridge("tests/bridge/mastra_reference", rows)),
            await ours(stack, count, mine, bridge("convex", rows)),
            await ours(stack, count, local, embedded(rows)),
        ]
        for turn in range(WARM_UPS + rounds):
            for kind, ids in pages.items():
                for contender in contenders:
                    read = await once(contender, kind, ids)
                    if turn >= WARM_UPS:
                        reads.setdefault((kind, contender.name), []).append(read)
    return reads


def tell(report: Report, kind: str, count: int, reads: Mapping[str, Sequence[Read]]) -> None:
    """Print and keep the table of one kind of page, and hold ours against Mastra's."""
    times = {name: median(read.ms for read in several) for name, several in reads.items()}
    wire = {name: several[0].traffic for name, several in reads.items()}
    report.table(
        f"{kind}: {PAGE} of {count:,} messages",
        ("through", "reads", "calls", "bytes sent", "received", "of Mastra's", "ms p50", "faster"),
        [
            (
                name,
                len(several),
                wire[name].calls,
                wire[name].sent_bytes,
                wire[name].received_bytes,
                wire[name].received_bytes / wire[MASTRA].received_bytes,
                times[name],
                times[MASTRA] / times[name],
            )
            for name, several in reads.items()
        ],
    )
    mine = OURS[0]
    report.require(f"{kind}: calls", float(wire[mine].calls), at_most=1)
    share = wire[mine].received_bytes / wire[MASTRA].received_bytes
    most = BYTES_MOST * PAGE / count
    report.require(f"{kind}: bytes received, of Mastra's,", share, at_most=most)
    report.require(f"{kind}: time, of Mastra's,", times[mine] / times[MASTRA], at_most=1)


async def once(contender: Contender, kind: str, expected_ids: Sequence[str]) -> Read:
    """Read one page.

    Raises:
        RuntimeError: Other messages came than are there.
    """
    contender.proxy.take()
    ms, ids = await contender.reads[kind]()
    if list(ids) != list(expected_ids):
        raise RuntimeError(f"{contender.name}, {kind}: other messages came than those asked for.")
    return Read(ms, contender.proxy.take())


# --- What is read


def conversation(count: int) -> Rows:
    """The rows of a thread of so many messages."""
    sentences = Sentences()
    messages = [sentences.message(THREAD, place) for place in range(count)]
    thread = Thread(id=THREAD, resource_id=RESOURCE)
    return {
        "mastra_threads": [dict(thread.to_row())],
        "mastra_messages": [dict(message.to_row()) for message in messages],
    }


def expected(count: int) -> Mapping[str, Sequence[str]]:
    """Each kind of page, and the ids on it, in its order."""
    ids = [f"{THREAD}:{place}" for place in range(count)]
    newest, middle = ids[::-1], count // 2
    return {
        "newest page": newest[:PAGE],
        "oldest page": ids[:PAGE],
        "page in the middle": newest[middle : middle + PAGE],
        "around a message": ids[middle - PAGE // 2 : middle + PAGE // 2],
    }


# --- Mastra's adapter


async def mastra(stack: AsyncExitStack, count: int, served: Served) -> Contender:
    proxy = CountingProxy(stack.enter_context(served))
    url = stack.enter_context(proxy.serving())
    process = await asyncio.create_subprocess_exec(
        "node",
        str(CHECKOUT / "bench" / "mastra_pages.mjs"),
        url,
        KEY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=CHECKOUT,
    )
    stack.callback(process.kill)

    def listing(**question: Any) -> Ask:
        async def ask() -> tuple[float, Sequence[str]]:
            assert process.stdin is not None
            assert process.stdout is not None
            line = json.dumps({"threadId": THREAD, "perPage": PAGE, **question})
            process.stdin.write(f"{line}\n".encode())
            answer = json.loads(await process.stdout.readline())
            return answer["ms"], answer["ids"]

        return ask

    newest = {"field": "createdAt", "direction": "DESC"}
    middle = count // 2
    include = {
        "id": f"{THREAD}:{middle}",
        "withPreviousMessages": PAGE // 2,
        "withNextMessages": PAGE // 2 - 1,
    }
    return Contender(
        MASTRA,
        proxy,
        {
            "newest page": listing(page=0, orderBy=newest),
            "oldest page": listing(page=0),
            "page in the middle": listing(page=middle // PAGE, orderBy=newest),
            "around a message": listing(perPage=0, include=[include]),
        },
    )


# --- Ours


async def ours(stack: AsyncExitStack, count: int, name: str, served: Served) -> Contender:
    proxy = CountingProxy(stack.enter_context(served))
    deployment = RemoteDeployment(stack.enter_context(proxy.serving()), KEY, timeout_ms=TIMEOUT_MS)
    stack.push_async_callback(deployment.aclose)
    memory = ConvexStore(deployment).memory
    cursor = await cursor_at(memory, THREAD, count // 2)

    def page(**question: Any) -> Ask:
        async def ask() -> tuple[float, Sequence[str]]:
            began = time.perf_counter()
            got = await memory.page_messages(thread_id=THREAD, limit=PAGE, **question)
            ms = (time.perf_counter() - began) * 1000
            return ms, [message.id for message in got.messages]

        return ask

    async def around() -> tuple[float, Sequence[str]]:
        began = time.perf_counter()
        got = await memory.messages_around(
            message_id=f"{THREAD}:{count // 2}", before=PAGE // 2, after=PAGE // 2 - 1
        )
        ms = (time.perf_counter() - began) * 1000
        return ms, [message.id for message in got.messages]

    return Contender(
        name,
        proxy,
        {
            "newest page": page(),
            "oldest page": page(order="oldest"),
            "page in the middle": page(cursor=cursor),
            "around a message": around,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
