"""Requests and answers as JSON text, with values coded as `convex.values` of PyPI codes them.

Arguments go through `convex_to_json`. In an answer, every object with a field name that begins
with `$` goes through `json_to_convex`, and so does each field name when it is first seen; whatever
else stands in an answer, JSON and Convex read alike. Three things are ours, since callers take
JSON values: integral numbers come as `int`, int64 as `int`, bytes as base64 text.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from convex.values import convex_to_json, json_to_convex

from convex_memory.limits import SAFE_INTEGER_MAX
from convex_memory.values import Value

_NAMES: set[str] = set()
"""Field names that are known to be valid."""
_NAMES_MAX: Final = 4096


def encode_request(path: str, args: Mapping[str, Value]) -> bytes:
    """The body that calls a function.

    Args:
        path: `module/path:function`.
        args: Values that `check` took.
    """
    coded = convex_to_json(args)  # type: ignore[arg-type]
    fields = {"path": path, "args": coded, "format": "convex_encoded_json"}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def decode_answer(content: bytes) -> Any:
    """What stands in an answer.

    Raises:
        ValueError: It is not JSON, or holds what is no Convex value. The text of the error may
            quote it.
    """
    try:
        return _JSON.decode(content.decode())
    except (TypeError, struct.error, RecursionError) as error:
        raise ValueError from error


def _object(fields: dict[str, Any]) -> Any:
    if fields.keys() <= _NAMES:
        return fields
    if any(name.startswith("$") for name in fields):
        return _plain(json_to_convex(fields))
    for name in fields:
        json_to_convex({name: None})
        if len(_NAMES) < _NAMES_MAX:
            _NAMES.add(name)
    return fields


def _plain(special: Any) -> Value:
    if isinstance(special, bytes):
        return base64.b64encode(special).decode()
    if isinstance(special, float):
        return _whole(special)
    return int(special.value)


def _number(text: str) -> int | float:
    return _whole(float(text))


def _whole(number: float) -> int | float:
    whole = number.is_integer() and abs(number) <= SAFE_INTEGER_MAX
    return int(number) if whole else number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON: Final = json.JSONDecoder(
    object_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_constant
)
