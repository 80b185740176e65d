"""Resources of the memory domain: what is known about whom a memory belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from convex_memory.records import Resource, checked_metadata, instant_in
from convex_memory.store.answers import WorkingMemory
from convex_memory.store.domain import MemoryDomain, optional_text
from convex_memory.store.storage import RESOURCES
from convex_memory.values import Value

GET_WORKING_MEMORY: Final = "memory/working:get"
UPDATE_WORKING_MEMORY: Final = "memory/working:update"


class ResourceStore(MemoryDomain):
    """Resources and working memory: read, save, update."""

    async def get_resource_by_id(self, *, resource_id: str) -> Resource | None:
        """Return a resource, or None when there is none."""
        row = await self._storage.run("load", RESOURCES, keys={"id": resource_id})
        return None if row is None else Resource.from_row(row)

    async def save_resource(self, resource: Resource) -> Resource:
        """Store a resource over the one with its id, if there is one.

        Working memory and metadata replace what is stored unless they are None. A resource
        without an id gets a random one.

        Returns:
            The resource as it was saved.

        Raises:
            InvalidArgument: The metadata cannot be stored.
        """
        saved = resource if resource.id else replace(resource, id=self._new_id())
        await self._storage.run("insert", RESOURCES, record=saved.to_row())
        return saved

    async def update_resource(
        self,
        *,
        resource_id: str,
        working_memory: str | None = None,
        metadata: Mapping[str, Value] | None = None,
    ) -> Resource:
        """Change a resource, creating it when it is missing.

        Args:
            resource_id: The resource.
            working_memory: The whole new text; None leaves it as it is.
            metadata: Members that replace those of the same name; None changes none.

        Returns:
            The resource after the change.

        Raises:
            InvalidArgument: The metadata cannot be stored.
        """
        now = self._now_text()
        changes: dict[str, Value] = {}
        if working_memory is not None:
            changes["workingMemory"] = working_memory
        if metadata is not None:
            changes["metadata"] = checked_metadata(metadata)
        row = await self._storage.run(
            "updateResource",
            RESOURCES,
            resourceId=resource_id,
            createdAt=now,
            updatedAt=now,
            **changes,
        )
        return Resource.from_row(row)

    async def get_working_memory(
        self, *, resource_id: str, thread_id: str | None = None
    ) -> WorkingMemory:
        """Return the text kept about a resource or, with `thread_id`, about one of its threads.

        Raises:
            NotFound: The thread does not exist or belongs to another resource.
        """
        return _working_memory(
            await self._ask("query", GET_WORKING_MEMORY, resourceId=resource_id, threadId=thread_id)
        )

    async def update_working_memory(
        self,
        *,
        resource_id: str,
        text: str,
        thread_id: str | None = None,
        mode: Literal["replace", "append", "merge"] = "replace",
    ) -> WorkingMemory:
        """Change the text kept about a resource, or about one of its threads.

        Over Mastra's functions alone, `append` and `merge` read the text and then write it: what
        another process writes in between is lost.

        Args:
            resource_id: The resource; created when it is missing.
            text: What to write.
            thread_id: Write to this thread of the resource instead.
            mode: `replace` writes the whole text, `append` adds to the end, `merge` treats
                the stored and the given text as JSON objects: absent members stay, null
                deletes, objects merge, the rest is replaced.

        Returns:
            The whole text after the change.

        Raises:
            NotFound: The thread does not exist or belongs to another resource.
            InvalidArgument: `merge` of text that is not a JSON object.
        """
        return _working_memory(
            await self._ask(
                "mutation",
                UPDATE_WORKING_MEMORY,
                resourceId=resource_id,
                text=text,
                threadId=thread_id,
                mode=mode,
                now=self._now_text(),
            )
        )


def _working_memory(answer: Mapping[str, Value]) -> WorkingMemory:
    written = answer.get("updatedAt") is not None
    return WorkingMemory(
        text=optional_text(answer, "workingMemory"),
        updated_at=instant_in(answer, "updatedAt", "working memory") if written else None,
    )
