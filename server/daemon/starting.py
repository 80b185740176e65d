"""Starting processes of ours: the daemon, and a server for one host alone."""

from __future__ import annotations

import json
import os
import socket
import sys

from server import environment as variables
from server.daemon.folder import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO, Any, Final

    from server.daemon.build import Build
    from server.daemon.folder import Folder

LOG_BYTES_MAX: Final = 256 << 10
_DAEMON: Final = "from server.daemon.process import main; main(sys.argv[1])"
_SERVER: Final = "from server.cli import main; sys.exit(main([]))"


def start_daemon(folder: Folder, build: Build, lock: int, python: str) -> Callable[[], bool]:
    """Start a daemon that outlives this process and its host, and has nothing of theirs.

    Args:
        folder: Where it is to listen.
        build: The code that it is to run.
        lock: The descriptor that makes it the daemon; stays the caller's to close.
        python: The interpreter.

    Returns:
        Whether it may still be about to take the lock.

    Raises:
        Unavailable: It could not be started.
    """
    handed_on = sys.platform != "win32"
    arguments = {
        "data_dir": folder.data_dir,
        "loopback": folder.loopback,
        "lock": lock if handed_on else None,
    }
    options: dict[str, Any] = (
        {"pass_fds": (lock,), "start_new_session": True, "cwd": "/"}
        if handed_on
        else {"creationflags": _detached(), "cwd": os.path.expanduser("~")}
    )
    with _log(folder) as log:
        process = _start(
            python,
            build.root,
            _DAEMON,
            json.dumps(arguments),
            env=variables.without_settings(),
            stderr=log,
            **options,
        )
    if handed_on:
        # It leaves a child of its own, which has the lock and belongs to nobody.
        process.wait()
        return lambda: False
    return lambda: process.poll() is None


def start_server(environment: Mapping[str, str], build: Build, python: str) -> socket.socket:
    """Start a server for one host alone, and return the connection that is its stdin and stdout.

    It ends when the connection is closed.

    Raises:
        Unavailable: It could not be started.
    """
    ours, theirs = socket.socketpair()
    settings = {**variables.without_settings(), **environment, variables.DAEMON: "off"}
    with theirs:
        try:
            process = _start(
                python, build.root, _SERVER, env=settings, stdin=theirs, stdout=theirs, stderr=None
            )
        except Unavailable:
            ours.close()
            raise
    # It is not waited for: it goes when this process does.
    process.returncode = 0
    return ours


def _start(python: str, root: str, program: str, *arguments: str, **options: Any) -> Any:
    import subprocess

    if not python:
        raise Unavailable("this Python does not say where it is")
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options}
    command = [python, "-P", "-c", f"import sys; sys.path[:0] = [{root!r}]; {program}", *arguments]
    try:
        return subprocess.Popen(command, **given)
    except OSError as error:
        raise Unavailable(f"it could not be started: {error.strerror}") from error


def _detached() -> int:
    import subprocess

    names = ("DETACHED_PROCESS", "CREATE_NEW_PROCESS_GROUP")
    return sum(int(getattr(subprocess, name, 0)) for name in names)


def _log(folder: Folder) -> IO[bytes]:
    """Open the daemon's log; what is too long of it is put aside."""
    try:
        put_aside(folder.log)
        return open(os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    except OSError as error:
        raise Unavailable(f"{folder.log} cannot be written: {error.strerror}") from error


def put_aside(log: str) -> bool:
    """Rename a log that has become too long; return whether it was."""
    try:
        if os.stat(log).st_size <= LOG_BYTES_MAX:
            return False
    except FileNotFoundError:
        return False
    os.replace(log, f"{log}.1")
    return True
