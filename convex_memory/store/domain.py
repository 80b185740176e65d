"""What every part of the memory domain stands on."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from convex_memory.capabilities import DEPLOY, Capabilities
from convex_memory.deployment import STORAGE_FUNCTION, Deployment, Kind
from convex_memory.errors import FunctionNotDeployed, InvalidResponse
from convex_memory.records import iso_text, utc_now
from convex_memory.store.storage import StorageFunction
from convex_memory.values import Value

if TYPE_CHECKING:
    from convex_memory.store.wire import WireFunctions


def random_id() -> str:
    """Return a new random id."""
    return str(uuid4())


class MemoryDomain:
    """A deployment with its storage function, a clock and a source of ids.

    Args:
        deployment: Where the functions run.
        storage_function: The path of the storage function.
        capabilities: What the deployment has beyond it; asked of the deployment if not given.
        now_ms: The clock that stamps writes, in milliseconds since the epoch; the system's
            by default.
        new_id: Makes ids for what comes without one.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        storage_function: str = STORAGE_FUNCTION,
        capabilities: Capabilities | None = None,
        now_ms: Callable[[], float] | None = None,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._deployment = deployment
        self._storage = StorageFunction(deployment, storage_function)
        self._capabilities = capabilities or Capabilities(deployment)
        self._now_ms = now_ms
        self._new_id = new_id
        self._wire: WireFunctions | None = None

    def _now(self) -> datetime:
        if self._now_ms is None:
            return utc_now()
        return datetime.fromtimestamp(self._now_ms() / 1000, UTC)

    def _now_text(self) -> str:
        return iso_text(self._now(), "now")

    async def _ask(
        self,
        kind: Kind,
        path: str,
        retry: bool | None = None,
        nulls: Container[str] = (),
        **args: Value,
    ) -> Mapping[str, Value]:
        """Call one of our own functions without the arguments that are None, but for `nulls`.

        A deployment that has only Mastra's gets its answer from `store.wire`.
        """
        given = {name: value for name, value in args.items() if value is not None or name in nulls}
        if await self._capabilities.has(path):
            answer = await self._deployment.call(kind, path, given, retry=retry)
        else:
            answer = await self._without(path, given)
        if not isinstance(answer, Mapping):
            raise InvalidResponse(f"{path} answered with something that is not an object.")
        return answer

    async def _without(self, path: str, args: Mapping[str, Value]) -> Value:
        from convex_memory.store import wire

        if path not in wire.PATHS:
            raise FunctionNotDeployed(
                f"The deployment has no {path}, and Mastra's functions cannot do the same. {DEPLOY}"
            )
        if self._wire is None:
            self._wire = wire.WireFunctions(self._storage, self._new_id)
        return await self._wire.call(path, args)


def whole(answer: Mapping[str, Value], name: str) -> int:
    """Return a member of an answer that must be an integer.

    Raises:
        InvalidResponse: It is something else.
    """
    value = answer.get(name)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise InvalidResponse(f"The deployment answered with {name} that is not an integer.")


def optional_whole(answer: Mapping[str, Value], name: str) -> int | None:
    """Return a member of an answer that must be an integer or null."""
    return None if answer.get(name) is None else whole(answer, name)


def optional_text(answer: Mapping[str, Value], name: str) -> str | None:
    """Return a member of an answer that must be text or null.

    Raises:
        InvalidResponse: It is something else.
    """
    value = answer.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidResponse(f"The deployment answered with {name} that is not text.")
    return value


def text(answer: Mapping[str, Value], name: str) -> str:
    """Return a member of an answer that must be text.

    Raises:
        InvalidResponse: It is something else.
    """
    value = optional_text(answer, name)
    if value is None:
        raise InvalidResponse(f"The deployment answered without {name}.")
    return value
