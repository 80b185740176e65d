"""Storage operations that only observational memory has.

A record holds what was observed of a thread, or of a resource, in one text. Newly observed
chunks wait in a buffer until a swap appends some of them to that text; a reflection condenses
the text and begins a new record, one generation later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import Args, TableOperation
from convex_memory.embedded.functions.mastra.activation import (
    SEPARATOR,
    Chunk,
    activation_boundary,
    activation_of,
    appended,
    candidates_and_others,
    first_given,
    is_finite,
    tokens_of,
)
from convex_memory.embedded.tables import OBSERVATIONAL_MEMORY
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.json_text import MALFORMED, json_text, parsed
from convex_memory.limits import QUERY_ROWS_MAX, SAFE_INTEGER_MAX
from convex_memory.values import Value, whole_numbers

_JAVASCRIPT_SPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What `String.prototype.trim` takes away; Python's `strip` has another list."""


def get_latest(documents: Documents, args: Args) -> Value:
    """Answer the newest generation of a lookup key, or null."""
    row = next(_generations(documents, args.get("lookupKey"), limit=1), None)
    result = None if row is None else documents.doc(OBSERVATIONAL_MEMORY, row)
    return {"ok": True, "result": result}


def get_history(documents: Documents, args: Args) -> Value:
    """Answer the generations of a lookup key, newest first, created within `from` and `to`."""
    first, last = str(args.get("from") or ""), str(args.get("to") or "")
    offset = _count(args, "offset") or 0
    limit = _count(args, "limit")
    kept = (
        documents.doc(OBSERVATIONAL_MEMORY, row)
        for row in _generations(documents, args.get("lookupKey"), limit=QUERY_ROWS_MAX)
        if row.fields["createdAt"] >= first and (not last or row.fields["createdAt"] <= last)
    )
    end = None if limit is None else offset + limit
    return {"ok": True, "result": list(islice(kept, offset, end))}


def update_active(documents: Documents, args: Args) -> Value:
    """Replace the active text and what is known about the messages behind it."""
    row = _record(documents, args.get("id"))
    tokens = args.get("tokenCount")
    tokens = tokens if is_finite(tokens) and tokens >= 0 else 0
    changes: Record = {
        "activeObservations": args.get("observations"),
        "lastObservedAt": args.get("lastObservedAt"),
        "pendingMessageTokens": 0,
        "observationTokenCount": tokens,
        "totalTokensObserved": row.fields["totalTokensObserved"] + tokens,
        "observedMessageIds": args.get("observedMessageIds"),
        "updatedAt": args.get("updatedAt"),
    }
    # Mastra's adapter does not send it, ours does.
    if args.get("observedTimezone") is not None:
        changes["observedTimezone"] = args["observedTimezone"]
    documents.patch(OBSERVATIONAL_MEMORY, row, changes)
    return {"ok": True}


def append_buffered_chunk(documents: Documents, args: Args) -> Value:
    """Add a chunk to the end of the buffer."""
    row = _record(documents, args.get("id"))
    chunk = args.get("chunk")
    if not isinstance(chunk, Mapping):
        raise InvalidArgument("chunk must be an object.")
    changes: Record = {
        "bufferedObservationChunks": _buffer_text([*_buffer(row), chunk]),
        "updatedAt": args.get("updatedAt"),
    }
    if args.get("lastBufferedAtTime"):
        changes["lastBufferedAtTime"] = args["lastBufferedAtTime"]
    documents.patch(OBSERVATIONAL_MEMORY, row, changes)
    return {"ok": True}


def swap_buffered(documents: Documents, args: Args) -> Value:
    """Append the first chunks of the buffer to the active text; tell what was activated."""
    row = _record(documents, args.get("id"))
    buffer = _buffer(row)
    candidates, others = candidates_and_others(buffer, args.get("bufferedChunks"))
    if not buffer or not candidates:
        return {"ok": True, "result": activation_of([])}
    count = activation_boundary(
        [tokens_of(chunk, "messageTokens") for chunk in candidates],
        ratio=_number(args, "activationRatio"),
        threshold=_number(args, "messageTokensThreshold"),
        pending=_number(args, "currentPendingTokens"),
        force=bool(args.get("forceMaxActivation")),
    )
    result = activation_of(candidates[:count])
    observed_at = first_given(
        args.get("lastObservedAt"), candidates[count - 1].get("lastObservedAt"), args.get("now")
    )
    remaining = [*candidates[count:], *others]
    pending = row.fields["pendingMessageTokens"] - result["messageTokensActivated"]
    documents.patch(
        OBSERVATIONAL_MEMORY,
        row,
        {
            "activeObservations": appended(
                row.fields["activeObservations"], observed_at, result["observations"]
            ),
            "observationTokenCount": row.fields["observationTokenCount"]
            + result["observationTokensActivated"],
            "pendingMessageTokens": max(0, pending),
            "bufferedObservationChunks": _buffer_text(remaining) if remaining else None,
            "lastObservedAt": observed_at,
            "updatedAt": args.get("now"),
        },
    )
    return {"ok": True, "result": result}


def update_buffered_reflection(documents: Documents, args: Args) -> Value:
    """Add to the reflection that waits to be swapped in."""
    row = _record(documents, args.get("id"))
    waiting = row.fields.get("bufferedReflection")
    reflection = args.get("reflection")
    if not isinstance(reflection, str):
        raise InvalidArgument("reflection must be text.")
    output = row.fields.get("bufferedReflectionTokens") or 0
    source = row.fields.get("bufferedReflectionInputTokens") or 0
    documents.patch(
        OBSERVATIONAL_MEMORY,
        row,
        {
            "bufferedReflection": f"{waiting}{SEPARATOR}{reflection}" if waiting else reflection,
            "bufferedReflectionTokens": output + _number(args, "tokenCount"),
            "bufferedReflectionInputTokens": source + _number(args, "inputTokenCount"),
            "reflectedObservationLineCount": args.get("reflectedObservationLineCount"),
            "updatedAt": args.get("updatedAt"),
        },
    )
    return {"ok": True}


