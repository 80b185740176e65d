"""What an answer of an embeddings endpoint means: vectors, or an error of ours.

Texts of the endpoint are not shown: they may quote what was sent, or the key. Of its errors
only the code or type is, where it looks like one.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from convex_memory.errors import (
    EmbedderError,
    EmbedderRefused,
    EmbedderUnavailable,
    EmbedderUnreachable,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CODE: Final = re.compile(r"[a-z_]{2,64}")
"""Neither a key nor a text of the caller looks like this."""
_USED_UP: Final = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes of HTTP 429 that no waiting cures."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request on its way, as errors name it.

    Args:
        model: The model asked for.
        url: The endpoint.
        count: How many texts were sent.
        dimension: The length the vectors must have; `None` when any will do.
        positions: Which texts of the caller they belong to.
    """

    model: str
    url: str
    count: int
    dimension: int | None
    positions: tuple[int, ...]

    def unreadable(self, why: str = "") -> EmbedderUnavailable:
        """What is raised for an answer that the protocol does not allow."""
        return EmbedderUnavailable(
            f"{self.url}/embeddings answered with something that is not {self.count} "
            f"embedding{'s' * (self.count > 1)}{why}. Check OPENAI_BASE_URL and that "
            f"{self.model} is an embedding model."
        )


@dataclass(frozen=True, slots=True)
class Failed:
    """A try failed.

    Args:
        error: What to raise.
        again: Whether another try may succeed.
        after_seconds: The pause that the endpoint asked for.
        cause: The foreign exception behind the error.
    """

    error: EmbedderError
    again: bool = False
    after_seconds: float = 0
    cause: BaseException | None = None


def unanswered(error: Exception, request: Request) -> Failed:
    """What an exception of httpx2 says."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        told = "No connection to {} could be made. Check OPENAI_BASE_URL and the network."
    else:
        told = "The connection to {} broke before it had answered. Try again later."
    return Failed(EmbedderUnreachable(told.format(request.url)), again=True, cause=error)


def read_answer(
    request: Request, status: int, retry_after: str | None, content: bytes
) -> NDArray[np.float32] | Failed:
    """What an answer says.

    Args:
        request: The request that it answers.
        status: The HTTP status.
        retry_after: The header of that name.
        content: The whole body.

    Returns:
        One row of length 1 for each text, in their order; or the failure.
    """
    if status != 200:
        return _refused(request, status, _seconds(retry_after), content)
    try:
        reply = json.loads(content)
        data = reply["data"]
        rows = [_numbers(entry["embedding"]) for entry in _in_order(data, request.count)]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        # Its text may quote the answer, so it is not kept as a cause.
        return Failed(request.unreadable())
    return _vectors(request, rows)


def _in_order(data: Any, count: int) -> list[Any]:
    if not isinstance(data, list) or len(data) != count:
        raise ValueError
    if not any("index" in entry for entry in data):
        return data
    ordered = sorted(data, key=lambda entry: int(entry["index"]))
    if [entry["index"] for entry in ordered] != list(range(count)):
        raise ValueError
    return ordered


def _numbers(embedding: Any) -> NDArray[Any]:
    import numpy as np

    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except binascii.Error:
            raise ValueError from None
    if not isinstance(embedding, list):
        raise TypeError
    # In float64, where no number of float32 overflows when it is squared.
    return np.array(embedding, np.float64)


def _vectors(request: Request, rows: list[NDArray[Any]]) -> NDArray[np.float32] | Failed:
    import numpy as np

    lengths = {row.shape for row in rows}
    if len(lengths) != 1 or rows[0].ndim != 1 or rows[0].size == 0:
        return Failed(request.unreadable(" of one length"))
    if request.dimension not in (None, rows[0].size):
        return Failed(
            EmbedderUnavailable(
                f"{request.model} at {request.url} answered with vectors of {rows[0].size} "
                f"dimensions instead of {request.dimension}. Name the dimension that it has, "
                "or none.",
                details={"given": rows[0].size, "dimension": request.dimension},
            )
        )
    from convex_memory.embedders.windows import normalised

    vectors = np.array(rows, np.float64)
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        return Failed(request.unreadable(" that are finite and not zero"))
    return normalised(vectors)


# --- Refusals


def _refused(request: Request, status: int, after_seconds: float, content: bytes) -> Failed:
    code = _code(content)
    said = f"HTTP {status}{f', {code}' if code else ''}"
    if status in (401, 403):
        return Failed(
            EmbedderUnavailable(
                f"{request.url} refused the API key ({said}). Check OPENAI_API_KEY, and that it "
                f"may use {request.model}."
            )
        )
    if status == 429 and code in _USED_UP:
        return Failed(
            EmbedderUnavailable(f"The quota at {request.url} is used up ({said}). Raise it there.")
        )
    if status in (408, 409, 425, 429) or status >= 500:
        return Failed(
            EmbedderUnreachable(f"{request.url} could not embed now ({said}). Try again later."),
            again=True,
            after_seconds=after_seconds,
        )
    if status == 404:
        return Failed(
            EmbedderUnavailable(
                f"{request.url} has no embeddings of {request.model} ({said}). Check "
                "OPENAI_BASE_URL and the name of the model."
            )
        )
    if status >= 400:
        return Failed(
            EmbedderRefused(
                f"{request.url} refused to embed these texts with {request.model} ({said}).",
                details={"positions": list(request.positions), "status": status},
            )
        )
    return Failed(request.unreadable(f" (HTTP {status})"))


def _code(content: bytes) -> str | None:
    """The code or type of an error, where the body has one that is safe to show."""
    try:
        error = json.loads(content)["error"]
        named = [error.get("code"), error.get("type")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return next((name for name in named if isinstance(name, str) and _CODE.fullmatch(name)), None)


def _seconds(retry_after: str | None) -> float:
    """The pause a `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return 0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0
