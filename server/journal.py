"""What happens to a piece of work that several processes may do, told in the cache.

A journal is one list of the cache. Appending to a list is atomic and ordered, so all processes
read the same story, and who came first is decided by it alone: the first `opened`, of each turn
the first `claimed`, and the first `ended` count, whatever was appended after them.

Whoever holds the work shows that it lives by beats: a key of its own that expires. Nobody needs
another's clock for that, only one that goes with the deployment's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import anyio

from convex_memory.cache import ConvexServerCache
from convex_memory.errors import ConvexMemoryError, DeploymentTimeout

Kind = Literal["opened", "claimed", "released", "ended", "asked", "given"]

TEXT_PART_CHARS: Final = 400_000
"""Of a long text, so much in one entry: in ASCII, quoted twice, it stays under 1 MiB."""
_LETTING_GO_SECONDS_MAX: Final = 2
INLINE_CHARS_MAX: Final = 100_000
"""A longer text is kept beside the journal, so that reading that stays cheap."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: what happened, by whom, and what belongs to it."""

    kind: Kind
    by: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a piece of work has come, by its journal.

    Attributes:
        opened: What it is; None where there is no such work.
        holder: Who does it; None when whoever did has let go.
        turns: How often it was begun.
        ended: How it ended; None while it has not.
        asked: What it wants to know, by key.
        given: What it was answered, by key.
    """

    opened: Entry | None = None
    holder: str | None = None
    turns: int = 0
    ended: Entry | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The journal of one piece of work.

    Args:
        cache: Where it stands.
        key: The key of the list; those of beats and texts begin with it.
    """

    def __init__(self, cache: ConvexServerCache, key: str) -> None:
        self._cache = cache
        self._key = key

    async def append(self, kind: Kind, by: str, **body: Any) -> None:
        """Add an entry; entries that came twice are as one.

        Args:
            kind: What happened.
            by: Who tells it.
            body: What belongs to it; JSON values.

        Raises:
            DeploymentError: It may not be there.
        """
        text = json.dumps({"kind": kind, "by": by, "body": body, "nonce": secrets.token_hex(4)})
        try:
            await self._cache.list_push(self._key, text)
        except DeploymentTimeout:
            if text not in await self._cache.list_from_to(self._key, 0):
                await self._cache.list_push(self._key, text)

    async def standing(self) -> Standing:
        """Read how far the work has come."""
        lines = await self._cache.list_from_to(self._key, 0)
        return _told([Entry(**_without_nonce(json.loads(str(line)))) for line in lines])

    async def open(self, by: str, lease_ms: int, **body: Any) -> Standing:
        """Begin a journal, unless somebody has; it is held by whoever did."""
        await self.beat(by, lease_ms)
        await self.append("opened", by, **body)
        return await self._kept_alive(by)

    async def claim(self, by: str, lease_ms: int, turn: int) -> Standing:
        """Take the work over for a turn, unless somebody else just has."""
        await self.beat(by, lease_ms)
        await self.append("claimed", by, turn=turn)
        return await self._kept_alive(by)

    async def _kept_alive(self, by: str) -> Standing:
        standing = await self.standing()
        if standing.holder != by:
            await self.silence(by)
        return standing

    # --- Beats

    async def beat(self, by: str, lease_ms: int, note: str | None = None) -> None:
        """Show that a holder lives, for so long."""
        await self._cache.set(f"{self._key}/{by}", note or "", ttl_ms=lease_ms)

    async def silence(self, by: str) -> None:
        """Stop showing it."""
        await self._cache.delete(f"{self._key}/{by}")

    async def note(self, by: str) -> str | None:
        """Return what a holder last said; None when it shows no sign of life."""
        note = await self._cache.get(f"{self._key}/{by}")
        return None if note is None else str(note)

    @contextlib.asynccontextmanager
    async def beating(
        self, by: str, lease_ms: int, note: Callable[[], str | None] = lambda: None
    ) -> AsyncIterator[None]:
        """Show that a holder lives until the block ends, several times within a lease."""

        async def beats() -> None:
            while True:
                await anyio.sleep(lease_ms / 4000)
                try:
                    await self.beat(by, lease_ms, note())
                except ConvexMemoryError:
                    # Whether it lasts decides about the lease; the work goes on meanwhile.
                    continue

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beats)
            try:
                yield
            except Exception as error:
                # The group would wrap it, and nobody would know it again.
                failure = error
            finally:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def let_go(self, by: str, *, released: bool) -> None:
        """Leave the work, whatever happens: it is looked after by nobody from now on.

        Args:
            by: Who held it.
            released: Whether somebody else may begin it again, knowing that it was not done.
        """
        with (
            anyio.move_on_after(_LETTING_GO_SECONDS_MAX, shield=True),
            contextlib.suppress(ConvexMemoryError),
        ):
            if released:
                await self.append("released", by)
            await self.silence(by)

    async def is_abandoned(self, standing: Standing) -> bool:
        """Whether whoever did the work let go of it, or died."""
        if standing.opened is None or standing.ended is not None:
            return False
        if standing.holder is None:
            return True
        if await self.note(standing.holder) is not None:
            return False
        # It falls silent when it has ended, too.
        again = await self.standing()
        return again.ended is None and again.holder == standing.holder

    # --- Long texts

    async def keep(self, text: str) -> dict[str, Any]:
        """Keep a text, beside the journal when it is long; return what `kept` finds it by."""
        if len(text) <= INLINE_CHARS_MAX:
            return {"text": text}
        name = secrets.token_hex(8)
        starts = range(0, len(text), TEXT_PART_CHARS)
        for number, start in enumerate(starts):
            part = text[start : start + TEXT_PART_CHARS]
            await self._cache.set(f"{self._key}/{name}/{number}", part)
        return {"name": name, "parts": len(starts)}

    async def kept(self, found_by: Mapping[str, Any]) -> str | None:
        """Return a text that was kept; None when it is there no more."""
        if "text" in found_by:
            return str(found_by["text"])
        parts = []
        for number in range(int(found_by["parts"])):
            part = await self._cache.get(f"{self._key}/{found_by['name']}/{number}")
            if part is None:
                return None
            parts.append(str(part))
        return "".join(parts)


def name_of(*parts: str) -> str:
    """Return a short name for something that is told apart by these, whatever they hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _without_nonce(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "nonce"}


def _told(entries: list[Entry]) -> Standing:
    """Return where the work stands after all of its entries."""
    opened: Entry | None = None
    ended: Entry | None = None
    holder: str | None = None
    turns = 0
    asked: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for entry in entries:
        match entry.kind:
            case "opened" if opened is None:
                opened, holder, turns = entry, entry.by, 1
            case "claimed" if entry.body["turn"] == turns + 1:
                holder, turns = entry.by, turns + 1
            case "released" if entry.by == holder:
                holder = None
            case "ended" if ended is None:
                ended = entry
            case "asked":
                asked.setdefault(entry.body["key"], entry.body["request"])
            case "given":
                given.update({k: v for k, v in entry.body["responses"].items() if k not in given})
    return Standing(opened, holder, turns, ended, asked, given)
