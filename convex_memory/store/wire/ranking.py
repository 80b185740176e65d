"""Best match first: BM25 over texts that are at hand, by the full-text search of SQLite.

It makes words of text as the index of the embedded deployment does, so both find the same forms
of them. What that index knows beside a message's own words is not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence

from convex_memory.search_words import TOKENIZER, indexed_text


def ranked(texts: Sequence[str], expression: str) -> list[tuple[int, float]]:
    """Return the places of the texts that match, and their scores.

    It takes as long as reading the texts does, some 30 MB a second: not for an event loop.

    Args:
        texts: What is searched.
        expression: Of `search_words.match_expression`.

    Returns:
        Best first, higher is better; of equal scores the later text comes first.
    """
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        # Without the texts themselves: only their words are asked for.
        connection.execute(
            f"CREATE VIRTUAL TABLE words USING fts5(text, content = '', tokenize = '{TOKENIZER}')"
        )
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO words (rowid, text) VALUES (?, ?)",
            enumerate(map(indexed_text, texts), start=1),
        )
        found = connection.execute(
            "SELECT rowid, bm25(words) FROM words WHERE words MATCH ? ORDER BY 2, 1 DESC",
            (expression,),
        ).fetchall()
    # FTS5 ranks best as most negative.
    return [(int(rowid) - 1, -float(rank)) for rowid, rank in found]
