"""Many people at once on one endpoint: 64 clients save, recall and query over streamable HTTP.

Everything a client was told is stored is looked for afterwards. Beside it, in turns, the same
clients call a tool that does nothing on the bare SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp

from bench.report import CHECKOUT, Report, percentile, positive

VERSION: Final = "2026-07-28"
META: Final = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
MIX: Final = (("save", 5), ("recall", 3), ("query", 2))
"""Out of ten calls: save_message, recall_thread, and vector_query or search_memory in turns."""
DIMENSION: Final = 64
VECTORS: Final = 200
"""In the index that each client queries."""
RSS_GROWTH_MOST: Final = 1.1
BATCH: Final = 100
START_SECONDS_MAX: Final = 60
WORDS: Final = (
    "memory assistant harbour lantern meadow quiet river signal timber velvet window yellow "
    "anchor bridge copper dragon ember forest garden hollow island jacket kettle ladder"
).split()


@dataclass
class Tally:
    """What one side of the comparison saw."""

    ms: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def took(self, what: str, seconds: float) -> None:
        """Count a call."""
        self.ms.setdefault(what, []).append(seconds * 1000)

    @property
    def all_ms(self) -> list[float]:
        """Every call's milliseconds."""
        return [value for values in self.ms.values() for value in values]

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return len(self.all_ms) / self.seconds


