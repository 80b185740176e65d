"""The contract as data: what every deployment must do, and where one cannot show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import pytest

LIVE: Final = ("live", "live-empty")
"""The legs on Convex: a deployment that others use, and one that nobody does."""
NO_CLOCK: Final = dict.fromkeys(LIVE, "the platform's clock cannot be set")
OF_OTHERS: Final = {"live": "it reads, counts or empties what others have written there"}

Test = TypeVar("Test", bound=Callable[..., object])


@dataclass(frozen=True)
class Requirement:
    """One promised behaviour.

    Attributes:
        behaviour: The promise, as a sentence.
        excluded: Leg name → why this leg cannot show it.
    """

    behaviour: str
    excluded: Mapping[str, str] = field(default_factory=dict)


CITED: dict[str, list[str]] = {}
"""Requirement → the tests that cite it."""


def requirement(name: str) -> Callable[[Test], Test]:
    """Say which requirement a test shows."""

    def mark(test: Test) -> Test:
        CITED.setdefault(name, []).append(getattr(test, "__name__", repr(test)))
        return pytest.mark.requirement(name)(test)  # type: ignore[no-any-return]

    return mark
