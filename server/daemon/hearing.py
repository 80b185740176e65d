"""Who hears what the daemon logs: the hosts that it concerns, and the daemon's own log.

A host hears on its stderr what it would hear from a server of its own, from its own level on.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from server.daemon.starting import put_aside
from server.log import JsonLines

LEVEL_DEFAULT: Final = logging.WARNING


class Hearers:
    """Those who hear the records of one task: a host, or all that share something."""

    def __init__(self, level: int = logging.CRITICAL, tell: Callable[[str], None] | None = None):
        self._level = level
        self._tell = tell
        self._others: list[Hearers] = []

    def add(self, other: Hearers) -> None:
        """Have somebody else hear it too."""
        self._others.append(other)

    def remove(self, other: Hearers) -> None:
        """Have somebody else hear it no more."""
        self._others.remove(other)

    def hear(self, level: int, line: str) -> bool:
        """Tell those who want to know of this level; return whether there was one."""
        heard = self._tell is not None and level >= self._level
        if heard and self._tell is not None:
            self._tell(line)
        for other in list(self._others):
            heard = other.hear(level, line) or heard
        return heard


HEARERS: ContextVar[Hearers | None] = ContextVar("HEARERS", default=None)
"""Who hears the records of the current task."""


class DaemonLog(logging.Handler):
    """Writes to stderr, which is the daemon's log, and tells the hosts that it concerns.

    Args:
        path: Of the log, which is begun anew when it has become too long; None where stderr is
            somebody else's.
    """

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = self.format(record)
            hearers = HEARERS.get()
            heard = hearers is not None and hearers.hear(record.levelno, line)
            if heard or record.levelno >= LEVEL_DEFAULT:
                self._make_room()
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
        except Exception:
            self.handleError(record)

    def _make_room(self) -> None:
        if self._path is not None and put_aside(self._path):
            sys.stderr.flush()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._path, flags, 0o600)
            os.dup2(descriptor, 2)
            os.close(descriptor)
