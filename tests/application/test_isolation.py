"""Two principals on one server: nothing of one reaches the other, not even that it is there.

Every call that takes an id is made by bob with ids of alice's, twice: on a server where alice has
them, and on one where nobody has. Both must answer the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from mcp import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from convex_memory.principals import namespace_of
from server.auth.access import OWNED_TOOLSETS
from server.settings import NOTIFY
from tests.application.connections import Caller, connected, settings_in
from tests.application.principals import Era, principals
from tools import TOOLSETS

pytestmark = pytest.mark.anyio

THREAD, GONE_THREAD = "thread-of-alice", "deleted-thread-of-alice"
MESSAGE, GONE_MESSAGE = "message-of-alice", "deleted-message-of-alice"
INDEX, KEY, STREAM, COUNTER = "index-of-alice", "key-of-alice", "stream-of-alice", "count-of-alice"
VECTOR = "vector-of-alice"
SECRET = "kingfisher"

IDS: Final[Mapping[str, Sequence[str]]] = {
    "thread_id": (THREAD, GONE_THREAD),
    "message_id": (MESSAGE, GONE_MESSAGE),
    "message_ids": (MESSAGE, GONE_MESSAGE),
    "around": (MESSAGE, GONE_MESSAGE),
    "supersedes": (MESSAGE, GONE_MESSAGE),
    "index": (INDEX,),
    "id": (VECTOR,),
    "ids": (VECTOR,),
    "key": (KEY, STREAM, COUNTER),
    "cursor": (INDEX, THREAD),
}
"""Arguments that name something, and what alice has by such a name."""

OTHERS: Final[Mapping[str, Any]] = {
    "content": f"about the {SECRET}", "created_at": None, "dimension": 2,
    "exact": None, "expires_at": None, "filter": {"kind": SECRET}, "from_index": None,
    "include_vectors": True, "limit": None, "max_chars": None, "metadata": {"kind": "x"},
    "metric": None, "mode": None, "neighbours": None, "offset": None, "order": None,
    "permanent": None, "query": SECRET, "role": "user", "since": None, "text": None, "title": None,
    "top_k": None, "ttl_ms": None, "until": None, "value": {"a": 1}, "vector": [1.0, 0.0],
    "items": ..., "messages": ..., "message_limit": None,
}  # fmt: skip
"""Arguments that name nothing: what they are given; `None` leaves them out, `...` looks inside."""

NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "update_thread": ("title",),
    "update_message": ("content",),
    "update_embedding": ("metadata",),
    "vector_query": ("vector",),
    "upsert_embeddings": ("vector",),
    "create_index": ("dimension",),
}
"""Arguments that a tool may do without only beside others."""

VIEW: Final[Sequence[tuple[str, Mapping[str, Any]]]] = (
    ("list_threads", {}),
    ("recall_thread", {"thread_id": THREAD}),
    ("search_memory", {"query": SECRET}),
    ("get_working_memory", {}),
    ("get_working_memory", {"thread_id": THREAD}),
    ("get_observations", {"thread_id": THREAD}),
    ("get_observations", {}),
    ("list_indexes", {}),
    ("describe_index", {"index": INDEX}),
    ("vector_query", {"index": INDEX, "vector": [1, 0], "include_vectors": True}),
    ("cache_get", {"key": KEY}),
    ("cache_replay", {"key": STREAM}),
)
"""What alice sees of her own."""


async def fill(alice: Caller) -> None:
    """Have alice keep something of every kind."""
    for thread, message in ((THREAD, MESSAGE), (GONE_THREAD, "with-it")):
        await alice.call(
            "save_message",
            role="user", content=f"I saw a {SECRET}", thread_id=thread, message_id=message,
            title="Birds", metadata={"kind": SECRET},
        )  # fmt: skip
    await alice.save(THREAD, f"the {SECRET} again", message_id=GONE_MESSAGE)
    await alice.save(THREAD, "a heron")
    await alice.call("delete_messages", message_ids=[GONE_MESSAGE])
    await alice.call("delete_thread", thread_id=GONE_THREAD)
    await alice.call("update_working_memory", content=f"likes the {SECRET}")
    await alice.call("update_working_memory", content=SECRET, thread_id=THREAD)
    await alice.call("update_observations", content=SECRET)
    await alice.call("update_observations", content=f"{SECRET}s", thread_id=THREAD)
    await alice.call("create_index", index=INDEX, dimension=2)
    await alice.call(
        "upsert_embeddings",
        index=INDEX,
        items=[{"id": VECTOR, "vector": [1, 0], "metadata": {"kind": SECRET}}],
    )
    await alice.call("cache_set", key=KEY, value=SECRET, ttl_ms=0)
    await alice.call("cache_push", key=STREAM, value=SECRET)
    await alice.call("cache_increment", key=COUNTER)


@asynccontextmanager
async def worlds(tmp_path: Path, era: Era) -> AsyncIterator[tuple[Caller, Caller, Caller]]:
    """Alice and bob where she has something, and bob where there is nobody else."""
    toolsets = OWNED_TOOLSETS
    one = settings_in(tmp_path / "one", toolsets=toolsets)
    other = settings_in(tmp_path / "other", toolsets=toolsets)
    async with (
        principals(one, "alice", "bob", era=era) as (alice, bob),
        principals(other, "alice", "bob", era=era) as (_, alone),
    ):
        await fill(alice)
        yield alice, bob, alone


# --- What is called


def calls_of(tool: str, schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return arguments for a tool: with names of alice's, all at once and each alone.

    Each is once as alice has it, and once as it is stored.
    """
    named = ids_in(schema)
    stored = namespace_of("alice")
    chosen = [{name: ids[0] for name, ids in named.items()}]
    chosen += [{name: ids[-1] for name, ids in named.items()}]
    chosen += [{name: each} for name, ids in named.items() for each in (*ids, stored + ids[0])]
    calls = {json.dumps(arguments(tool, schema, each)): None for each in chosen}
    return [json.loads(call) for call in calls]


