"""Live scheduling: what is due fires, each fire once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import anyio
import pytest

from convex_memory.deployment import Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import Conflict, InvalidArgument, Unreachable
from convex_memory.scheduling import CLAIM, ScheduleRunner
from convex_memory.store import ConvexStore
from convex_memory.store.schedule_records import Schedule, ScheduleTrigger
from convex_memory.values import Value
from tests.contract.conversations import StockDeployment
from tests.contract.legs import Clock
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio

MINUTE = 60_000


class Actions:
    """Remembers what fired."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, str]] = []
        self.error: Exception | None = None

    async def __call__(self, schedule: Schedule, trigger: ScheduleTrigger) -> None:
        self.fired.append((schedule.id, trigger.id))
        if self.error is not None:
            raise self.error


@pytest.fixture
def actions() -> Actions:
    return Actions()


@pytest.fixture(params=["ours", "stock"])
def runner(
    request: pytest.FixtureRequest,
    deployment: Deployment,
    store: ConvexStore,
    clock: Clock,
    actions: Actions,
) -> ScheduleRunner:
    reached = deployment if request.param == "ours" else StockDeployment(deployment)
    return ScheduleRunner(reached, store.schedules, actions, now_ms=clock.now_ms)


def due(clock: Clock, name: str, **changes: object) -> Schedule:
    given: dict[str, object] = {
        "id": name,
        "target": {"type": "agent", "agentId": "a", "prompt": "p"},
        "cron": "* * * * *",
        "next_fire_at_ms": clock.now_ms() - 1,
        "created_at_ms": clock.now_ms(),
        "updated_at_ms": clock.now_ms(),
        **changes,
    }
    return Schedule(**given)  # type: ignore[arg-type]


@requirement("scheduling:fires")
async def test_what_is_due_fires_and_its_history_says_so(
    runner: ScheduleRunner, store: ConvexStore, clock: Clock, actions: Actions, namespace: str
) -> None:
    created = due(clock, namespace)
    await store.schedules.create_schedule(created)
    assert await runner.run_once() == 1
    stored = await store.schedules.get_schedule(id=namespace)
    assert stored is not None
    assert stored.next_fire_at_ms == clock.now_ms() + MINUTE
    assert stored.last_fire_at_ms == clock.now_ms()
    (trigger,) = await store.schedules.list_triggers(schedule_id=namespace)
    assert actions.fired == [(namespace, trigger.id)]
    assert (trigger.outcome, trigger.error) == ("published", None)
    assert trigger.scheduled_fire_at_ms == created.next_fire_at_ms
    assert stored.last_run_id == trigger.run_id
    assert await runner.run_once() == 0


@requirement("scheduling:missed")
async def test_fires_that_were_missed_happen_once(
    runner: ScheduleRunner, store: ConvexStore, clock: Clock, actions: Actions, namespace: str
) -> None:
    await store.schedules.create_schedule(due(clock, namespace))
    clock.advance_ms(10 * MINUTE)
    assert await runner.run_once() == 1
    assert await runner.run_once() == 0
    clock.advance_ms(MINUTE)
    assert await runner.run_once() == 1
    assert len(actions.fired) == 2


@requirement("scheduling:fails")
async def test_an_action_that_fails_is_in_the_history_and_is_not_tried_again(
    runner: ScheduleRunner, store: ConvexStore, clock: Clock, actions: Actions, namespace: str
) -> None:
    await store.schedules.create_schedule(due(clock, namespace))
    actions.error = Unreachable("The webhook could not be reached.")
    await runner.run_once()
    actions.error = ValueError("secret")
    clock.advance_ms(MINUTE)
    await runner.run_once()
    fires = await store.schedules.list_triggers(schedule_id=namespace)
    assert [(fire.outcome, fire.error) for fire in fires] == [
        ("failed", "ValueError"),
        ("failed", "The webhook could not be reached."),
    ]
    assert len(actions.fired) == 2


@requirement("scheduling:paused")
async def test_a_schedule_whose_cron_cannot_be_read_is_paused(
    runner: ScheduleRunner, store: ConvexStore, clock: Clock, actions: Actions, namespace: str
) -> None:
    await store.schedules.create_schedule(due(clock, f"{namespace}-bad", cron="whenever"))
    await store.schedules.create_schedule(due(clock, f"{namespace}-paused", status="paused"))
    assert await runner.run_once() == 0
    stored = await store.schedules.get_schedule(id=f"{namespace}-bad")
    assert stored is not None
    assert stored.status == "paused"
    assert actions.fired == []


@requirement("scheduling:claim")
async def test_a_claim_is_refused_to_everyone_but_the_first(
    deployment: Deployment, store: ConvexStore, clock: Clock, namespace: str
) -> None:
    await store.schedules.create_schedule(due(clock, namespace))

    async def claim(trigger_id: str, expected: float, schedule: str = namespace) -> Value:
        trigger = ScheduleTrigger(
            id=trigger_id,
            schedule_id=namespace,
            scheduled_fire_at_ms=expected,
            actual_fire_at_ms=clock.now_ms(),
            outcome="claimed",
        )
        return await deployment.call(
            "mutation",
            CLAIM,
            {
                "scheduleId": schedule,
                "expectedNextFireAt": expected,
                "newNextFireAt": clock.now_ms() + MINUTE,
                "trigger": trigger.to_row(),
            },
        )

    first = clock.now_ms() - 1
    assert await claim(f"{namespace}-1", first) is True
    assert await claim(f"{namespace}-2", first) is False
    with pytest.raises(Conflict):
        await claim(f"{namespace}-1", clock.now_ms() + MINUTE)
    with pytest.raises(InvalidArgument):
        await claim(f"{namespace}-3", first, schedule="another")
    fires = await store.schedules.list_triggers(schedule_id=namespace)
    assert [fire.id for fire in fires] == [f"{namespace}-1"]


@requirement("scheduling:crash")
async def test_a_fire_whose_runner_died_stays_claimed_and_is_not_fired_again(
    tmp_path: Path, actions: Actions
) -> None:
    folder = tmp_path / "crash"
    async with EmbeddedDeployment(folder) as deployment:
        schedules = ConvexStore(deployment).schedules
        await schedules.create_schedule(
            Schedule(
                id="s",
                target={"type": "workflow", "workflowId": "w"},
                cron="0 0 1 1 *",
                next_fire_at_ms=1,
            )
        )
        process = multiprocessing.get_context("spawn").Process(
            target=_kill_in_action, args=(str(folder),)
        )
        process.start()
        await anyio.to_thread.run_sync(process.join)
        assert process.exitcode == -9
        (fire,) = await schedules.list_triggers(schedule_id="s")
        assert fire.outcome == "claimed"
        assert await ScheduleRunner(deployment, schedules, actions).run_once() == 0
        assert actions.fired == []


def _kill_in_action(folder: str) -> None:
    import os
    import signal

    async def die(schedule: Schedule, trigger: ScheduleTrigger) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def run() -> None:
        deployment = EmbeddedDeployment(folder)
        await ScheduleRunner(deployment, ConvexStore(deployment).schedules, die).run_once()

    anyio.run(run)
