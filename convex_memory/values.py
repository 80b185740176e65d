"""Convex values as JSON: what may be stored, how large it is, and its text on the wire."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import (
    ARRAY_ELEMENTS_MAX,
    DOCUMENT_NESTING_MAX,
    FIELD_NAME_CHARS_MAX,
    OBJECT_FIELDS_MAX,
    SAFE_INTEGER_MAX,
    VALUE_NESTING_MAX,
)

Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"
"""A JSON value that Convex accepts. Numbers are float64; there is no int64 and no bytes."""


class FiniteFloats(list[float]):
    """Floats that were looked at, all finite; whoever makes one has done so. Not to be changed.

    A vector passes many hands on its way to the disk, and each would look at every number.
    """

    __slots__ = ()


_KNOWN_NAMES: set[str] = set()
_KNOWN_NAMES_MAX = 4096


def check(value: Value, where: str = "args", *, nesting_max: int = VALUE_NESTING_MAX) -> int:
    """Refuse what Convex would refuse, and measure the rest.

    Args:
        value: Any JSON-like value.
        where: How to name the value in an error, for instance `args` or `metadata`.
        nesting_max: Levels of arrays and objects allowed.

    Returns:
        Its size in bytes by Convex's size model: null and booleans 1, numbers 9, strings
        their UTF-8 length + 2, arrays 2 + elements, objects 2 + fields with their names + 1.

    Raises:
        InvalidArgument: A field name that starts with `$`, is `__proto__` or not printable
            ASCII, a number that is not finite, a lone surrogate, or something that is not JSON.
        LimitExceeded: Too deep, too many elements or fields, or a name that is too long.
    """
    kind = type(value)
    if kind is str:
        return len(_utf8(value, where)) + 2  # type: ignore[arg-type]
    if value is None or kind is bool:
        return 1
    if kind is int or kind is float:
        if kind is float and not math.isfinite(value):  # type: ignore[arg-type]
            raise InvalidArgument(f"{where} is {value}; numbers must be finite.")
        if kind is int and abs(value) > SAFE_INTEGER_MAX:  # type: ignore[arg-type]
            raise InvalidArgument(
                f"{where} is an integer beyond 2^53; numbers are 64-bit floats here. "
                "Send it as text."
            )
        return 9
    if isinstance(value, Mapping):
        return _check_object(value, where, nesting_max)
    if isinstance(value, list | tuple):
        return _check_array(value, where, nesting_max)
    raise InvalidArgument(f"{where} is of type {kind.__name__}, which is not a JSON value.")


def _check_object(value: Mapping[str, Value], where: str, nesting_max: int) -> int:
    if nesting_max <= 0:
        raise _too_deep(where)
    if len(value) > OBJECT_FIELDS_MAX:
        raise LimitExceeded(
            f"{where} has {len(value)} fields; an object holds at most {OBJECT_FIELDS_MAX}."
        )
    size = 2
    for name, item in value.items():
        if name not in _KNOWN_NAMES:
            _check_name(name, where)
        size += len(name) + 1 + check(item, f"{where}.{name}", nesting_max=nesting_max - 1)
    return size


def _check_array(value: Sequence[Value], where: str, nesting_max: int) -> int:
    if nesting_max <= 0:
        raise _too_deep(where)
    if len(value) > ARRAY_ELEMENTS_MAX:
        raise LimitExceeded(
            f"{where} has {len(value)} elements; an array holds at most {ARRAY_ELEMENTS_MAX}."
        )
    if value and are_finite_floats(value):
        return 2 + 9 * len(value)
    return 2 + sum(
        check(item, f"{where}[{position}]", nesting_max=nesting_max - 1)
        for position, item in enumerate(value)
    )


def are_finite_floats(values: Sequence[Any]) -> bool:
    """Whether all are floats, and so surely finite; False may also mean that it is not sure.

    Vectors are long: types are collected, and a finite sum proves every number finite, without
    a step of Python for each.
    """
    if isinstance(values, FiniteFloats):
        return True
    return list(map(type, values)).count(float) == len(values) > 0 and math.isfinite(sum(values))


def _too_deep(where: str) -> LimitExceeded:
    return LimitExceeded(
        f"{where} is nested too deeply: a document holds {DOCUMENT_NESTING_MAX} levels of arrays "
        f"and objects, arguments {VALUE_NESTING_MAX}. Store deep JSON as text."
    )


def _check_name(name: str, where: str) -> None:
    if not isinstance(name, str):
        raise InvalidArgument(f"{where} has a field name that is not text: {name!r}.")
    if len(name) > FIELD_NAME_CHARS_MAX:
        raise LimitExceeded(
            f"{where} has a field name of {len(name)} characters; "
            f"at most {FIELD_NAME_CHARS_MAX} are allowed."
        )
    if name.startswith("$"):
        raise InvalidArgument(
            f"Field name {name} starts with '$', which is reserved. It is in {where}: "
            "rename the key or store the object as JSON text."
        )
    if name == "__proto__":
        # JavaScript reads it as the prototype, so on Convex it would be gone without a word.
        raise InvalidArgument(
            f"Field name {name} in {where} does not survive on Convex. "
            "Rename the key or store the object as JSON text."
        )
    if not all(" " <= character <= "~" for character in name):
        raise InvalidArgument(
            f"Field name {name!a} in {where} has a character outside printable ASCII. "
            "Rename the key or store the object as JSON text."
        )
    if len(_KNOWN_NAMES) < _KNOWN_NAMES_MAX:
        _KNOWN_NAMES.add(name)


def _utf8(text: str, where: str) -> bytes | str:
    if text.isascii():
        return text
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{where} holds a lone surrogate at character {error.start}; "
            "text must be valid Unicode."
        ) from error


def plain(value: Value) -> Value:
    """Return the same value made of dicts and lists only, as it would arrive over a wire."""
    if isinstance(value, list):
        # Vectors are long, and hold nothing that could be anything else.
        return value if value and type(value[0]) is float else [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def strict_equal(left: Value, right: Value) -> bool:
    """Equality as JavaScript's `===` sees JSON scalars: `True` is not `1`, `"1"` is not `1`.

    Arrays and objects are never equal, as in JavaScript, where they compare by identity.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return left is None and right is None


