"""Chunks of observations: how they wait in a buffer, and what a swap made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from convex_memory.json_text import MALFORMED, parsed
from convex_memory.records import instant_in, iso_text, utc_now
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import number, optional_object, row_in, texts
from convex_memory.values import Value, check


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionFailure:
    """An extractor that failed while messages were observed.

    Attributes:
        slug: Which one.
        error: What it said.
    """

    slug: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationChunk:
    """What one look at some messages observed; it waits in the buffer to become active.

    Attributes:
        cycle_id: The look.
        observations: The text.
        token_count: Tokens of that text.
        message_ids: The messages that were observed.
        message_tokens: Tokens of those messages.
        last_observed_at: The date up to which messages were observed.
        suggested_continuation: How the assistant might go on.
        current_task: What it was doing.
        thread_title: A title for the thread.
        extracted_values: What extractors found, by extractor.
        extraction_failures: Extractors that failed.
        id: Made when the chunk is buffered.
        created_at: When the chunk was buffered.
    """

    cycle_id: str
    observations: str
    token_count: float
    message_ids: list[str]
    message_tokens: float
    last_observed_at: datetime
    suggested_continuation: str | None = None
    current_task: str | None = None
    thread_title: str | None = None
    extracted_values: Mapping[str, Value] | None = None
    extraction_failures: list[ExtractionFailure] | None = None
    id: str = ""
    created_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_wire(cls, value: Value) -> ObservationChunk:
        """Read a chunk as a buffer holds it.

        Raises:
            InvalidResponse: It is not a chunk.
        """
        fields = row_in(value, "observation chunk")
        failures = fields.get("extractionFailures")
        return cls(
            id=text(fields, "id"),
            cycle_id=optional_text(fields, "cycleId") or "",
            observations=optional_text(fields, "observations") or "",
            token_count=number(fields, "tokenCount"),
            message_ids=texts(fields.get("messageIds")) or [],
            message_tokens=number(fields, "messageTokens"),
            last_observed_at=instant_in(fields, "lastObservedAt", "observation chunk"),
            created_at=instant_in(fields, "createdAt", "observation chunk"),
            suggested_continuation=optional_text(fields, "suggestedContinuation"),
            current_task=optional_text(fields, "currentTask"),
            thread_title=optional_text(fields, "threadTitle"),
            extracted_values=optional_object(fields.get("extractedValues")),
            extraction_failures=(
                [_failure(failure) for failure in failures] if isinstance(failures, list) else None
            ),
        )

    def to_wire(self) -> dict[str, Value]:
        """Return the chunk as requests and buffers hold it, without the members that are None.

        Raises:
            InvalidArgument: An extracted value cannot be sent, or a date has no zone.
        """
        chunk: dict[str, Value] = {
            "id": self.id,
            "cycleId": self.cycle_id,
            "observations": self.observations,
            "tokenCount": self.token_count,
            "messageIds": list(self.message_ids),
            "messageTokens": self.message_tokens,
            "lastObservedAt": iso_text(self.last_observed_at, "last_observed_at"),
            "createdAt": iso_text(self.created_at, "created_at"),
        }
        given = {
            "suggestedContinuation": self.suggested_continuation,
            "currentTask": self.current_task,
            "threadTitle": self.thread_title,
        }
        chunk |= {name: value for name, value in given.items() if value is not None}
        if self.extracted_values is not None:
            check(self.extracted_values, "extracted_values")
            chunk["extractedValues"] = self.extracted_values
        if self.extraction_failures is not None:
            chunk["extractionFailures"] = [
                {"slug": failure.slug, "error": failure.error}
                for failure in self.extraction_failures
            ]
        return chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivatedChunk:
    """What one chunk brought to the active text."""

    cycle_id: str
    message_tokens: float
    observation_tokens: float
    message_count: int
    observations: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What a swap made active.

    Attributes:
        chunks_activated: How many chunks; 0 when there was nothing to activate.
        message_tokens_activated: Tokens of messages that can leave the context.
        observation_tokens_activated: Tokens that the active text grew by.
        messages_activated: How many messages can leave the context.
        activated_cycle_ids: The looks that made the chunks.
        activated_message_ids: Those messages.
        observations: The text that was appended; None when nothing was.
        per_chunk: Each chunk, in order.
        suggested_continuation: Of the last chunk.
        current_task: Of the last chunk.
    """

    chunks_activated: int
    message_tokens_activated: float
    observation_tokens_activated: float
    messages_activated: int
    activated_cycle_ids: list[str]
    activated_message_ids: list[str]
    observations: str | None
    per_chunk: list[ActivatedChunk]
    suggested_continuation: str | None
    current_task: str | None

    @classmethod
    def from_wire(cls, value: Value) -> Activation:
        """Read what the swap answered.

        Raises:
            InvalidResponse: It answered something else.
        """
        fields = row_in(value, "activation")
        chunks = fields.get("perChunk")
        return cls(
            chunks_activated=int(number(fields, "chunksActivated")),
            message_tokens_activated=number(fields, "messageTokensActivated"),
            observation_tokens_activated=number(fields, "observationTokensActivated"),
            messages_activated=int(number(fields, "messagesActivated")),
            activated_cycle_ids=texts(fields.get("activatedCycleIds")) or [],
            activated_message_ids=texts(fields.get("activatedMessageIds")) or [],
            observations=optional_text(fields, "observations"),
            per_chunk=[_activated(chunk) for chunk in chunks] if isinstance(chunks, list) else [],
            suggested_continuation=optional_text(fields, "suggestedContinuation"),
            current_task=optional_text(fields, "currentTask"),
        )


def _activated(value: Value) -> ActivatedChunk:
    fields = row_in(value, "activated chunk")
    return ActivatedChunk(
        cycle_id=optional_text(fields, "cycleId") or "",
        message_tokens=number(fields, "messageTokens"),
        observation_tokens=number(fields, "observationTokens"),
        message_count=int(number(fields, "messageCount")),
        observations=optional_text(fields, "observations") or "",
    )


def _failure(value: Value) -> ExtractionFailure:
    fields = row_in(value, "extraction failure")
    return ExtractionFailure(slug=text(fields, "slug"), error=text(fields, "error"))


def buffer_in(stored: str | None) -> list[ObservationChunk]:
    """Read the JSON text of a buffer; text that is not an array is an empty one.

    Raises:
        InvalidResponse: An element is not a chunk.
    """
    try:
        chunks = parsed(stored or "[]")
    except MALFORMED:
        return []
    return (
        [ObservationChunk.from_wire(chunk) for chunk in chunks] if isinstance(chunks, list) else []
    )
