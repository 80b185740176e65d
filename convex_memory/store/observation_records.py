"""Records of observational memory: one generation of what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast

from convex_memory.errors import InvalidResponse
from convex_memory.json_text import json_text
from convex_memory.records import instant_in, iso_text, utc_now
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import (
    json_object,
    number,
    optional_instant,
    optional_iso,
    row_in,
    texts,
)
from convex_memory.store.observation_chunks import ObservationChunk, buffer_in
from convex_memory.values import Value

_WHAT: Final = "observational memory record"

ObservationScope: TypeAlias = Literal["thread", "resource"]
ObservationOrigin: TypeAlias = Literal["initial", "reflection"]


def lookup_key(thread_id: str | None, resource_id: str) -> str:
    """Return the key under which the generations of one memory are kept."""
    return f"thread:{thread_id}" if thread_id else f"resource:{resource_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationalMemory:
    """One generation of what was observed of a thread, or of a resource in all its threads.

    Attributes:
        id: Of this generation.
        scope: Whether it is about a thread or a resource.
        thread_id: The thread; None when it is about a resource.
        resource_id: Whose memory it is.
        created_at: When this generation began.
        updated_at: When it was last written.
        last_observed_at: Messages up to here have been observed; None when none have.
        origin_type: How the generation began: empty, or from a reflection on the one before.
        generation_count: 0 for the first, one more with every reflection.
        active_observations: The text that stands for the observed messages.
        buffered_observation_chunks: What waits to be appended to it, oldest first.
        buffered_observations: Waiting text as older versions kept it.
        buffered_observation_tokens: Tokens of that text.
        buffered_reflection: The condensed text that waits to begin the next generation.
        buffered_reflection_tokens: Tokens of that text.
        buffered_reflection_input_tokens: Tokens that it was made from.
        reflected_observation_line_count: How many lines of the active text it covers.
        total_tokens_observed: Tokens observed in all generations so far.
        observation_token_count: Tokens of the active text.
        pending_message_tokens: Tokens of messages that have not been observed.
        is_observing: Whether somebody is observing now.
        is_reflecting: Whether somebody is reflecting now.
        is_buffering_observation: Whether somebody is preparing a chunk now.
        is_buffering_reflection: Whether somebody is preparing a reflection now.
        last_buffered_at_tokens: Pending tokens when the last chunk was begun.
        last_buffered_at_time: Messages up to here are in a chunk; None when none are.
        config: How observing is set up.
        metadata: JSON members of the application's own.
        observed_message_ids: The messages observed last.
        observed_timezone: The time zone in which the text gives dates.
    """

    id: str
    scope: ObservationScope
    thread_id: str | None
    resource_id: str
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    last_observed_at: datetime | None = None
    origin_type: ObservationOrigin = "initial"
    generation_count: int = 0
    active_observations: str = ""
    buffered_observation_chunks: list[ObservationChunk] = field(default_factory=list)
    buffered_observations: str | None = None
    buffered_observation_tokens: float | None = None
    buffered_reflection: str | None = None
    buffered_reflection_tokens: float | None = None
    buffered_reflection_input_tokens: float | None = None
    reflected_observation_line_count: float | None = None
    total_tokens_observed: float = 0
    observation_token_count: float = 0
    pending_message_tokens: float = 0
    is_observing: bool = False
    is_reflecting: bool = False
    is_buffering_observation: bool = False
    is_buffering_reflection: bool = False
    last_buffered_at_tokens: float = 0
    last_buffered_at_time: datetime | None = None
    config: Mapping[str, Value] = field(default_factory=dict)
    metadata: Mapping[str, Value] | None = None
    observed_message_ids: list[str] | None = None
    observed_timezone: str | None = None

    @classmethod
    def from_row(cls, row: Value) -> ObservationalMemory:
        """Read a generation from a stored row; counts of 0 that may be absent are None.

        Raises:
            InvalidResponse: The row is not one of observational memory.
        """
        fields = row_in(row, _WHAT)
        scope = text(fields, "scope")
        if scope not in ("thread", "resource"):
            raise InvalidResponse("The deployment answered with a scope that is not one.")
        origin = optional_text(fields, "originType") or "initial"
        if origin not in ("initial", "reflection"):
            raise InvalidResponse("The deployment answered with an originType that is not one.")
        return cls(
            id=text(fields, "id"),
            scope=cast(ObservationScope, scope),
            thread_id=optional_text(fields, "threadId"),
            resource_id=optional_text(fields, "resourceId") or "",
            created_at=instant_in(fields, "createdAt", _WHAT),
            updated_at=instant_in(fields, "updatedAt", _WHAT),
            last_observed_at=optional_instant(fields, "lastObservedAt", _WHAT),
            origin_type=cast(ObservationOrigin, origin),
            generation_count=int(number(fields, "generationCount")),
            active_observations=optional_text(fields, "activeObservations") or "",
            buffered_observation_chunks=buffer_in(
                optional_text(fields, "bufferedObservationChunks")
            ),
            buffered_observations=optional_text(fields, "activeObservationsPendingUpdate") or None,
            buffered_observation_tokens=number(fields, "bufferedObservationTokens") or None,
            buffered_reflection=optional_text(fields, "bufferedReflection") or None,
            buffered_reflection_tokens=number(fields, "bufferedReflectionTokens") or None,
            buffered_reflection_input_tokens=(
                number(fields, "bufferedReflectionInputTokens") or None
            ),
            reflected_observation_line_count=(
                number(fields, "reflectedObservationLineCount") or None
            ),
            total_tokens_observed=number(fields, "totalTokensObserved"),
            observation_token_count=number(fields, "observationTokenCount"),
            pending_message_tokens=number(fields, "pendingMessageTokens"),
            is_observing=bool(fields.get("isObserving")),
            is_reflecting=bool(fields.get("isReflecting")),
            is_buffering_observation=bool(fields.get("isBufferingObservation")),
            is_buffering_reflection=bool(fields.get("isBufferingReflection")),
            last_buffered_at_tokens=number(fields, "lastBufferedAtTokens"),
            last_buffered_at_time=optional_instant(fields, "lastBufferedAtTime", _WHAT),
            config=json_object(optional_text(fields, "config")) or {},
            metadata=json_object(optional_text(fields, "metadata")),
            observed_message_ids=texts(fields.get("observedMessageIds")),
            observed_timezone=optional_text(fields, "observedTimezone"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this generation.

        As with Mastra's adapter, `buffered_observations` and its tokens are left behind.

        Raises:
            InvalidArgument: The configuration, metadata or an extracted value is not JSON, or a
                date has no zone.
        """
        chunks: list[Value] = [chunk.to_wire() for chunk in self.buffered_observation_chunks]
        return {
            **self.identity_row(),
            "activeObservations": self.active_observations,
            "activeObservationsPendingUpdate": None,
            "originType": self.origin_type,
            "lastReflectionAt": None,
            "pendingMessageTokens": self.pending_message_tokens,
            "observationTokenCount": self.observation_token_count,
            "observedMessageIds": self.observed_message_ids,
            "bufferedObservationChunks": json_text(chunks, "buffered_observation_chunks"),
            "bufferedReflection": self.buffered_reflection,
            "bufferedReflectionTokens": self.buffered_reflection_tokens,
            "bufferedReflectionInputTokens": self.buffered_reflection_input_tokens,
            "reflectedObservationLineCount": self.reflected_observation_line_count,
            "isObserving": self.is_observing,
            "isReflecting": self.is_reflecting,
            "isBufferingObservation": self.is_buffering_observation,
            "isBufferingReflection": self.is_buffering_reflection,
            "lastBufferedAtTokens": self.last_buffered_at_tokens,
            "lastBufferedAtTime": optional_iso(self.last_buffered_at_time, "last_buffered_at_time"),
            "createdAt": iso_text(self.created_at, "created_at"),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }

    def identity_row(self) -> dict[str, Value]:
        """Return what the next generation takes over or counts on from, as the row has it."""
        return {
            "id": self.id,
            "lookupKey": lookup_key(self.thread_id, self.resource_id),
            "scope": self.scope,
            "threadId": self.thread_id,
            "resourceId": self.resource_id,
            "config": json_text(self.config, "config"),
            "metadata": None if self.metadata is None else json_text(self.metadata, "metadata"),
            "observedTimezone": self.observed_timezone,
            "lastObservedAt": optional_iso(self.last_observed_at, "last_observed_at"),
            "totalTokensObserved": self.total_tokens_observed,
            "generationCount": self.generation_count,
        }
