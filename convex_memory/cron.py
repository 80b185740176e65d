"""When a cron expression fires next."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from convex_memory.errors import InvalidArgument


def next_fire_ms(cron: str, after_ms: float, timezone: str | None = None) -> int:
    """Return the first time after `after_ms` that `cron` names.

    Args:
        cron: Five fields (minute, hour, day of month, month, day of week), or six with
            seconds last, as PyPI `cronsim` reads them.
        after_ms: Milliseconds since the epoch.
        timezone: The IANA zone the expression is meant in; None is UTC.

    Returns:
        Milliseconds since the epoch.

    Raises:
        InvalidArgument: The expression or the zone is not valid, or it never fires.
    """
    from cronsim import CronSim, CronSimError

    after = datetime.fromtimestamp(after_ms / 1000, _zone(timezone))
    try:
        moment = next(CronSim(cron, after))
    except CronSimError as error:
        raise InvalidArgument(
            f"{cron[:80]!a} is not a cron expression ({error}). Give five fields: minute, hour, "
            "day of month, month, day of week; for instance `0 9 * * MON`."
        ) from error
    except StopIteration:
        raise InvalidArgument(f"{cron[:80]!a} never fires. Check its day and month.") from None
    return round(moment.timestamp() * 1000)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgument(
            f"{name[:80]!a} is not a time zone. Give an IANA name such as Europe/Lisbon, or none "
            "for UTC."
        ) from error
