"""`convex-memory daemon`: is one running, end it, or be it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from server.daemon import handshake
from server.daemon.folder import Folder, Unavailable
from server.daemon.process import run
from server.daemon.reaching import question
from server.finding import Finding
from server.settings import Settings

Show = Callable[[str], None]


def show_status(settings: Settings, show: Show) -> int:
    """Say whether a daemon runs; return 0 when it does, 1 when not."""
    folder = Folder(str(settings.data_dir))
    status = _status(folder)
    show(_none(folder) if status is None else _described(status))
    return 0 if status is not None else 1


def stop(settings: Settings, show: Show) -> int:
    """End the daemon once calls in flight are answered; return 0 when none runs any more."""
    folder = Folder(str(settings.data_dir))
    answered = question(folder, handshake.STOP)
    if answered is None:
        show(_none(folder))
        return 0
    status, connection = answered
    with connection:
        _wait_for_the_end(connection)
    show(f"The daemon has ended (process {status.get('pid')}).")
    return 0


def stay(settings: Settings, show: Show, on_listening: Show) -> int:
    """Be the daemon until a signal ends it; return 1 when another process is."""
    folder = Folder(str(settings.data_dir))

    def listening() -> None:
        on_listening(f"the daemon of {folder.data_dir}, process {os.getpid()}")

    if run(folder, stays=True, on_listening=listening):
        return 0
    status = _status(folder)
    show("Another process is about to be the daemon." if status is None else _described(status))
    return 1


def finding(settings: Settings) -> Finding:
    """Say whether hosts of this folder start in an instant, for `convex-memory doctor`."""
    if not settings.daemon:
        return Finding("daemon", True, "off: every assistant runs a server of its own")
    folder = Folder(str(settings.data_dir))
    try:
        status = _status(folder)
        if status is None and os.path.isdir(folder.path):
            folder.prepare()
    except Unavailable as error:
        return Finding("daemon", False, f"{error}. Every assistant runs a server of its own.")
    if status is None:
        return Finding("daemon", True, "none runs now; the first assistant starts it")
    return Finding("daemon", True, _described(status))


def _status(folder: Folder) -> Mapping[str, Any] | None:
    answered = question(folder, handshake.STATUS)
    if answered is None:
        return None
    status, connection = answered
    connection.close()
    return status


def _described(status: Mapping[str, Any]) -> str:
    connections = status.get("connections")
    return (
        f"version {status.get('version')} of {status.get('root')}, process {status.get('pid')}, "
        f"since {status.get('since')}, "
        f"{connections} {'connection' if connections == 1 else 'connections'}"
    )


def _none(folder: Folder) -> str:
    return f"No daemon runs for {folder.data_dir}."


def _wait_for_the_end(connection: socket.socket) -> None:
    """Return when the process at the other end is gone."""
    connection.settimeout(None)
    try:
        while connection.recv(1):
            continue
    except OSError:
        return
