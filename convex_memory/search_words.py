"""What a search looks for: the telling words of a query, as an FTS5 expression."""

from __future__ import annotations

import re
from typing import Final

TERMS_MAX: Final = 16
"""Terms of one query; long OR lists are what full-text search costs (Convex takes 16 too)."""

TOKENIZER: Final = "porter unicode61 remove_diacritics 2"
"""How FTS5 makes words of text: lower case, without diacritics, stemmed."""

STOP_WORDS: Final = frozenset(
    """a about after again all also am an and any are as at be because been before being but by can
    could did do does doing don for from had has have having he her here hers him his how i if in
    into is it its just me more most my no nor not now of off on once only or other our out over
    own s same she should so some such t than that the their them then there these they this those
    through to too under until up us very was we were what when where which while who whom why will
    with would you your
    d ll m re ve ain aren couldn didn doesn hadn hasn haven isn shouldn wasn weren won wouldn
    """.split()
)
"""English function words: they match everything and say nothing about it."""

_WORD = re.compile(r"[^\W_]+")


def telling_words(query: str) -> list[str]:
    """Return the words of a query that say something, in lower case, each once.

    Stop words are left out unless there is nothing else.
    """
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    return [word for word in words if word not in STOP_WORDS] or words


def match_expression(query: str) -> str | None:
    """Turn what a person typed into an FTS5 query: its telling words, any of which may match.

    Every word is quoted, so nothing a person types is FTS5 syntax. Stop words are left out
    unless there is nothing else.

    Returns:
        The expression, or None when the query holds no word at all.
    """
    telling = telling_words(query)
    if not telling:
        return None
    return " OR ".join(f'"{word}"' for word in telling[:TERMS_MAX])
