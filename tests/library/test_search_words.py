"""The words of texts and queries, as they are compared."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from convex_memory.search_words import folded, indexed_text, misspelt, telling_words

LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=5, max_size=10)


@given(st.text())
def test_whatever_is_said_is_found_by_all_of_its_words(text: str) -> None:
    assert set(telling_words(text)) <= set(re.findall(r"[^\W_]+", indexed_text(text)))
    assert folded(folded(text)) == folded(text)


def test_two_characters_that_stand_together_are_a_word_of_scripts_without_spaces() -> None:
    assert telling_words("北京烤鸭 and 猫") == ["北京", "京烤", "烤鸭", "猫"]
    assert indexed_text("猫咪!") == " 猫 咪 猫咪 !"


def test_marks_go_but_those_that_make_another_letter() -> None:
    assert telling_words("Σκύλος CAFÉ Żółw ガキ") == ["σκυλος", "cafe", "zołw", "ガキ"]


@given(LETTERS, st.data())
def test_one_wrong_letter_leads_back_to_the_word(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(word) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    wrong = data.draw(
        st.sampled_from(
            [
                word[:at] + letter + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + word[at + 1 :],
            ]
        )
    )
    assert wrong == word or len(wrong) < 5 or word in misspelt(wrong)


def test_what_is_short_or_no_word_of_letters_is_not_guessed() -> None:
    assert misspelt("cats") == misspelt("err42") == misspelt("x" * 25) == []
    assert "москве" in misspelt("москва")
