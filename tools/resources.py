"""Resources: threads and working memory under `memory://`, and completion of their ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from mcp.types import Completion, Resource, ResourceTemplate, TextResourceContents

from convex_memory.errors import Forbidden, NotFound
from convex_memory.records import Message, Thread, iso_text
from convex_memory.text import message_text
from tools.adapters import Adapters
from tools.budget import CHARS_DEFAULT

SCHEME: Final = "memory://"
WORKING_MEMORY_URI: Final = "memory://working-memory"
PAGE_THREADS: Final = 50
TRANSCRIPT_MESSAGES: Final = 100
COMPLETIONS_MAX: Final = 100

SCHEDULE_TEMPLATE: Final = ResourceTemplate(
    uri_template="memory://schedules/{schedule_id}",
    name="schedule",
    title="Schedule",
    description="When a schedule fires, and its latest fire. Subscribe to hear when it fires.",
    mime_type="application/json",
)

TEMPLATES: Final = (
    ResourceTemplate(
        uri_template="memory://threads/{thread_id}",
        name="thread",
        title="Conversation",
        description="The newest messages of a thread, oldest first.",
        mime_type="text/plain",
    ),
    ResourceTemplate(
        uri_template="memory://threads/{thread_id}/messages/{message_id}",
        name="message",
        title="Message",
        description="One message, whole.",
        mime_type="text/plain",
    ),
    ResourceTemplate(
        uri_template="memory://threads/{thread_id}/working-memory",
        name="thread-working-memory",
        title="Working memory of a conversation",
        description="The notes kept about one thread.",
        mime_type="text/markdown",
    ),
)


@dataclass(frozen=True, slots=True)
class ResourcePage:
    """Resources up to a cursor; None when there are no more."""

    resources: list[Resource]
    next_cursor: str | None


async def list_page(adapters: Adapters, cursor: str | None) -> ResourcePage:
    """Return the working memory, then the threads by when they were last written to."""
    page = await adapters.store.memory.page_threads(
        limit=PAGE_THREADS, resource_id=adapters.resource_id, cursor=cursor
    )
    resources = [_listed(thread) for thread in page.threads]
    if cursor is None:
        resources.insert(0, _WORKING_MEMORY)
    return ResourcePage(resources, page.cursor)


async def read(adapters: Adapters, uri: str) -> TextResourceContents:
    """Return what a resource says.

    Raises:
        NotFound: There is no such resource.
    """
    parts = [unquote(part) for part in uri.removeprefix(SCHEME).split("/")]
    match parts if uri.startswith(SCHEME) else []:
        case ["working-memory"]:
            return await _working_memory(adapters, uri, None)
        case ["threads", thread_id]:
            return await _transcript(adapters, uri, thread_id)
        case ["schedules", schedule_id]:
            return await _schedule(adapters, uri, schedule_id)
        case ["threads", thread_id, "working-memory"]:
            return await _working_memory(adapters, uri, thread_id)
        case ["threads", thread_id, "messages", message_id]:
            return await _message(adapters, uri, thread_id, message_id)
        case _:
            raise NotFound(
                f"There is no resource {uri!a}. There are {WORKING_MEMORY_URI} and "
                f"{', '.join(template.uri_template for template in TEMPLATES)}."
            )


async def complete(
    adapters: Adapters, argument: str, typed: str, thread_id: str | None
) -> Completion:
    """Return the ids that begin with what was typed: of threads, or of a thread's messages."""
    candidates: Sequence[str] = ()
    if argument == "thread_id":
        page = await adapters.store.memory.page_threads(limit=200, resource_id=adapters.resource_id)
        candidates = [thread.id for thread in page.threads]
    elif argument == "message_id" and thread_id:
        messages = await adapters.store.memory.page_messages(
            thread_id=thread_id, limit=200, resource_id=adapters.resource_id
        )
        candidates = [message.id for message in messages.messages]
    found = [each for each in candidates if each.startswith(typed)]
    return Completion(
        values=found[:COMPLETIONS_MAX], total=len(found), has_more=len(found) > COMPLETIONS_MAX
    )


