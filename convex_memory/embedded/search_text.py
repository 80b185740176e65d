"""The full-text index over messages (SQLite FTS5), kept in step with the message rows.

A message's plain text is derived here, on every write, whoever wrote it: a message saved
through the wire protocol by a Mastra app is found like one of ours.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from convex_memory.embedded import turns
from convex_memory.search_words import TOKENIZER, indexed_text
from convex_memory.text import message_text

SCHEMA: Final = f"CREATE VIRTUAL TABLE message_text USING fts5(text, tokenize = '{TOKENIZER}')"

_FOLLOWED: Final = ("content", "thread_id", "resourceId", "role", "createdAt")


def follow(
    connection: sqlite3.Connection,
    sequence: int,
    fields: Mapping[str, Any],
    kind: str,
    before: Any | None,
) -> None:
    """Bring the index in step with one message row just inserted, updated or deleted."""
    if before is not None and all(
        before.fields.get(name) == fields.get(name) for name in _FOLLOWED
    ):
        return
    text = message_text(fields["content"]) if kind != "delete" else ""
    if kind != "insert":
        connection.execute("DELETE FROM message_text WHERE rowid = ?", (sequence,))
        if not text:
            turns.remove(connection, sequence)
    if text:
        metadata = _metadata(fields["content"])
        who = turns.speaker_of(text, metadata)
        # Whoever asks what somebody said names them, and few say their own name.
        said = text if not who or text.lstrip().startswith(who) else f"{who}: {text}"
        connection.execute(
            "INSERT INTO message_text (rowid, text) VALUES (?, ?)", (sequence, indexed_text(said))
        )
        turns.write(connection, sequence, fields, text, who)


def rebuild(connection: sqlite3.Connection) -> None:
    """Index every message anew."""
    connection.execute("DELETE FROM message_text")
    rows = connection.execute(
        f"SELECT _sequence, {', '.join(_FOLLOWED)} FROM mastra_messages ORDER BY _sequence"
    )
    for sequence, *columns in rows:
        fields = dict(zip(_FOLLOWED, columns, strict=True))
        follow(connection, sequence, fields, "insert", None)


def _metadata(content: str) -> Any:
    if '"metadata"' not in content:
        return None
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed.get("metadata") if isinstance(parsed, dict) else None