def ids_in(schema: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for name, each in schema["properties"].items():
        if name in IDS:
            found[name] = IDS[name]
        elif OTHERS[name] is ...:
            found |= ids_in(each["items"])
    return found


def arguments(tool: str, schema: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, each in schema["properties"].items():
        if name in IDS:
            if name in ids:
                given[name] = [ids[name]] if each.get("type") == "array" else ids[name]
            elif name in schema.get("required", ()):
                given[name] = "of-nobody" if each.get("type") != "array" else ["of-nobody"]
        elif OTHERS[name] is ...:
            given[name] = [arguments(tool, each["items"], ids)]
        elif name in schema.get("required", ()) or name in NEEDED.get(tool, ()):
            given[name] = OTHERS[name]
    return given


def names_in(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, each in schema["properties"].items():
        yield name
        if each.get("type") == "array" and "properties" in each.get("items", {}):
            yield from names_in(each["items"])


_VARIES: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r'(next_cursor[\\": ]+)[\w-]{9,}'), "CURSOR"),
)


def same(answer: Any) -> str:
    """Return what an answer says, but for what is new in every answer."""
    said = json.dumps(answer, sort_keys=True)
    for pattern, word in _VARIES:
        said = pattern.sub(word, said)
    return said


async def answered(caller: Caller, tool: str, given: Mapping[str, Any]) -> str:
    with anyio.fail_after(30):
        result = await caller.client.call_tool(tool, dict(given))
    return same([result.is_error, result.structured_content, result.content[0].model_dump()])


# --- Tests


@pytest.mark.parametrize("era", ["2026", "2025"])
async def test_no_call_tells_whether_somebody_else_has_what_it_names(
    tmp_path: Path, era: Era
) -> None:
    async with worlds(tmp_path, era) as (alice, bob, alone):
        before = [await answered(alice, tool, look) for tool, look in VIEW]
        assert SECRET in before[0] + before[1]
        tools = (await bob.client.list_tools()).tools
        made = 0
        for tool in tools:
            for given in calls_of(tool.name, tool.input_schema):
                made += 1
                here, there = [await answered(each, tool.name, given) for each in (bob, alone)]
                assert here == there, (tool.name, given)
                assert not re.search(r'"text": "(forbidden|internal|not_deployed|unknown)', here)
        assert made > len(tools)
        for tool_name, look in VIEW:
            here, there = [await answered(each, tool_name, look) for each in (bob, alone)]
            assert here == there, tool_name
        assert [await answered(alice, tool, look) for tool, look in VIEW] == before
        restored = await alice.call("restore", message_ids=[GONE_MESSAGE])
        assert restored["restored"] == [GONE_MESSAGE]
        assert (await alice.call("restore", thread_id=GONE_THREAD))["restored_messages"] == 1
        assert (await alice.call("cache_increment", key=COUNTER))["value"] == 2


async def test_every_argument_is_known_to_name_something_or_nothing(tmp_path: Path) -> None:
    async with principals(settings_in(tmp_path, toolsets=OWNED_TOOLSETS), "alice") as [alice]:
        names = {
            name
            for tool in (await alice.client.list_tools()).tools
            for name in names_in(tool.input_schema)
        }
    assert names == IDS.keys() | OTHERS.keys()


