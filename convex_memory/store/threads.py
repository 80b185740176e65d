"""Threads of the memory domain, as Mastra's storage contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from convex_memory.errors import NotFound
from convex_memory.records import Thread, checked_metadata
from convex_memory.store.answers import PerPage, ThreadPage
from convex_memory.store.deleting import delete_messages_in
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.selection import (
    OrderBy,
    ThreadFilter,
    in_order,
    thread_filter,
    thread_window,
)
from convex_memory.store.storage import THREADS, rows_in
from convex_memory.values import Value

UPDATE_THREAD: Final = "memory/threads:update"
REMOVE_THREAD: Final = "memory/threads:remove"
_ID: Final = "MASTRA_STORAGE_CONVEX_"


class ThreadStore(MemoryDomain):
    """Threads: read, save, update, delete, list."""

    async def get_thread_by_id(
        self, *, thread_id: str, resource_id: str | None = None
    ) -> Thread | None:
        """Return a thread, or None when there is none.

        Args:
            thread_id: The thread.
            resource_id: When given, even empty, a thread of another resource counts as absent.
        """
        row = await self._storage.run("load", THREADS, keys={"id": thread_id})
        if row is None:
            return None
        thread = Thread.from_row(row)
        return thread if resource_id in (None, thread.resource_id) else None

    async def save_thread(self, thread: Thread) -> Thread:
        """Store a thread whole, over the one with its id if there is one.

        Stored metadata is replaced, not merged. A thread without an id gets a random one.

        Returns:
            The thread as it was saved.

        Raises:
            InvalidArgument: The metadata cannot be stored.
        """
        saved = thread if thread.id else replace(thread, id=self._new_id())
        await self._storage.run("insert", THREADS, record=saved.to_row())
        return saved

    async def update_thread(
        self,
        *,
        id: str,
        title: str | None = None,
        metadata: Mapping[str, Value] | None = None,
    ) -> Thread:
        """Change a thread's title, merge members into its metadata, and stamp `updated_at`.

        Args:
            id: The thread.
            title: The new title, empty for none; None leaves it as it is.
            metadata: Members that replace those of the same name; None changes none.

        Returns:
            The thread after the change.

        Raises:
            NotFound: There is no such thread.
            InvalidArgument: The metadata cannot be stored.
        """
        given = checked_metadata(metadata or {})
        if title is not None:
            return await self._update_title(id, title, given)
        # Naming the title would undo another's renaming; nulls mean something else over there.
        if None not in given.values() and await self._capabilities.has(UPDATE_THREAD):
            return await self._update_metadata(id, given)
        stored = await self.get_thread_by_id(thread_id=id)
        if stored is None:
            raise _no_thread(id)
        return await self._update_title(id, stored.title, given)

    async def _update_title(
        self, thread_id: str, title: str, metadata: Mapping[str, Value]
    ) -> Thread:
        row = await self._storage.run(
            "updateThread",
            THREADS,
            id=thread_id,
            title=title,
            metadata=metadata,
            updatedAt=self._now_text(),
        )
        if row is None:
            raise _no_thread(thread_id)
        return Thread.from_row(row)

    async def _update_metadata(self, thread_id: str, metadata: Mapping[str, Value]) -> Thread:
        try:
            answer = await self._ask(
                "mutation",
                UPDATE_THREAD,
                threadId=thread_id,
                metadata=metadata,
                now=self._now_text(),
            )
        except NotFound as error:
            raise _no_thread(thread_id) from error
        return Thread.from_row(answer.get("thread"))

    async def delete_thread(self, *, thread_id: str) -> None:
        """Delete a thread and its messages; one that does not exist is fine.

        Many messages go in batches, so a reader may meet a thread that is partly gone.
        """
        if await self._capabilities.has(REMOVE_THREAD):
            found, _ = await self._remove_thread(thread_id, None, None)
            if found:
                return
        # Messages may be stored under a thread that was never saved.
        await delete_messages_in(self._storage, thread_id)
        await self._storage.run("deleteMany", THREADS, ids=[thread_id])

    async def _remove_thread(
        self, thread_id: str, resource_id: str | None, purge_at: float | None
    ) -> tuple[bool, int]:
        """Return whether the thread was there, and how many messages went with it."""
        found, messages = False, 0
        while True:
            answer = await self._ask(
                "mutation",
                REMOVE_THREAD,
                threadId=thread_id,
                resourceId=resource_id,
                purgeAt=purge_at,
            )
            removed = answer.get("removedMessages")
            messages += int(removed) if isinstance(removed, int | float) else 0
            found = found or bool(answer.get("found"))
            if not answer.get("hasMore"):
                return found, messages

    async def list_threads(
        self,
        *,
        filter: ThreadFilter | None = None,
        page: int = 0,
        per_page: PerPage | None = None,
        order_by: OrderBy | None = None,
    ) -> ThreadPage:
        """Return a numbered page of threads, newest first unless asked otherwise.

        All matching threads are read to sort and count them; `page_threads` reads one page.

        Args:
            filter: Which threads; everybody's when omitted.
            page: Which page, from zero.
            per_page: Threads on a page: a number, 0 for none, `False` for all, None for 100.
            order_by: `created_at` or `updated_at`, `DESC` by default.

        Raises:
            InvalidArgument: The page or a metadata key is not valid.
            LimitExceeded: 10,000 threads or more match.
        """
        window = thread_window(page, per_page, f"{_ID}LIST_THREADS_INVALID_PAGE")
        wanted = filter or ThreadFilter()
        matches = thread_filter(wanted, f"{_ID}LIST_THREADS_INVALID_METADATA_KEY")
        scope = {"resourceId": wanted.resource_id} if wanted.resource_id else {}
        rows = rows_in(await self._storage.rows(THREADS, **scope))
        threads = [thread for row in rows if matches(thread := Thread.from_row(row))]
        return ThreadPage(
            threads=window.cut(in_order(threads, order_by, "DESC")),
            total=len(threads),
            page=window.page,
            per_page=window.per_page,
            has_more=window.has_next(len(threads)),
        )


def _no_thread(thread_id: str) -> NotFound:
    return NotFound(f"Thread {thread_id} not found", id=f"{_ID}UPDATE_THREAD_THREAD_NOT_FOUND")
