"""One scheduler among several: claims what is due, records what it fires, prints its claims.

    python -m tests.contract.claim_due_schedules (FOLDER | URL KEY) NOW_MS

Begins when it is sent a line, so that all of them begin at once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from convex_memory.deployment import Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.remote import RemoteDeployment
from convex_memory.store import ConvexStore, Schedule, ScheduleStore, ScheduleTrigger

HOUR_MS = 3_600_000
BATCH = 100
AT_ONCE = 10


async def fire(schedules: ScheduleStore, schedule: Schedule, now_ms: float) -> str | None:
    """Fire a schedule if nobody else does; return its id then."""
    run_id = f"run-{schedule.id}"
    mine = await schedules.update_schedule_next_fire(
        id=schedule.id,
        expected_next_fire_at_ms=schedule.next_fire_at_ms,
        new_next_fire_at_ms=now_ms + HOUR_MS,
        last_fire_at_ms=now_ms,
        last_run_id=run_id,
    )
    if not mine:
        return None
    trigger = ScheduleTrigger(
        schedule_id=schedule.id,
        run_id=run_id,
        scheduled_fire_at_ms=schedule.next_fire_at_ms,
        actual_fire_at_ms=now_ms,
        outcome="published",
    )
    await schedules.record_trigger(trigger)
    return schedule.id


async def claim(deployment: Deployment, now_ms: float) -> list[str]:
    """Fire until nothing is due; return the ids of the schedules fired."""
    schedules = ConvexStore(deployment).schedules
    fired: list[str] = []
    while due := await schedules.list_due_schedules(now_ms=now_ms, limit=BATCH):
        for start in range(0, len(due), AT_ONCE):
            some = due[start : start + AT_ONCE]
            outcomes = await asyncio.gather(*(fire(schedules, each, now_ms) for each in some))
            fired += [schedule_id for schedule_id in outcomes if schedule_id is not None]
    return fired


async def main(place: str, *rest: str) -> None:
    *key, now_ms = rest
    deployment = RemoteDeployment(place, key[0]) if key else EmbeddedDeployment(Path(place))
    async with deployment:
        await ConvexStore(deployment).schedules.get_schedule(id="nobody")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await claim(deployment, float(now_ms))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
