"""Changing and forgetting through the tools, and the sweeper."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest
from pydantic import SecretStr

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import Overloaded
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore
from server.sweeping import SWEEPS_MAX, Sweeper
from tests.application.connections import Caller, connected, settings_in, stored_in
from tests.bridge.serving import BRIDGE, Bridge, bridge

pytestmark = pytest.mark.anyio

WEEK_MS: Final = 604_800_000
LONG_AFTER: Final = "2150-01-01T00:00:00.000Z"


async def contents(caller: Caller, thread_id: str = "t", **arguments: Any) -> list[str]:
    answer = await caller.call("recall_thread", thread_id=thread_id, limit=200, **arguments)
    return [message["content"] for message in answer["messages"]]


async def found(caller: Caller, query: str) -> list[str]:
    answer = await caller.call("search_memory", query=query)
    return [hit["content"] for hit in answer["hits"] if "lexical" in hit["reasons"]]


def days_from_now(answer: dict[str, Any]) -> float:
    until = datetime.fromisoformat(answer["restorable_until"])
    return (until - datetime.now(UTC)) / timedelta(days=1)


# --- Changing


async def test_a_message_is_changed(caller: Caller) -> None:
    [saved] = await caller.save("t", "the kettle is red", metadata={"n": 1, "gone": True})
    changed = await caller.call(
        "update_message",
        message_id=saved["message_id"],
        content="the kettle is blue",
        metadata={"gone": None, "new": [1]},
        expires_at="2150-01-01",
    )
    assert changed == {
        "message": {
            "id": saved["message_id"],
            "role": "user",
            "content": "the kettle is blue",
            "created_at": saved["created_at"],
            "metadata": {"n": 1, "new": [1]},
            "expires_at": LONG_AFTER,
        },
        "thread_id": "t",
    }
    [shown] = (await caller.call("recall_thread", thread_id="t"))["messages"]
    assert shown == changed["message"]
    assert await found(caller, "red") == []
    assert await found(caller, "blue") == ["the kettle is blue"]
    kept = await caller.call("update_message", message_id=saved["message_id"], expires_at="Never")
    assert kept["message"] == {name: value for name, value in shown.items() if name != "expires_at"}


async def test_a_long_message_that_is_changed_is_shown_cut(caller: Caller) -> None:
    [saved] = await caller.save("t", "x")
    text = "long " * 10_000
    changed = await caller.call("update_message", message_id=saved["message_id"], content=text)
    assert (changed["message"]["cut"], changed["message"]["chars"]) == (True, 50_000)
    assert len(changed["message"]["content"]) < 13_000


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "words"),
    [
        ("update_message", {"message_id": "m"}, "invalid_argument", ("content", "expires_at")),
        ("update_message", {"message_id": "m", "content": ""}, "invalid_argument", ("content",)),
        ("update_message", {"message_id": "no", "content": "x"}, "not_found", ("'no'",)),
        ("update_message", {"content": "x"}, "invalid_argument", ("message_id is required",)),
        (
            "update_message",
            {"message_id": "m", "text": "x"},
            "invalid_argument",
            ("no argument text", "content"),
        ),
        (
            "update_message",
            {"message_id": "m", "expires_at": "soon"},
            "invalid_argument",
            ("expires_at", "ISO-8601"),
        ),
        (
            "update_message",
            {"message_id": "m", "expires_at": "2020-01-01"},
            "invalid_argument",
            ("expires_at", "future", "delete_messages"),
        ),
        (
            "update_message",
            {"message_id": "m", "expires_at": ""},
            "invalid_argument",
            ("expires_at",),
        ),
        ("update_message", {"message_id": "m", "metadata": [1]}, "invalid_argument", ("metadata",)),
        ("update_thread", {"thread_id": "t"}, "invalid_argument", ("title", "expires_at")),
        (
            "update_thread",
            {"thread_id": "t", "expires_at": "1999-01-01"},
            "invalid_argument",
            ("future",),
        ),
        ("update_thread", {"thread_id": "no", "expires_at": "never"}, "not_found", ("'no'",)),
        (
            "save_message",
            {"role": "user", "content": "x", "expires_at": "2020-01-01"},
            "invalid_argument",
            ("future",),
        ),
        (
            "save_message",
            {"role": "user", "content": "x", "thread_id": "t", "supersedes": "no"},
            "not_found",
            ("'no'", "supersede"),
        ),
        (
            "save_message",
            {"role": "user", "content": "x", "message_id": "n", "supersedes": "n"},
            "invalid_argument",
            ("itself",),
        ),
        (
            "save_messages",
            {"messages": [{"role": "user", "content": "x", "expires_at": "soon"}]},
            "invalid_argument",
            ("expires_at",),
        ),
        ("restore", {}, "invalid_argument", ("message_ids or thread_id",)),
        (
            "restore",
            {"message_ids": ["m"], "thread_id": "t"},
            "invalid_argument",
            ("message_ids or thread_id",),
        ),
        ("restore", {"message_ids": []}, "invalid_argument", ("at least 1",)),
        ("restore", {"message_ids": ["m"] * 101}, "invalid_argument", ("100",)),
        ("restore", {"thread_id": "t"}, "not_found", ("'t'", "still there")),
        ("restore", {"thread_id": "no"}, "not_found", ("'no'",)),
        (
            "delete_thread",
            {"thread_id": "t", "permanent": "maybe"},
            "invalid_argument",
            ("permanent",),
        ),
    ],
    ids=str,
)
async def test_what_cannot_be_is_told_and_changes_nothing(
    caller: Caller, tool: str, arguments: dict[str, Any], code: str, words: tuple[str, ...]
) -> None:
    await caller.call("save_message", role="user", content="stays", thread_id="t", message_id="m")
    before = await caller.call("recall_thread", thread_id="t")
    refusal = await caller.refused(tool, **arguments)
    assert refusal.code == code
    for word in words:
        assert word in refusal.message
    assert await caller.call("recall_thread", thread_id="t") == before
    assert len((await caller.call("list_threads"))["threads"]) == 1


# --- Deleting and restoring


async def test_deleted_messages_can_be_restored_for_a_week(caller: Caller) -> None:
    saved = await caller.save("t", "one", "two", "three")
    ids = [each["message_id"] for each in saved]
    gone = await caller.call("delete_messages", message_ids=[ids[2], "no", ids[0], ids[0]])
    assert (gone["deleted"], gone["not_found"]) == ([ids[2], ids[0]], ["no"])
    assert 6.9 < days_from_now(gone) <= 7
    assert await contents(caller) == ["two"]
    assert await found(caller, "one three") == []
    back = await caller.call("restore", message_ids=[ids[0], "no", ids[1], ids[2]])
    assert back == {
        "restored_messages": 2,
        "restored": [ids[0], ids[2]],
        "not_found": ["no", ids[1]],
    }
    assert await contents(caller) == ["one", "two", "three"]
    assert sorted(await found(caller, "one three")) == ["one", "three"]
    nothing = await caller.call("restore", message_ids=ids)
    assert nothing == {"restored_messages": 0, "restored": [], "not_found": ids}


async def test_a_deleted_thread_can_be_restored(caller: Caller) -> None:
    await caller.save("t", *[f"m{number}" for number in range(120)])
    await caller.call("update_thread", thread_id="t", title="Tea", metadata={"n": 1})
    before = await caller.call("recall_thread", thread_id="t", limit=200)
    gone = await caller.call("delete_thread", thread_id="t")
    assert (gone["thread_id"], gone["deleted_messages"]) == ("t", 120)
    assert 6.9 < days_from_now(gone) <= 7
    assert (await caller.refused("recall_thread", thread_id="t")).code == "not_found"
    back = await caller.call("restore", thread_id="t")
    assert back == {"restored_messages": 120, "thread": before["thread"]}
    assert await caller.call("recall_thread", thread_id="t", limit=200) == before


async def test_a_thread_begun_anew_is_in_the_way(caller: Caller) -> None:
    await caller.save("t", "old")
    await caller.call("delete_thread", thread_id="t")
    await caller.save("t", "new")
    refusal = await caller.refused("restore", thread_id="t")
    assert refusal.code == "conflict"
    assert "begun anew" in refusal.message
    assert await contents(caller) == ["new"]


async def test_what_is_deleted_for_good_is_gone(caller: Caller, tmp_path: Path) -> None:
    saved = await caller.save("t", "first secret", "second secret", "kept")
    ids = [each["message_id"] for each in saved]
    gone = await caller.call("delete_messages", message_ids=ids[:1], permanent=True)
    assert gone == {"deleted": ids[:1], "not_found": [], "restorable_until": None}
    await caller.call("delete_messages", message_ids=ids[1:2])
    # What could still be restored is deleted for good, too.
    again = await caller.call("delete_messages", message_ids=ids[:2], permanent=True)
    assert again == {"deleted": ids[1:2], "not_found": ids[:1], "restorable_until": None}
    assert (await caller.call("restore", message_ids=ids))["restored"] == []
    assert await contents(caller) == ["kept"]
    await caller.call("delete_thread", thread_id="t")
    gone = await caller.call("delete_thread", thread_id="t", permanent=True)
    assert gone == {"thread_id": "t", "deleted_messages": 0, "restorable_until": None}
    assert (await caller.refused("restore", thread_id="t")).code == "not_found"
    again_refused = await caller.refused("delete_thread", thread_id="t", permanent=True)
    assert again_refused.code == "not_found"
    assert trash_in(tmp_path) == []


def trash_in(tmp_path: Path) -> list[Any]:
    """What is kept of deleted messages and threads."""
    return list(stored_in(tmp_path)["trash"])


async def test_nothing_is_kept_where_the_setting_says_so(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path, restorable_ms=0)) as caller:
        [one, _] = await caller.save("t", "one", "two")
        gone = await caller.call("delete_messages", message_ids=[one["message_id"]])
        assert (gone["deleted"], gone["restorable_until"]) == ([one["message_id"]], None)
        assert (await caller.call("delete_thread", thread_id="t"))["restorable_until"] is None
        assert (await caller.refused("restore", thread_id="t")).code == "not_found"
        assert trash_in(tmp_path) == []


async def test_the_setting_says_how_long(tmp_path: Path) -> None:
    for milliseconds, days in ((WEEK_MS // 7, 1), (10**17, 365 * 7000)):
        settings = settings_in(tmp_path, restorable_ms=milliseconds)
        async with connected("memory/2026", settings) as caller:
            [one] = await caller.save("t", "one")
            gone = await caller.call("delete_messages", message_ids=[one["message_id"]])
            assert days_from_now(gone) > days - 0.1
            assert (await caller.call("restore", message_ids=gone["deleted"]))["restored"]


async def test_what_another_deleted_cannot_be_restored(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path, resource_id="ann")) as ann:
        [saved] = await ann.save("t", "a secret")
        message = {"message_ids": [saved["message_id"]]}
        async with connected("memory/2026", settings_in(tmp_path, resource_id="bob")) as bob:
            refusal = await bob.refused(
                "update_message", message_id=saved["message_id"], content="Bob's"
            )
            assert refusal.code == "not_found"
            refusal = await bob.refused(
                "save_message", role="user", content="x", supersedes=saved["message_id"]
            )
            assert refusal.code == "not_found"
            await ann.call("delete_messages", **message)
            assert (await bob.call("restore", **message))["restored"] == []
            kept = await bob.call("delete_messages", **message, permanent=True)
            assert kept["deleted"] == []
            await ann.call("restore", **message)
            await ann.call("delete_thread", thread_id="t")
            assert (await bob.refused("restore", thread_id="t")).code == "not_found"
            refusal = await bob.refused("delete_thread", thread_id="t", permanent=True)
            assert refusal.code == "not_found"
        assert (await ann.call("restore", thread_id="t"))["restored_messages"] == 1


# --- Expiry and superseding


async def test_messages_expire_and_say_so(caller: Caller) -> None:
    saved = await caller.call(
        "save_message",
        role="user",
        content="the code is 1234",
        thread_id="t",
        expires_at="2150-01-01T02:00:00+02:00",
    )
    await caller.call(
        "save_messages",
        thread_id="t",
        messages=[{"role": "user", "content": "beside", "expires_at": "2151-01-01"}],
    )
    page = await caller.call("recall_thread", thread_id="t")
    assert [message["expires_at"] for message in page["messages"]] == [
        LONG_AFTER,
        "2151-01-01T00:00:00.000Z",
    ]
    around = await caller.call("recall_thread", thread_id="t", around=saved["message_id"])
    assert around["messages"] == page["messages"]
    for_query = await caller.call("recall_thread", thread_id="t", query="code")
    assert for_query["messages"] == page["messages"]
    answer = await caller.call("search_memory", query="code", neighbours=1)
    [hit] = [hit for hit in answer["hits"] if hit["message_id"] == saved["message_id"]]
    assert (hit["expires_at"], hit["after"]) == (LONG_AFTER, page["messages"][1:])
    assert (await caller.call("restore", message_ids=["no"]))["restored"] == []


async def test_threads_expire(caller: Caller) -> None:
    await caller.save("t", "x")
    changed = await caller.call("update_thread", thread_id="t", expires_at="2150-01-01")
    assert changed["expires_at"] == LONG_AFTER
    changed = await caller.call("update_thread", thread_id="t", expires_at="never", title="Tea")
    assert "expires_at" not in changed
    assert changed["thread"]["title"] == "Tea"


async def test_what_has_expired_is_gone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with connected("memory/2026", settings) as caller:
        saved = await caller.save("t", "stays", "goes")
        await caller.save("u", "with its thread")
    async with EmbeddedDeployment(settings.data_dir) as deployment:
        past = {"expiresAt": 1_000_000_000_000}
        message = {"messageId": saved[1]["message_id"], **past}
        await deployment.call("mutation", "memory/messages:update", message)
        await deployment.call("mutation", "memory/threads:update", {"threadId": "u", **past})
    async with connected("memory/2026", settings) as caller:
        assert await contents(caller) == ["stays"]
        assert await found(caller, "goes thread") == []
        assert (await caller.refused("recall_thread", thread_id="u")).code == "not_found"
        restored = await caller.call("restore", message_ids=[saved[1]["message_id"]])
        assert restored["restored"] == []


async def test_a_message_takes_the_place_of_another(caller: Caller) -> None:
    [old] = await caller.save("t", "my cat is called Tom")
    new = await caller.call(
        "save_message",
        role="user",
        content="my cat is called Jerry",
        thread_id="t",
        supersedes=old["message_id"],
    )
    assert await found(caller, "cat") == ["my cat is called Jerry"]
    [first, second] = (await caller.call("recall_thread", thread_id="t"))["messages"]
    assert first["superseded_by"] == second["id"] == new["message_id"]
    assert "superseded_by" not in second
    clone = await caller.call("clone_thread", thread_id="t")
    [first, second] = (await caller.call("recall_thread", thread_id=clone["thread"]["id"]))[
        "messages"
    ]
    assert first["superseded_by"] == second["id"]
    await caller.call("delete_thread", thread_id=clone["thread"]["id"], permanent=True)
    await caller.call("delete_messages", message_ids=[new["message_id"]])
    assert await found(caller, "cat") == ["my cat is called Tom"]
    await caller.call("restore", message_ids=[new["message_id"]])
    assert await found(caller, "cat") == ["my cat is called Jerry"]


async def test_many_messages_supersede_in_one_call(caller: Caller) -> None:
    old = await caller.save("t", "tea at one", "tea at two")
    messages = [
        {"role": "user", "content": f"tea at {hour}", "supersedes": each["message_id"]}
        for hour, each in zip(("three", "four"), old, strict=True)
    ]
    await caller.call("save_messages", thread_id="t", messages=messages)
    assert sorted(await found(caller, "tea")) == ["tea at four", "tea at three"]


# --- Vectors of messages


async def test_what_is_changed_or_restored_waits_for_its_vector(tmp_path: Path) -> None:
    # Nobody answers there: what waits stays.
    settings = settings_in(
        tmp_path,
        embedder="openai:text-embedding-3-small:256",
        openai_base_url="http://127.0.0.1:9/v1",
    )
    async with connected("memory/2026", settings) as caller:
        first, second = await caller.save("t", "one", "two")
        assert [first["embedding"], second["embedding"]] == ["pending", "pending"]
        ids = [first["message_id"], second["message_id"]]

        def waiting() -> list[str]:
            return sorted(row[2] for row in stored_in(tmp_path)["embedding_queue"])

        assert waiting() == sorted(ids)
        await caller.call("update_message", message_id=ids[0], content="other")
        await caller.call("delete_messages", message_ids=ids[1:])
        assert waiting() == ids[:1]
        await caller.call("restore", message_ids=ids[1:])
        assert waiting() == sorted(ids)
        await caller.call(
            "save_message", role="user", content="x", message_id="new", supersedes=ids[0]
        )
        assert waiting() == sorted([ids[1], "new"])


# --- Mastra's functions alone


@pytest.fixture(scope="module")
def mastra() -> Iterator[Bridge]:
    with bridge(BRIDGE / "mastra_reference") as running:
        yield running


@pytest.fixture
async def on_mastra(mastra: Bridge, tmp_path: Path) -> AsyncIterator[Caller]:
    mastra.reset(1_767_225_600_000)
    settings = settings_in(
        tmp_path, convex_url=mastra.url, convex_admin_key=SecretStr(mastra.admin_key)
    )
    async with connected("memory/2026", settings) as caller:
        yield caller


async def test_with_mastras_functions_alone_a_deletion_is_for_good(on_mastra: Caller) -> None:
    [one, two] = await on_mastra.save("t", "one", "two")
    changed = await on_mastra.call(
        "update_message", message_id=one["message_id"], content="other", metadata={"n": 1}
    )
    assert (changed["message"]["content"], changed["message"]["metadata"]) == ("other", {"n": 1})
    gone = await on_mastra.call("delete_messages", message_ids=[two["message_id"]])
    assert (gone["deleted"], gone["restorable_until"]) == ([two["message_id"]], None)
    for tool, arguments in (
        ("restore", {"message_ids": [two["message_id"]]}),
        ("restore", {"thread_id": "t"}),
        ("update_thread", {"thread_id": "t", "expires_at": "2150-01-01"}),
        ("update_message", {"message_id": one["message_id"], "expires_at": "never"}),
        ("save_message", {"role": "user", "content": "x", "expires_at": "2150-01-01"}),
        ("save_message", {"role": "user", "content": "x", "supersedes": one["message_id"]}),
    ):
        refusal = await on_mastra.refused(tool, **arguments)
        assert (tool, refusal.code) == (tool, "not_deployed")
        assert "convex-memory functions" in refusal.message
    gone = await on_mastra.call("delete_thread", thread_id="t")
    assert (gone["deleted_messages"], gone["restorable_until"]) == (1, None)


# --- The sweeper


class Sweeping:
    """A memory that has so many batches to purge, or fails."""

    def __init__(self, batches: int = 0) -> None:
        self.batches = batches
        self.calls = 0
        self.error: Exception | None = None

    async def sweep(self) -> bool:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.batches -= 1
        return self.batches >= 0


async def test_a_round_of_sweeping_has_an_end() -> None:
    memory = Sweeping(3)
    assert await Sweeper(cast(MemoryStore, memory)).run_once() == 3
    assert memory.calls == 4
    endless = Sweeping(10**6)
    assert await Sweeper(cast(MemoryStore, endless)).run_once() == endless.calls == SWEEPS_MAX


async def test_a_failure_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    memory = Sweeping(1)
    sweeper = Sweeper(cast(MemoryStore, memory))
    memory.error = Overloaded("Too much at once.")
    with caplog.at_level(logging.WARNING, "server.sweeping"):
        assert [await sweeper.run_once() for _ in range(3)] == [0, 0, 0]
    assert [record.message for record in caplog.records] == [
        "what was deleted could not be purged: overloaded"
    ]
    memory.error = None
    assert await sweeper.run_once() == 1


async def test_what_was_deleted_long_ago_is_swept(tmp_path: Path) -> None:
    now = 1_767_225_600_000.0
    folder = settings_in(tmp_path).data_dir
    async with EmbeddedDeployment(folder, now_ms=lambda: now) as deployment:
        memory = ConvexStore(deployment).memory
        message = Message(id="m", thread_id="t", resource_id="r", role="user", content="secret")
        await memory.save_conversation(thread=Thread(id="t", resource_id="r"), messages=[message])
        await memory.remove_messages(ids=["m"], purge_at="2026-01-02")
        sweeper = Sweeper(memory)
        assert await sweeper.run_once() == 0
        assert len(trash_in(tmp_path)) == 1
        now += 86_400_000
        # The engine may have done it in its idle time.
        assert await sweeper.run_once() <= 1
        assert trash_in(tmp_path) == []