def swap_buffered_reflection(documents: Documents, args: Args) -> Value:
    """Begin the next generation with the waiting reflection and what came after it."""
    current = args.get("currentRecord")
    if not isinstance(current, Mapping):
        raise InvalidArgument("currentRecord must be an object.")
    row = _record(documents, current.get("id"))
    reflection = row.fields.get("bufferedReflection")
    if not reflection:
        raise Conflict("No buffered reflection to swap")
    if documents.first(OBSERVATIONAL_MEMORY, id=args.get("newId")) is not None:
        raise Conflict("There is an observational memory record with this newId already.")
    lines = row.fields["activeObservations"].split("\n")
    reflected = int(row.fields.get("reflectedObservationLineCount") or 0)
    rest = "\n".join(lines[max(0, reflected) :]).strip(_JAVASCRIPT_SPACE)
    now = args.get("now")
    record: Record = {
        "id": args.get("newId"),
        **{name: current.get(name) for name in _CARRIED},
        "generationCount": _number(current, "generationCount") + 1,
        "originType": "reflection",
        "activeObservations": f"{reflection}{SEPARATOR}{rest}" if rest else reflection,
        "activeObservationsPendingUpdate": None,
        "lastReflectionAt": now,
        "createdAt": now,
        "updatedAt": now,
        "observationTokenCount": args.get("tokenCount"),
        "pendingMessageTokens": 0,
        "lastBufferedAtTokens": 0,
        "lastBufferedAtTime": None,
        "isObserving": False,
        "isReflecting": False,
        "isBufferingObservation": False,
        "isBufferingReflection": False,
    }
    documents.insert(OBSERVATIONAL_MEMORY, record)
    documents.patch(OBSERVATIONAL_MEMORY, row, {**_NO_REFLECTION, "updatedAt": now})
    return {"ok": True, "result": record}


def update_config(documents: Documents, args: Args) -> Value:
    """Merge a configuration into the stored one, at every level."""
    row = _record(documents, args.get("id"))
    try:
        merged = _merged(_object(row.fields["config"]), _object(args.get("config")))
        config = json_text(whole_numbers(merged), "config")
    except RecursionError as error:
        raise InvalidArgument("config is nested too deeply to be merged.") from error
    documents.patch(
        OBSERVATIONAL_MEMORY,
        row,
        {"config": config, "updatedAt": args.get("updatedAt")},
    )
    return {"ok": True}


_CARRIED: Final = (
    "lookupKey",
    "scope",
    "threadId",
    "resourceId",
    "config",
    "metadata",
    "observedTimezone",
    "lastObservedAt",
    "totalTokensObserved",
)
"""What a new generation takes over from the record that the caller read."""
_NO_REFLECTION: Final[Record] = {
    "bufferedReflection": None,
    "bufferedReflectionTokens": None,
    "bufferedReflectionInputTokens": None,
    "reflectedObservationLineCount": None,
}

OPERATIONS: Final[Mapping[str, TableOperation]] = {
    "omGetLatest": TableOperation(OBSERVATIONAL_MEMORY, get_latest, reads=True, soft=False),
    "omGetHistory": TableOperation(OBSERVATIONAL_MEMORY, get_history, reads=True, soft=False),
    **{
        name: TableOperation(OBSERVATIONAL_MEMORY, run, soft=False)
        for name, run in {
            "omUpdateActive": update_active,
            "omAppendBufferedChunk": append_buffered_chunk,
            "omSwapBuffered": swap_buffered,
            "omUpdateBufferedReflection": update_buffered_reflection,
            "omSwapBufferedReflection": swap_buffered_reflection,
            "omUpdateConfig": update_config,
        }.items()
    },
}


# --- Records


def _record(documents: Documents, record_id: Any) -> Row:
    row = documents.first(OBSERVATIONAL_MEMORY, id=record_id)
    if row is None:
        raise NotFound(f"Observational memory record not found: {record_id}")
    return row


def _generations(documents: Documents, lookup_key: Any, limit: int) -> Iterator[Row]:
    return documents.scan(
        OBSERVATIONAL_MEMORY,
        {"lookupKey": lookup_key},
        order=("generationCount",),
        descending=True,
        limit=limit,
    )


def _buffer(row: Row) -> list[Chunk]:
    stored = _parsed(row.fields.get("bufferedObservationChunks"))
    return (
        [chunk for chunk in stored if isinstance(chunk, Mapping)]
        if isinstance(stored, list)
        else []
    )


# --- Values


def _number(args: Args, name: str) -> int | float:
    value = args.get(name)
    if not is_finite(value):
        raise InvalidArgument(f"{name} must be a number.")
    return value


def _count(args: Args, name: str) -> int | None:
    value = args.get(name)
    if value is None:
        return None
    if not is_finite(value) or value < 0:
        raise InvalidArgument(f"{name} must be a number that is not negative.")
    return min(math.floor(value), SAFE_INTEGER_MAX)


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(stored)
    for name, value in given.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _object(text: Any) -> Mapping[str, Any]:
    value = _parsed(text)
    return value if isinstance(value, Mapping) else {}


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        return None
    try:
        return parsed(text)
    except MALFORMED:
        return None


def _buffer_text(chunks: list[Chunk]) -> str:
    # As JavaScript writes it: whole numbers have no fraction.
    return json_text(whole_numbers(chunks), "bufferedObservationChunks")
