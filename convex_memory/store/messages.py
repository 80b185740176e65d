"""Messages of the memory domain, as Mastra's storage contract has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from convex_memory.errors import InvalidArgument
from convex_memory.limits import ARRAY_ELEMENTS_MAX, LOAD_MANY_IDS_MAX, SAVE_MESSAGES_MAX
from convex_memory.records import Content, Message, normalised
from convex_memory.store.answers import MessagePage, PerPage
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.selection import (
    Include,
    MessageFilter,
    OrderBy,
    Window,
    in_order,
    message_filter,
    message_window,
)
from convex_memory.store.storage import MESSAGES, THREADS, rows_in
from convex_memory.values import Value

SAVE_MESSAGES: Final = "memory/messages:save"
_ID: Final = "MASTRA_STORAGE_CONVEX_LIST_MESSAGES"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageUpdate:
    """Changes to one message; what is None, or an empty id, role or type, stays as it is.

    Attributes:
        id: The message.
        thread_id: The thread to move it to.
        resource_id: Whose it is from now on.
        role: Its new role.
        type: Its new type.
        content: Members that replace those of the same name in the stored content, and
            members of its `metadata` likewise; text replaces the content whole.
    """

    id: str
    thread_id: str | None = None
    resource_id: str | None = None
    role: str | None = None
    type: str | None = None
    content: Content | None = None

    def applied_to(self, message: Message) -> Message:
        """Return the message as it is after these changes."""
        content = message.content
        if self.content is not None:
            content = _merged(message.format_2().content, self.content)
        return replace(
            message,
            thread_id=self.thread_id or message.thread_id,
            resource_id=message.resource_id if self.resource_id is None else self.resource_id,
            role=self.role or message.role,
            type=self.type or message.type,
            content=content,
        )

    def changed_fields(self, message: Message) -> dict[str, Value]:
        """Return the fields of the row of `message`, already updated, that this wrote."""
        row = message.to_row()
        written = {
            "id": True,
            "thread_id": bool(self.thread_id),
            "resourceId": self.resource_id is not None,
            "role": bool(self.role),
            "type": bool(self.type),
            "content": self.content is not None,
        }
        return {name: row[name] for name, was_written in written.items() if was_written}


class MessageStore(MemoryDomain):
    """Messages: save, update, delete, list."""

    async def save_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Store messages, each over the one with its id if there is one.

        Saving a stored message with another thread moves it. All messages are stored or none
        is; up to 100 also stamp their threads in that same transaction where the deployment
        has our functions. A thread that does not exist is not created.

        Returns:
            The messages given, unique by id, oldest first, with format-2 content.

        Raises:
            InvalidArgument: A message has no thread or no resource, or content that is not
                JSON; nothing was sent.
        """
        if not messages:
            return []
        for message in messages:
            if not message.thread_id:
                raise InvalidArgument("Thread ID is required")
            if not message.resource_id:
                raise InvalidArgument("Resource ID is required")
        named = [m if m.id else replace(m, id=self._new_id()) for m in messages]
        unique = {message.id: message for message in named}
        rows: list[Value] = [message.to_row() for message in unique.values()]
        if len(rows) <= SAVE_MESSAGES_MAX and await self._capabilities.has(SAVE_MESSAGES):
            await self._ask(
                "mutation",
                SAVE_MESSAGES,
                retry=True,
                messages=rows,
                onExisting="replace",
                now=self._now_text(),
            )
        else:
            await self._storage.run("batchInsert", MESSAGES, records=rows)
            await self._touch(message.thread_id for message in unique.values())
        return normalised(named)

    async def _touch(self, thread_ids: Iterable[str]) -> None:
        """Stamp `updated_at` of threads; those that do not exist are passed over."""
        record = {"updatedAt": self._now_text()}
        for thread_id in dict.fromkeys(thread_ids):
            await self._storage.run("patch", THREADS, id=thread_id, record=record)

    async def update_messages(self, messages: Sequence[MessageUpdate]) -> list[Message]:
        """Change stored messages, all in one transaction, and stamp their threads.

        A message that is moved stamps the thread it leaves, too. `created_at` never changes.

        Returns:
            The updated messages in the order given; ids that do not exist are left out.

        Raises:
            InvalidArgument: Content that is not JSON.
        """
        stored = await self._load([update.id for update in messages])
        touched: list[str] = []
        rows: list[Value] = []
        updated: list[Message] = []
        for update in messages:
            before = stored.get(update.id)
            if before is None:
                continue
            after = stored[update.id] = update.applied_to(before)
            touched += [before.thread_id, after.thread_id]
            # Only what was changed is written, so that updates of other fields are not undone.
            rows.append(update.changed_fields(after))
            updated.append(after)
        if rows:
            await self._storage.run("batchInsert", MESSAGES, records=rows)
            await self._touch(touched)
        return updated

    async def delete_messages(self, message_ids: Sequence[str]) -> None:
        """Delete messages by id; absent ones are fine. Threads are not stamped."""
        for start in range(0, len(message_ids), ARRAY_ELEMENTS_MAX):
            ids = list(message_ids[start : start + ARRAY_ELEMENTS_MAX])
            await self._storage.run("deleteMany", MESSAGES, ids=ids)

    async def list_messages_by_id(self, *, message_ids: Sequence[str]) -> list[Message]:
        """Return messages by id, oldest first, with format-2 content; absent ones are left out."""
        return normalised((await self._load(message_ids)).values())

    async def list_messages(
        self,
        *,
        thread_id: str | Sequence[str],
        resource_id: str | None = None,
        include: Sequence[Include] = (),
        filter: MessageFilter | None = None,
        per_page: PerPage | None = None,
        page: int = 0,
        order_by: OrderBy | None = None,
    ) -> MessagePage:
        """Return a numbered page of the messages of one or more threads, oldest first.

        Whole threads are read to sort and count them; `page_messages` reads one page.

        Args:
            thread_id: One thread, or several.
            resource_id: Only messages of this resource, included ones too; None or empty
                takes everybody's.
            include: Messages to add to the page, with neighbours; no other filter applies
                to them.
            filter: Dates and metadata.
            per_page: Messages on a page: a number, 0 for none but the included ones, `False`
                for all, None for 40.
            page: Which page, from zero.
            order_by: `created_at`, `ASC` by default.

        Raises:
            InvalidArgument: A thread id is blank, or the filter or the page is not valid.
            LimitExceeded: A thread holds 10,000 messages or more.
        """
        matches = message_filter(filter)
        thread_ids = _thread_ids(thread_id)
        window = message_window(page, per_page, f"{_ID}_INVALID_PAGE")
        read = _Read(self._thread)
        if window.per_page is not False and window.per_page == 0:
            found = await self._include(include, resource_id, read)
            return _page(in_order(normalised(read.only(found)), order_by, "ASC"), 0, window)
        for one_thread in dict.fromkeys(thread_ids):
            await read.thread(one_thread)
        matching = [m for m in read.messages() if matches(m) and _belongs(m, resource_id)]
        chosen = window.cut(in_order(matching, order_by, "ASC"))
        included = await self._include(include, resource_id, read)
        union = read.only({message.id for message in chosen} | included)
        messages = in_order(union, order_by, "ASC")
        has_more = window.has_next(len(matching))
        if included and not (filter and filter.metadata):
            returned = sum(message.thread_id in thread_ids for message in messages)
            has_more = returned < len(matching)
        return _page(messages, len(matching), window, has_more)

    async def list_messages_by_resource_id(
        self,
        *,
        resource_id: str,
        include: Sequence[Include] = (),
        filter: MessageFilter | None = None,
        per_page: PerPage | None = None,
        page: int = 0,
        order_by: OrderBy | None = None,
    ) -> MessagePage:
        """Return a numbered page of a resource's messages, whatever their threads.

        The order decides which messages are on the page; the page itself is oldest first,
        with format-2 content.

        Args:
            resource_id: Whose messages.
            include: Messages of the same resource to add to the page, with neighbours.
            filter: Dates and metadata.
            per_page: Messages on a page: a number, 0 for none but the included ones, `False`
                for all, None for 40.
            page: Which page, from zero.
            order_by: `created_at`, `ASC` by default.

        Raises:
            InvalidArgument: The filter or the page is not valid.
            LimitExceeded: The resource has 10,000 messages or more.
        """
        matches = message_filter(filter)
        window = message_window(page, per_page, f"{_ID}_BY_RESOURCE_ID_INVALID_PAGE")
        read = _Read(self._thread)
        if include and window.per_page is not False and window.per_page == 0:
            found = await self._include(include, resource_id, read)
            return _page(normalised(read.only(found)), 0, window)
        rows = await self._storage.rows(MESSAGES, resourceId=resource_id)
        stored = [Message.from_row(row) for row in rows]
        matching = [message for message in stored if matches(message)]
        chosen = window.cut(in_order(matching, order_by, "ASC"))
        included = await self._include(include, resource_id, read)
        wanted = {message.id for message in chosen} | included
        messages = normalised(message for message in stored if message.id in wanted)
        has_more = window.offset + len(chosen) < len(matching)
        return _page(messages, len(matching), window, has_more)

    async def _thread(self, thread_id: str) -> list[Message]:
        """Return all messages of a thread, oldest first, ties in the order they were saved."""
        rows = await self._storage.rows(MESSAGES, thread_id=thread_id)
        return in_order([Message.from_row(row) for row in rows], None, "ASC")

    async def _load(self, message_ids: Sequence[str]) -> dict[str, Message]:
        """Return the messages that exist, by id, in the order asked for."""
        ids = list(dict.fromkeys(message_ids))
        found: dict[str, Message] = {}
        for start in range(0, len(ids), LOAD_MANY_IDS_MAX):
            batch = list(ids[start : start + LOAD_MANY_IDS_MAX])
            rows = rows_in(await self._storage.run("loadMany", MESSAGES, ids=batch))
            found |= {message.id: message for message in map(Message.from_row, rows)}
        return found

    async def _include(
        self, include: Sequence[Include], resource_id: str | None, read: _Read
    ) -> set[str]:
        """Return the ids of the included messages and their neighbours, reading their threads."""
        targets = {message.id: message for message in read.messages()}
        targets |= await self._load([item.id for item in include if item.id not in targets])
        found: set[str] = set()
        for item in include:
            target = targets.get(item.id)
            if target is None or not _belongs(target, resource_id):
                continue
            thread = [m for m in await read.thread(target.thread_id) if _belongs(m, resource_id)]
            ids = [message.id for message in thread]
            if item.id in ids:
                position = ids.index(item.id)
                first = max(0, position - item.with_previous_messages)
                found.update(ids[first : position + item.with_next_messages + 1])
        return found


