"""What a fired schedule does: tell clients, or call a webhook."""

from __future__ import annotations

from typing import Final

from mcp.server.subscriptions import ResourceUpdated

from convex_memory.errors import DeploymentTimeout, FunctionError, Unreachable
from convex_memory.scheduling import Action
from convex_memory.store.schedule_records import Schedule, ScheduleTrigger
from server.subscriptions import Subscriptions
from tools.resources import schedule_uri

_SECONDS_MAX: Final = 10


def notifying(subscriptions: Subscriptions) -> Action:
    """Return the action that tells the clients subscribed to the schedule's resource.

    Those in this process; the change feed reaches the others.
    """

    async def notify(schedule: Schedule, trigger: ScheduleTrigger) -> None:
        await subscriptions.publish(ResourceUpdated(uri=schedule_uri(schedule.id)), None)

    return notify


def posting_to(url: str) -> Action:
    """Return the action that posts each fire to a webhook, once.

    The body is JSON: `{schedule: {id, cron, target, metadata}, trigger: {id, run_id,
    scheduled_fire_at_ms, actual_fire_at_ms}}`. `Idempotency-Key` is the trigger's id. Any 2xx
    means published; nothing is sent again.
    """

    async def post(schedule: Schedule, trigger: ScheduleTrigger) -> None:
        import httpx2

        body = {
            "schedule": {
                "id": schedule.id,
                "cron": schedule.cron,
                "target": dict(schedule.target),
                "metadata": None if schedule.metadata is None else dict(schedule.metadata),
            },
            "trigger": {
                "id": trigger.id,
                "run_id": trigger.run_id,
                "scheduled_fire_at_ms": trigger.scheduled_fire_at_ms,
                "actual_fire_at_ms": trigger.actual_fire_at_ms,
            },
        }
        try:
            async with httpx2.AsyncClient(timeout=_SECONDS_MAX) as client:
                answer = await client.post(url, json=body, headers={"Idempotency-Key": trigger.id})
        except httpx2.TimeoutException as error:
            raise DeploymentTimeout(f"The webhook gave no answer in {_SECONDS_MAX} s.") from error
        except httpx2.HTTPError as error:
            raise Unreachable("The webhook could not be reached.") from error
        if not answer.is_success:
            raise FunctionError(f"The webhook answered {answer.status_code}.")

    return post
