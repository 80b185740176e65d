"""Observational memory: a text that stands for messages too many to read again.

One memory, of a thread or of a resource, is a line of generations. Messages are observed into
the active text of the newest one, at once or through a buffer of chunks; when the text itself
grows too long, a reflection condenses it and begins the next generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final

from convex_memory.errors import InvalidArgument
from convex_memory.json_text import json_text
from convex_memory.records import iso_text
from convex_memory.store.observation_chunks import Activation, ObservationChunk
from convex_memory.store.observation_records import (
    ObservationalMemory,
    ObservationScope,
    lookup_key,
)
from convex_memory.store.reflections import ERROR_ID, ReflectionStore, without_buffer
from convex_memory.store.storage import OBSERVATIONS, rows_in
from convex_memory.values import Value

HISTORY_LIMIT: Final = 10
_CLEAR_ROWS: Final = 8
"""A record may be 1 MiB, and a read of so many looks at twice as many rows."""
_CHUNK_ID: Final = "ombuf-"


class ObservationStore(ReflectionStore):
    """Observational memory: read, observe, buffer, swap, reflect.

    A memory is named by its thread or, where there is no thread id, by its resource. Mastra's own
    functions do not say what kind a refusal is: over those, `NotFound` and `Conflict` are a plain
    `FunctionError` with the same text.
    """

    supports_observational_memory: ClassVar[bool] = True

    # --- Reading

    async def get_observational_memory(
        self, *, thread_id: str | None, resource_id: str
    ) -> ObservationalMemory | None:
        """Return the newest generation of a memory, or None when there is none."""
        row = await self._storage.run(
            "omGetLatest", OBSERVATIONS, lookupKey=lookup_key(thread_id, resource_id)
        )
        return None if row is None else ObservationalMemory.from_row(row)

    async def get_observational_memory_history(
        self,
        *,
        thread_id: str | None,
        resource_id: str,
        limit: int | None = HISTORY_LIMIT,
        from_date: datetime | str | None = None,
        to_date: datetime | str | None = None,
        offset: int = 0,
    ) -> list[ObservationalMemory]:
        """Return generations of a memory, the newest first.

        Args:
            thread_id: The thread, or None for the resource's own memory.
            resource_id: The resource.
            limit: Most generations to return; None for all.
            from_date: Only those created at this date or later.
            to_date: Only those created at this date or earlier.
            offset: How many of the newest that match to leave out.

        Raises:
            InvalidArgument: A number is negative, or a date has no zone.
        """
        bounds: dict[str, Value] = {}
        if limit is not None:
            bounds["limit"] = limit
        if from_date is not None:
            bounds["from"] = iso_text(from_date, "from_date")
        if to_date is not None:
            bounds["to"] = iso_text(to_date, "to_date")
        if offset:
            bounds["offset"] = offset
        rows = await self._storage.run(
            "omGetHistory", OBSERVATIONS, lookupKey=lookup_key(thread_id, resource_id), **bounds
        )
        return [ObservationalMemory.from_row(row) for row in rows_in(rows)]

    # --- Beginning and ending

    async def initialize_observational_memory(
        self,
        *,
        thread_id: str | None,
        resource_id: str,
        scope: ObservationScope,
        config: Mapping[str, Value],
        observed_timezone: str | None = None,
    ) -> ObservationalMemory:
        """Begin a memory with an empty first generation.

        Whether there is one already is not looked at: of two first generations the later
        one counts.

        Args:
            thread_id: The thread, or None for a memory of the resource.
            resource_id: The resource.
            scope: `thread` or `resource`.
            config: How observing is set up; any JSON object.
            observed_timezone: The time zone in which the text gives dates.

        Returns:
            The generation as it was stored.

        Raises:
            InvalidArgument: The configuration is not JSON.
        """
        now = self._now()
        record = ObservationalMemory(
            id=self._new_id(),
            scope=scope,
            thread_id=thread_id,
            resource_id=resource_id,
            config=dict(config),
            observed_timezone=observed_timezone,
            created_at=now,
            updated_at=now,
        )
        await self._insert_generation(without_buffer(record.to_row()))
        return record

    async def insert_observational_memory_record(self, record: ObservationalMemory) -> None:
        """Store a generation whole, over the one with its id if there is one.

        Raises:
            InvalidArgument: Something in it is not JSON, or a date has no zone.
        """
        await self._insert_generation(record.to_row())

    async def clear_observational_memory(self, *, thread_id: str | None, resource_id: str) -> None:
        """Delete every generation of a memory; one that does not exist is fine."""
        key = lookup_key(thread_id, resource_id)
        while True:
            rows = await self._storage.some_rows(OBSERVATIONS, _CLEAR_ROWS, lookupKey=key)
            ids: list[Value] = [row["id"] for row in rows if isinstance(row, Mapping)]
            if ids:
                await self._storage.run("deleteMany", OBSERVATIONS, ids=ids)
            if len(rows) < _CLEAR_ROWS:
                return

    # --- Observing

    async def update_active_observations(
        self,
        *,
        id: str,
        observations: str,
        token_count: float,
        last_observed_at: datetime | str,
        observed_message_ids: Sequence[str] | None = None,
        observed_timezone: str | None = None,
    ) -> None:
        """Replace the active text; no messages are pending after that.

        Args:
            id: The generation.
            observations: The whole new text.
            token_count: Its tokens; anything but a finite number from 0 on counts as 0.
            last_observed_at: The date up to which messages are observed now.
            observed_message_ids: The messages behind the change; None forgets those stored.
            observed_timezone: The time zone in which the text gives dates; None leaves it as it
                is, as does a deployment that has only Mastra's functions.

        Raises:
            NotFound: There is no such generation.
        """
        timezone = {} if observed_timezone is None else {"observedTimezone": observed_timezone}
        usable = math.isfinite(token_count)
        await self._storage.run(
            "omUpdateActive",
            OBSERVATIONS,
            id=id,
            observations=observations,
            tokenCount=token_count if usable else 0,
            lastObservedAt=iso_text(last_observed_at, "last_observed_at"),
            observedMessageIds=(
                None if observed_message_ids is None else list(observed_message_ids)
            ),
            updatedAt=self._now_text(),
            **timezone,
        )

    async def update_buffered_observations(
        self,
        *,
        id: str,
        chunk: ObservationChunk,
        last_buffered_at_time: datetime | str | None = None,
    ) -> ObservationChunk:
        """Add a chunk to the end of the buffer.

        Args:
            id: The generation.
            chunk: What was observed; its `id` and `created_at` are made here.
            last_buffered_at_time: Messages up to here are in a chunk now; None leaves it.

        Returns:
            The chunk as it was buffered.

        Raises:
            NotFound: There is no such generation.
            InvalidArgument: An extracted value cannot be sent, or a date has no zone.
            LimitExceeded: The buffer would be larger than a document may be.
        """
        now = self._now()
        buffered = replace(chunk, id=f"{_CHUNK_ID}{self._new_id()}", created_at=now)
        time: dict[str, Value] = {}
        if last_buffered_at_time is not None:
            time["lastBufferedAtTime"] = iso_text(last_buffered_at_time, "last_buffered_at_time")
        await self._storage.run(
            "omAppendBufferedChunk",
            OBSERVATIONS,
            id=id,
            chunk=buffered.to_wire(),
            updatedAt=iso_text(now, "now"),
            **time,
        )
        return buffered

    async def swap_buffered_to_active(
        self,
        *,
        id: str,
        activation_ratio: float,
        message_tokens_threshold: float,
        current_pending_tokens: float,
        force_max_activation: bool = False,
        last_observed_at: datetime | str | None = None,
        buffered_chunks: Sequence[ObservationChunk] | None = None,
    ) -> Activation:
        """Append chunks from the front of the buffer to the active text, in one transaction.

        As many as bring the pending messages down to about
        `message_tokens_threshold * (1 - activation_ratio)` tokens, at least one.

        Args:
            id: The generation.
            activation_ratio: Which part of the threshold to free, 0 to 1.
            message_tokens_threshold: Message tokens at which observing is due.
            current_pending_tokens: Message tokens in the context now.
            force_max_activation: Rather too many chunks than too few.
            last_observed_at: The date up to which messages are observed after this; that of the
                last chunk when None.
            buffered_chunks: The chunks of the buffer as they were read, with fresh token
                counts, to decide by. Chunks that others activated meanwhile are not activated
                again, chunks that they appended stay in the buffer. (A deployment that has only
                Mastra's functions takes the list as the whole buffer.)

        Returns:
            What was activated; nothing when the buffer is empty.

        Raises:
            NotFound: There is no such generation.
            InvalidArgument: A number is not finite.
        """
        given: dict[str, Value] = {}
        if last_observed_at is not None:
            given["lastObservedAt"] = iso_text(last_observed_at, "last_observed_at")
        if buffered_chunks is not None:
            given["bufferedChunks"] = [chunk.to_wire() for chunk in buffered_chunks]
        return Activation.from_wire(
            await self._storage.run(
                "omSwapBuffered",
                OBSERVATIONS,
                id=id,
                activationRatio=activation_ratio,
                messageTokensThreshold=message_tokens_threshold,
                currentPendingTokens=current_pending_tokens,
                forceMaxActivation=force_max_activation,
                now=self._now_text(),
                **given,
            )
        )

    async def set_pending_message_tokens(self, *, id: str, token_count: float) -> None:
        """Set how many tokens of messages wait to be observed.

        Raises:
            InvalidArgument: The count is not a finite number from 0 on.
            NotFound: There is no such generation.
        """
        name = "SET_PENDING_MESSAGE_TOKENS"
        if not math.isfinite(token_count) or token_count < 0:
            raise InvalidArgument(
                f"token_count must be a finite non-negative number, got {token_count}.",
                id=f"{ERROR_ID}{name}_INVALID_INPUT",
                details={"id": id, "token_count": str(token_count)},
            )
        await self._patch_generation(name, id, pendingMessageTokens=token_count)

    # --- Flags and configuration

    async def set_observing_flag(self, *, id: str, is_observing: bool) -> None:
        """Say whether somebody is observing; NotFound when there is no such generation."""
        await self._patch_generation("SET_OBSERVING_FLAG", id, isObserving=is_observing)

    async def set_buffering_observation_flag(
        self, *, id: str, is_buffering: bool, last_buffered_at_tokens: float | None = None
    ) -> None:
        """Say whether somebody is preparing a chunk.

        Args:
            id: The generation.
            is_buffering: Whether somebody is.
            last_buffered_at_tokens: Pending tokens at which it was begun; None leaves them.

        Raises:
            NotFound: There is no such generation.
        """
        tokens: dict[str, Value] = {}
        if last_buffered_at_tokens is not None:
            tokens["lastBufferedAtTokens"] = last_buffered_at_tokens
        await self._patch_generation(
            "SET_BUFFERING_OBSERVATION_FLAG", id, isBufferingObservation=is_buffering, **tokens
        )

    async def update_observational_memory_config(
        self, *, id: str, config: Mapping[str, Value]
    ) -> None:
        """Merge into the configuration: objects at every level, anything else is replaced.

        Raises:
            NotFound: There is no such generation.
            InvalidArgument: The configuration is not JSON.
        """
        await self._storage.run(
            "omUpdateConfig",
            OBSERVATIONS,
            id=id,
            config=json_text(config, "config"),
            updatedAt=self._now_text(),
        )
