"""Reflections: what condenses observational memory and begins its next generation."""

from __future__ import annotations

from typing import Final

from convex_memory.errors import NotFound
from convex_memory.records import iso_text
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.observation_records import ObservationalMemory
from convex_memory.store.storage import OBSERVATIONS
from convex_memory.values import Value

ERROR_ID: Final = "MASTRA_STORAGE_CONVEX_"


class ReflectionStore(MemoryDomain):
    """The part of observational memory that begins new generations."""

    async def create_reflection_generation(
        self, *, current_record: ObservationalMemory, reflection: str, token_count: float
    ) -> ObservationalMemory:
        """Begin the next generation with a reflection as its active text.

        Args:
            current_record: The generation that was reflected on; it stays as it is.
            reflection: The text.
            token_count: Its tokens.

        Returns:
            The new generation as it was stored.
        """
        now = self._now()
        record = ObservationalMemory(
            id=self._new_id(),
            scope=current_record.scope,
            thread_id=current_record.thread_id,
            resource_id=current_record.resource_id,
            created_at=now,
            updated_at=now,
            last_observed_at=current_record.last_observed_at,
            origin_type="reflection",
            generation_count=current_record.generation_count + 1,
            active_observations=reflection,
            total_tokens_observed=current_record.total_tokens_observed,
            observation_token_count=token_count,
            config=current_record.config,
            metadata=current_record.metadata,
            observed_timezone=current_record.observed_timezone,
        )
        row = without_buffer(record.to_row())
        await self._insert_generation({**row, "lastReflectionAt": iso_text(now, "now")})
        return record

    async def update_buffered_reflection(
        self,
        *,
        id: str,
        reflection: str,
        token_count: float,
        input_token_count: float,
        reflected_observation_line_count: int,
    ) -> None:
        """Add to the reflection that waits to begin the next generation.

        Args:
            id: The generation that is reflected on.
            reflection: The text, appended to what waits already.
            token_count: Its tokens.
            input_token_count: Tokens that it was made from.
            reflected_observation_line_count: How many lines of the active text it covers.

        Raises:
            NotFound: There is no such generation.
        """
        await self._storage.run(
            "omUpdateBufferedReflection",
            OBSERVATIONS,
            id=id,
            reflection=reflection,
            tokenCount=token_count,
            inputTokenCount=input_token_count,
            reflectedObservationLineCount=reflected_observation_line_count,
            updatedAt=self._now_text(),
        )

    async def swap_buffered_reflection_to_active(
        self, *, current_record: ObservationalMemory, token_count: float
    ) -> ObservationalMemory:
        """Begin the next generation with the waiting reflection, in one transaction.

        Lines of the active text that the reflection does not cover follow it.

        Args:
            current_record: The generation that was reflected on.
            token_count: Tokens of the new active text.

        Returns:
            The new generation as it was stored.

        Raises:
            NotFound: There is no such generation.
            Conflict: No reflection waits, for instance because another has swapped it.
        """
        row = await self._storage.run(
            "omSwapBufferedReflection",
            OBSERVATIONS,
            currentRecord=current_record.identity_row(),
            newId=self._new_id(),
            tokenCount=token_count,
            now=self._now_text(),
        )
        return ObservationalMemory.from_row(row)

    async def set_reflecting_flag(self, *, id: str, is_reflecting: bool) -> None:
        """Say whether somebody is reflecting; NotFound when there is no such generation."""
        await self._patch_generation("SET_REFLECTING_FLAG", id, isReflecting=is_reflecting)

    async def set_buffering_reflection_flag(self, *, id: str, is_buffering: bool) -> None:
        """Say whether a reflection is being prepared; NotFound without such a generation."""
        await self._patch_generation(
            "SET_BUFFERING_REFLECTION_FLAG", id, isBufferingReflection=is_buffering
        )

    async def _insert_generation(self, row: dict[str, Value]) -> None:
        await self._storage.run("insert", OBSERVATIONS, record=row)

    async def _patch_generation(self, operation: str, record_id: str, /, **fields: Value) -> None:
        record = {**fields, "updatedAt": self._now_text()}
        found = await self._storage.run("patch", OBSERVATIONS, id=record_id, record=record)
        if not found:
            raise NotFound(
                f"Observational memory record not found: {record_id}",
                id=f"{ERROR_ID}{operation}_NOT_FOUND",
                details={"id": record_id},
            )


def without_buffer(row: dict[str, Value]) -> dict[str, Value]:
    """Return the row of a generation that begins without a buffer."""
    del row["bufferedObservationChunks"]
    return row
