"""Saving messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import ConvexMemoryError
from convex_memory.limits import SAVE_MESSAGES_MAX
from convex_memory.records import Message, Thread, iso_text
from convex_memory.store import SaveReceipt
from convex_memory.text import text_content
from tools.adapters import Adapters
from tools.arguments import Id
from tools.memory.toolset import Expiry, Metadata, Role, Time, expiry_of, memory
from tools.toolset import Answer, Arguments, Progress

logger = logging.getLogger(__name__)


class NewMessage(Arguments):
    """One message to save, one of many: `save_message` describes the fields."""

    role: Role
    content: Annotated[str, Field(min_length=1)]
    message_id: Id | None = None
    metadata: Metadata | None = None
    created_at: str | None = None
    expires_at: str | None = None
    supersedes: Id | None = None


class SaveMessageArguments(NewMessage):
    """Arguments of `save_message`."""

    message_id: Annotated[
        Id | None, Field(description="Your own id: sending it twice saves once.")
    ] = None
    created_at: Time | None = None
    expires_at: Expiry | None = None
    supersedes: Annotated[
        Id | None, Field(description="Id of an outdated message, not to be found any more.")
    ] = None
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


@memory.tool("Save messages", repeatable=True, long=True)
async def save_messages(
    arguments: SaveMessagesArguments, adapters: Adapters, progress: Progress
) -> SavedMessages:
    """Store up to 100 messages of one thread in order, as save_message does: all or none."""
    await progress(0, len(arguments.messages))
    saved = await _save(arguments.messages, arguments.thread_id, arguments.title, adapters)
    await progress(len(arguments.messages), len(arguments.messages))
    return saved


async def _save(
    given: Sequence[NewMessage], thread_id: str | None, title: str | None, adapters: Adapters
) -> SavedMessages:
    thread_id = thread_id or adapters.new_id()
    now = datetime.now(UTC)
    messages = [
        Message(
            id=each.message_id or adapters.new_id(),
            thread_id=thread_id,
            resource_id=adapters.resource_id,
            role=each.role,
            content=text_content(each.content, metadata=each.metadata),
            created_at=now if each.created_at is None else _instant(each.created_at),
        )
        for each in given
    ]
    expires_at = {
        message.id: at
        for message, each in zip(messages, given, strict=True)
        if (at := expiry_of(each.expires_at)) is not None
    }
    supersedes = {
        message.id: each.supersedes
        for message, each in zip(messages, given, strict=True)
        if each.supersedes is not None
    }
    embeds = await _will_embed(adapters)
    receipts = await adapters.store.memory.save_conversation(
        thread=Thread(id=thread_id, resource_id=adapters.resource_id, title=title or ""),
        messages=messages,
        expires_at=expires_at,
        supersedes=supersedes,
    )
    if adapters.indexing is not None:
        adapters.indexing.wake()
    return SavedMessages(
        thread_id=thread_id, saved=[_saved(receipt, thread_id, embeds) for receipt in receipts]
    )


async def _will_embed(adapters: Adapters) -> bool:
    """Say whether messages get vectors, having them wait for these from now on."""
    if adapters.indexing is None:
        return False
    try:
        await adapters.indexing.begin()
    except ConvexMemoryError as error:
        # Saving does not depend on it. What is in the way is tried again in the background.
        logger.warning("messages cannot be embedded yet: %s", error.code)
    return adapters.indexing.refusal is None


def _saved(receipt: SaveReceipt, thread_id: str, embeds: bool) -> SavedMessage:
    return SavedMessage(
        message_id=receipt.id,
        thread_id=thread_id,
        created_at=iso_text(receipt.created_at),
        status="unchanged" if receipt.status == "unchanged" else "stored",
        embedding="pending" if embeds and receipt.embedding == "off" else receipt.embedding,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(iso_text(text, "created_at"))
