"""When a cron expression fires next."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from convex_memory.cron import next_fire_ms
from convex_memory.errors import InvalidArgument


def ms(text: str, zone: str = "UTC") -> float:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return moment.timestamp() * 1000


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("*/5 * * * *", "2026-01-01T00:04:59.999", "2026-01-01T00:05:00"),
        ("0 9 * * MON", "2026-01-01T00:00:00", "2026-01-05T09:00:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:01", "2026-01-01T00:00:10"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_next_time_is_after_the_given_one(cron: str, after: str, expected: str) -> None:
    assert next_fire_ms(cron, ms(after)) == ms(expected)


def test_an_expression_is_meant_in_its_zone() -> None:
    found = next_fire_ms("0 9 * * *", ms("2026-07-01T00:00:00"), "Europe/Lisbon")
    assert datetime.fromtimestamp(found / 1000, UTC).isoformat() == "2026-07-01T08:00:00+00:00"


def test_a_time_that_a_clock_change_skips_still_fires_that_day() -> None:
    found = next_fire_ms("30 2 * * *", ms("2026-03-29T00:00:00", "Europe/Berlin"), "Europe/Berlin")
    assert datetime.fromtimestamp(found / 1000, UTC).isoformat() == "2026-03-29T01:00:00+00:00"


@pytest.mark.parametrize("cron", ["", "often", "* * *", "61 * * * *", "0 0 31 2 *", "é * * * *"])
def test_what_is_no_cron_expression_is_refused_with_an_example(cron: str) -> None:
    with pytest.raises(InvalidArgument, match=r"minute|never fires"):
        next_fire_ms(cron, 0)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd"])
def test_what_is_no_time_zone_is_refused_with_an_example(zone: str) -> None:
    with pytest.raises(InvalidArgument, match="Europe/Lisbon"):
        next_fire_ms("* * * * *", 0, zone)
