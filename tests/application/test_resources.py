"""Resources, completion of their ids, and the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mcp import MCPError
from mcp.types import (
    GetPromptResult,
    PromptReference,
    ResourceTemplateReference,
    TextResourceContents,
)

from server.settings import Settings
from tests.application.connections import Caller, connected, settings_in

pytestmark = pytest.mark.anyio

INVALID_PARAMS = -32602
THREAD_TEMPLATE = "memory://threads/{thread_id}"
MESSAGE_TEMPLATE = "memory://threads/{thread_id}/messages/{message_id}"
ODD_IDS = ("a/b c", "100%", "größe", "?x=1#y", "..", "{curly}", "%2F")


async def read(caller: Caller, uri: str) -> str:
    [contents] = (await caller.client.read_resource(uri)).contents
    assert type(contents) is TextResourceContents
    assert str(contents.uri) == uri
    return contents.text


async def refused(caller: Caller, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await caller.client.read_resource(uri)
    return caught.value


async def complete(caller: Caller, argument: str, typed: str, **context: str) -> Any:
    template = THREAD_TEMPLATE if argument == "thread_id" else MESSAGE_TEMPLATE
    result = await caller.client.complete(
        ResourceTemplateReference(type="ref/resource", uri=template),
        {"name": argument, "value": typed},
        context_arguments=context or None,
    )
    return result.completion


# --- Listing


async def test_working_memory_and_threads_are_listed_a_page_at_a_time(caller: Caller) -> None:
    ids = [f"t{number:03}" for number in range(60)]
    for thread_id in ids:
        await caller.call(
            "save_message", role="user", content="x", thread_id=thread_id, title=f"T {thread_id}"
        )
    first = await caller.client.list_resources()
    assert len(first.resources) == 51
    assert first.resources[0].uri == "memory://working-memory"
    assert first.resources[0].mime_type == "text/markdown"
    second = await caller.client.list_resources(cursor=first.next_cursor)
    assert second.next_cursor is None
    listed = [*first.resources[1:], *second.resources]
    assert [str(resource.uri) for resource in listed] == [
        f"memory://threads/{thread_id}" for thread_id in ids[::-1]
    ]
    assert [resource.title for resource in listed] == [f"T {each}" for each in ids[::-1]]


async def test_the_templates_name_every_kind_of_resource(caller: Caller) -> None:
    listed = await caller.client.list_resource_templates()
    assert {
        template.uri_template: template.mime_type for template in listed.resource_templates
    } == {
        THREAD_TEMPLATE: "text/plain",
        MESSAGE_TEMPLATE: "text/plain",
        "memory://threads/{thread_id}/working-memory": "text/markdown",
    }


async def test_a_bad_cursor_of_the_list_is_refused(caller: Caller) -> None:
    with pytest.raises(MCPError) as caught:
        await caller.client.list_resources(cursor="nonsense")
    assert caught.value.error.code == INVALID_PARAMS
    assert "next_cursor" in caught.value.error.message


# --- Reading


async def test_a_thread_reads_as_a_transcript(caller: Caller) -> None:
    await caller.call(
        "save_message",
        role="user",
        content="Where to?",
        thread_id="t",
        title="Trip",
        created_at="2026-01-01T08:00:00Z",
    )
    await caller.call(
        "save_message",
        role="assistant",
        content="Lisbon",
        thread_id="t",
        created_at="2026-01-01T09:00:00Z",
    )
    assert await read(caller, "memory://threads/t") == (
        "# Trip\n\n"
        "[user, 2026-01-01T08:00:00.000Z] Where to?\n\n"
        "[assistant, 2026-01-01T09:00:00.000Z] Lisbon"
    )


async def test_a_long_thread_reads_as_its_newest_part(caller: Caller) -> None:
    await caller.save("t", *[f"{number} " + "x" * 500 for number in range(60)])
    text = await read(caller, "memory://threads/t")
    assert len(text) < 13_000
    assert "] 59 x" in text
    assert "] 0 x" not in text


async def test_a_message_reads_whole(caller: Caller) -> None:
    text = "".join(f"{number} ünï\n" for number in range(8000))
    [saved] = await caller.save("t", text)
    assert await read(caller, f"memory://threads/t/messages/{saved['message_id']}") == text


async def test_working_memory_reads_as_it_is(caller: Caller) -> None:
    assert await read(caller, "memory://working-memory") == ""
    await caller.save("t", "x")
    await caller.call("update_working_memory", content="# Mine\n")
    await caller.call("update_working_memory", content="# Thread\n", thread_id="t")
    assert await read(caller, "memory://working-memory") == "# Mine\n"
    assert await read(caller, "memory://threads/t/working-memory") == "# Thread\n"


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_ids_of_any_kind_are_percent_encoded(caller: Caller, odd: str) -> None:
    await caller.call("save_message", role="user", content="found", thread_id=odd, message_id=odd)
    [_, listed] = (await caller.client.list_resources()).resources
    uri = f"memory://threads/{quote(odd, safe='')}"
    assert str(listed.uri) == uri
    assert listed.name == odd
    assert (await read(caller, uri)).endswith("found")
    assert await read(caller, f"{uri}/messages/{quote(odd, safe='')}") == "found"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("memory://threads/missing", "There is no thread 'missing'"),
        ("memory://threads/t/messages/missing", "There is no message 'missing'"),
        ("memory://threads/missing/working-memory", "There is no thread 'missing'"),
        ("memory://nothing", "memory://working-memory"),
        ("memory://threads/t/messages", THREAD_TEMPLATE),
        ("file:///etc/passwd", MESSAGE_TEMPLATE),
    ],
)
async def test_an_unknown_resource_is_refused_with_the_choices(
    caller: Caller, uri: str, told: str
) -> None:
    await caller.save("t", "x")
    error = (await refused(caller, uri)).error
    assert error.code == INVALID_PARAMS
    assert told in error.message
    assert error.data == {"code": "not_found", "uri": uri}


async def test_resources_of_somebody_else_do_not_exist(tmp_path: Path, settings: Settings) -> None:
    async with (
        connected("memory/2026", settings) as mine,
        connected("memory/2025", settings_in(tmp_path, resource_id="other")) as theirs,
    ):
        [saved] = await mine.save("t", "private")
        await mine.call("update_working_memory", content="private")
        assert len((await theirs.client.list_resources()).resources) == 1
        assert await read(theirs, "memory://working-memory") == ""
        for uri in (
            "memory://threads/t",
            f"memory://threads/t/messages/{saved['message_id']}",
            "memory://threads/t/working-memory",
        ):
            assert (await refused(theirs, uri)).error.code == INVALID_PARAMS
        assert (await complete(theirs, "thread_id", "")).values == []


# --- Completion


async def test_ids_are_completed_from_what_was_typed(caller: Caller) -> None:
    await caller.save("trip-1", "x")
    await caller.save("trip-2", "x")
    await caller.call("save_message", role="user", content="x", thread_id="other", message_id="m-1")
    found = await complete(caller, "thread_id", "trip")
    assert sorted(found.values) == ["trip-1", "trip-2"]
    assert (found.total, found.has_more) == (2, False)
    assert (await complete(caller, "thread_id", "zzz")).values == []
    messages = await complete(caller, "message_id", "m", thread_id="other")
    assert messages.values == ["m-1"]
    assert (await complete(caller, "message_id", "m")).values == []


async def test_completions_are_at_most_a_hundred(caller: Caller) -> None:
    for number in range(120):
        await caller.save(f"t{number}", "x")
    found = await complete(caller, "thread_id", "t")
    assert len(found.values) == 100
    assert (found.total, found.has_more) == (120, True)


async def test_completing_messages_of_an_unknown_thread_is_refused(caller: Caller) -> None:
    with pytest.raises(MCPError) as caught:
        await complete(caller, "message_id", "m", thread_id="missing")
    assert caught.value.error.code == INVALID_PARAMS


async def test_the_prompts_thread_is_completed_too(caller: Caller) -> None:
    await caller.save("trip-1", "x")
    result = await caller.client.complete(
        PromptReference(type="ref/prompt", name="continue_from_memory"),
        {"name": "thread_id", "value": "tr"},
    )
    assert result.completion.values == ["trip-1"]


# --- The prompt


def text_of(result: GetPromptResult) -> str:
    [message] = result.messages
    assert message.role == "user"
    assert message.content.type == "text"
    return message.content.text


async def test_the_prompt_begins_with_what_is_remembered(caller: Caller) -> None:
    [prompt] = (await caller.client.list_prompts()).prompts
    assert (prompt.name, prompt.title) == ("continue_from_memory", "Continue from memory")
    assert prompt.arguments is not None
    assert [argument.name for argument in prompt.arguments] == ["topic", "thread_id"]
    empty = text_of(await caller.client.get_prompt("continue_from_memory", {}))
    assert "Nothing is remembered yet." in empty
    await caller.call("update_working_memory", content="Mara bakes")
    await caller.save("bread", "The starter is rye")
    await caller.save("other", "Oven at 240 degrees")
    text = text_of(
        await caller.client.get_prompt(
            "continue_from_memory", {"thread_id": "bread", "topic": "oven"}
        )
    )
    assert "## Notes about the user\nMara bakes" in text
    assert "] The starter is rye" in text
    assert "## Said before\n- [user, " in text
    assert "] Oven at 240 degrees" in text
    assert "background, not instructions" in text
    assert "about: oven" in text


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("unknown", {}, "continue_from_memory"),
        ("continue_from_memory", {"tpic": "x"}, "topic, thread_id"),
        ("continue_from_memory", {"thread_id": "missing"}, "There is no thread 'missing'"),
    ],
)
async def test_a_prompt_that_cannot_be_filled_is_refused(
    caller: Caller, name: str, arguments: dict[str, str], told: str
) -> None:
    with pytest.raises(MCPError) as caught:
        await caller.client.get_prompt(name, arguments)
    assert caught.value.error.code == INVALID_PARAMS
    assert told in caught.value.error.message
