"""The opt-in toolsets: workflows, scores, schedules, channels, background tasks, observations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from convex_memory.store import ConvexStore
from convex_memory.store.background_task_records import BackgroundTask
from convex_memory.store.channel_records import ChannelInstallation
from convex_memory.store.schedule_records import ScheduleTrigger
from server.shared import open_deployment
from tests.application.connections import Caller, connected, settings_in
from tools import TOOLSETS, select

pytestmark = pytest.mark.anyio

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Domain:
    """An assistant, and the store of the same folder as an application would use it."""

    def __init__(self, caller: Caller, store: ConvexStore) -> None:
        self.caller = caller
        self.store = store


@pytest.fixture(params=["memory/2026", "http/2025"])
async def domain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Domain]:
    settings = settings_in(tmp_path, toolsets=tuple(TOOLSETS))
    async with AsyncExitStack() as stack:
        deployment = open_deployment(settings)
        stack.push_async_callback(deployment.aclose)
        caller = await stack.enter_async_context(connected(str(request.param), settings))
        yield Domain(caller, ConvexStore(deployment))


async def test_all_toolsets_list_every_tool(domain: Domain) -> None:
    listed = (await domain.caller.client.list_tools()).tools
    assert [tool.name for tool in listed] == [
        name for toolset in TOOLSETS.values() for name in toolset.tools
    ]
    assert len(listed) == 49


def test_read_only_keeps_the_tools_that_change_nothing() -> None:
    assert set(select(TOOLSETS, read_only=True)) & set(TOOLSETS["schedules"].tools) == {
        "list_schedules",
        "schedule_history",
    }


# --- Workflows


async def _persist(domain: Domain, run_id: str, status: str, day: int) -> None:
    await domain.store.workflows.persist_workflow_snapshot(
        workflow_name="bake",
        run_id=run_id,
        snapshot={
            "runId": run_id,
            "status": status,
            "context": {"input": {"flour": 500}, "knead": {"status": "success", "output": 1}},
        },
        created_at=MOMENT.replace(day=day),
        updated_at=MOMENT.replace(day=day),
    )


async def test_runs_are_listed_newest_first_with_the_status_of_their_steps(domain: Domain) -> None:
    for day, status in ((1, "success"), (2, "suspended"), (3, "failed")):
        await _persist(domain, f"r{day}", status, day)
    first = await domain.caller.call("list_workflow_runs", limit=2)
    assert [run["run_id"] for run in first["runs"]] == ["r3", "r2"]
    assert first["total"] == 3
    assert first["runs"][0] == {
        "workflow_name": "bake",
        "run_id": "r3",
        "status": "failed",
        "steps": {"knead": "success"},
        "created_at": "2026-01-03T00:00:00.000Z",
        "updated_at": "2026-01-03T00:00:00.000Z",
    }
    rest = await domain.caller.call("list_workflow_runs", limit=2, cursor=first["next_cursor"])
    assert [run["run_id"] for run in rest["runs"]] == ["r1"]
    assert rest["next_cursor"] is None
    waiting = await domain.caller.call("list_workflow_runs", status="suspended")
    assert [run["run_id"] for run in waiting["runs"]] == ["r2"]


async def test_a_run_is_read_in_parts_and_forgotten(domain: Domain) -> None:
    await _persist(domain, "r1", "success", 1)
    whole = await domain.caller.call("get_workflow_run", run_id="r1", workflow_name="bake")
    assert '"flour":500' in whole["snapshot"]
    await domain.store.workflows.update_workflow_state(
        workflow_name="bake", run_id="r1", changes={"note": "z" * 1000}
    )
    text, offset, chars = "", 0, 1
    while offset < chars:
        part = await domain.caller.call(
            "get_workflow_run", run_id="r1", max_chars=300, offset=offset
        )
        chars = part["chars"]
        text += part["snapshot"]
        offset += len(part["snapshot"])
    assert text.count("z") == 1000
    await domain.caller.call("delete_workflow_run", run_id="r1", workflow_name="bake")
    gone = await domain.caller.refused("get_workflow_run", run_id="r1")
    assert gone.code == "not_found"
    assert "list_workflow_runs" in gone.message


# --- Scores


async def test_scores_are_recorded_and_read_back(domain: Domain) -> None:
    for number in range(3):
        await domain.caller.call(
            "save_score", scorer_id="accuracy", run_id=f"r{number}", score=number / 2, reason="why"
        )
    listed = await domain.caller.call("list_scores", scorer_id="accuracy", limit=2)
    assert listed["total"] == 3
    assert len(listed["scores"]) == 2
    rest = await domain.caller.call(
        "list_scores", scorer_id="accuracy", limit=2, cursor=listed["next_cursor"]
    )
    both = [*listed["scores"], *rest["scores"]]
    assert sorted(score["score"] for score in both) == [0.0, 0.5, 1.0]
    one = await domain.caller.call("list_scores", run_id="r2")
    assert one["mean"] == 1.0
    assert await domain.caller.call("get_score", score_id=one["scores"][0]["id"]) == {
        **one["scores"][0]
    }


async def test_a_list_of_scores_says_whose(domain: Domain) -> None:
    refused = await domain.caller.refused("list_scores")
    assert refused.code == "invalid_argument"
    assert "scorer_id, run_id or entity_id" in refused.message
    assert (await domain.caller.refused("get_score", score_id="nope")).code == "not_found"
    assert await domain.caller.call("list_scores", scorer_id="nobody") == {
        "scores": [],
        "mean": None,
        "total": 0,
        "next_cursor": None,
    }


# --- Schedules


def _agent(prompt: str = "Water the plants") -> dict[str, Any]:
    return {"type": "agent", "agentId": "home", "prompt": prompt}


async def test_a_schedule_is_made_paused_resumed_and_deleted(domain: Domain) -> None:
    made = await domain.caller.call(
        "create_schedule",
        schedule_id="s",
        cron="0 9 * * MON",
        target=_agent(),
        timezone="Europe/Lisbon",
        metadata={"room": "hall"},
    )
    assert made["status"] == "active"
    assert made["last_fire_at"] is None
    assert made["next_fire_at"][10:16] in ("T09:00", "T08:00")
    assert (await domain.caller.call("list_schedules"))["schedules"] == [made]
    paused = await domain.caller.call("update_schedule", schedule_id="s", status="paused")
    assert paused["status"] == "paused"
    assert (await domain.caller.call("list_schedules", status="active"))["schedules"] == []
    moved = await domain.caller.call(
        "update_schedule", schedule_id="s", status="active", cron="30 10 * * *"
    )
    assert (moved["status"], moved["cron"]) == ("active", "30 10 * * *")
    assert moved["next_fire_at"] != made["next_fire_at"]
    await domain.caller.call("delete_schedule", schedule_id="s")
    assert (await domain.caller.call("list_schedules"))["schedules"] == []


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"cron": "whenever", "target": _agent()}, "invalid_argument", "0 9 * * MON"),
        ({"cron": "* * * * *", "target": {}}, "invalid_argument", "workflowId"),
        (
            {"cron": "* * * * *", "target": _agent(), "timezone": "Mars"},
            "invalid_argument",
            "Europe/Lisbon",
        ),
    ],
)
async def test_a_schedule_that_could_not_fire_is_refused(
    domain: Domain, given: dict[str, Any], code: str, said: str
) -> None:
    refused = await domain.caller.refused("create_schedule", **given)
    assert refused.code == code
    assert said in refused.message
    assert (await domain.caller.call("list_schedules"))["schedules"] == []


async def test_what_is_due_is_listed_and_the_history_has_pages(domain: Domain) -> None:
    await domain.caller.call("create_schedule", schedule_id="s", cron="0 0 1 1 *", target=_agent())
    assert (await domain.caller.call("list_schedules", due=True))["schedules"] == []
    await domain.store.schedules.update_schedule(id="s", next_fire_at_ms=1)
    due = (await domain.caller.call("list_schedules", due=True))["schedules"]
    assert [schedule["id"] for schedule in due] == ["s"]
    for number in range(3):
        await domain.store.schedules.record_trigger(
            ScheduleTrigger(
                schedule_id="s",
                scheduled_fire_at_ms=number * 1000,
                actual_fire_at_ms=number * 1000 + 1,
                outcome="published",
            )
        )
    first = await domain.caller.call("schedule_history", schedule_id="s", limit=2)
    assert [fire["scheduled_for"][17:19] for fire in first["fires"]] == ["02", "01"]
    rest = await domain.caller.call(
        "schedule_history", schedule_id="s", limit=2, cursor=first["next_cursor"]
    )
    assert [fire["scheduled_for"][17:19] for fire in rest["fires"]] == ["00"]
    assert rest["next_cursor"] is None
    bad = await domain.caller.refused("schedule_history", schedule_id="s", cursor="soon")
    assert "next_cursor" in bad.message
    assert (await domain.caller.refused("schedule_history", schedule_id="t")).code == "not_found"


# --- Channels


async def test_installations_are_shown_without_their_secrets(domain: Domain) -> None:
    for number, status in enumerate(("active", "error")):
        await domain.store.channels.save_installation(
            ChannelInstallation(
                id=f"i{number}",
                platform="slack",
                agent_id=f"agent{number}",
                status=status,  # type: ignore[arg-type]
                data={"token": "xoxb-secret"},
                error="revoked" if status == "error" else None,
            )
        )
    listed = await domain.caller.call("list_channel_installations", platform="slack")
    assert {each["id"] for each in listed["installations"]} == {"i0", "i1"}
    assert "secret" not in str(listed)
    one = await domain.caller.call("get_channel_installation", platform="slack", agent_id="agent1")
    assert (one["status"], one["error"]) == ("error", "revoked")
    await domain.caller.call("delete_channel_installation", installation_id="i1")
    gone = await domain.caller.refused(
        "get_channel_installation", platform="slack", agent_id="agent1"
    )
    assert gone.code == "not_found"


# --- Background tasks


async def test_tasks_are_listed_read_and_cancelled(domain: Domain) -> None:
    for number, status in enumerate(("running", "completed", "suspended")):
        await domain.store.background_tasks.create_task(
            BackgroundTask(
                id=f"t{number}",
                status=status,  # type: ignore[arg-type]
                tool_name="research",
                tool_call_id=f"c{number}",
                agent_id="a",
                run_id="r",
                timeout_ms=1000,
                args={"topic": "rye"},
                result={"found": "x" * 500} if status == "completed" else None,
                suspend_payload={"ask": "Which one?"} if status == "suspended" else None,
                created_at=MOMENT.replace(minute=number),
            )
        )
    listed = await domain.caller.call("list_background_tasks", status=["running", "suspended"])
    assert [task["id"] for task in listed["tasks"]] == ["t2", "t0"]
    waiting = await domain.caller.call("get_background_task", task_id="t2")
    assert waiting["waits_for"] == '{"ask":"Which one?"}'
    assert waiting["arguments"] == '{"topic":"rye"}'
    done = await domain.caller.call("get_background_task", task_id="t1", max_chars=200)
    assert (len(done["result"]), done["chars"]) == (200, 512)
    cancelled = await domain.caller.call("cancel_background_task", task_id="t0")
    assert cancelled["status"] == "cancelled"
    assert await domain.caller.call("cancel_background_task", task_id="t0") == cancelled
    ended = await domain.caller.refused("cancel_background_task", task_id="t1")
    assert (ended.code, "completed" in ended.message) == ("conflict", True)
    assert (await domain.caller.refused("get_background_task", task_id="t9")).code == "not_found"


# --- Observations


async def test_observations_are_written_read_in_parts_and_cleared(domain: Domain) -> None:
    none = await domain.caller.call("get_observations")
    assert none == {
        "observations": "",
        "generation": None,
        "tokens": 0,
        "last_observed_at": None,
        "waiting": 0,
    }
    log = "* Mara bakes on Sundays\n" * 100
    written = await domain.caller.call("update_observations", content=log)
    assert (written["generation"], written["tokens"]) == (0, len(log) // 4)
    part = await domain.caller.call("get_observations", max_chars=200, offset=1000)
    assert part["observations"] == log[1000:1200]
    assert part["chars"] == len(log)
    await domain.caller.call("update_observations", content="* Mara moved to Lisbon")
    history = await domain.caller.call("observation_history")
    assert [each["observations"] for each in history["generations"]] == ["* Mara moved to Lisbon"]
    assert await domain.caller.call("clear_observations") == {"cleared": True}
    assert (await domain.caller.call("get_observations"))["observations"] == ""


async def test_observations_of_a_thread_are_its_own(domain: Domain) -> None:
    await domain.caller.save("t", "hello")
    await domain.caller.call("update_observations", content="* said hello", thread_id="t")
    of_thread = await domain.caller.call("get_observations", thread_id="t")
    assert of_thread["observations"] == "* said hello"
    assert (await domain.caller.call("get_observations"))["observations"] == ""
    for tool, given in (
        ("get_observations", {}),
        ("update_observations", {"content": "x"}),
        ("observation_history", {}),
        ("clear_observations", {}),
    ):
        refused = await domain.caller.refused(tool, thread_id="unknown", **given)
        assert refused.code == "not_found"
