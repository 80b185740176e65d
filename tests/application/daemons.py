"""Daemons of scratch folders: which run, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from server.daemon import handshake
from server.daemon.build import Build
from server.daemon.folder import Folder
from server.daemon.reaching import question
from tests.application.connections import FOLDER, ROOT

END_SECONDS_MAX: Final = 20
_PROGRAM: Final = b"server.daemon.process"


def daemons_in(folder: str) -> list[int]:
    """Return the processes that are, or are about to be, daemons of folders below this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if _PROGRAM in command and folder.encode() in command:
            found.append(int(entry.parent.name))
    return sorted(found)


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    """Return the settings of a host whose daemon leaves with its last host."""
    return {
        "MEMORY_DATA_DIR": str(tmp_path / FOLDER),
        "MEMORY_EMBEDDER": "off",
        "MEMORY_DAEMON_IDLE_MS": "0",
        **settings,
    }


def status(folder: Folder) -> dict[str, Any] | None:
    """Return what the daemon says of itself; None without one."""
    answered = question(folder, handshake.STATUS)
    if answered is None:
        return None
    answered[1].close()
    return answered[0]


def pid_of(folder: Folder) -> int:
    told = status(folder)
    assert told is not None
    return int(told["pid"])


def is_running(pid: int) -> bool:
    """Whether a process is there, and not merely waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_the_end(pid: int) -> None:
    """Return when a process is gone."""
    until = time.monotonic() + END_SECONDS_MAX
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        ready, _, _ = select.select([descriptor], [], [], until - time.monotonic())
        assert ready, f"process {pid} goes on"
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    """Kill a process where it stands, and return when it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for_the_end(pid)


def command(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "convex_memory", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class AnotherBuild:
    """Makes builds that stand beside the one that runs here."""

    def __init__(self) -> None:
        self.here = Build.here()

    def newer(self) -> Build:
        return Build("/elsewhere", "999.0", self.here.stamp, "other")

    def older(self) -> Build:
        return Build("/elsewhere", "0.0.1", self.here.stamp, "other")

    def changed(self) -> Build:
        """The same checkout after somebody edited it."""
        return Build(self.here.root, self.here.version, self.here.stamp - 1, "edited")