class _Read:
    """The threads one listing has read so far, so that none is read twice."""

    def __init__(self, read_thread: Callable[[str], Awaitable[list[Message]]]) -> None:
        self._read_thread = read_thread
        self._threads: dict[str, list[Message]] = {}

    async def thread(self, thread_id: str) -> list[Message]:
        """Return all messages of a thread, oldest first."""
        if thread_id not in self._threads:
            self._threads[thread_id] = await self._read_thread(thread_id)
        return self._threads[thread_id]

    def messages(self) -> list[Message]:
        """Return every message read, a thread after the other."""
        return [message for thread in self._threads.values() for message in thread]

    def only(self, ids: set[str]) -> list[Message]:
        """Return those of the messages read that have one of these ids."""
        return [message for message in self.messages() if message.id in ids]


def _page(
    messages: list[Message], total: int, window: Window, has_more: bool = False
) -> MessagePage:
    return MessagePage(
        messages=messages,
        total=total,
        page=window.page,
        per_page=window.per_page,
        has_more=has_more,
    )


def _belongs(message: Message, resource_id: str | None) -> bool:
    return not resource_id or message.resource_id == resource_id


def _thread_ids(thread_id: str | Sequence[str]) -> list[str]:
    ids = [thread_id] if isinstance(thread_id, str) else list(thread_id)
    if not ids or not all(isinstance(one, str) and one.strip() for one in ids):
        raise InvalidArgument(
            "threadId must be a non-empty string or array of non-empty strings",
            id=f"{_ID}_INVALID_THREAD_ID",
        )
    return ids


def _merged(stored: Content, given: Content) -> Content:
    if isinstance(given, str) or isinstance(stored, str):
        return given
    merged = {**stored, **given}
    before, after = stored.get("metadata"), given.get("metadata")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        merged["metadata"] = {**before, **after}
    return merged
