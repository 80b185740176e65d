"""What a call of a deployment over HTTP costs through aiohttp and through httpx2."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from statistics import median
from typing import Final, NamedTuple

import httpx2

from bench.report import Report, percentile, positive
from bench.sentences import Sentences
from convex_memory.remote import RemoteDeployment
from convex_memory.remote_coding import decode_answer, encode_request
from convex_memory.remote_pool import CONNECTIONS_MAX, IDLE_SECONDS_MAX
from convex_memory.values import Value, check, to_wire

RATIO_LEAST: Final = 2.0
"""By how much the faster client must win to be worth a dependency of its own."""
PATH: Final = "memory/messages:save"
KEY: Final = "bench-key"
ANSWER_BYTES: Final = 20_000
THREAD: Final = "conversation-2026-03-01"

Call = Callable[[], Awaitable[object]]


class Run(NamedTuple):
    """One run: how long it took, what it used, and how long each call waited."""

    seconds: float
    cpu_seconds: float
    waits_ms: Sequence[float]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.waits_ms) / self.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=positive, default=2000, help="a run (default 2000)")
    parser.add_argument("--in-flight", type=positive, default=64, help="at once (default 64)")
    parser.add_argument("--rounds", type=positive, default=7, help="runs of each (default 7)")
    asked = parser.parse_args()
    report = Report("http_clients", asked)
    args, answer = a_save(), an_answer()
    with answering(answer) as url:
        runs = asyncio.run(measured(url, args, asked.calls, asked.in_flight, asked.rounds))
    sent = len(encode_request(PATH, args))
    tell(report, f"POST of {sent} bytes, answer of {len(answer)}, keep-alive", runs)
    pairs = zip(runs["aiohttp", asked.in_flight], runs["httpx2", asked.in_flight], strict=True)
    ratio = median(ours.rate / other.rate for ours, other in pairs)
    what = f"calls through aiohttp, {asked.in_flight} in flight, as a multiple of httpx2's,"
    report.require(what, ratio, at_least=RATIO_LEAST)
    tell_coding(report, args, answer)
    return report.finish()


def a_save() -> Mapping[str, Value]:
    """Return the arguments that save one message."""
    return {
        "messages": [Sentences().message(THREAD, 1).to_row()],
        "thread": None,
        "onExisting": "keep",
        "now": "2026-03-01T10:00:00.000Z",
    }


def an_answer() -> bytes:
    """Return a page of messages as a deployment answers it."""
    sentences, messages = Sentences(), list[Value]()
    text = ""
    while len(text) < ANSWER_BYTES:
        messages.append(sentences.message(THREAD, len(messages)).to_row())
        value: Value = {"thread": {"id": THREAD}, "messages": messages, "cursor": None}
        text = to_wire({"status": "success", "value": value, "logLines": []}, encoded=True)
    return text.encode()


# --- The server: as little as can answer, in a process of its own


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Answer every request with the same content, and yield the URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(content, there), daemon=True)
    process.start()
    there.close()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(content: bytes, ready: Connection) -> None:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Convex-Request-Id: 0123456789abcdef\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    answer = head.encode() + content

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport
            self._received = b""

        def data_received(self, data: bytes) -> None:
            self._received += data
            header, end, body = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(header.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0])
            if len(body) == length:
                self._received = b""
                self._transport.write(answer)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


# --- The clients, both under the same RemoteDeployment


async def measured(
    url: str, args: Mapping[str, Value], calls: int, in_flight: int, rounds: int
) -> Mapping[tuple[str, int], list[Run]]:
    """Run both in turns, with one call at a time and with several."""
    limits = httpx2.Limits(
        max_connections=CONNECTIONS_MAX,
        max_keepalive_connections=CONNECTIONS_MAX,
        keepalive_expiry=IDLE_SECONDS_MAX,
    )
    async with AsyncExitStack() as stack:
        through: dict[str, Call] = {}
        for name, transport in {
            "aiohttp": None,
            "httpx2": httpx2.AsyncHTTPTransport(verify=False, trust_env=False, limits=limits),
        }.items():
            deployment = RemoteDeployment(url, KEY, transport=transport)
            await stack.enter_async_context(deployment)
            through[name] = calling(deployment, args)
        runs: dict[tuple[str, int], list[Run]] = {}
        for callers in (1, in_flight):
            for call in through.values():
                await run(call, calls // 10 + callers, callers)
            for _ in range(rounds):
                for name, call in through.items():
                    runs.setdefault((name, callers), []).append(await run(call, calls, callers))
    return runs


def calling(deployment: RemoteDeployment, args: Mapping[str, Value]) -> Call:
    async def call() -> object:
        return await deployment.call("mutation", PATH, args, retry=True)

    return call


async def run(call: Call, calls: int, callers: int) -> Run:
    """Call from several callers at once, each one call after the other."""
    waits: list[float] = []
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            asked = time.perf_counter()
            await call()
            waits.append((time.perf_counter() - asked) * 1000)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return Run(time.perf_counter() - began, time.process_time() - used, waits)


# --- What is told


def tell(report: Report, title: str, runs: Mapping[tuple[str, int], list[Run]]) -> None:
    report.table(
        title,
        ("through", "in flight", "runs", "calls", "a second", "ms p50", "ms p99", "CPU ms a call"),
        [
            (
                f"{name} {version(name)}",
                callers,
                len(several),
                len(several[0].waits_ms),
                median(each.rate for each in several),
                median(percentile(each.waits_ms, 50) for each in several),
                median(percentile(each.waits_ms, 99) for each in several),
                median(each.cpu_seconds * 1000 / len(each.waits_ms) for each in several),
            )
            for (name, callers), several in runs.items()
        ],
    )


def tell_coding(report: Report, args: Mapping[str, Value], answer: bytes) -> None:
    """Say what of a call is the coding of its values, whatever carries it."""
    parts: dict[str, Callable[[], object]] = {
        "check and encode the arguments": lambda: (check(args), encode_request(PATH, args)),
        "decode the answer": lambda: decode_answer(answer),
    }
    rows = []
    for name, part in parts.items():
        times = []
        for _ in range(500):
            began = time.perf_counter()
            part()
            times.append((time.perf_counter() - began) * 1000)
        rows.append((name, len(times), median(times)))
    report.table("of this, coding", ("part", "times", "ms p50"), rows)


if __name__ == "__main__":
    sys.exit(main())