class Person:
    """One client: a connection of its own, a token, a thread, and what it was told is stored."""

    def __init__(self, url: str, number: int, token: str | None) -> None:
        self._url = url
        self._number = number
        self._headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": "tools/call",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(60)
        )
        self._random = random.Random(number)
        self._turn = 0
        self.thread_id = f"thread-{number}"
        self.stored: dict[str, str] = {}

    async def close(self) -> None:
        """End the connection."""
        await self._session.close()

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call a tool; its structured answer. Raises RuntimeError for whatever is not one."""
        params = {"name": tool, "arguments": arguments, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with self._session.post(
            self._url, data=json.dumps(message), headers={**self._headers, "Mcp-Name": tool}
        ) as response:
            text = await response.text()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}")
        result = json.loads(text).get("result") or {}
        if not result or result.get("isError"):
            raise RuntimeError(text[:200])
        return dict(result.get("structuredContent") or {})

    async def prepare(self) -> None:
        """Make the index that is queried."""
        await self.call("create_index", {"index": self._index, "dimension": DIMENSION})
        for start in range(0, VECTORS, BATCH):
            items = [{"id": str(start + n), "vector": self._vector()} for n in range(BATCH)]
            await self.call("upsert_embeddings", {"index": self._index, "items": items})
        await self.save()

    async def noop(self) -> str:
        """Call the tool that does nothing; its name."""
        await self.call("noop", {})
        return "noop"

    async def some_call(self) -> str:
        """Make one call out of the mix; its name."""
        self._turn += 1
        kind = self._random.choices([name for name, _ in MIX], [share for _, share in MIX])[0]
        if kind == "save":
            await self.save()
            return "save_message"
        if kind == "recall":
            page = await self.call("recall_thread", {"thread_id": self.thread_id, "limit": 20})
            if not page["messages"]:
                raise RuntimeError("nothing recalled")
            return "recall_thread"
        if self._turn % 2:
            arguments = {"index": self._index, "vector": self._vector(), "top_k": 10}
            found = await self.call("vector_query", arguments)
            if len(found["matches"]) != 10:
                raise RuntimeError("too few matches")
            return "vector_query"
        await self.call("search_memory", {"query": self._text(3), "limit": 10})
        return "search_memory"

    async def save(self) -> None:
        """Save one message, and remember it once it is acknowledged."""
        message_id = f"m-{self._number}-{len(self.stored)}-{self._turn}"
        content = f"{message_id}: {self._text(20)}"
        arguments = {
            "role": "user",
            "content": content,
            "thread_id": self.thread_id,
            "message_id": message_id,
        }
        answer = await self.call("save_message", arguments)
        self.stored[answer["message_id"]] = content

    async def missing(self) -> int:
        """Walk the whole thread; how many of the messages stored are not there word for word."""
        found: dict[str, str] = {}
        cursor: str | None = None
        while True:
            arguments: dict[str, Any] = {"thread_id": self.thread_id, "limit": 100}
            if cursor is not None:
                arguments["cursor"] = cursor
            page = await self.call("recall_thread", arguments)
            found |= {each["id"]: each["content"] for each in page["messages"]}
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return sum(found.get(name) != content for name, content in self.stored.items())

    @property
    def _index(self) -> str:
        return f"index_{self._number}"

    def _vector(self) -> list[float]:
        return [round(self._random.uniform(-1, 1), 4) for _ in range(DIMENSION)]

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(WORDS, k=words))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=positive, default=64)
    parser.add_argument("--seconds", type=positive, default=60, help="of ours (default 60)")
    parser.add_argument("--warm-up", type=positive, default=15, help="before (default 15)")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each (default 3)")
    parser.add_argument("--embedder", default="minilm", help="as MEMORY_EMBEDDER (default minilm)")
    asked = parser.parse_args()
    report = Report("load", asked)
    with tempfile.TemporaryDirectory() as folder:
        tokens = {f"person-{n}": f"token-{n:04}-0123456789abcdef" for n in range(asked.clients)}
        with our_server(Path(folder), tokens, asked.embedder) as (ours, process), bare() as url:
            measured = Measured(report, asked, process.pid)
            asyncio.run(measured.run(ours, list(tokens.values()), url))
    return report.finish()


class Measured:
    """The run, and what it saw."""

    def __init__(self, report: Report, asked: argparse.Namespace, pid: int) -> None:
        self._report = report
        self._asked = asked
        self._pid = pid
        self._rss: list[float] = []

    async def run(self, ours: str, tokens: list[str], bare_url: str) -> None:
        """Warm up, measure in turns, look for what was stored, and tell."""
        people = [Person(ours, number, token) for number, token in enumerate(tokens)]
        bare_people = [Person(bare_url, number, None) for number in range(len(people))]
        try:
            await asyncio.gather(*(person.prepare() for person in people))
            await self._round(people, Person.some_call, Tally(), self._asked.warm_up)
            await self._round(bare_people, Person.noop, Tally(), 2)
            self._rss.clear()
            mixed, noop = Tally(), Tally()
            for _ in range(self._asked.rounds):
                seconds = self._asked.seconds / self._asked.rounds
                await self._round(people, Person.some_call, mixed, seconds)
                await self._round(bare_people, Person.noop, noop, seconds / 4)
            missing = sum(await asyncio.gather(*(person.missing() for person in people)))
            self._tell(mixed, noop, sum(len(person.stored) for person in people), missing)
        finally:
            for person in [*people, *bare_people]:
                await person.close()

    async def _round(
        self, people: list[Person], act: Callable[[Person], Any], tally: Tally, seconds: float
    ) -> None:
        began = time.perf_counter()

        async def live(person: Person) -> None:
            while time.perf_counter() < began + seconds:
                at = time.perf_counter()
                try:
                    what = await act(person)
                except (RuntimeError, aiohttp.ClientError, TimeoutError) as error:
                    tally.errors[f"{type(error).__name__}: {error}"[:120]] += 1
                else:
                    tally.took(what, time.perf_counter() - at)

        async def watch() -> None:
            while True:
                await asyncio.sleep(0.5)
                if act is Person.some_call:
                    self._rss.append(rss_mib(self._pid))

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(live(person) for person in people))
        tally.seconds += time.perf_counter() - began
        watching.cancel()

    def _tell(self, mixed: Tally, noop: Tally, stored: int, missing: int) -> None:
        rows: list[tuple[object, ...]] = [
            (name, len(ms), *(percentile(ms, p) for p in (50, 95, 99)), max(ms))
            for name, ms in [*sorted(mixed.ms.items()), ("all of ours", mixed.all_ms)]
        ]
        rows.append(
            (
                "bare SDK: noop",
                len(noop.all_ms),
                *(percentile(noop.all_ms, p) for p in (50, 95, 99)),
                max(noop.all_ms),
            )
        )
        title = f"{self._asked.clients} clients at once over streamable HTTP, protocol {VERSION}"
        self._report.table(title, ("tool", "calls", "ms p50", "p95", "p99", "worst"), rows)
        edge = max(1, len(self._rss) // 10)
        before, after = median(self._rss[:edge]), median(self._rss[-edge:])
        self._report.table(
            "in all",
            ("", "calls/s", "errors", "stored", "missing", "MiB after warm-up", "MiB at the end"),
            [
                (
                    "ours",
                    mixed.per_second,
                    sum(mixed.errors.values()),
                    stored,
                    missing,
                    before,
                    after,
                ),
                ("bare SDK: noop", noop.per_second, sum(noop.errors.values()), 0, 0, 0, 0),
                ("ratio, time of a call", noop.per_second / mixed.per_second, 0, 0, 0, 0, 0),
            ],
        )
        for error, count in mixed.errors.most_common(5):
            print(f"  {count} times {error}")
        self._report.require("errors", sum(mixed.errors.values()), at_most=0)
        self._report.require("acknowledged messages that are missing", missing, at_most=0)
        self._report.require(
            "memory at the end of what it was", after / before, at_most=RSS_GROWTH_MOST
        )


@contextlib.contextmanager
def our_server(
    folder: Path, tokens: Mapping[str, str], embedder: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `convex-memory serve` on a folder; where it is reached."""
    entries = ",".join(f"{name}={token}" for name, token in tokens.items())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MEMORY_")},
        "MEMORY_DATA_DIR": str(folder),
        "MEMORY_HTTP_TOKENS": entries,
        "MEMORY_EMBEDDER": embedder,
        # The person in front of each client is faster than people are.
        "MEMORY_HTTP_RATE": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "convex_memory", "serve", "--port", "0"],
        cwd=CHECKOUT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield found[0], process


@contextlib.contextmanager
def bare() -> Iterator[str]:
    """Run the server on the bare SDK; where it is reached."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    script = str(CHECKOUT / "bench" / "bare_http_server.py")
    process = subprocess.Popen([sys.executable, script, str(port)], cwd=tempfile.gettempdir())
    with ended(process):
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process when the work is done."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def rss_mib(pid: int) -> float:
    """Return how much memory a process holds, in MiB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.exit(main())
