"""What an assistant starts: passes stdin and stdout on to the daemon of the data folder.

When the daemon goes, the next message finds another one, which is told what the host had said to
open the connection. Where none can be had from the beginning, the server runs in this process.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading

from server import environment as variables
from server.daemon.build import Build
from server.daemon.conversation import Conversation, refusal
from server.daemon.folder import Folder, Unavailable
from server.daemon.handshake import LOG_MARK
from server.daemon.reaching import reach
from server.daemon.starting import start_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

CHUNK_BYTES: Final = 64 << 10
_IN: Final = 0
_OUT: Final = 1
_ERR: Final = 2
_FAILED: Final = 1
_INTERRUPTED: Final = 130


def run(*, may_start: bool = True) -> int | None:
    """Serve the host of this process over stdio; return the exit status.

    Args:
        may_start: Start the daemon where there is none.

    Returns:
        None when nothing was read or written yet and the server has to run in this process.
    """
    if not _is_open(_IN) or not _is_open(_OUT):
        return None
    environment = variables.given()
    if variables.is_off(environment.get(variables.DAEMON, "")) or os.isatty(_IN):
        return None
    try:
        data_dir = environment.get(variables.DATA_DIR) or variables.default_data_dir()
    except ImportError:
        return None
    folder = Folder(os.path.expanduser(data_dir))
    environment[variables.DATA_DIR] = folder.data_dir

    servers = _Servers(folder, environment, may_start)
    try:
        return Shim(servers.connect).run()
    except Unavailable:
        return None
    except KeyboardInterrupt:
        return _INTERRUPTED


class _Servers:
    """Finds who serves this host."""

    def __init__(self, folder: Folder, environment: Mapping[str, str], may_start: bool) -> None:
        self._folder = folder
        self._environment = environment
        self._may_start = may_start
        self._python = sys.executable
        self._was_reached = False

    def connect(self) -> socket.socket:
        """Connect to a daemon, or where one was lost and there is no other, to a server alone."""
        may_start = self._may_start or self._was_reached
        try:
            reached = reach(
                self._folder, self._environment, may_start=may_start, python=self._python
            )
        except Unavailable:
            if not self._was_reached:
                raise
            return start_server(self._environment, Build.here(), self._python)
        self._was_reached = True
        # Ours may be one where nothing of what a server needs is installed.
        self._python = reached.python or self._python
        return reached.connection


class Shim:
    """One host's stdin and stdout, and whoever serves them at the moment.

    Args:
        connect: Returns a connection to a server, or raises `Unavailable`.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._conversation = Conversation()
        self._link: socket.socket | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._writing = threading.Lock()

    def run(self) -> int:
        """Pass everything on, until the host closes stdin and has every answer.

        Raises:
            Unavailable: No daemon serves this host; nothing was read or written.
        """
        self._link = self._connect()
        threading.Thread(target=self._send_up, daemon=True).start()
        try:
            while (link := self._next_link()) is not None:
                self._pass_down(link)
        except BrokenPipeError:
            # The host reads no more: it is gone.
            return 0
        return 0

    # --- From the host

    def _send_up(self) -> None:
        try:
            while chunk := _read(_IN):
                self._forward(chunk)
        except BrokenPipeError:
            # The host reads no more, which ends the process elsewhere.
            return
        except Unavailable as error:
            _write(_ERR, f"convex-memory: no server can be started any more: {error}\n".encode())
            os._exit(_FAILED)
        with self._changed:
            self._ended = True
            if self._link is not None:
                _end_writing(self._link)
            self._changed.notify_all()

    def _forward(self, chunk: bytes) -> None:
        with self._changed:
            chunk, unanswered = self._conversation.after_what_was_lost(chunk)
            if chunk:
                link = self._link or self._renew()
                self._conversation.said(chunk)
        self._refuse(unanswered)
        if chunk:
            try:
                link.sendall(chunk)
            except OSError:
                # Who reads from it sees the same, and tells the host.
                return

    # --- From the server

    def _pass_down(self, link: socket.socket) -> None:
        """Pass whole lines to the host until the server closes; say which calls are lost."""
        pieces: list[bytes] = []
        while data := _receive(link):
            end = data.rfind(b"\n") + 1
            if not end:
                pieces.append(data)
                continue
            pieces.append(data[:end])
            self._deliver(b"".join(pieces))
            pieces = [data[end:]] if end < len(data) else []
        with self._changed:
            self._link = None
            link.close()
            unanswered = self._conversation.lost()
        self._refuse(unanswered)

    def _deliver(self, lines: bytes) -> None:
        for_host = []
        for line in lines.split(b"\n")[:-1]:
            if line.startswith(LOG_MARK):
                _write(_ERR, line[1:] + b"\n")
            elif self._conversation.answered(line):
                for_host.append(line)
        if for_host:
            with self._writing:
                _write(_OUT, b"\n".join(for_host) + b"\n")

    def _refuse(self, request_ids: list[str | int]) -> None:
        if request_ids:
            with self._writing:
                _write(_OUT, b"".join(map(refusal, request_ids)))

    # --- Whoever serves

    def _next_link(self) -> socket.socket | None:
        """Return the connection to read from, as soon as there is one; None at the end."""
        with self._changed:
            if self._link is None and not self._ended and self._conversation.waits:
                self._renew()
            self._changed.wait_for(lambda: self._link is not None or self._ended)
            return self._link

    def _renew(self) -> socket.socket:
        """Connect to another server and bring it to where the last one was."""
        link = self._connect()
        try:
            for line in self._conversation.opening():
                link.sendall(line + b"\n")
        except OSError:
            # Gone again, which who reads from it will see.
            pass
        if self._ended:
            _end_writing(link)
        self._link = link
        self._changed.notify_all()
        return link


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
        # A host may have left its end so that it does not wait.
        os.set_blocking(descriptor, True)
    except OSError:
        return False
    return True


def _end_writing(link: socket.socket) -> None:
    try:
        link.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(CHUNK_BYTES)
    except OSError:
        return b""


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, CHUNK_BYTES)
    except OSError:
        return b""


def _write(descriptor: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            # Somebody who shares the pipe has made it so.
            select.select([], [descriptor], [])
