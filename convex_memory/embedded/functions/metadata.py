"""Metadata as rows hold it: objects, or JSON text of objects as older writers left it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_INTEGER_DIGITS_EXACT: Final = 15
"""Every integer of so many digits is a float64."""


def as_object(metadata: Any) -> dict[str, Any]:
    """Return stored metadata as an object; text is read as JSON, anything else is empty."""
    while isinstance(metadata, str):
        try:
            metadata = json.loads(metadata, parse_int=_number, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return {}
    return dict(metadata) if isinstance(metadata, Mapping) else {}


def _number(digits: str) -> int | float:
    # Text may hold integers that only fit a float64 rounded, as JavaScript reads them all.
    return int(digits) if len(digits) <= _INTEGER_DIGITS_EXACT else float(digits)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def merged(stored: Any, given: Any) -> dict[str, Any]:
    """Merge metadata at the top level, the given members winning."""
    return {**as_object(stored), **as_object(given)}


def merged_without_nulls(stored: Any, given: Any) -> dict[str, Any]:
    """Merge metadata at the top level; a member given as null goes away."""
    return {name: value for name, value in merged(stored, given).items() if value is not None}
