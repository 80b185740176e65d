"""The same call sent twice, by its idempotency key, happens once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import CallToolResult

from convex_memory.errors import Unreachable
from server import idempotency
from server.idempotency import HEADER, META_KEY, REPLAYED
from tests.application.connections import Caller, connected, settings_in
from tests.application.replicas import ends, replica
from tools import TOOLSETS, select

pytestmark = pytest.mark.anyio

LEASE_MS = 500


def pushes(path: str, args: Mapping[str, Any]) -> bool:
    return args.get("op") == "listPush" and str(args["key"]).endswith(":stream")


async def keyed(client: Client, name: object, tool: str, /, **arguments: Any) -> CallToolResult:
    meta: Any = {META_KEY: name}
    with anyio.fail_after(30):
        return await client.call_tool(tool, arguments, meta=meta)


def code_of(result: CallToolResult) -> str:
    assert result.is_error, result.structured_content
    assert result.meta is not None
    return str(result.meta["convex-memory/error"]["code"])


@pytest.mark.parametrize("leg", ["memory/2026", "http/2025"])
async def test_a_call_with_a_known_key_gets_the_answer_of_the_first(
    tmp_path: Path, leg: str
) -> None:
    async with connected(leg, settings_in(tmp_path)) as caller:
        first = await keyed(caller.client, "k1", "cache_increment", key="visits")
        again = await keyed(caller.client, "k1", "cache_increment", key="visits")
        other = await keyed(caller.client, "k2", "cache_increment", key="visits")
        assert [each.structured_content for each in (first, again, other)] == [
            {"value": 1},
            {"value": 1},
            {"value": 2},
        ]
        assert again.content == first.content
        assert again.meta is not None
        assert again.meta[REPLAYED] is True
        assert REPLAYED not in (first.meta or {})


async def test_a_message_without_an_id_is_saved_once(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        saved = [
            await keyed(caller.client, "k", "save_message", role="user", content="Hello")
            for _ in range(2)
        ]
        assert saved[0].structured_content == saved[1].structured_content
        threads = await caller.call("list_threads")
        assert len(threads["threads"]) == 1
        page = await caller.call("recall_thread", thread_id=threads["threads"][0]["id"])
        assert [message["content"] for message in page["messages"]] == ["Hello"]


async def test_a_key_belongs_to_one_call(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await keyed(caller.client, "k", "cache_push", key="stream", value=1)
        for tool, arguments in (
            ("cache_push", {"key": "stream", "value": 2}),
            ("cache_set", {"key": "stream", "value": 1}),
        ):
            refused = await keyed(caller.client, "k", tool, **arguments)
            assert code_of(refused) == "conflict"
            assert "cache_push" in refused.content[0].text  # type: ignore[union-attr]
        assert (await caller.call("cache_replay", key="stream"))["items"] == [1]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", 7, ["k"]])
async def test_what_is_no_key_is_refused_and_nothing_happens(tmp_path: Path, key: object) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        refused = await keyed(caller.client, key, "cache_increment", key="visits")
        assert code_of(refused) == "invalid_argument"
        assert (await caller.call("cache_get", key="visits"))["found"] is False


async def test_a_refused_call_may_be_repeated_with_its_key(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        arguments = {"thread_id": "t", "title": "New"}
        assert code_of(await keyed(caller.client, "k", "update_thread", **arguments)) == "not_found"
        await caller.save("t", "Hello")
        done = await keyed(caller.client, "k", "update_thread", **arguments)
        assert done.structured_content is not None
        assert done.structured_content["thread"]["title"] == "New"


async def test_keys_of_another_resource_are_other_keys(tmp_path: Path) -> None:
    async with (
        connected("memory/2026", settings_in(tmp_path, resource_id="mara")) as mara,
        connected("memory/2026", settings_in(tmp_path, resource_id="otto")) as otto,
    ):
        for caller, content in ((mara, "Mara's"), (otto, "Otto's")):
            result = await keyed(caller.client, "k", "update_working_memory", content=content)
            assert result.structured_content is not None
            assert result.structured_content["working_memory"] == content


async def test_two_servers_at_once_run_it_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with (
        replica(settings) as (one, _, gate),
        replica(settings) as (other, _, others),
        Client(one) as first,
        Client(other) as second,
        anyio.create_task_group() as tasks,
    ):
        answers: list[CallToolResult] = []

        async def push(client: Client) -> None:
            answers.append(await keyed(client, "k", "cache_push", key="stream", value="once"))

        hold = gate.hold(pushes)
        tasks.start_soon(push, first)
        await hold.held.wait()
        looks = others.hold(lambda path, args: args.get("op") == "listFromTo")
        tasks.start_soon(push, second)
        await looks.held.wait()
        looks.open()
        assert answers == []
        gate.open()
        with anyio.fail_after(30):
            while len(answers) < 2:
                await anyio.sleep(0.01)
        assert [each.structured_content for each in answers] == [{"length": 1}] * 2
        assert (await Caller(second).call("cache_replay", key="stream"))["items"] == ["once"]


@asynccontextmanager
async def cut_off(tmp_path: Path, tool: str, **arguments: Any) -> AsyncIterator[Client]:
    """Have a server fall silent after it has done a call with the key `k`; a client of another."""
    settings = settings_in(tmp_path, task_lease_ms=LEASE_MS)
    async with (
        replica(settings) as (one, _, gate),
        replica(settings) as (other, _, _),
        Client(one) as first,
        Client(other) as second,
        anyio.create_task_group() as tasks,
    ):
        hold = gate.hold(ends)
        tasks.start_soon(lambda: keyed(first, "k", tool, **arguments))
        await hold.held.wait()
        gate.hold(lambda path, args: True)
        yield second
        gate.open()


async def test_a_call_cut_off_after_its_write_is_run_again_with_the_same_ids(
    tmp_path: Path,
) -> None:
    arguments = {"role": "user", "content": "Hello"}
    async with cut_off(tmp_path, "save_message", **arguments) as client:
        again = await keyed(client, "k", "save_message", **arguments)
        assert again.structured_content is not None
        assert again.structured_content["status"] == "unchanged"
        threads = (await Caller(client).call("list_threads"))["threads"]
        assert [thread["id"] for thread in threads] == [again.structured_content["thread_id"]]


async def test_of_a_call_that_may_not_be_repeated_the_outcome_is_unknown(tmp_path: Path) -> None:
    arguments = {"key": "stream", "value": "once"}
    async with cut_off(tmp_path, "cache_push", **arguments) as client:
        for _ in range(2):
            unknown = await keyed(client, "k", "cache_push", **arguments)
            assert code_of(unknown) == "outcome_unknown"
        assert (await Caller(client).call("cache_replay", key="stream"))["items"] == ["once"]


async def test_a_client_that_leaves_finds_its_answer_when_it_comes_back(tmp_path: Path) -> None:
    async with (
        replica(settings_in(tmp_path)) as (one, _, gate),
        Client(one) as client,
    ):
        hold = gate.hold(pushes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: keyed(client, "k", "cache_push", key="stream", value=1))
            await hold.held.wait()
            tasks.cancel_scope.cancel()
        gate.open()
        again = await keyed(client, "k", "cache_push", key="stream", value=1)
        assert again.structured_content == {"length": 1}
        assert (await Caller(client).call("cache_replay", key="stream"))["items"] == [1]


async def test_an_answer_that_cannot_be_kept_is_told_and_the_next_is_not_run(
    tmp_path: Path,
) -> None:
    async with (
        replica(settings_in(tmp_path)) as (one, _, gate),
        Client(one) as client,
    ):
        gate.hold(ends, Unreachable("The deployment is gone."))
        pushed = await keyed(client, "k", "cache_push", key="stream", value=1)
        assert pushed.structured_content == {"length": 1}
        again = await keyed(client, "k", "cache_push", key="stream", value=1)
        assert code_of(again) == "unreachable"
        assert (await Caller(client).call("cache_replay", key="stream"))["items"] == [1]


async def test_a_call_is_not_begun_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "TURNS_MAX", 3)
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        codes = [
            code_of(await keyed(caller.client, "k", "update_thread", thread_id="t", title="x"))
            for _ in range(5)
        ]
    assert codes == ["not_found"] * 3 + ["limit_exceeded"] * 2


async def test_a_header_is_a_key_too(tmp_path: Path) -> None:
    from tests.application.test_http_transport import HEADERS, answer_in, call, opened_http

    async with opened_http(settings_in(tmp_path)) as http:
        for headers, value in (({HEADER: "a"}, 1), ({HEADER: "a"}, 1), ({HEADER: "b"}, 2)):
            body = call("cache_increment", key="visits")
            response = await http.post("/mcp", headers=HEADERS | headers, json=body)
            assert answer_in(response)["result"]["structuredContent"] == {"value": value}
        body = call("cache_increment", key="visits")
        body["params"]["_meta"] = {META_KEY: "c"}
        response = await http.post("/mcp", headers=HEADERS | {HEADER: "d"}, json=body)
        assert "two idempotency keys" in answer_in(response)["result"]["content"][0]["text"]


async def test_every_tool_that_writes_takes_a_key(tmp_path: Path) -> None:
    """A call that fails for its arguments is refused alike with a key, and leaves that free."""
    settings = settings_in(tmp_path, toolsets=tuple(TOOLSETS))
    async with connected("memory/2026", settings) as caller:
        for name, tool in select(TOOLSETS).items():
            if tool.read_only:
                continue
            plain = await caller.client.call_tool(name, {"unknown": 1})
            for _ in range(2):
                refused = await keyed(caller.client, f"of {name}", name, unknown=1)
                assert refused.content == plain.content
