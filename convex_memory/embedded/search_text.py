"""The full-text index over messages (SQLite FTS5), kept in step with the message rows.

A message's plain text is derived here, on every write, whoever wrote it: a message saved
through the wire protocol by a Mastra app is found like one of ours.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from convex_memory.text import message_text

TERMS_MAX: Final = 16
"""Terms of one query; long OR lists are what full-text search costs (Convex takes 16 too)."""

SCHEMA: Final = (
    "CREATE VIRTUAL TABLE message_text USING "
    "fts5(text, tokenize = 'porter unicode61 remove_diacritics 2')"
)

STOP_WORDS: Final = frozenset(
    """a about after again all also am an and any are as at be because been before being but by can
    could did do does doing don for from had has have having he her here hers him his how i if in
    into is it its just me more most my no nor not now of off on once only or other our out over
    own s same she should so some such t than that the their them then there these they this those
    through to too under until up us very was we were what when where which while who whom why will
    with would you your""".split()
)
"""English function words: they match everything and say nothing about it."""

_WORD = re.compile(r"\w+")


def follow(
    connection: sqlite3.Connection,
    sequence: int,
    fields: Mapping[str, Any],
    kind: str,
    before: Any | None,
) -> None:
    """Bring the index in step with one message row just inserted, updated or deleted."""
    if kind == "update" and before is not None and before.fields["content"] == fields["content"]:
        return
    if kind != "insert":
        connection.execute("DELETE FROM message_text WHERE rowid = ?", (sequence,))
    if kind != "delete":
        text = message_text(fields["content"])
        if text:
            connection.execute(
                "INSERT INTO message_text (rowid, text) VALUES (?, ?)", (sequence, text)
            )


def match_expression(query: str) -> str | None:
    """Turn what a person typed into an FTS5 query: its telling words, any of which may match.

    Every word is quoted, so nothing a person types is FTS5 syntax. Stop words are left out
    unless there is nothing else.

    Returns:
        The expression, or None when the query holds no word at all.
    """
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    telling = [word for word in words if word not in STOP_WORDS] or words
    if not telling:
        return None
    return " OR ".join(f'"{word}"' for word in telling[:TERMS_MAX])
