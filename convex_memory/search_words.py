"""What a search looks for: the telling words of a query, as an FTS5 expression."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
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
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f]+"
)
"""Scripts without spaces between words, or with endings grown onto them: Thai and Lao, Burmese,
Khmer, kana, Chinese characters, Hangul. Every two characters that stand together are a word."""
_VOICINGS: Final = frozenset({0x3099, 0x309A})
"""Marks that make another letter of one: kana has ga where there is ka."""
_FOLDED_KEPT: Final = 1 << 14
_GUESSED_LEAST: Final = 5
_GUESSED_MOST: Final = 24
_ALPHABETS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "αβγδεζηθικλμνξοπρςστυφχψω",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
)


def folded(text: str) -> str:
    """Return a text in lower case and without marks: accents, vowel signs, tones."""
    lower = text.lower()
    if lower.isascii():
        return lower
    bare = unicodedata.normalize("NFD", lower).translate(_MARKS)
    return unicodedata.normalize("NFC", bare)


def indexed_text(text: str) -> str:
    """Return a text as the full-text index is given it: what is searched for stands apart."""
    plain = folded(text)
    return plain if plain.isascii() else _UNSPACED.sub(_every_word, plain)


def telling_words(query: str) -> list[str]:
    """Return the words of a query that say something, as they are compared, each once.

    Stop words are left out unless there is nothing else.
    """
    plain = folded(query)
    if not plain.isascii():
        plain = _UNSPACED.sub(_pairs, plain)
    words = list(dict.fromkeys(_WORD.findall(plain)))
    return [word for word in words if word not in STOP_WORDS] or words


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    return f" {' '.join(_two_each(characters)) or characters} "


def _every_word(run: re.Match[str]) -> str:
    return f" {' '.join(run[0])} {' '.join(_two_each(run[0]))} "


def _two_each(characters: str) -> Iterator[str]:
    return (characters[at : at + 2] for at in range(len(characters) - 1))


class _Marks(dict[int, int | None]):
    """What `str.translate` puts in the place of each character: nothing for marks."""

    def __missing__(self, code: int) -> int | None:
        is_mark = unicodedata.category(chr(code))[0] == "M" and code not in _VOICINGS
        kept = None if is_mark else code
        if len(self) < _FOLDED_KEPT:
            self[code] = kept
        return kept


_MARKS: Final = _Marks()


def misspelt(word: str) -> list[str]:
    """Return what a word may be that is written nowhere: one letter changed, missing or too many.

    Also two that changed places. The first letter is right, as it nearly always is; words of
    fewer than five letters have too many neighbours to guess, and digits are no typing errors.
    """
    if not _GUESSED_LEAST <= len(word) <= _GUESSED_MOST or not word.isalpha():
        return []
    letters = next((each for each in _ALPHABETS if word[1] in each), "")
    found: dict[str, None] = {}
    for at in range(1, len(word) + 1):
        head, tail = word[:at], word[at:]
        if tail:
            found[head + tail[1:]] = None
            found.update((head + letter + tail[1:], None) for letter in letters)
        if len(tail) > 1:
            found[head + tail[1] + tail[0] + tail[2:]] = None
        found.update((head + letter + tail, None) for letter in letters)
    found.pop(word, None)
    return list(found)


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
