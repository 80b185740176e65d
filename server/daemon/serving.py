"""The daemon: every host of a data folder is served here, each on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

import anyio
from anyio.abc import TaskGroup

from convex_memory.errors import ConfigurationError
from server import environment as variables
from server.app import create_server
from server.daemon import handshake
from server.daemon.build import Build
from server.daemon.folder import Folder, is_of_this_user
from server.daemon.handshake import LOG_MARK, Hello
from server.daemon.hearing import HEARERS, LEVEL_DEFAULT, DaemonLog, Hearers
from server.daemon.pool import SharedPool
from server.settings import Settings
from server.transports.wire import LINE_BYTES_MAX, Wire, serve_streams

logger = logging.getLogger(__name__)

HELLO_SECONDS_MAX: Final = 10
FIRST_HOST_SECONDS_MAX: Final = 60
"""How long the first host may take to come."""
_UNUSED_MS: Final = 1000
"""How long to stay for others when the first host was not served."""
DRAIN_SECONDS_MAX: Final = 5
"""How long calls in flight may take when the daemon has been told to end."""
_LOOK_SECONDS: Final = 2
"""How often to see whether the folder is still there."""
_AGAIN_SECONDS: Final = 0.1
_ENDED_EARLY: Final = (
    OSError,
    ValueError,
    TimeoutError,
    asyncio.IncompleteReadError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
"""What becomes of a connection whose other end is gone, or never spoke as it should."""


class Daemon:
    """Serves hosts until it is time to leave: nobody came for a while, told to, or replaced.

    Args:
        folder: Where it is found.
        build: The code that runs here.
        lock: The descriptor that makes it the daemon.
        listener: Takes connections.
        token: What they have to show.
        stays: Stay while nobody comes.
    """

    def __init__(
        self,
        folder: Folder,
        build: Build,
        lock: int,
        listener: socket.socket,
        token: str,
        *,
        stays: bool = False,
    ) -> None:
        self._folder = folder
        self._build = build
        self._lock = lock
        self._listener = listener
        self._token = token
        self._stays = stays
        self._since = datetime.now(UTC)
        self._idle_ms = _UNUSED_MS
        self._wires: set[Wire] = set()
        self._levels: list[int] = []
        self._attended = 0
        self._is_told_to_end = False
        self._withdrawn = anyio.Event()
        self._empty = anyio.Event()
        self._done = anyio.Event()
        self._taking = anyio.CancelScope()
        self._idle: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve, and return when everybody has been served."""
        log = DaemonLog(None if self._stays else self._folder.log)
        logging.basicConfig(level=logging.WARNING, handlers=[log], force=True)
        async with self._told_by_signals(), anyio.create_task_group() as tasks:
            pool = SharedPool(tasks)
            try:
                async with anyio.create_task_group() as connections:
                    connections.start_soon(self._take, connections, pool)
                    connections.start_soon(self._watch_the_folder)
                    self._wait_for_a_host(FIRST_HOST_SECONDS_MAX)
                    await self._done.wait()
                    self._make_room()
                    if self._is_told_to_end:
                        await self._finish_calls()
                    connections.cancel_scope.cancel()
            finally:
                self._withdraw()
                pool.close()

    # --- Leaving

    @asynccontextmanager
    async def _told_by_signals(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        before: dict[int, Any] = {}
        for number in signals:
            try:
                loop.add_signal_handler(number, self.end)
            except NotImplementedError:
                before[number] = signal.signal(
                    number, lambda *_: loop.call_soon_threadsafe(self.end)
                )
        try:
            yield
        finally:
            for number in signals:
                if number in before:
                    signal.signal(number, before[number])
                else:
                    loop.remove_signal_handler(number)

    def end(self) -> None:
        """Finish the calls in flight, then leave."""
        self._is_told_to_end = True
        self._done.set()

    def _make_room(self) -> None:
        """Take no more hosts, and leave when those that are here have gone."""
        self._withdraw()
        self._leave_if_empty()

    def _withdraw(self) -> None:
        """Take no more hosts: another daemon may take its place."""
        if not self._withdrawn.is_set():
            self._withdrawn.set()
            self._taking.cancel()
            self._folder.withdraw()
            self._listener.close()
            os.close(self._lock)

    def _leave_if_empty(self) -> None:
        if self._attended == 0 and self._withdrawn.is_set():
            self._empty.set()
            self._done.set()

    async def _finish_calls(self) -> None:
        wires = list(self._wires)
        with anyio.move_on_after(DRAIN_SECONDS_MAX):
            async with anyio.create_task_group() as answering:
                for wire in wires:
                    answering.start_soon(wire.answer_all)
        for wire in wires:
            wire.hang_up()
        with anyio.move_on_after(DRAIN_SECONDS_MAX):
            await self._empty.wait()

    def _wait_for_a_host(self, seconds: float) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if not self._stays:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(seconds, self._leave_if_idle)

    def _leave_if_idle(self) -> None:
        if self._attended == 0:
            self._make_room()

    async def _watch_the_folder(self) -> None:
        """Leave when the folder is gone, or somebody else listens there."""
        while not self._withdrawn.is_set():
            with anyio.move_on_after(_LOOK_SECONDS):
                await self._withdrawn.wait()
            if not self._folder.is_listening_here():
                self._make_room()

    # --- Connections

    async def _take(self, connections: TaskGroup, pool: SharedPool) -> None:
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        with self._taking:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:
                    logger.warning("a connection could not be taken: %s", error.strerror)
                    await anyio.sleep(_AGAIN_SECONDS)
                    continue
                self._attended += 1
                connections.start_soon(self._attend, connection, pool)

    async def _attend(self, connection: socket.socket, pool: SharedPool) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            if self._folder.loopback or is_of_this_user(connection):
                reader, writer = await asyncio.open_connection(
                    sock=connection, limit=LINE_BYTES_MAX
                )
                await self._answer(reader, writer, pool)
        except* _ENDED_EARLY:
            logger.debug("a connection ended early", exc_info=True)
        except* Exception:
            logger.exception("a connection failed")
        finally:
            if writer is None:
                connection.close()
            else:
                writer.close()
            self._attended -= 1
            self._leave_if_empty()
            if self._attended == 0:
                self._wait_for_a_host(self._idle_ms / 1000)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pool: SharedPool
    ) -> None:
        async with asyncio.timeout(HELLO_SECONDS_MAX):
            hello = Hello.read(await reader.readuntil(b"\n"))
        if not secrets.compare_digest(hello.token.encode(), self._token.encode()):
            return
        if hello.ask == handshake.STATUS:
            writer.write(handshake.answer(handshake.STATUS, **self._status()))
        elif hello.ask == handshake.STOP:
            writer.write(handshake.answer(handshake.STOP, **self._status()))
            # Never closed: who asked sees the end of it when the process is gone.
            writer.get_extra_info("socket").dup().detach()
            self.end()
        elif hello.build.is_same(self._build) and hello.protocol == handshake.PROTOCOL:
            await self._serve(hello, reader, writer, pool)
        elif hello.build.is_newer(self._build):
            self._withdraw()
            writer.write(handshake.answer(handshake.YIELDED, **self._status()))
        else:
            why = f"a newer version runs: {self._build.version}"
            writer.write(handshake.answer(handshake.REFUSED, why=why))

    def _status(self) -> dict[str, Any]:
        return {
            "version": self._build.version,
            "root": self._build.root,
            "pid": os.getpid(),
            "since": self._since.isoformat(timespec="seconds"),
            "connections": len(self._levels),
        }

    async def _serve(
        self,
        hello: Hello,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pool: SharedPool,
    ) -> None:
        try:
            settings = Settings.from_environment(
                {**hello.environment, variables.DATA_DIR: self._folder.data_dir}
            )
        except ConfigurationError as error:
            # The host says so itself, as it does without a daemon.
            writer.write(handshake.answer(handshake.REFUSED, why=error.message))
            return
        wire = Wire(reader, cast(asyncio.Transport, writer.transport), writer)
        level = logging.getLevelNamesMapping()[settings.log_level]
        hearers = _hearing_on(wire, level)
        HEARERS.set(hearers)
        async with pool.use(settings, hearers) as shared:
            server = create_server(settings, shared)
            with self._host(wire, level, settings.daemon_idle_ms):
                writer.write(
                    handshake.answer(handshake.WELCOME, python=sys.executable, **self._status())
                )
                async with (
                    server.lifespan(server) as state,
                    wire.streams() as (reading, writing),
                ):
                    await serve_streams(server, state, reading, writing)

    @contextmanager
    def _host(self, wire: Wire, level: int, idle_ms: int) -> Iterator[None]:
        """Count a host while the block runs."""
        self._idle_ms = idle_ms
        self._wires.add(wire)
        self._levels.append(level)
        self._log_enough()
        try:
            yield
        finally:
            self._wires.remove(wire)
            self._levels.remove(level)
            self._log_enough()

    def _log_enough(self) -> None:
        """Have that logged which some host wants to hear."""
        logging.getLogger().setLevel(min([LEVEL_DEFAULT, *self._levels]))


def _hearing_on(wire: Wire, level: int) -> Hearers:
    """Return a host that hears on its wire what it has to be told."""
    loop = asyncio.get_running_loop()

    def tell(line: str) -> None:
        # Some records come from threads.
        loop.call_soon_threadsafe(wire.write_aside, LOG_MARK + line.encode() + b"\n")

    return Hearers(level, tell)
