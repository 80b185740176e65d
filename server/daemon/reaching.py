"""Reaching the daemon of a data folder; starting it where there is none."""

from __future__ import annotations

import os
import sys
import time

from server.daemon import handshake
from server.daemon.build import Build
from server.daemon.folder import Folder, Unavailable
from server.daemon.handshake import Hello
from server.daemon.starting import start_daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any, Final

REACH_SECONDS_MAX: Final = 15.0
"""How long somebody may hold the lock without listening before he is given up."""
ANSWER_SECONDS_MAX: Final = 30.0
"""How long a daemon may take to answer the first frame: it may just have been started."""
_AGAIN_SECONDS: Final = 0.005


class NotRunning(Unavailable):
    """There is no daemon, and none was to be started."""


class Reached:
    """A connection on which the daemon speaks MCP.

    Args:
        connection: The connection.
        python: The interpreter that the daemon runs in.
    """

    def __init__(self, connection: socket.socket, python: str) -> None:
        self.connection = connection
        self.python = python


def reach(
    folder: Folder,
    environment: Mapping[str, str],
    *,
    may_start: bool = True,
    python: str = sys.executable,
) -> Reached:
    """Connect to the daemon.

    Args:
        folder: The daemon's.
        environment: The settings of this host.
        may_start: Start one where there is none.
        python: The interpreter to start it with.

    Raises:
        NotRunning: There is none, and none was to be started.
        Unavailable: There is none for us, and why.
    """
    build = Build.here()
    attempt = _Attempt(folder, build, python if may_start else None)
    while True:
        connected = folder.connect()
        if connected is None:
            attempt.start_or_wait()
            continue
        connection, token = connected
        answer = _ask(connection, Hello(handshake.SERVE, build, token, environment))
        verdict = None if answer is None else answer.get("verdict")
        if answer is not None and verdict == handshake.WELCOME:
            connection.settimeout(None)
            return Reached(connection, str(answer.get("python", "")))
        connection.close()
        if answer is not None and (verdict != handshake.YIELDED or attempt.was_yielded):
            raise Unavailable(str(answer.get("why", verdict)))
        # It ended just then, or made room.
        attempt.was_yielded = attempt.was_yielded or verdict == handshake.YIELDED
        attempt.pause()


def question(folder: Folder, ask: str) -> tuple[dict[str, Any], socket.socket] | None:
    """Ask a running daemon something; return its answer and the connection, None without one.

    Raises:
        Unavailable: It does not answer.
    """
    connected = folder.connect()
    if connected is None:
        return None
    connection, token = connected
    answer = _ask(connection, Hello(ask, Build.here(), token))
    if answer is None:
        connection.close()
        return None
    return answer, connection


def _ask(connection: socket.socket, hello: Hello) -> dict[str, Any] | None:
    connection.settimeout(ANSWER_SECONDS_MAX)
    try:
        return handshake.ask(connection, hello)
    except TimeoutError as error:
        connection.close()
        raise Unavailable(f"the daemon gave no answer in {ANSWER_SECONDS_MAX:.0f} s") from error


class _Attempt:
    """What one call of `reach` has tried so far."""

    def __init__(self, folder: Folder, build: Build, python: str | None) -> None:
        self.was_yielded = False
        self._folder = folder
        self._build = build
        self._python = python
        self._starting: Callable[[], bool] | None = None
        self._until = time.monotonic() + REACH_SECONDS_MAX

    def start_or_wait(self) -> None:
        """Start the daemon, or wait a little when somebody else is about to."""
        if self._python is None:
            raise NotRunning("no daemon runs")
        self._folder.prepare()
        lock = self._folder.lock()
        if lock is None:
            self.pause()
            return
        try:
            if self._starting is None:
                self._starting = start_daemon(self._folder, self._build, lock, self._python)
            elif not self._starting():
                raise Unavailable(f"it ended as soon as it was started; see {self._folder.log}")
        finally:
            os.close(lock)
        self.pause()

    def pause(self) -> None:
        """Let some time go by; not for ever."""
        if time.monotonic() > self._until:
            raise Unavailable("the daemon is neither there nor gone")
        time.sleep(_AGAIN_SECONDS)
