"""Ten thousand connections to the command itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.application.connections import ROOT
from tests.application.raw_http import Site, modern, request, site_at

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

CROWD = 10_000
AT_ONCE = 500
ANSWER_SECONDS_MAX = 5
GROWTH_MIB_MAX = 100


def rss_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def ask(site: Site, times: list[float], done: asyncio.Event) -> None:
    """Call on one connection after another until the crowd is there, each answered in time."""
    number = 0
    while not done.is_set():
        number += 1
        headers, body = modern(
            "tools/call", "cache_increment", name="cache_increment", arguments={"key": "n"}
        )
        began = time.perf_counter()
        answer = await site.ask("POST", "/mcp", *headers, body=body)
        times.append(time.perf_counter() - began)
        result: dict[str, Any] = json.loads(answer.body)["result"]
        assert result["structuredContent"] == {"value": number}
        await asyncio.sleep(0.01)


async def test_ten_thousand_connections_cost_others_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "convex_memory", "serve", "--port", "0"],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "MEMORY" not in name},
            "MEMORY_DATA_DIR": str(tmp_path / "memory"),
            "MEMORY_EMBEDDER": "off",
        },
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    crowd: list[asyncio.StreamWriter] = []
    try:
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", await process.stderr.readline())
        assert found is not None
        async with site_at(found[0].decode()) as site:
            times: list[float] = []
            done = asyncio.Event()
            asking = asyncio.create_task(ask(site, times, done))
            await asyncio.sleep(0.5)
            before = rss_mib(process.pid)

            async def join() -> None:
                # Half say nothing, half begin and do not go on.
                _, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
                crowd.append(writer)
                if len(crowd) % 2:
                    writer.write(request("POST", "/mcp")[:20])

            for _ in range(CROWD // AT_ONCE):
                await asyncio.gather(*(join() for _ in range(AT_ONCE)))
            await asyncio.sleep(2)
            done.set()
            await asking
            after = rss_mib(process.pid)
        assert len(crowd) == CROWD
        print(f"{len(times)} calls, worst {max(times):.2f} s; {before:.0f} to {after:.0f} MiB")
        assert max(times) < ANSWER_SECONDS_MAX
        assert after - before < GROWTH_MIB_MAX
    finally:
        for writer in crowd:
            writer.transport.abort()
        for writer in crowd:
            with suppress(ConnectionError):
                await writer.wait_closed()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