async def test_resources_prompts_and_completion_are_the_callers_own(tmp_path: Path) -> None:
    async with worlds(tmp_path, "2026") as (alice, bob, alone):
        listed = (await alice.client.list_resources()).resources
        uris = [str(each.uri) for each in listed] + [
            f"memory://threads/{THREAD}/messages/{MESSAGE}",
            f"memory://threads/{THREAD}/working-memory",
            f"memory://threads/{GONE_THREAD}",
        ]
        assert len(uris) > 4
        for uri in uris:
            here, there = [await read(each, uri) for each in (bob, alone)]
            assert here == there, uri
            assert SECRET not in here
        assert SECRET in await read(alice, uris[1])
        for each in (bob, alone):
            page = await each.client.list_resources()
            assert [str(one.uri) for one in page.resources] == ["memory://working-memory"]
        template = ResourceTemplateReference(uri="memory://threads/{thread_id}")
        prompt = PromptReference(name="continue_from_memory")
        for reference in (template, prompt):
            typed = {"name": "thread_id", "value": THREAD[:3]}
            found = await alice.client.complete(reference, typed)
            assert found.completion.values == [THREAD]
            assert (await bob.client.complete(reference, typed)).completion.values == []
        typed = {"name": "message_id", "value": ""}
        within = {"thread_id": THREAD}
        told = [await completed(each, template, typed, within) for each in (bob, alone)]
        assert told[0] == told[1]
        for given in ({"topic": SECRET}, {"thread_id": THREAD}, {}):
            told = [await prompted(each, given) for each in (bob, alone)]
            assert told[0] == told[1]
        assert f"I saw a {SECRET}" in await prompted(alice, {"thread_id": THREAD})


async def read(caller: Caller, uri: str) -> str:
    try:
        return same((await caller.client.read_resource(uri)).model_dump(mode="json"))
    except MCPError as error:
        return same(error.error.model_dump(mode="json"))


async def completed(
    caller: Caller, reference: Any, typed: dict[str, str], within: dict[str, str]
) -> str:
    try:
        found = await caller.client.complete(reference, typed, within)
        return same(found.model_dump(mode="json"))
    except MCPError as error:
        return same(error.error.model_dump(mode="json"))


async def prompted(caller: Caller, given: dict[str, str]) -> str:
    try:
        found = await caller.client.get_prompt("continue_from_memory", given)
        return same(found.model_dump(mode="json"))
    except MCPError as error:
        return same(error.error.model_dump(mode="json"))


async def test_nobody_sees_what_has_no_owner(tmp_path: Path) -> None:
    """Schedules are nobody's, as are the tables of some toolsets."""
    uri = "memory://schedules/nightly"
    settings = settings_in(tmp_path, toolsets=tuple(TOOLSETS), schedule_action=NOTIFY)
    async with connected("memory/2026", settings) as operator:
        await operator.call(
            "create_schedule", schedule_id="nightly", cron="0 3 * * *", target={"type": "none"}
        )
        assert "nightly" in await read(operator, uri)
    async with principals(settings, "alice") as [alice]:
        assert same(json.loads(await read(alice, uri))) == same(
            json.loads((await read(alice, f"{uri}x")).replace("nightlyx", "nightly"))
        )
        tools = {tool.name for tool in (await alice.client.list_tools()).tools}
        assert tools == {name for each in OWNED_TOOLSETS for name in TOOLSETS[each].tools}
        templates = (await alice.client.list_resource_templates()).resource_templates
        assert not [each for each in templates if "schedule" in each.uri_template]


async def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(tmp_path: Path) -> None:
    async with principals(settings_in(tmp_path), "alice", "bob") as (alice, bob):
        for caller, word in ((alice, SECRET), (bob, "wren")):
            for thread in "abc":
                await caller.save(thread, *[f"{word} {n}" for n in range(3)])
        cursors: list[tuple[str, dict[str, Any]]] = [
            ("list_threads", {"limit": 1}),
            ("recall_thread", {"thread_id": "a", "limit": 1}),
            ("search_memory", {"query": f"{SECRET} wren", "limit": 1}),
        ]
        for tool, given in cursors:
            cursor = (await alice.call(tool, **given))["next_cursor"]
            assert cursor is not None
            assert SECRET not in await answered(bob, tool, {**given, "cursor": cursor})
            assert "of alice" not in await answered(bob, tool, {**given, "cursor": cursor})


async def test_clearing_the_cache_clears_the_callers_own(tmp_path: Path) -> None:
    async with principals(settings_in(tmp_path), "alice", "bob") as (alice, bob):
        for caller in (alice, bob):
            await caller.call("cache_set", key="k", value=1)
            await caller.call("cache_push", key="l", value=1)
        await bob.call("cache_clear")
        assert (await bob.call("cache_get", key="k"))["found"] is False
        assert (await alice.call("cache_get", key="k"))["found"] is True
        assert (await alice.call("cache_replay", key="l"))["length"] == 1
