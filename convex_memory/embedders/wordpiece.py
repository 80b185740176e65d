"""Texts as word pieces: the tokenizer of BERT, uncased.

As in BERT: control characters go, accents go, letters become small, every punctuation mark and
every Chinese character is a word, and a word is the longest pieces of the vocabulary that make
it up. Unlike BERT, which reads a word of more than 100 characters as unknown, such a word is
read in parts: what was said in it is not lost.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

UNKNOWN: Final = "[UNK]"
LINE_END: Final = "\n"
"""Stands among the words where a line ends; it is no word."""
WORD_CHARS_MAX: Final = 100
_WORDS_KEPT: Final = 1 << 15
_CHARACTERS_KEPT: Final = 1 << 16

_CHINESE: Final = (
    range(0x4E00, 0xA000),
    range(0x3400, 0x4DC0),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2B740),
    range(0x2B740, 0x2B820),
    range(0x2B820, 0x2CEB0),
    range(0xF900, 0xFB00),
    range(0x2F800, 0x2FA20),
)
"""The CJK ideographs, as BERT's own tokenizer lists them."""


class WordPiece:
    """Splits texts into words, and words into pieces of a vocabulary.

    Args:
        vocabulary: Every piece, by its id. A piece that goes on within a word begins with `##`.

    Attributes:
        unknown: The id of every word that the vocabulary cannot spell.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {piece: id for id, piece in enumerate(vocabulary)}
        self._longest = max(map(len, vocabulary))
        self.unknown = self._ids[UNKNOWN]
        self._characters = _Characters()
        self._known: dict[str, tuple[int, ...]] = {}

    def words(self, text: str) -> list[str]:
        """Split a text into its words, as the vocabulary spells them, and its line ends."""
        return [word for word in text.translate(self._characters).split(" ") if word]

    def pieces(self, word: str) -> tuple[int, ...]:
        """Return the ids of the pieces of one word, at least one."""
        pieces = self._known.get(word)
        if pieces is None:
            parts = (word[at : at + WORD_CHARS_MAX] for at in range(0, len(word), WORD_CHARS_MAX))
            pieces = tuple(id for part in parts for id in self._pieces_of(part))
            if len(self._known) >= _WORDS_KEPT:
                self._known.clear()
            self._known[word] = pieces
        return pieces

    def _pieces_of(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                id = self._ids.get(f"##{word[start:end]}" if start else word[start:end])
                if id is not None:
                    found.append(id)
                    start = end
                    break
            else:
                # One part of a word that is not known makes all of it unknown, as in BERT.
                return [self.unknown]
        return found


class _Characters(dict[int, str]):
    """What `str.translate` puts in the place of each character.

    Each is decomposed alone. Over a whole text that would also sort its accents, in time
    quadratic in how many follow one another, only for them to go.
    """

    def __missing__(self, code: int) -> str:
        plain = "".join(map(_plain, unicodedata.normalize("NFD", chr(code))))
        if len(self) < _CHARACTERS_KEPT:
            self[code] = plain
        return plain


def _plain(character: str) -> str:
    """What a decomposed character becomes."""
    code, category = ord(character), unicodedata.category(character)
    if character == LINE_END:
        return f" {LINE_END} "
    if character in "\t\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    if code == 0xFFFD or category in ("Cc", "Cf", "Co", "Cs", "Mn"):
        return ""
    if _is_punctuation(code, category) or any(code in block for block in _CHINESE):
        return f" {character} "
    return character.lower()


def _is_punctuation(code: int, category: str) -> bool:
    # All of ASCII that is neither letter nor digit, whatever Unicode calls it.
    ascii_mark = code < 0x7F and category[0] not in "LNZ"
    return ascii_mark or category[0] == "P"
