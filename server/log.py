"""Logging: one JSON object a line, on stderr only. stdout belongs to the protocol.

No line holds content or secrets: what is ours passes neither, and of other people's errors only the
type and the place are kept, for their texts quote what they choked on.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TypeAlias

from convex_memory.errors import ConvexMemoryError

FIELDS: Final = "fields"
"""The name under which a record carries members of its own: `extra={FIELDS: {"ms": 3}}`."""
_FOREIGN: Final = (
    "aiohttp",
    "asyncio",
    "httpcore2",
    "httpx2",
    "mcp",
    "opentelemetry",
    "sse_starlette",
    "urllib3",
)
"""Loggers of libraries that write whole messages at DEBUG."""
_SAFE_TEXTS: Final = (ConvexMemoryError, OSError)
_SAFE_MODULES: Final = ("sqlite3",)
"""Errors whose texts name settings, files, tables and limits, never what was stored."""

_ExcInfo: TypeAlias = (
    "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"
)


@dataclass(slots=True)
class RequestNote:
    """What is noted of one request over HTTP while it is answered.

    Attributes:
        request_id: Made here, or the caller's `X-Request-Id`.
        principal: Whose it is; empty without authentication.
        method: What MCP calls it, such as `tools/call`.
        target: The tool or the prompt, where it is one that exists.
        outcome: `ok`, or the code of what went wrong.
    """

    request_id: str
    principal: str = ""
    method: str = ""
    target: str = ""
    outcome: str = ""


current_request: ContextVar[RequestNote | None] = ContextVar("current_request", default=None)
"""The request that is being answered, if it came over HTTP."""


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON, with the id of the request it was written for."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        note = current_request.get()
        if note is not None:
            line["request_id"] = note.request_id
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)

    def formatException(self, ei: _ExcInfo) -> str:
        """Return where it happened, what, and why where that can be told."""
        error = ei[1]
        if error is None:
            return ""
        told = []
        while error is not None:
            told.append(_told(error))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nafter\n".join(told)


def _told(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    safe = isinstance(error, _SAFE_TEXTS) or type(error).__module__ in _SAFE_MODULES
    text = f"{name}: {error}" if safe else name
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    frames = "".join(traceback.format_tb(error.__traceback__))
    return "\n".join([frames + text, *map(_told, inner)])


def log_to_stderr(level: str) -> None:
    """Send every log record of at least `level` to stderr, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))
