"""Saving messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from convex_memory.limits import SAVE_MESSAGES_MAX
from convex_memory.records import Message, Thread, iso_text
from convex_memory.store import SaveReceipt
from convex_memory.text import text_content
from tools.adapters import Adapters
from tools.arguments import Id
from tools.memory.toolset import Metadata, Role, Time, memory
from tools.toolset import Answer, Arguments, Progress


class NewMessage(Arguments):
    """One message to save."""

    role: Role
    content: Annotated[str, Field(min_length=1)]
    message_id: Annotated[
        Id | None, Field(description="Your own id: sending it twice saves once.")
    ] = None
    metadata: Metadata | None = None
    created_at: Time | None = None


class SaveMessageArguments(NewMessage):
    """Arguments of `save_message`."""

    thread_id: Annotated[Id | None, Field(description="Absent: a new thread.")] = None
    title: Annotated[str | None, Field(description="Of a new thread.")] = None


class SaveMessagesArguments(Arguments):
    """Arguments of `save_messages`."""

    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=SAVE_MESSAGES_MAX)]
    thread_id: Annotated[Id | None, Field(description="Absent: a new thread.")] = None
    title: Annotated[str | None, Field(description="Of a new thread.")] = None


class SavedMessage(Answer):
    """What became of one message."""

    message_id: str
    thread_id: str
    created_at: str
    status: Literal["stored", "unchanged"]
    embedding: Literal["embedded", "pending", "off"]


class SavedMessages(Answer):
    """What became of several messages."""

    thread_id: str
    saved: list[SavedMessage]


@memory.tool("Save a message", repeatable=True)
async def save_message(
    arguments: SaveMessageArguments, adapters: Adapters, progress: Progress
) -> SavedMessage:
    """Store one message of a conversation, word for word. Creates the thread when needed."""
    saved = await _save([arguments], arguments.thread_id, arguments.title, adapters)
    return saved.saved[0]


@memory.tool("Save messages", repeatable=True)
async def save_messages(
    arguments: SaveMessagesArguments, adapters: Adapters, progress: Progress
) -> SavedMessages:
    """Store up to 100 messages of one thread at once, in order: all of them or none."""
    await progress(0, len(arguments.messages))
    saved = await _save(arguments.messages, arguments.thread_id, arguments.title, adapters)
    await progress(len(arguments.messages), len(arguments.messages))
    return saved


async def _save(
    given: Sequence[NewMessage], thread_id: str | None, title: str | None, adapters: Adapters
) -> SavedMessages:
    thread_id = thread_id or str(uuid4())
    now = datetime.now(UTC)
    messages = [
        Message(
            id=each.message_id or str(uuid4()),
            thread_id=thread_id,
            resource_id=adapters.resource_id,
            role=each.role,
            content=text_content(each.content, metadata=each.metadata),
            created_at=now if each.created_at is None else _instant(each.created_at),
        )
        for each in given
    ]
    receipts = await adapters.store.memory.save_conversation(
        thread=Thread(id=thread_id, resource_id=adapters.resource_id, title=title or ""),
        messages=messages,
    )
    return SavedMessages(
        thread_id=thread_id, saved=[_saved(receipt, thread_id) for receipt in receipts]
    )


def _saved(receipt: SaveReceipt, thread_id: str) -> SavedMessage:
    return SavedMessage(
        message_id=receipt.id,
        thread_id=thread_id,
        created_at=iso_text(receipt.created_at),
        status="unchanged" if receipt.status == "unchanged" else "stored",
        embedding="off",
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(iso_text(text, "created_at"))
