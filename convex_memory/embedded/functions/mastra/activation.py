"""Which buffered observation chunks become active, and what a swap answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from convex_memory.errors import InvalidArgument

Chunk: TypeAlias = Mapping[str, Any]
SEPARATOR: Final = "\n\n"
"""What stands between two texts that become one."""

REMAINING_TOKENS_MAX: Final = 1000
"""A swap tries to leave this many message tokens raw, or the retention floor if that is less."""
OVERSHOOT_MAX: Final = 0.95
"""How far past its target a swap may go, as a part of the retention floor."""
_MADE_ID: Final = "ombuf-"
"""How the ids begin that storage adapters give to the chunks they append."""


class _Boundary(NamedTuple):
    """A place to cut the chunks: how many are before it, and their message tokens."""

    chunks: int
    tokens: float


def activation_boundary(
    message_tokens: Sequence[float],
    *,
    ratio: float,
    threshold: float,
    pending: float,
    force: bool = False,
) -> int:
    """Return how many chunks, from the first on, to activate.

    Activating a chunk takes the messages it observed out of the context. The messages that stay
    should come down to the retention floor, `threshold · (1 - ratio)` tokens, rather a little
    below than above, but not to almost nothing.

    Args:
        message_tokens: Tokens of the messages that each chunk observed, in order; not empty.
        ratio: Which part of the threshold to free, 0 to 1.
        threshold: Message tokens at which observation is due.
        pending: Message tokens in the context now.
        force: Go past the target however far, as long as enough stays.

    Returns:
        At least 1, at most all of them.
    """
    floor = threshold * (1 - ratio)
    target = max(0, pending - floor)
    least = min(REMAINING_TOKENS_MAX, floor)
    over, under = _nearest(message_tokens, target)
    if over is not None and pending - over.tokens >= least:
        if force or over.tokens - target <= OVERSHOOT_MAX * floor:
            return over.chunks
    if under is not None and pending - under.tokens >= least:
        return under.chunks
    return 1 if over is None else over.chunks


def _nearest(
    message_tokens: Sequence[float], target: float
) -> tuple[_Boundary | None, _Boundary | None]:
    """Return the nearest boundary that reaches the target, and the nearest short of it."""
    over: _Boundary | None = None
    under: _Boundary | None = None
    tokens = 0.0
    for chunks, chunk_tokens in enumerate(message_tokens, 1):
        tokens += chunk_tokens
        if tokens >= target:
            if over is None or tokens < over.tokens:
                over = _Boundary(chunks, tokens)
        elif tokens > (0 if under is None else under.tokens):
            under = _Boundary(chunks, tokens)
    return over, under


def candidates_and_others(buffer: list[Chunk], given: Any) -> tuple[list[Chunk], list[Chunk]]:
    """Return the chunks that may be activated, and those of the buffer that have to stay.

    Callers send the chunks they have read, with fresh token counts. Meanwhile others may have
    appended to the buffer, or activated some of it: what was appended stays, what is not there
    any more is not activated again. A list that shares nothing with any buffer is taken as it
    is, as the protocol has it.
    """
    if not isinstance(given, list):
        return buffer, []
    if not all(isinstance(chunk, Mapping) for chunk in given):
        raise InvalidArgument("bufferedChunks must be an array of objects.")
    buffered = {_id(chunk) for chunk in buffer}
    fresh = {_id(chunk): chunk for chunk in given if _id(chunk) and _id(chunk) in buffered}
    if not fresh and not any(_id(chunk).startswith(_MADE_ID) for chunk in given):
        return given, []
    return list(fresh.values()), [chunk for chunk in buffer if _id(chunk) not in fresh]


def _id(chunk: Chunk) -> str:
    chunk_id = chunk.get("id")
    return chunk_id if isinstance(chunk_id, str) else ""


def activation_of(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Return what a swap answers when it activates these chunks."""
    result: dict[str, Any] = {
        "chunksActivated": len(chunks),
        "messageTokensActivated": sum(tokens_of(chunk, "messageTokens") for chunk in chunks),
        "observationTokensActivated": sum(tokens_of(chunk, "tokenCount") for chunk in chunks),
        "messagesActivated": sum(len(_message_ids(chunk)) for chunk in chunks),
        "activatedCycleIds": [chunk["cycleId"] for chunk in chunks if chunk.get("cycleId")],
        "activatedMessageIds": [name for chunk in chunks for name in _message_ids(chunk)],
    }
    if not chunks:
        return result
    result["observations"] = SEPARATOR.join(_observations(chunk) for chunk in chunks)
    result["perChunk"] = [
        {
            "cycleId": first_given(chunk.get("cycleId"), ""),
            "messageTokens": tokens_of(chunk, "messageTokens"),
            "observationTokens": tokens_of(chunk, "tokenCount"),
            "messageCount": len(_message_ids(chunk)),
            "observations": _observations(chunk),
        }
        for chunk in chunks
    ]
    for name in ("suggestedContinuation", "currentTask"):
        if chunks[-1].get(name) is not None:
            result[name] = chunks[-1][name]
    return result


def appended(active: str, observed_at: Any, observations: str) -> str:
    """Return the active text with newly activated observations after it."""
    if not active:
        return observations
    boundary = f"--- message boundary ({observed_at}) ---"
    return SEPARATOR.join((active, boundary, observations))


def tokens_of(chunk: Chunk, name: str) -> float:
    """Return a token count of a chunk; one that is missing is 0."""
    value = chunk.get(name)
    return value if is_finite(value) else 0


def _message_ids(chunk: Chunk) -> list[Any]:
    ids = chunk.get("messageIds")
    return ids if isinstance(ids, list) else []


def _observations(chunk: Chunk) -> str:
    text = chunk.get("observations")
    return text if isinstance(text, str) else ""


def first_given(*values: Any) -> Any:
    """Return the first value that is not null."""
    return next((value for value in values if value is not None), None)


def is_finite(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number that can be stored."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
