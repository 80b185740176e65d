"""Reading the arguments of a function: what they must be, and the sentence when they are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from convex_memory.errors import InvalidArgument

Args: TypeAlias = Mapping[str, Any]


def text_argument(args: Args, name: str, *, optional: bool = False) -> Any:
    """Return a non-empty text argument, or None where it is optional and absent.

    Raises:
        InvalidArgument: It is missing, empty, or not text.
    """
    value = args.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"{name} must be non-empty text.")
    return value


def whole_argument(args: Args, name: str, least: int, most: int, default: int | None = None) -> int:
    """Return an integer argument between `least` and `most`.

    Raises:
        InvalidArgument: It is missing without a default, not an integer, or out of range.
    """
    value = args.get(name, default)
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or value != int(value)
        or not least <= value <= most
    ):
        raise InvalidArgument(f"{name} must be an integer between {least} and {most}.")
    return int(value)


def choice_argument(args: Args, name: str, choices: tuple[str, ...]) -> str:
    """Return a text argument that is one of `choices`; the first of them when it is absent.

    Raises:
        InvalidArgument: It is something else.
    """
    value = args.get(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}.")
    return str(value)


def time_argument(args: Args, name: str) -> float | None:
    """Return a time in milliseconds since the epoch, or None where it is absent or null.

    Raises:
        InvalidArgument: It is not a number that can be a time.
    """
    value = args.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise InvalidArgument(f"{name} must be milliseconds since 1970.")
    return float(value)