def transcript(thread: Thread, messages: Sequence[Message], chars: int) -> str:
    """Return a conversation as text: its title, then its messages, newest kept when it is long."""
    lines: list[str] = []
    for message in reversed(messages):
        text = message_text(message.content)
        line = f"[{message.role}, {iso_text(message.created_at)}] {text}"
        chars -= len(line)
        if lines and chars < 0:
            break
        lines.append(line if chars >= 0 else f"{line[:chars]} …")
    title = thread.title or f"Thread {thread.id}"
    return "\n\n".join([f"# {title}", *reversed(lines)])


_WORKING_MEMORY: Final = Resource(
    uri=WORKING_MEMORY_URI,
    name="working-memory",
    title="Working memory",
    description="The notes kept about the user, across threads.",
    mime_type="text/markdown",
)


def _listed(thread: Thread) -> Resource:
    return Resource(
        uri=_thread_uri(thread.id),
        name=thread.id,
        title=thread.title or thread.id,
        description=f"Last written to {iso_text(thread.updated_at)}.",
        mime_type="text/plain",
    )


def changed_uris(table: str, row_id: str, thread_id: str | None) -> tuple[str, ...]:
    """Return the resources that say something else once a row was written.

    Args:
        table: The row's table, as the change feed names it.
        row_id: Its id.
        thread_id: The thread it belongs to, if any.
    """
    match table:
        case "mastra_threads":
            thread = _thread_uri(row_id)
            return (thread, f"{thread}/working-memory")
        case "mastra_messages" if thread_id is not None:
            thread = _thread_uri(thread_id)
            return (thread, f"{thread}/messages/{quote(row_id, safe='')}")
        case "mastra_resources":
            return (WORKING_MEMORY_URI,)
        case "mastra_schedules":
            return (schedule_uri(row_id),)
        case _:
            return ()


def changes_list(table: str, kind: str) -> bool:
    """Whether other resources are listed once a row was inserted, updated or deleted."""
    return table == "mastra_threads" and kind != "update"


def _thread_uri(thread_id: str) -> str:
    return f"{SCHEME}threads/{quote(thread_id, safe='')}"


def schedule_uri(schedule_id: str) -> str:
    """Return the URI of a schedule's resource."""
    return f"{SCHEME}schedules/{quote(schedule_id, safe='')}"


async def _schedule(adapters: Adapters, uri: str, schedule_id: str) -> TextResourceContents:
    schedule = None
    # To callers to whom schedules are closed there are none.
    with suppress(Forbidden):
        schedule = await adapters.store.schedules.get_schedule(id=schedule_id)
    if schedule is None:
        raise NotFound(f"There is no schedule {schedule_id!a}.")
    latest = await adapters.store.schedules.list_triggers(schedule_id=schedule_id, limit=1)
    text = json.dumps(
        {
            "id": schedule.id,
            "cron": schedule.cron,
            "status": schedule.status,
            "target": dict(schedule.target),
            "next_fire_at_ms": schedule.next_fire_at_ms,
            "latest_fire": None
            if not latest
            else {
                "id": latest[0].id,
                "outcome": latest[0].outcome,
                "scheduled_fire_at_ms": latest[0].scheduled_fire_at_ms,
                "actual_fire_at_ms": latest[0].actual_fire_at_ms,
            },
        },
        ensure_ascii=False,
    )
    return TextResourceContents(uri=uri, mime_type="application/json", text=text)


async def _transcript(adapters: Adapters, uri: str, thread_id: str) -> TextResourceContents:
    page = await adapters.store.memory.page_messages(
        thread_id=thread_id,
        limit=TRANSCRIPT_MESSAGES,
        resource_id=adapters.resource_id,
        chars_max=CHARS_DEFAULT,
    )
    text = transcript(page.thread, page.messages[::-1], CHARS_DEFAULT)
    return TextResourceContents(uri=uri, mime_type="text/plain", text=text)


async def _message(
    adapters: Adapters, uri: str, thread_id: str, message_id: str
) -> TextResourceContents:
    around = await adapters.store.memory.messages_around(
        message_id=message_id,
        before=0,
        after=0,
        thread_id=thread_id,
        resource_id=adapters.resource_id,
    )
    text = message_text(around.messages[around.index].content)
    return TextResourceContents(uri=uri, mime_type="text/plain", text=text)


async def _working_memory(
    adapters: Adapters, uri: str, thread_id: str | None
) -> TextResourceContents:
    found = await adapters.store.memory.get_working_memory(
        resource_id=adapters.resource_id, thread_id=thread_id
    )
    return TextResourceContents(uri=uri, mime_type="text/markdown", text=found.text or "")
