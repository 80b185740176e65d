"""The server over a deployment that is reached through a network that misbehaves."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from tests import fault_proxy
from tests.application.connections import ROOT, Caller, connected, settings_in
from tests.fault_proxy import Fault, FaultProxy, answering

pytestmark = pytest.mark.anyio

KEY: Final = "key-of-the-deployment"
CALLERS: Final = 8
FAULTS: Final[tuple[Fault, ...]] = (
    fault_proxy.CLOSE_AT_ONCE,
    fault_proxy.RESET_AT_ONCE,
    fault_proxy.DROP_BEFORE,
    fault_proxy.RESET_BEFORE,
    fault_proxy.HOLD_BEFORE,
    fault_proxy.DROP_AFTER,
    fault_proxy.RESET_AFTER,
    fault_proxy.HOLD_AFTER,
    fault_proxy.HALF_HEADER,
    fault_proxy.HALF_BODY,
    fault_proxy.HALF_CHUNKS,
    fault_proxy.OTHER_TYPE,
    fault_proxy.CLOSE_WHEN_IDLE,
    fault_proxy.RESET_WHEN_IDLE,
    fault_proxy.NOT_HTTP,
    answering(502, "<html>bad gateway</html>"),
    answering(503, '{"code": "Overloaded", "message": "later"}'),
    answering(429, "slow down"),
    answering(500, "broken", forwards=True),
)
TOLD: Final = {"timeout", "unreachable", "overloaded", "invalid_response", "deployment"}
"""What a call that failed may say. All of them say whether it may have happened."""


@asynccontextmanager
async def deployment_process(folder: Path) -> AsyncIterator[str]:
    """Run `convex-memory deployment`; its URL."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "convex_memory", "deployment", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "MEMORY_DATA_DIR": str(folder), "MEMORY_DEPLOYMENT_KEY": KEY},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        found = re.search(rb"http://\S+", await process.stderr.readline())
        assert found is not None
        yield found[0].decode()
    finally:
        process.terminate()
        await process.communicate()


class Run:
    """What callers sent, and what they were told."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        self.refused: Counter[str] = Counter()
        self.counted = 0
        self.pushed: dict[str, list[int]] = {}

    def fault(self) -> Fault:
        return self.random.choice(FAULTS) if self.random.random() < 0.3 else fault_proxy.PASS

    async def live(self, caller: Caller, name: str, until: float) -> None:
        """Save, count and push, each time noting what was answered."""
        number = 0
        while time.monotonic() < until:
            number += 1
            message_id, content = f"{name}-{number}", f"what {name} said, {number}"
            if await self._told(
                caller,
                "save_message",
                thread_id=name,
                role="user",
                content=content,
                message_id=message_id,
            ):
                self.acknowledged[message_id] = content
            if number % 3 == 0 and await self._told(caller, "cache_increment", key="count"):
                self.counted += 1
            if number % 4 == 0 and await self._told(caller, "cache_push", key=name, value=number):
                self.pushed.setdefault(name, []).append(number)

    async def _told(self, caller: Caller, tool: str, **arguments: Any) -> bool:
        result = await caller.client.call_tool(tool, arguments)
        if not result.is_error:
            return True
        assert result.meta is not None
        self.refused[result.meta["convex-memory/error"]["code"]] += 1
        return False


async def run_for(seconds: float, tmp_path: Path) -> None:
    run = Run(seed=int(seconds))
    async with (
        deployment_process(tmp_path / "memory") as url,
        fault_proxy.fault_proxy(url) as proxy,
        AsyncExitStack() as stack,
    ):
        settings = settings_in(
            tmp_path / "unused",
            convex_url=proxy.url,
            convex_admin_key=SecretStr(KEY),
            request_timeout_ms=1500,
        )
        callers = [
            await stack.enter_async_context(connected("http/2026", settings)) for _ in range(2)
        ]
        direct = settings_in(tmp_path / "unused", convex_url=url, convex_admin_key=SecretStr(KEY))
        reader = await stack.enter_async_context(connected("memory/2026", direct))
        await reader.call("list_threads")
        misbehave(proxy, run)
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(run.live(callers[n % 2], f"caller-{n}", until) for n in range(CALLERS))
        )
        proxy.will()
        await check(reader, run)
    # It did misbehave, and calls did fail and succeed.
    assert run.refused
    assert set(run.refused) <= TOLD
    assert len(run.acknowledged) > CALLERS


def misbehave(proxy: FaultProxy, run: Run) -> None:
    """Have any fault befall requests and connections, from now on."""

    def request() -> Fault:
        fault = run.fault()
        return fault_proxy.PASS if fault.unread else fault

    def connection() -> Fault:
        fault = run.fault()
        return fault if fault.unread else fault_proxy.PASS

    proxy.choose, proxy.choose_connection = request, connection


async def check(reader: Caller, run: Run) -> None:
    """Everything acknowledged is there, once; nothing is there that nobody said."""
    found: Counter[str] = Counter()
    for number in range(CALLERS):
        name = f"caller-{number}"
        given: dict[str, Any] = {}
        while True:
            page = await reader.call("recall_thread", thread_id=name, limit=100, **given)
            for message in page["messages"]:
                found[message["id"]] += 1
                said = f"what {name} said, {message['id'].rpartition('-')[2]}"
                assert message["content"] == said
            if page.get("next_cursor") is None:
                break
            given = {"cursor": page["next_cursor"]}
    assert set(run.acknowledged) <= set(found)
    assert set(found.values()) == {1}
    for name, pushed in run.pushed.items():
        kept = (await reader.call("cache_replay", key=name, limit=1000))["items"]
        # In order, and those without an answer at most once.
        assert kept == sorted(set(kept))
        assert set(pushed) <= set(kept)
    # What is not sent twice may have happened without an answer, never the other way round.
    counted = (await reader.call("cache_increment", key="count"))["value"] - 1
    assert run.counted <= counted <= run.counted + sum(run.refused.values())


async def test_what_was_acknowledged_is_there_and_what_failed_said_so(tmp_path: Path) -> None:
    await run_for(3, tmp_path)


@pytest.mark.soak
async def test_what_was_acknowledged_is_there_after_a_minute_of_faults(tmp_path: Path) -> None:
    await run_for(60, tmp_path)
