"""Deleting what a thread holds, over the storage function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.errors import FunctionError
from convex_memory.store.storage import MESSAGES, StorageFunction
from convex_memory.values import Value

_ROWS: Final = 1000
"""Messages one call deletes, as long as they can be read in one."""


async def delete_messages_in(storage: StorageFunction, thread_id: str) -> int:
    """Delete all messages of a thread, in batches, and return how many they were.

    What was deleted stays so when a batch fails; the next call goes on.
    """
    deleted, most = 0, _ROWS
    while True:
        try:
            rows = await storage.some_rows(MESSAGES, most, thread_id=thread_id)
        except FunctionError as error:
            if type(error) is not FunctionError or most == 1:
                raise
            # The rows may be more bytes than one call may read.
            most = max(1, most // 8)
            continue
        ids: list[Value] = [row["id"] for row in rows if isinstance(row, Mapping)]
        if ids:
            await storage.run("deleteMany", MESSAGES, ids=ids)
            deleted += len(ids)
        if len(rows) < most:
            return deleted
