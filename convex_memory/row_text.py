"""Rows as JSON text, in the value coding of Convex (`convex_encoded_json`).

That coding writes what JSON has no text for as an object of one member: `{"$float": base64}` for
NaN, the infinities and -0.0, `{"$integer": base64}` for an int64, `{"$bytes": base64}` for bytes.
Numbers of a row that moves as text arrive as they were, whatever carries the text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import DOCUMENT_BYTES_MAX, DOCUMENT_NESTING_MAX, SAFE_INTEGER_MAX
from convex_memory.values import Value, check

_MALFORMED: Final = (ValueError, RecursionError)
_SPECIAL: Final = '"$'
_SAFE_DIGITS: Final = len(str(SAFE_INTEGER_MAX))

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _whole(digits: str) -> int | float:
    # Convex writes large numbers with all their digits, and all of them are floats.
    if len(digits) < _SAFE_DIGITS:
        return int(digits)
    number = float(digits)
    return int(number) if abs(number) <= SAFE_INTEGER_MAX else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_parse = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant).decode


def row_text(fields: Mapping[str, Any]) -> str:
    """Return a row of JSON values with finite numbers as text, on one line."""
    return _write(fields)


def read_row(text: str) -> dict[str, Any]:
    """Return the row that a text stands for, as this program can hold it.

    Raises:
        InvalidArgument: The text is not that of a row, or a value in it is an int64, bytes or
            no finite number, which only Convex holds.
    """
    return _read(text, _held_here)


def check_row_text(text: str, where: str, *, special: bool) -> dict[str, Any]:
    """Refuse a row that no deployment would take, without asking one.

    Args:
        text: The row.
        where: How an error names the row.
        special: Whether it is for a deployment that holds int64, bytes, NaN and infinities.

    Returns:
        The row, something of the same size in the place of each such value.

    Raises:
        InvalidArgument: The text is not that of a row, or has a value or a field name that the
            deployment cannot hold.
        LimitExceeded: The row is larger or deeper than a document may be.
    """
    row = _read(text, _of_same_size if special else _held_here)
    size = check(row, where, nesting_max=DOCUMENT_NESTING_MAX)
    if size > DOCUMENT_BYTES_MAX:
        raise LimitExceeded(
            f"{where} is {size:,} bytes; a document holds at most {DOCUMENT_BYTES_MAX:,} (1 MiB).",
            details={"limitBytes": DOCUMENT_BYTES_MAX, "bytes": size},
        )
    return row


def _read(text: str, special: Callable[[str, str], Value]) -> dict[str, Any]:
    try:
        row = _parse(text)
    except _MALFORMED as error:
        raise InvalidArgument("It is not JSON.") from error
    if not isinstance(row, dict):
        raise InvalidArgument("It is not a row: a row is a JSON object.")
    return _decoded(row, special) if _SPECIAL in text else row


def _decoded(row: dict[str, Any], special: Callable[[str, str], Value]) -> dict[str, Any]:
    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, coded)] = value.items()
            if name in _CODED and isinstance(coded, str):
                return special(name, coded)
        return {name: decode(item) for name, item in value.items()}

    try:
        return {name: decode(value) for name, value in row.items()}
    except (binascii.Error, struct.error) as error:
        raise InvalidArgument("It holds a value that is not coded as Convex codes it.") from error


_CODED: Final[Mapping[str, str]] = {
    "$integer": "an int64",
    "$bytes": "bytes",
    "$float": "a number that is not finite",
}


def _held_here(name: str, coded: str) -> Value:
    if name == "$float":
        number = _float_in(coded)
        if math.isfinite(number):
            return number
    raise InvalidArgument(
        f"It holds {_CODED[name]}, which only a Convex deployment can hold: values here are JSON "
        "with finite 64-bit floats."
    )


def _of_same_size(name: str, coded: str) -> Value:
    if name == "$bytes":
        return "x" * len(base64.b64decode(coded, validate=True))
    if name == "$float":
        _float_in(coded)
        return 0.0
    struct.unpack("<q", base64.b64decode(coded, validate=True))
    return 0


def _float_in(coded: str) -> float:
    (number,) = struct.unpack("<d", base64.b64decode(coded, validate=True))
    return float(number)


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same to whoever reads them.

    `1` is `1.0`, but not `True`; `-0.0` is not `0.0`. The order of an object's fields is none.
    """
    # One comparison in C says what differs; it takes for equal only what is looked at below.
    if left != right:
        return False
    if isinstance(left, dict):
        return all(same(value, right[name]) for name, value in left.items())
    if isinstance(left, list):
        return _same_items(left, right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if left == 0:
        return math.copysign(1, left) == math.copysign(1, right)
    return True


def _same_items(left: list[Any], right: list[Any]) -> bool:
    # Vectors are long, and hold nothing but floats.
    if {*map(type, left), *map(type, right)} == {float} and 0.0 not in left:
        return True
    return all(map(same, left, right))
