"""Search over messages: what was said about something, and what stood around it.

Two searches are put together. By words the deployment ranks conversations (`windows`); by meaning
it compares the vectors of messages with that of the question. The score of a message is

    (1 - MEANING) · words  +  MEANING · cosine

with `words` 1 for the best match by words. The words carry most of it: on long conversations
(`bench/recall.py`) they find far more than a small embedder does, which adds what was said in
other words.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from convex_memory.cursors import read_cursor, write_cursor
from convex_memory.errors import Conflict, EmbedderError, LimitExceeded, NotFound
from convex_memory.indexing import EmbeddingRunner
from convex_memory.limits import SEARCH_QUERY_CHARS_MAX
from convex_memory.records import Message
from convex_memory.search_words import telling_words
from convex_memory.store import MemoryStore, MessageMark, SearchScope
from convex_memory.store.searching import Candidates
from convex_memory.values import Value

logger = logging.getLogger(__name__)

LEXICAL: Final = "lexical"
NEARBY: Final = "nearby"
"""The reason for a message that holds no word of the question but stands beside one that does."""
SEMANTIC: Final = "semantic"

MEANING: Final = 0.3
"""What the similarity of meaning counts; anything from 0.2 to 0.4 does as well."""
MEANING_LEAST: Final = 0.2
"""The cosine below which a message is not found by its meaning alone: texts that have nothing to
do with each other come that near."""
UNREAD: Final = (
    "The embedder does not know the script of this question; it was searched for by its words."
)
NO_WORDS: Final = "The question holds no word to look for."
WORD_CANDIDATES: Final = 200
MEANING_CANDIDATES: Final = 100
MEANING_CANDIDATES_FEW: Final = 50
"""The same where at most `FEW` hits are wanted: more changed none of them."""
FEW: Final = 20
COMPARED: Final = 60
"""Candidates by words whose similarity of meaning is looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledMessage:
    """A message that matches, with its neighbours in the thread.

    Attributes:
        message: What matched.
        score: Higher matches better; comparable within one answer only.
        reasons: Each part of the score by its name.
        before: Its neighbours before it, oldest first.
        after: Its neighbours after it, oldest first.
        marks: Message id → what is noted of it, of all these.
    """

    message: Message
    score: float
    reasons: Mapping[str, float]
    before: tuple[Message, ...] = ()
    after: tuple[Message, ...] = ()
    marks: Mapping[str, MessageMark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """The answer to a search.

    Attributes:
        hits: Best first.
        cursor: Where to go on; None when there are no more.
        exhausted: Whether these are all there is to find.
        searched: How was searched: `lexical` by words, `semantic` by meaning.
        pending: Messages that could not be found by meaning yet.
        note: Why meaning was not searched, where somebody could change it; None otherwise.
    """

    hits: list[RecalledMessage]
    cursor: str | None
    exhausted: bool
    searched: tuple[str, ...]
    pending: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Message ids, best first, with the parts of their scores."""

    reasons: Mapping[str, Mapping[str, float]]
    exhausted: bool
    pending: int

    def best(self) -> list[str]:
        return sorted(self.reasons, key=lambda each: -sum(self.reasons[each].values()))


class Recall:
    """Search over the messages of a store.

    Args:
        memory: The memory domain of the store.
        indexing: What embeds the messages; without it search is by words.
    """

    def __init__(self, memory: MemoryStore, indexing: EmbeddingRunner | None = None) -> None:
        self._memory = memory
        self._indexing = indexing

    async def search(
        self,
        query: str,
        *,
        limit: int,
        resource_id: str | None = None,
        thread_id: str | None = None,
        role: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        metadata: Mapping[str, Value] | None = None,
        neighbours: int = 0,
        cursor: str | None = None,
    ) -> Recalled:
        """Return the messages that match `query` best.

        Args:
            query: What to look for, in words.
            limit: Hits to return, 1 to 100.
            resource_id: Whose messages; None searches everybody's.
            thread_id: Only messages of this thread.
            role: Only messages of this role.
            since: Only messages created then or later.
            until: Only messages created earlier than then.
            metadata: Members that the message's metadata must equal.
            neighbours: Messages before and after each hit to bring along, 0 to 50.
            cursor: Where the answer before ended; None starts with the best.

        Raises:
            InvalidArgument: An argument is out of range.
            LimitExceeded: The query is too long.
        """
        within = SearchScope(
            resource_id=resource_id,
            thread_id=thread_id,
            role=role,
            since=since,
            until=until,
            metadata=metadata,
        )
        if len(query) > SEARCH_QUERY_CHARS_MAX:
            raise LimitExceeded(
                f"query has {len(query):,} characters; at most {SEARCH_QUERY_CHARS_MAX:,} are "
                "searched for. Ask with the words that matter."
            )
        indexing = self._indexing
        if not telling_words(query):
            recalled = await self._by_words(query, limit, within, cursor, NO_WORDS)
        elif indexing is not None and await indexing.begin():
            recalled = await self._by_both(query, limit, within, cursor, indexing)
        else:
            note = None if indexing is None else indexing.refusal
            recalled = await self._by_words(query, limit, within, cursor, note)
        if not neighbours:
            return recalled
        hits = await asyncio.gather(
            *(self._with_neighbours(hit, neighbours, resource_id) for hit in recalled.hits)
        )
        return Recalled(
            hits=hits,
            cursor=recalled.cursor,
            exhausted=recalled.exhausted,
            searched=recalled.searched,
            pending=recalled.pending,
            note=recalled.note,
        )

    # --- By words

    async def _by_words(
        self, query: str, limit: int, within: SearchScope, cursor: str | None, note: str | None
    ) -> Recalled:
        found = await self._memory.search_messages(
            query=query,
            limit=limit,
            resource_id=within.resource_id,
            thread_id=within.thread_id,
            role=within.role,
            since=within.since,
            until=within.until,
            metadata=within.metadata,
            cursor=cursor,
        )
        return Recalled(
            hits=[
                RecalledMessage(
                    message=hit.message,
                    score=hit.score,
                    reasons={NEARBY if hit.near else LEXICAL: hit.score},
                    marks=found.marks,
                )
                for hit in found.hits
            ],
            cursor=found.cursor,
            exhausted=found.exhausted,
            searched=(LEXICAL,),
            pending=0,
            note=note,
        )

    # --- By words and meaning

    async def _by_both(
        self,
        query: str,
        limit: int,
        within: SearchScope,
        cursor: str | None,
        indexing: EmbeddingRunner,
    ) -> Recalled:
        # Neither waits for the other: the question is embedded while its words are looked up.
        made, words = await asyncio.gather(
            _embedded(indexing, query),
            self._memory.candidates_by_words(query, WORD_CANDIDATES, within),
        )
        if isinstance(made, str):
            # What failed just now may not have failed for the page before.
            begun = cursor if made is UNREAD else None
            return await self._by_words(query, limit, within, begun, made)
        question = f"recall:{' '.join(telling_words(query))}"
        position = read_cursor({"cursor": cursor}, question, (int,))
        skip = position[0] if position else 0
        most = MEANING_CANDIDATES_FEW if limit <= FEW else MEANING_CANDIDATES
        compared = list(words.scores)[:COMPARED]
        try:
            meaning = await self._memory.candidates_by_meaning(
                made, indexing.embedder.id, most, within, ids=compared
            )
        except Conflict as error:
            # Somebody changed the embedder since this one was asked whether it is the right one.
            return await self._by_words(query, limit, within, None, error.message)
        ranked = _ranked(words, meaning, frozenset(compared))
        ids = ranked.best()
        page = ids[skip : skip + limit]
        found = await self._memory.get_marked_messages(ids=page, resource_id=within.resource_id)
        more = skip + limit < len(ids)
        return Recalled(
            hits=[
                RecalledMessage(
                    message=message,
                    score=sum(ranked.reasons[message.id].values()),
                    reasons=ranked.reasons[message.id],
                    marks=found.marks,
                )
                for message in found.messages
            ],
            cursor=write_cursor(question, skip + limit) if more else None,
            exhausted=ranked.exhausted and not more,
            searched=(LEXICAL, SEMANTIC),
            pending=ranked.pending,
        )

    async def _with_neighbours(
        self, hit: RecalledMessage, neighbours: int, resource_id: str | None
    ) -> RecalledMessage:
        try:
            around = await self._memory.messages_around(
                message_id=hit.message.id,
                before=neighbours,
                after=neighbours,
                resource_id=resource_id,
            )
        except NotFound:
            # It was deleted a moment ago; what was found of it still stands.
            return hit
        return RecalledMessage(
            message=hit.message,
            score=hit.score,
            reasons=hit.reasons,
            before=tuple(around.messages[: around.index]),
            after=tuple(around.messages[around.index + 1 :]),
            marks=around.marks,
        )


async def _embedded(indexing: EmbeddingRunner, query: str) -> list[float] | str:
    """Return the vector of a question, or why there is none."""
    try:
        made = await indexing.embedder.embed([query])
    except EmbedderError as error:
        logger.warning("a question could not be embedded: %s", error.code)
        return error.message
    if made.unread:
        return UNREAD
    vector: list[float] = made.vectors[0].tolist()
    return vector


def _ranked(words: Candidates, meaning: Candidates, compared: Collection[str]) -> _Ranked:
    """Put the two searches together; `compared` had their similarity looked up."""
    # What was not compared is no nearer than the last that was found by meaning.
    floor = min(meaning.scores.values(), default=0.0)
    reasons: dict[str, dict[str, float]] = {}
    for message_id, score in words.scores.items():
        cosine = meaning.scores.get(message_id, meaning.near.get(message_id))
        if cosine is None:
            cosine = 0.0 if message_id in compared else floor
        reasons[message_id] = {
            NEARBY if message_id in words.beside else LEXICAL: (1 - MEANING) * score,
            SEMANTIC: MEANING * max(cosine, 0.0),
        }
    for message_id, cosine in meaning.scores.items():
        if message_id not in reasons and cosine >= MEANING_LEAST:
            reasons[message_id] = {SEMANTIC: MEANING * cosine}
    return _Ranked(reasons, words.exhausted and meaning.exhausted, meaning.pending)
