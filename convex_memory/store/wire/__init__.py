"""The functions of `memory/*` over Mastra's storage function alone.

For deployments that have `mastra/storage:handle` and nothing of ours, with the arguments, answers
and refusals of `docs/functions.md`. What the wire protocol does not offer it makes up for:

- Rows are found by equality only, so a page, a look around and a count read the whole thread, a
  list all threads of the resource, a search up to 10,000 messages, which are ranked here.
- A write may take several calls, which are not one transaction: every module says in which order,
  and what is left when one of them fails. Writes of one store wait for each other, so that two
  calls of one process cannot undo each other's; other processes may come in between.
- Cursors are of a kind of their own. Once a deployment has our functions those refuse them, with
  the sentence that says to begin anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio

from convex_memory.arguments import Args
from convex_memory.store.storage import StorageFunction
from convex_memory.store.wire import messages, meta, search, threads, working
from convex_memory.store.wire.rows import Rows, refuse_beyond
from convex_memory.values import Value

Handler: TypeAlias = Callable[[Rows, Args], Awaitable[Value]]


@dataclass(frozen=True, slots=True)
class _Twin:
    """What stands in for one function.

    Attributes:
        run: Does what the function does.
        arguments: Those it knows; the rest takes our functions.
        writes: Whether it changes anything.
    """

    run: Handler
    arguments: frozenset[str]
    writes: bool


def _read(run: Handler, arguments: str) -> _Twin:
    return _Twin(run, frozenset(arguments.split()), writes=False)


def _write(run: Handler, arguments: str) -> _Twin:
    return _Twin(run, frozenset(arguments.split()), writes=True)


_PAGE: Final = "threadId limit resourceId order cursor role since until charsMax"
_SEARCH: Final = "query limit resourceId threadId role since until metadata cursor idsOnly"
_CLONE: Final = (
    "threadId newThreadId resourceId newResourceId title metadata messageLimit messageIds since "
    "until now"
)
_TWINS: Final[Mapping[str, _Twin]] = {
    "memory/messages:save": _write(messages.save, "messages thread onExisting now"),
    "memory/messages:page": _read(messages.page, _PAGE),
    "memory/messages:around": _read(messages.around, "messageId before after threadId resourceId"),
    "memory/messages:get": _read(messages.get, "ids resourceId"),
    "memory/messages:update": _write(
        messages.update, "messageId threadId resourceId text metadata now"
    ),
    "memory/messages:remove": _write(messages.remove, "ids threadId resourceId"),
    "memory/meta:stats": _read(meta.stats, "resourceId"),
    "memory/search:messages": _read(search.messages, _SEARCH),
    "memory/threads:get": _read(threads.get, "threadId resourceId"),
    "memory/threads:list": _read(threads.list_page, "limit resourceId order by cursor"),
    "memory/threads:update": _write(threads.update, "threadId resourceId title metadata now"),
    "memory/threads:remove": _write(threads.remove, "threadId resourceId"),
    "memory/threads:clone": _write(threads.clone, _CLONE),
    "memory/working:get": _read(working.get, "resourceId threadId"),
    "memory/working:update": _write(working.update, "resourceId threadId text mode now"),
}
PATHS: Final = frozenset(_TWINS)
"""The functions that can be done without."""


class WireFunctions:
    """Functions of ours, run here over the storage function of a deployment.

    Args:
        storage: The storage function.
        new_id: Makes the ids of copied messages.
    """

    def __init__(self, storage: StorageFunction, new_id: Callable[[], str]) -> None:
        self._rows = Rows(storage, new_id)
        self._writing = anyio.Lock()

    async def call(self, path: str, args: Args) -> Value:
        """Do what the function at `path`, one of `PATHS`, does.

        Raises:
            FunctionError: It refused. What a write of several calls left behind, its module says.
            FunctionNotDeployed: An argument asks for what Mastra's functions cannot do.
            LimitExceeded: A thread or a table is larger than Mastra's functions return.
            DeploymentError: The deployment gave no usable answer.
        """
        twin = _TWINS[path]
        refuse_beyond(path, args, twin.arguments)
        if not twin.writes:
            return await twin.run(self._rows, args)
        async with self._writing:
            return await twin.run(self._rows, args)
