"""Rows as text: what is read, what is refused before anybody is asked, what counts as the same."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.errors import ConvexMemoryError, InvalidArgument, LimitExceeded
from convex_memory.row_text import check_row_text, read_row, row_text, same

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

NAN, INFINITY, MINUS_ZERO = (
    {"$float": code} for code in ("AAAAAAAA+H8=", "AAAAAAAA8H8=", "AAAAAAAAAIA=")
)
SEVEN, BYTES = {"$integer": "BwAAAAAAAAA="}, {"$bytes": "AAEC/w=="}


@given(row=st.dictionaries(st.text(), JSON))
def test_a_row_is_read_as_it_was_written(row: dict[str, Any]) -> None:
    text = row_text(row)
    assert "\n" not in text
    found = read_row(text)
    assert same(found, row)
    assert found == row


@pytest.mark.parametrize("digits", ["100000000000000000000", "9007199254740995", "-1" + "0" * 300])
def test_large_numbers_are_floats_as_convex_has_them(digits: str) -> None:
    found = read_row(f'{{"n":{digits}}}')["n"]
    assert found == float(digits)
    assert isinstance(found, float)
    for whole in ("9007199254740992", "9007199254740991", "-9007199254740993"):
        found = read_row(f'{{"n":{whole}}}')["n"]
        assert isinstance(found, int)
        assert found == float(whole)


def test_coded_numbers_that_json_has_are_read() -> None:
    found = read_row(json.dumps({"n": MINUS_ZERO, "deep": [{"n": MINUS_ZERO}]}))
    assert math.copysign(1, found["n"]) == -1
    assert math.copysign(1, found["deep"][0]["n"]) == -1


@pytest.mark.parametrize("value", [NAN, INFINITY, SEVEN, BYTES], ids=["nan", "inf", "int", "bytes"])
def test_what_only_convex_holds_is_refused_here_and_passed_on_to_convex(value: Any) -> None:
    text = json.dumps({"deep": [{"n": value}]})
    with pytest.raises(InvalidArgument, match="only a Convex deployment can hold"):
        read_row(text)
    with pytest.raises(InvalidArgument, match="only a Convex deployment can hold"):
        check_row_text(text, "a row", special=False)
    assert check_row_text(text, "a row", special=True)["deep"] != [{"n": value}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a":NaN}',
        '{"a":Infinity}',
        "{} {}",
        "[" * 10_000,
        '{"n":{"$float":"not base64"}}',
        '{"n":{"$integer":"AA=="}}',
        '{"n":{"$bytes":"*"}}',
    ],
    ids=range(11),
)
@pytest.mark.parametrize("special", [False, True])
def test_text_that_is_no_row_is_refused(text: str, special: bool) -> None:
    with pytest.raises(InvalidArgument):
        check_row_text(text, "a row", special=special)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"a": "x" * (1 << 20)}, LimitExceeded),
        ({"a": [[0.5] * 8000] * 15}, LimitExceeded),
        ({"a": [0] * 8193}, LimitExceeded),
        ({f"f{n}": 0 for n in range(1025)}, LimitExceeded),
        ({"a" * 1025: 0}, LimitExceeded),
        ({"$a": 0}, InvalidArgument),
        ({"\N{SNOWMAN}": 0}, InvalidArgument),
        ({"a": "\ud800"}, InvalidArgument),
        ({"a": {"$odd": 1}}, InvalidArgument),
    ],
    ids=range(9),
)
def test_what_convex_would_refuse_is_refused_before(
    row: Any, kind: type[ConvexMemoryError]
) -> None:
    with pytest.raises(kind):
        check_row_text(json.dumps(row), "a row", special=True)


def test_a_row_may_be_nested_as_deeply_as_a_document() -> None:
    def nested(levels: int) -> str:
        return '{"a":' + "[" * levels + "]" * levels + "}"

    check_row_text(nested(15), "a row", special=False)
    with pytest.raises(LimitExceeded, match="nested"):
        check_row_text(nested(16), "a row", special=False)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (0.0, -0.0),
        (0, -0.0),
        ("", 0),
        (None, False),
        ([1.0, 0.0], [1.0, -0.0]),
        ([True], [1.0]),
        ({"a": [0.0]}, {"a": [-0.0]}),
        ({"a": None}, {}),
        ([], {}),
    ],
)
def test_values_that_differ_to_a_reader_are_not_the_same(left: Any, right: Any) -> None:
    assert not same(left, right)
    assert not same(right, left)
    assert same(left, left)
    assert same(right, right)


def test_values_that_differ_to_nobody_are_the_same() -> None:
    assert same({"a": 1, "b": [2.0, 3]}, {"b": [2, 3.0], "a": 1.0})
    assert same([0.0, 1.5], [0, 1.5])
