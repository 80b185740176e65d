"""The storage function's envelope, over a deployment that answers what a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from convex_memory.deployment import Kind
from convex_memory.errors import FunctionError, InvalidResponse, LimitExceeded
from convex_memory.limits import QUERY_ROWS_MAX
from convex_memory.store import ConvexStore, StorageFunction
from convex_memory.values import Value

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ScriptedDeployment:
    """Answers with what it was given, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Kind, str, Mapping[str, Value], bool | None]] = []

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.calls.append((kind, path, args, retry))
        answer: Value = self.answers.pop(0)
        return answer

    async def aclose(self) -> None:
        return None


async def test_a_request_is_one_envelope() -> None:
    deployment = ScriptedDeployment({"ok": True, "result": {"id": "t"}})
    storage = StorageFunction(deployment, "elsewhere/storage:handle")
    assert await storage.run("load", "mastra_threads", keys={"id": "t"}) == {"id": "t"}
    assert deployment.calls == [
        (
            "mutation",
            "elsewhere/storage:handle",
            {"op": "load", "tableName": "mastra_threads", "keys": {"id": "t"}},
            True,
        )
    ]


@pytest.mark.parametrize(
    ("op", "retry"),
    [
        ("load", True),
        ("loadMany", True),
        ("queryTable", True),
        ("omGetLatest", True),
        ("insert", True),
        ("batchInsert", True),
        ("patch", None),
        ("deleteMany", None),
        ("clearTable", None),
        ("updateThread", None),
        ("createSchedule", None),
        ("omSwapBuffered", None),
    ],
)
async def test_only_reads_and_upserts_are_sent_again(op: str, retry: bool | None) -> None:
    deployment = ScriptedDeployment({"ok": True})
    await StorageFunction(deployment).run(op, "mastra_threads")
    assert deployment.calls[0][3] is retry


async def test_a_reply_may_have_no_result_and_more_to_come() -> None:
    deployment = ScriptedDeployment({"ok": True, "hasMore": True, "continuationCursor": "c"})
    reply = await StorageFunction(deployment).reply("queryTable", "mastra_vector_a")
    assert (reply.result, reply.has_more, reply.cursor) == (None, True, "c")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"ok": False, "error": "Unsupported operation x"}, "Unsupported operation x"),
        ({"ok": False}, "Unknown Convex storage error"),
        ({"ok": False, "error": 5}, "Unknown Convex storage error"),
        ({}, "Unknown Convex storage error"),
    ],
)
async def test_a_soft_refusal_is_an_error_with_its_text(answer: Any, sentence: str) -> None:
    with pytest.raises(FunctionError, match=sentence) as refusal:
        await StorageFunction(ScriptedDeployment(answer)).run("x", "mastra_threads")
    assert type(refusal.value) is FunctionError


@pytest.mark.parametrize("answer", [None, "text", [1]])
async def test_an_answer_that_is_no_envelope_is_invalid(answer: Any) -> None:
    with pytest.raises(InvalidResponse):
        await StorageFunction(ScriptedDeployment(answer)).run("load", "mastra_threads")


async def test_clearing_repeats_while_there_is_more() -> None:
    deployment = ScriptedDeployment(
        {"ok": True, "hasMore": True}, {"ok": True, "hasMore": True}, {"ok": True}
    )
    await StorageFunction(deployment).clear("mastra_threads")
    assert [call[2]["op"] for call in deployment.calls] == ["clearTable"] * 3


async def test_rows_are_asked_for_by_equality() -> None:
    deployment = ScriptedDeployment({"ok": True, "result": [{"id": "m"}]})
    rows = await StorageFunction(deployment).rows("mastra_messages", thread_id="t")
    assert rows == [{"id": "m"}]
    assert deployment.calls[0][2]["filters"] == [{"field": "thread_id", "value": "t"}]


async def test_a_read_that_was_cut_off_is_refused_not_passed_on() -> None:
    deployment = ScriptedDeployment({"ok": True, "result": [{}] * QUERY_ROWS_MAX})
    with pytest.raises(LimitExceeded, match="Narrow the question"):
        await StorageFunction(deployment).rows("mastra_messages", thread_id="t")


@pytest.mark.parametrize("result", [None, "text", {"id": "m"}])
async def test_rows_that_are_no_list_are_invalid(result: Any) -> None:
    deployment = ScriptedDeployment({"ok": True, "result": result})
    with pytest.raises(InvalidResponse):
        await StorageFunction(deployment).rows("mastra_messages")


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"id": "a", "status": "lost", "createdAt": "2026-01-01T00:00:00.000Z"}]},
        {"results": [{"id": "a", "status": "stored"}]},
        {"results": ["a"]},
        {"results": None},
        [],
    ],
)
async def test_receipts_of_another_shape_are_invalid(answer: Any) -> None:
    memory = ConvexStore(ScriptedDeployment(answer)).memory
    with pytest.raises(InvalidResponse):
        await memory.save_conversation(thread=None, messages=[])
