"""Idempotency keys: the same call sent twice happens once, whichever process gets it.

A client names a call by a key of its own making, in `_meta["convex-memory/idempotencyKey"]` of
`tools/call` or, where something between can only set headers, in `Idempotency-Key`. The first
call with a key does the work; the others, at the same time or within a day, get its answer. A
process that dies in between is noticed by its lease: tools that may be repeated are run again,
with the same ids, and of the others it is said that their outcome is not known.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import anyio
from mcp.server import ServerRequestContext
from mcp.types import CallToolResult

from convex_memory.errors import ConvexMemoryError, InvalidArgument
from server.calls import Call, refusal_code
from server.journal import Journal, Standing, name_of
from server.runs import Runs
from tools.toolset import Progress, refusal

logger = logging.getLogger(__name__)

META_KEY: Final = "convex-memory/idempotencyKey"
HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "convex-memory/replayed"
"""In `_meta` of an answer: it is that of an earlier call with this key."""

KEY_CHARS_MAX: Final = 255
TURNS_MAX: Final = 500
"""How often one call may be begun; every time is written down."""
KEPT_MS: Final = 86_400_000
PREFIX: Final = "convex-memory:calls:"
_LOOK_SECONDS: Final = (0.02, 0.5)
"""How often a call looks whether another's is done: at first, and at last."""

_UNCERTAIN: Final = frozenset({"timeout", "invalid_response", "internal", "deployment"})
"""Codes of failures after which something may have been written all the same."""


def key_in(context: ServerRequestContext[Any]) -> str | None:
    """Return the key a call was given, if any.

    Raises:
        InvalidArgument: It is not one, or there are two.
    """
    named: object = (context.meta or {}).get(META_KEY)
    headers = getattr(context.request, "headers", {})
    header = headers.get(HEADER)
    if named is not None and header is not None and named != header:
        raise InvalidArgument(
            f"The call has two idempotency keys: {META_KEY} in _meta and the header {HEADER} "
            "differ. Send one."
        )
    key = header if named is None else named
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise InvalidArgument(
            f"An idempotency key is text of 1 to {KEY_CHARS_MAX} printable characters, such as a "
            "UUID, made anew for each call and sent again with its repetitions."
        )
    return key


class OnceByKey:
    """Runs calls with a key once.

    Args:
        runs: Where the work is done: it goes on when the client that waits for it leaves.
        lease_ms: How long a process may be silent before its call counts as cut off.
    """

    def __init__(self, runs: Runs, lease_ms: int) -> None:
        self._runs = runs
        self._lease_ms = lease_ms

    async def perform(self, call: Call, key: str, progress: Progress) -> CallToolResult:
        """Run a call unless one with its key was run, and return what that was answered.

        Raises:
            ConvexMemoryError: The journal could not be read or written; nothing was done.
        """
        return await _Once(self._runs, self._lease_ms, call, key).perform(progress)


class _Once:
    def __init__(self, runs: Runs, lease_ms: int, call: Call, key: str) -> None:
        self._runs = runs
        self._lease_ms = lease_ms
        self._call = call
        self._name = name_of(call.adapters.resource_id, key)
        self._journal = Journal(call.adapters.cache.beside(PREFIX, ttl_ms=KEPT_MS), self._name)
        self._by = secrets.token_hex(8)

    async def perform(self, progress: Progress) -> CallToolResult:
        tool = self._call.tool.definition.name
        fingerprint = name_of(tool, self._call.arguments_text())
        pause, longest = _LOOK_SECONDS
        standing = await self._journal.standing()
        if standing.opened is None:
            standing = await self._journal.open(
                self._by, self._lease_ms, tool=tool, fingerprint=fingerprint
            )
        while True:
            assert standing.opened is not None
            if standing.opened.body["fingerprint"] != fingerprint:
                return refusal("conflict", _OTHER_CALL.format(tool=standing.opened.body["tool"]))
            if standing.ended is not None:
                return await self._answer(standing)
            if standing.turns > TURNS_MAX:
                return refusal("limit_exceeded", _TOO_OFTEN)
            if standing.holder == self._by:
                return await self._runs.start(lambda: self._work(progress)).result()
            if await self._journal.is_abandoned(standing):
                standing = await self._take_over(standing)
                continue
            await anyio.sleep(pause)
            pause = min(pause * 2, longest)
            standing = await self._journal.standing()

    async def _take_over(self, standing: Standing) -> Standing:
        if standing.holder is None or self._call.tool.repeatable:
            return await self._journal.claim(self._by, self._lease_ms, standing.turns + 1)
        unknown = refusal("outcome_unknown", _UNKNOWN)
        await self._end(unknown)
        return await self._journal.standing()

    async def _work(self, progress: Progress) -> CallToolResult:
        """Do it, and write down what came of it before anybody hears."""
        repeatable = self._call.tool.repeatable
        ended, nothing_done = False, False
        try:
            async with self._journal.beating(self._by, self._lease_ms):
                result = await self._call.perform(progress, self._name)
                code = refusal_code(result)
                nothing_done = code is not None and (code not in _UNCERTAIN or repeatable)
                if not nothing_done:
                    await self._end(result)
                    ended = True
        except ConvexMemoryError as error:
            # It was done, and whoever waits is told so. Who asks again may not be.
            logger.warning("the answer to a call with a key could not be kept: %s", error.code)
        finally:
            released = nothing_done or (repeatable and not ended)
            await self._journal.let_go(self._by, released=released)
        return result

    async def _end(self, result: CallToolResult) -> None:
        text = result.model_dump_json(by_alias=True, exclude_none=True)
        await self._journal.append("ended", self._by, answer=await self._journal.keep(text))

    async def _answer(self, standing: Standing) -> CallToolResult:
        assert standing.ended is not None
        text = await self._journal.kept(standing.ended.body["answer"])
        if text is None:
            return refusal("conflict", "The answer kept for this idempotency key has expired.")
        result = CallToolResult.model_validate_json(text)
        return result.model_copy(update={"meta": {**(result.meta or {}), REPLAYED: True}})


_OTHER_CALL: Final = (
    "This idempotency key was used for another call, of {tool} with other arguments. A key belongs "
    "to one call: make a new one for each, and repeat it only with the same arguments."
)
_TOO_OFTEN: Final = (
    f"This call was refused {TURNS_MAX} times under this idempotency key. Use a new key."
)
_UNKNOWN: Final = (
    "The process that ran the first call with this idempotency key ended before it had answered: "
    "whether the call took effect is not known. Look at what is stored; to call again, use a new "
    "key."
)
