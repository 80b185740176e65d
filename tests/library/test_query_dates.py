"""The dates that a question names, however they are written."""

from __future__ import annotations

from datetime import date

import pytest

from convex_memory.query_dates import dates_named

SEVENTH_OF_MAY = (date(2023, 5, 7), date(2023, 5, 8))
FIFTH_OF_JULY = (date(2023, 7, 5), date(2023, 7, 6))
MAY = (date(2023, 5, 1), date(2023, 6, 1))


@pytest.mark.parametrize(
    ("question", "spans"),
    [
        ("What happened on 7 May 2023?", [SEVENTH_OF_MAY]),
        ("on May 7th, 2023", [SEVENTH_OF_MAY]),
        ("the 7th of May, 2023", [SEVENTH_OF_MAY]),
        ("7-May-2023", [SEVENTH_OF_MAY]),
        ("2023-05-07", [SEVENTH_OF_MAY]),
        ("2023/5/7", [SEVENTH_OF_MAY]),
        ("7.5.2023", [SEVENTH_OF_MAY]),
        ("7/5/2023", [SEVENTH_OF_MAY, FIFTH_OF_JULY]),
        ("on 5/31/2023", [(date(2023, 5, 31), date(2023, 6, 1))]),
        ("what did she say on may 7", [SEVENTH_OF_MAY]),
        ("in May", [MAY]),
        ("May 2023", [MAY]),
        ("2023-05", [MAY]),
        ("all of 2023", [(date(2023, 1, 1), date(2024, 1, 1))]),
        ("may I ask", []),
        ("30 February 2023", []),
        ("2023-13-45", []),
        ("it costs 1499.50", []),
    ],
)
def test_dates_are_read(question: str, spans: list[tuple[date, date]]) -> None:
    """In the year of the memory, where the question names none."""
    assert [span for each in dates_named(question) for span in each.spans([2023])] == spans
