"""One process at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Hold a file's lock while the block runs; yield False where another process has it.

    Args:
        path: The file; made when missing, and left there, for who deletes it races with others.

    Raises:
        OSError: The file cannot be opened.
    """
    with path.open("ab") as file:
        # Closing the file gives the lock back.
        yield _locked(file)


if sys.platform == "win32":
    import msvcrt

    def _locked(file: BinaryIO) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