_quote = json.JSONEncoder(ensure_ascii=False).encode


def to_wire(value: Value, *, encoded: bool = False) -> str:
    """JSON text as a Convex deployment writes it: sorted keys, every number with a fraction.

    Args:
        value: Any JSON value, also with numbers that JSON has no text for.
        encoded: How to write those numbers. True as format `convex_encoded_json` does:
            `{"$float": base64}` for -0.0, NaN and the infinities. False as format `json`
            does: `-0.0` and the texts `"NaN"`, `"Infinity"`, `"-Infinity"`.

    Returns:
        The text. Reading it back gives an equal value, every number a float.

    Raises:
        TypeError: Something in it is not a JSON value.
    """
    parts: list[str] = []
    _write(value, parts.append, encoded)
    return "".join(parts)


def _write(value: Value, put: Callable[[str], None], encoded: bool) -> None:
    if value is None or isinstance(value, bool | str):
        put(_quote(value))
    elif isinstance(value, int | float):
        put(_number(float(value), encoded))
    elif isinstance(value, Mapping):
        separator = "{"
        for name in sorted(value):
            put(f"{separator}{_quote(name)}:")
            _write(value[name], put, encoded)
            separator = ","
        put("}" if value else "{}")
    elif isinstance(value, list | tuple):
        _write_array(value, put, encoded)
    else:
        raise TypeError(f"A {type(value).__name__} is not a JSON value.")


def _write_array(value: Sequence[Value], put: Callable[[str], None], encoded: bool) -> None:
    # A vector whose sum is finite and that holds no zero needs no look at each number.
    if (
        all(type(item) is float for item in value)
        and math.isfinite(sum(value))  # type: ignore[arg-type]
        and not (encoded and 0.0 in value)
    ):
        put(f"[{','.join(map(repr, value))}]")
        return
    separator = "["
    for item in value:
        put(separator)
        _write(item, put, encoded)
        separator = ","
    put("]")


def _number(number: float, encoded: bool) -> str:
    if math.isfinite(number) and not (encoded and number == 0 and math.copysign(1, number) < 0):
        return repr(number)
    if encoded:
        return f'{{"$float":"{base64.b64encode(struct.pack("<d", number)).decode()}"}}'
    if math.isnan(number):
        return '"NaN"'
    return '"Infinity"' if number > 0 else '"-Infinity"'


def whole_numbers(value: Value) -> Value:
    """The same value with integral floats as `int`: what a wire that only has `1.0` meant."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= SAFE_INTEGER_MAX else value
    if isinstance(value, Mapping):
        return {name: whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole_numbers(item) for item in value]
    return value
