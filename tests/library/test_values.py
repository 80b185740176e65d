"""What may be stored, how large it is, and its text on the wire."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Any

import pytest
from convex.values import json_to_convex
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.errors import ConvexMemoryError, InvalidArgument, LimitExceeded
from convex_memory.limits import ARRAY_ELEMENTS_MAX, OBJECT_FIELDS_MAX, SAFE_INTEGER_MAX
from convex_memory.values import Value, check, strict_equal, to_wire, whole_numbers

NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8).filter(
    lambda name: not name.startswith("$")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-SAFE_INTEGER_MAX, SAFE_INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int) -> Value:
    value: Value = 1
    for _ in range(levels):
        value = [value]
    return value


@given(VALUES)
def test_a_value_survives_its_text(value: Value) -> None:
    assert json.loads(to_wire(value)) == value


@given(VALUES)
def test_the_encoded_text_means_the_same_to_the_convex_package(value: Value) -> None:
    wire = json.loads(to_wire(value, encoded=True), parse_int=pytest.fail)

    assert json_to_convex(wire) == value


@given(VALUES)
def test_integral_numbers_come_back_whole(value: Value) -> None:
    read = whole_numbers(json.loads(to_wire(value)))

    assert read == value
    assert "1.0" not in repr(whole_numbers([1.0, {"a": (1.0,)}]))


@given(VALUES)
def test_every_storable_value_is_accepted_and_measured(value: Value) -> None:
    def size(item: Any) -> int:
        if isinstance(item, dict):
            return 2 + sum(len(name) + 1 + size(field) for name, field in item.items())
        if isinstance(item, list):
            return 2 + sum(map(size, item))
        if isinstance(item, str):
            return 2 + len(item.encode())
        return 1 if item is None or isinstance(item, bool) else 9

    assert check(value) == size(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (7, 9),
        (0.5, 9),
        ("", 2),
        ("abc", 5),
        ("ключ", 10),
        ([], 2),
        ([1.0, 2.0], 20),
        ((1, "a"), 14),
        ({}, 2),
        ({"a": None}, 5),
        ({"text": "hi", "vector": [0.1] * 3}, 2 + 5 + 4 + 7 + 29),
    ],
)
def test_sizes_follow_the_model_of_convex(value: Value, size: int) -> None:
    assert check(value) == size


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        ({"a": {"$x": 1}}, InvalidArgument, "Field name $x starts with '$', which is reserved."),
        ({"a": {"$x": 1}}, InvalidArgument, "args.a"),
        ({"ключ": 1}, InvalidArgument, "outside printable ASCII"),
        ({"a\n": 1}, InvalidArgument, "outside printable ASCII"),
        ({"a\x7f": 1}, InvalidArgument, "outside printable ASCII"),
        ({1: 1}, InvalidArgument, "not text"),
        ({"a": [0, math.nan]}, InvalidArgument, "args.a[1] is nan"),
        ([0.5, math.inf], InvalidArgument, "args[1] is inf"),
        ([math.inf, -math.inf], InvalidArgument, "args[0] is inf"),
        (SAFE_INTEGER_MAX + 1, InvalidArgument, "beyond 2^53"),
        (-SAFE_INTEGER_MAX - 1, InvalidArgument, "beyond 2^53"),
        ("a\ud800", InvalidArgument, "lone surrogate at character 1"),
        (b"bytes", InvalidArgument, "of type bytes"),
        ({"a": {1, 2}}, InvalidArgument, "args.a is of type set"),
        ({"n" * 1025: 1}, LimitExceeded, "1025 characters"),
        ([0] * (ARRAY_ELEMENTS_MAX + 1), LimitExceeded, "8193 elements"),
        ([0.5] * (ARRAY_ELEMENTS_MAX + 1), LimitExceeded, "8193 elements"),
        ({str(n): 1 for n in range(OBJECT_FIELDS_MAX + 1)}, LimitExceeded, "1025 fields"),
        (nested(65), LimitExceeded, "nested too deeply"),
    ],
)
def test_what_convex_refuses_is_refused(
    value: Any, error: type[ConvexMemoryError], told: str
) -> None:
    with pytest.raises(error) as raised:
        check(value)

    assert told in raised.value.message


@pytest.mark.parametrize(
    "value",
    [
        SAFE_INTEGER_MAX,
        {"": 1, "_x": 2, "a b": 3, "~": 4},
        {"n" * 1024: 1},
        [0.5] * ARRAY_ELEMENTS_MAX,
        {str(n): 1 for n in range(OBJECT_FIELDS_MAX)},
        [1.7e308, 1.7e308],
        nested(64),
    ],
)
def test_what_convex_just_takes_is_taken(value: Value) -> None:
    assert check(value) > 0


def test_documents_may_be_nested_less_deeply_than_arguments() -> None:
    assert check(nested(16), nesting_max=16) > 0
    with pytest.raises(LimitExceeded):
        check(nested(17), nesting_max=16)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.0"),
        (True, "true"),
        (1e21, "1e+21"),
        (-0.0, "-0.0"),
        ([], "[]"),
        ({}, "{}"),
        ({"b": 1, "a": [1, 0.5], "B": None}, '{"B":null,"a":[1.0,0.5],"b":1.0}'),
        ('"ключ"\n', '"\\"ключ\\"\\n"'),
        ((1.5,), "[1.5]"),
        ([math.nan, math.inf, -math.inf], '["NaN","Infinity","-Infinity"]'),
    ],
)
def test_text_is_written_as_a_deployment_writes_it(value: Value, text: str) -> None:
    assert to_wire(value) == text


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (-0.0, "AAAAAAAAAIA="),
        (math.nan, "AAAAAAAA+H8="),
        (math.inf, "AAAAAAAA8H8="),
        (-math.inf, "AAAAAAAA8P8="),
    ],
)
def test_numbers_without_json_text_are_encoded_when_asked(number: float, code: str) -> None:
    assert to_wire(number, encoded=True) == f'{{"$float":"{code}"}}'
    assert to_wire([1.5, number], encoded=True) == f'[1.5,{{"$float":"{code}"}}]'
    assert to_wire([0.0, 1], encoded=True) == "[0.0,1.0]"


def test_text_of_an_enumeration_is_text() -> None:
    class Role(StrEnum):
        USER = "user"

    assert to_wire({"role": Role.USER}) == '{"role":"user"}'


def test_what_is_not_json_has_no_text() -> None:
    value: Any = {"a": b"bytes"}

    with pytest.raises(TypeError, match="A bytes is not a JSON value"):
        to_wire(value)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (False, None, False),
        (True, True, True),
        ("1", 1, False),
        ("a", "a", True),
        (None, None, True),
        (None, 0, False),
        ([1], [1], False),
        ({}, {}, False),
        (math.nan, math.nan, False),
    ],
)
def test_scalars_are_equal_as_in_javascript(left: Value, right: Value, equal: bool) -> None:
    assert strict_equal(left, right) is equal
    assert strict_equal(right, left) is equal


def test_only_exact_integers_become_whole() -> None:
    assert repr(whole_numbers([1.0, 0.5, 2.0**53, 2.0**60, True, "1.0"])) == repr(
        [1, 0.5, 2**53, 2.0**60, True, "1.0"]
    )
