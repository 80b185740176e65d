"""The tokenizer, against what the tokenizer published with the model makes of the same texts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from convex_memory.embedders.minilm_files import VOCABULARY
from convex_memory.embedders.wordpiece import LINE_END, WordPiece

REFERENCES = {
    "": [],
    "Hello, World!": [7592, 1010, 2088, 999],
    "Où est la bibliothèque ?": [15068, 9765, 2474, 12170, 16558, 25185, 5369, 4226, 1029],
    "東京タワー": [1879, 1755, 1709, 30262, 30265],
    "naïve café\u2014Straße İstanbul ΣΊΣΥΦΟΣ": [
        15743, 7668, 1517, 2358, 27807, 9960, 1173, 18199, 29733, 29735, 29736, 29730, 29733,
    ],
    "foo_bar(baz)=42;\t\r\n$x^2`~": [
        29379, 1035, 3347, 1006, 8670, 2480, 1007, 1027, 4413, 1025, 1002, 1060, 1034, 1016, 1036,
        1066,
    ],
    "unaffable embeddings tokenization": [14477, 20961, 3468, 7861, 8270, 4667, 2015, 19204, 3989],
    "a\x00b\ufffdc\u200bd\x0be": [5925, 3207],
    "e\u0301e\u0301 \u00a0 x\u2003y\u2028z": [25212, 1060, 1061, 1062],
    "😀👍🏽 → €5 ½": [100, 1585, 1574, 2629, 1092],
    "donaudampfschifffahrtsgesellschaft": [
        24260, 14066, 8737, 10343, 5428, 4246, 7011, 8093, 3215, 8449, 5349, 26527,
    ],
    "qqqqqqzzzzzz#@!": [
        1053, 4160, 4160, 4160, 4160, 4160, 13213, 13213, 13213, 1001, 1030, 999,
    ],
    "it's 3.14, isn't it?": [
        2009, 1005, 1055, 1017, 1012, 2403, 1010, 3475, 1005, 1056, 2009, 1029,
    ],
    "한국어 ไทย العربية हिन्दी": [
        1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 100, 1270, 23673, 29830, 17149,
        29816, 14498, 19433, 1339, 29877, 29863, 29861, 29878,
    ],
}  # fmt: skip
"""Token ids by `tokenizers` 0.23.3 with the tokenizer.json of all-MiniLM-L6-v2."""


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece(VOCABULARY.path.read_bytes().decode().split("\n")[:-1])


def ids_of(tokenizer: WordPiece, text: str) -> list[int]:
    words = [word for word in tokenizer.words(text) if word != LINE_END]
    return [id for word in words for id in tokenizer.pieces(word)]


@pytest.mark.parametrize("text", REFERENCES)
def test_texts_become_the_tokens_that_the_model_was_trained_on(
    tokenizer: WordPiece, text: str
) -> None:
    assert ids_of(tokenizer, text) == REFERENCES[text]
    assert ids_of(tokenizer, text) == REFERENCES[text], "a second time, from what was kept"


def test_a_text_cannot_name_special_tokens(tokenizer: WordPiece) -> None:
    assert set(ids_of(tokenizer, "[CLS] [SEP] [PAD] [UNK]")).isdisjoint({0, 100, 101, 102})


def test_what_no_encoding_can_carry_is_left_out(tokenizer: WordPiece) -> None:
    assert ids_of(tokenizer, "hel\ud800lo\udfff") == ids_of(tokenizer, "hello")


def test_a_huge_word_is_read_in_parts(tokenizer: WordPiece) -> None:
    parts = ids_of(tokenizer, " ".join(["ab" * 50] * 3))
    assert ids_of(tokenizer, "ab" * 150) == parts
    assert len(parts) > 3
    assert 100 not in parts


def test_lines_are_told_apart(tokenizer: WordPiece) -> None:
    assert tokenizer.words("One two\n\nthree\n") == [
        *("one", "two", LINE_END, LINE_END, "three", LINE_END),
    ]


def test_accents_without_end_take_no_time_without_end(tokenizer: WordPiece) -> None:
    # Sorting these as a whole, as Unicode normalization does, would take minutes.
    assert ids_of(tokenizer, "a" + "\u0301\u0316" * 200_000) == ids_of(tokenizer, "a")


def test_what_is_kept_is_bounded(tokenizer: WordPiece, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convex_memory.embedders.wordpiece._WORDS_KEPT", 10)
    pieces = WordPiece(["[UNK]", *"abc", *(f"##{each}" for each in "abc")])
    words = [first + second + third for first in "abc" for second in "abc" for third in "abc"]
    assert [len(pieces.pieces(word)) for word in words] == [3] * 27
    assert pieces.pieces("abd") == (0,)
    assert len(pieces._known) <= 10


def test_the_vocabulary_is_the_one_that_was_published() -> None:
    content = Path(VOCABULARY.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VOCABULARY.sha256
    assert len(content) == VOCABULARY.size
    assert VOCABULARY.sha256 in VOCABULARY.path.with_name("NOTICE").read_text(encoding="utf-8")
