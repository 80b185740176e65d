"""Real servers, a real deployment, and what stands between them and their clients."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, web

from tests.application.connections import ROOT

_START_TIMEOUT_S = 60
_BODY_BYTES_MAX = 64 * 2**20
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class Process:
    """One command of ours that listens.

    Args:
        command: Its name, `serve` or `deployment`.
        environment: Its settings.
    """

    def __init__(self, command: str, environment: Mapping[str, str]) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "convex_memory", command, "--port", "0"],
            env={**inherited, "MEMORY_EMBEDDER": "off", **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._url = ""
        self._said: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        assert self._listening.wait(_START_TIMEOUT_S)
        assert self._url, "".join(self._said)
        return self._url

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self._said.append(line)
            found = re.search(r" at (http://\S+)", line)
            if found and not self._url:
                self._url = found[1]
                self._listening.set()
        self._listening.set()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        if self.popen.stderr is not None:
            self.popen.stderr.close()

    def stop(self) -> int:
        """Ask it to end, and return its status."""
        self.popen.terminate()
        return self.popen.wait(timeout=30)


class Proxy:
    """Passes requests on, each to the next of its targets.

    Args:
        targets: Origins, without path.
        holds: Whether a request with this body waits until `opened` is set.
    """

    def __init__(
        self, targets: Sequence[str], holds: Callable[[bytes], bool] = lambda body: False
    ) -> None:
        self.passed: Counter[str] = Counter()
        self.held = asyncio.Event()
        self.opened = asyncio.Event()
        self.url = ""
        self._targets = itertools.cycle(targets)
        self._holds = holds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen on a free port of the loopback."""
        async with ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False) as out:
            self._out = out
            app = web.Application(client_max_size=_BODY_BYTES_MAX)
            app.router.add_route("*", "/{path:.*}", self._pass)
            runner = web.AppRunner(app, shutdown_timeout=0)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                self.opened.set()
                await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._holds(body):
            self.held.set()
            await self.opened.wait()
        target = next(self._targets)
        self.passed[target] += 1
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP and name.lower() != "host"
        }
        async with self._out.request(
            request.method, target + request.path_qs, headers=headers, data=body
        ) as answer:
            response = web.StreamResponse(
                status=answer.status,
                headers={k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP},
            )
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
        return response
