"""Dates that a question names: "on 7 May 2023", "in June", "2023-05-07", "7/5/2023"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

_NAMES: Final = (
    "january jan february feb march mar april apr may may june jun july jul august aug "
    "september sep october oct november nov december dec"
).split()
_MONTHS: Final = {name: at // 2 + 1 for at, name in enumerate(_NAMES)} | {"sept": 9}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ORDINAL = r"(\d{1,2})(?:st|nd|rd|th)?"

_WORDED = re.compile(
    rf"\b(?:{_ORDINAL}[\s-]+(?:of\s+)?)?({_MONTH})\b\.?(?:[\s-]+{_ORDINAL}\b(?!\d))?"
    r"(?:,?[\s-]+(?:of\s+)?(\d{4})\b)?",
    re.IGNORECASE,
)
"""A month, with a day before or behind it, and a year, where there are any."""
_DIGITS = re.compile(r"\b(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2}))?\b")
_YEAR_LAST = re.compile(r"\b(\d{1,2})([./-])(\d{1,2})\2(\d{4})\b")
"""Day and month in either order, but the day first where points stand between them."""
_YEAR = re.compile(r"\b(19\d\d|20\d\d)\b")
_LEADS = re.compile(
    r"\b(?:in|of|on|since|during|until|till|by|from|before|after|around|this|last|next|early|late"
    r"|mid)\s+$",
    re.IGNORECASE,
)
_AMBIGUOUS: Final = frozenset({"may", "march", "mar"})
"""Months that are other words too; alone they are months only behind a word that leads to one."""


@dataclass(frozen=True, slots=True)
class NamedDate:
    """A day, a month or a year, as far as the question says."""

    year: int | None
    month: int | None
    day: int | None

    def spans(self, years: Iterable[int]) -> Iterator[tuple[date, date]]:
        """Yield its first day and the first day after it, in each of `years` if it names none."""
        for year in (self.year,) if self.year is not None else years:
            try:
                yield self._span(year)
            except (ValueError, OverflowError):
                # 30 February, or a year no calendar has.
                continue

    def _span(self, year: int) -> tuple[date, date]:
        if self.month is None:
            return date(year, 1, 1), date(year + 1, 1, 1)
        if self.day is not None:
            first = date(year, self.month, self.day)
            return first, first + timedelta(days=1)
        first = date(year, self.month, 1)
        return first, date(year + self.month // 12, self.month % 12 + 1, 1)


def dates_named(question: str) -> list[NamedDate]:
    """Return the dates that a question names: those in digits, else in words, else bare years."""
    found = [
        NamedDate(int(each[1]), int(each[3]), int(each[4]) if each[4] else None)
        for each in _DIGITS.finditer(question)
    ]
    found += [date for each in _YEAR_LAST.finditer(question) for date in _year_last(each)]
    found = found or [each for match in _WORDED.finditer(question) if (each := _worded(match))]
    return found or [NamedDate(int(each[1]), None, None) for each in _YEAR.finditer(question)]


def _year_last(match: re.Match[str]) -> Iterator[NamedDate]:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    # Where one order names no day, as 5/31 read day first, nothing is found for it.
    yield NamedDate(year, second, first)
    if match[2] != "." and first != second:
        yield NamedDate(year, first, second)


def _worded(match: re.Match[str]) -> NamedDate | None:
    day, year, month = match[1] or match[3], match[4], match[2].lower()
    is_bare = not (day or year) and month in _AMBIGUOUS
    if is_bare and not _LEADS.search(match.string[: match.start()]):
        return None
    return NamedDate(int(year) if year else None, _MONTHS[month], int(day) if day else None)
