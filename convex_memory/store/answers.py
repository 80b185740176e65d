"""What the store answers with: pages, slices up to a cursor, receipts, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from convex_memory.records import Message, Thread

EmbeddingState: TypeAlias = Literal["embedded", "pending", "off"]
PerPage: TypeAlias = "int | Literal[False]"
"""Rows on a page. `False` puts everything on one page; `0`, which is not the same, nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPage:
    """A numbered page of threads.

    Attributes:
        threads: In the order asked for.
        total: Threads that match, on all pages.
        page: Which page, from zero.
        per_page: Threads a page holds; `False` when everything is on this one.
        has_more: Whether there is a next page.
    """

    threads: list[Thread]
    total: int
    page: int
    per_page: PerPage
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePage:
    """A numbered page of messages.

    Attributes:
        messages: In the order asked for, with the included ones among them.
        total: Messages that match, on all pages, without the included ones.
        page: Which page, from zero.
        per_page: Messages a page holds; `False` when everything is on this one.
        has_more: Whether there is a next page.
    """

    messages: list[Message]
    total: int
    page: int
    per_page: PerPage
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadClone:
    """A thread copied from another.

    Attributes:
        thread: The new thread.
        messages: Its messages, oldest first.
        message_ids: Old message id → new message id.
    """

    thread: Thread
    messages: list[Message]
    message_ids: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedThread:
    """A thread and how many messages it holds."""

    thread: Thread
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSlice:
    """Threads up to a cursor; `cursor` is None when there are no more."""

    threads: list[Thread]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMark:
    """What is noted of a message.

    Attributes:
        expires_at: When it is gone; None when it stays.
        superseded_by: The message that took its place in what is searched, or None.
    """

    expires_at: datetime | None = None
    superseded_by: str | None = None


Marks: TypeAlias = Mapping[str, MessageMark]
"""Message id → what is noted of it; those of which nothing is are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSlice:
    """Messages of one thread up to a cursor; `cursor` is None when there are no more."""

    thread: Thread
    messages: list[Message]
    cursor: str | None
    marks: Marks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedMessages:
    """Messages and what is noted of them."""

    messages: list[Message]
    marks: Marks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A message among its neighbours, oldest first.

    Attributes:
        thread: The thread of the message; None when it was never saved.
        messages: The message and its neighbours.
        index: Where in `messages` the message itself stands.
        marks: What is noted of these messages.
    """

    thread: Thread | None
    messages: list[Message]
    index: int
    marks: Marks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveReceipt:
    """What became of one message that was sent to be saved.

    Attributes:
        id: Of the message.
        status: `stored` is new, `unchanged` was there already, `replaced` was overwritten.
        created_at: Where in its thread the stored message stands.
        embedding: `embedded` when it can be found by its meaning, `pending` while it waits for
            that, `off` where nothing embeds messages.
    """

    id: str
    status: Literal["stored", "unchanged", "replaced"]
    created_at: datetime
    embedding: EmbeddingState = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRemoval:
    """What a removal removed.

    Attributes:
        found: Whether the thread was there.
        messages: Messages that went with it; of a long thread maybe not all, since the
            deployment may clear up the rest by itself.
        restorable: Whether it can be restored; never where the deployment has only Mastra's
            functions.
    """

    found: bool
    messages: int
    restorable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRemoval:
    """What a removal of messages removed.

    Attributes:
        ids: Those that were there, in the order asked for.
        restorable: Whether they can be restored; never where the deployment has only Mastra's
            functions.
    """

    ids: list[str]
    restorable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredThread:
    """A thread that was brought back, and how many messages came with it."""

    thread: Thread
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedMessage:
    """A message after a change, and what is noted of it."""

    message: Message
    mark: MessageMark


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A message that matches a search.

    Attributes:
        message: What matches.
        score: Higher matches better.
        near: Whether it holds no word itself, and stands beside a message that does.
    """

    message: Message
    score: float
    near: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSlice:
    """Hits up to a cursor, best first.

    Attributes:
        hits: The messages that match, best first.
        cursor: Where to go on; None when there are no more.
        exhausted: Whether these are all there is to find.
        marks: What is noted of these messages.
    """

    hits: list[SearchHit]
    cursor: str | None
    exhausted: bool
    marks: Marks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingMemory:
    """The text kept about a resource or a thread, and when it was last written.

    Both are None while nothing has been written.
    """

    text: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How much a deployment holds; the last four are None when asked for one resource."""

    threads: int
    messages: int
    resources: int
    vector_indexes: int | None
    vectors: int | None
    cache_keys: int | None
    last_change: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write to a thread, message or resource.

    Attributes:
        sequence: Rises with every change; where to go on from.
        table: The table of the row, for instance `mastra_messages`.
        id: Of the row.
        kind: `insert`, `update` or `delete`.
        thread_id: The thread the row belongs to, if any.
        resource_id: The resource the row belongs to, if any.
    """

    sequence: int
    table: str
    id: str
    kind: Literal["insert", "update", "delete"]
    thread_id: str | None
    resource_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSlice:
    """Changes in the order they happened.

    Attributes:
        changes: Go on after the `sequence` of the last of them, or after `last` if there is
            none.
        last: The newest sequence in the deployment, whether or not it is among these.
        first: The oldest sequence that is kept. Who has read only up to one before `first - 1`
            has missed some, and reads the rows anew; 0 where the deployment does not say.
    """

    changes: list[Change]
    last: int
    first: int = 0
