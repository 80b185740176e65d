"""Where a data folder's daemon is: its private folder, its lock, where it listens.

`daemon/` in the data folder, which only its owner may enter, holds `lock` (held by the process
that is the daemon, for as long as it takes new connections), `socket` and `log`. A path that is
too long for a socket is replaced by one in a folder of ours under `/tmp`. Where there are no Unix
sockets the daemon listens on loopback, and `address` holds the port and a token to show.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SOCKET_PATH_BYTES_MAX: Final = 100
"""macOS takes 103, Linux 107."""
BACKLOG: Final = 128
_SHORT_FOLDER: Final = "/tmp/convex-memory-{user}"
_PRIVATE: Final = 0o700
_TOKEN_BYTES: Final = 32
_LOCAL_PEERCRED: Final = 1
_XUCRED_BYTES: Final = 76


class Unavailable(Exception):
    """There can be no daemon here, or none that answers; says why."""


class Folder:
    """What belongs to the daemon of one data folder.

    Args:
        data_dir: The data folder; it need not be there yet.
        loopback: Listen on loopback even where there are Unix sockets.
    """

    def __init__(self, data_dir: str, *, loopback: bool = False) -> None:
        self.data_dir = os.path.realpath(data_dir)
        self.path = os.path.join(self.data_dir, "daemon")
        self.log = os.path.join(self.path, "log")
        self.loopback = loopback or not hasattr(socket, "AF_UNIX")
        self._lock = os.path.join(self.path, "lock")
        self._address = os.path.join(self.path, "address")
        self._bound: tuple[str, int] | None = None

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            Unavailable: It cannot be made, or others could get into it.
        """
        try:
            os.makedirs(self.data_dir, mode=_PRIVATE, exist_ok=True)
            _make_private(self.path)
            if not self.loopback:
                _make_private(os.path.dirname(self.socket_path()))
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be made: {error.strerror}") from error

    def socket_path(self) -> str:
        """Return the path of the Unix socket."""
        path = os.path.join(self.path, "socket")
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        import hashlib

        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32]
        return os.path.join(_SHORT_FOLDER.format(user=os.getuid()), digest)

    def lock(self) -> int | None:
        """Become the one that is the daemon, or starts it.

        Returns:
            The descriptor that holds the lock until it is closed, by every process that has it;
            None when somebody else holds it.

        Raises:
            Unavailable: Nothing can be locked there.
        """
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unavailable(f"{self._lock} cannot be opened: {error.strerror}") from error
        try:
            taken = _lock_now(descriptor) and _is_at(self._lock, os.fstat(descriptor).st_ino)
        except OSError as error:
            os.close(descriptor)
            raise Unavailable(f"{self._lock} cannot be locked: {error.strerror}") from error
        if taken:
            return descriptor
        os.close(descriptor)
        return None

    def connect(self) -> tuple[socket.socket, str] | None:
        """Connect to the daemon.

        Returns:
            The connection, and the token to show on it; None when nobody listens.

        Raises:
            Unavailable: Who listens is not of this user.
        """
        if self.loopback:
            return self._connect_loopback()
        path = self.socket_path()
        if not is_private(os.path.dirname(path)):
            return None
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            return None
        if not is_of_this_user(connection):
            connection.close()
            raise Unavailable("another user's process listens there")
        return connection, ""

    def _connect_loopback(self) -> tuple[socket.socket, str] | None:
        try:
            with open(self._address, encoding="utf-8") as file:
                address = json.load(file)
            connection = socket.create_connection(("127.0.0.1", int(address["port"])), timeout=5)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, str(address["token"])

    def listen(self) -> tuple[socket.socket, str]:
        """Listen, in place of whoever did; the caller holds the lock.

        Returns:
            The listening socket, and the token that connections have to show.

        Raises:
            Unavailable: The operating system refuses.
        """
        listener = socket.socket(socket.AF_INET if self.loopback else socket.AF_UNIX)
        try:
            token = self._bind_loopback(listener) if self.loopback else self._bind(listener)
        except OSError as error:
            listener.close()
            raise Unavailable(f"nothing can listen in {self.path}: {error}") from error
        return listener, token

    def _bind(self, listener: socket.socket) -> str:
        path = self.socket_path()
        _remove(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        self._bound = path, os.stat(path).st_ino
        return ""

    def _bind_loopback(self, listener: socket.socket) -> str:
        import secrets

        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        token = secrets.token_hex(_TOKEN_BYTES)
        draft = f"{self._address}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"port": listener.getsockname()[1], "token": token}, file)
        os.replace(draft, self._address)
        self._bound = self._address, os.stat(self._address).st_ino
        return token

    def is_listening_here(self) -> bool:
        """Whether what `listen` left in the folder is still there, so that others find it."""
        return self._bound is not None and _is_at(*self._bound)

    def withdraw(self) -> None:
        """Remove what `listen` left in the folder; the caller still holds the lock."""
        if self._bound is not None and self.is_listening_here():
            _remove(self._bound[0])
        self._bound = None


def is_private(path: str) -> bool:
    """Whether a folder is this user's own, and nobody else can get into it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if sys.platform == "win32":
        # The profile that it is in is the user's alone.
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o077


def is_of_this_user(connection: socket.socket) -> bool:
    """Whether the process at the other end of a Unix socket belongs to this user."""
    if sys.platform == "linux":
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(told[4:8], sys.byteorder) == os.getuid()
    if sys.platform == "darwin":
        told = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
        return int.from_bytes(told[4:8], sys.byteorder) == os.getuid()
    # Elsewhere it is the folder that keeps others out.
    return True


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, _PRIVATE)
    except FileExistsError:
        pass
    if not is_private(path):
        raise Unavailable(
            f"{path} must be a folder that belongs to you and that only you may enter (mode 0700)"
        )


def _lock_now(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(path: str, inode: int) -> bool:
    """Whether a path still leads to the file that was opened or made there."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return found.st_ino == inode


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
