"""ConvexServerCache: values, lists and counters that expire."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from convex_memory.deployment import CACHE_FUNCTION, Deployment
from convex_memory.errors import (
    FUNCTION_ERRORS,
    Conflict,
    FunctionError,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
)
from convex_memory.limits import (
    CACHE_BATCHES_MAX,
    CACHE_PREFIX_DEFAULT,
    CACHE_TTL_MS_DEFAULT,
    REQUEST_TIMEOUT_MS_DEFAULT,
)
from convex_memory.values import Value, check, whole_numbers

__all__ = ["ConvexServerCache"]

_KIND_CONFLICTS: Final = ("exists but is not an array", "exists but is not a number")


def _system_clock_ms() -> float:
    return time.time() * 1000


class ConvexServerCache:
    """A cache on a deployment, shared by everyone with the same prefix.

    A key holds a value, a list or a counter. Using it as another of these is `Conflict`,
    except that `set` replaces whatever was there and the reads of another kind find nothing.
    A key past its lifetime is absent.

    Values are JSON as Convex takes it: field names are printable ASCII and do not begin with
    `$`, numbers are finite. Anything else is refused with the name of the field; send it as
    JSON text.

    Args:
        deployment: Where the function runs.
        function: The path of the cache function.
        key_prefix: What all keys begin with; `clear` removes the keys with exactly this one.
        ttl_ms: How long an entry lives after it was last written, in milliseconds; 0 is for
            ever.
        request_timeout_ms: How long one call may take, in milliseconds; 0 waits for ever.
        now_ms: The clock lifetimes are counted from, in milliseconds since the epoch.

    Raises:
        InvalidArgument: A lifetime or timeout that is negative or not a number.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        function: str = CACHE_FUNCTION,
        key_prefix: str = CACHE_PREFIX_DEFAULT,
        ttl_ms: float = CACHE_TTL_MS_DEFAULT,
        request_timeout_ms: int = REQUEST_TIMEOUT_MS_DEFAULT,
        now_ms: Callable[[], float] = _system_clock_ms,
    ) -> None:
        self._deployment = deployment
        self._function = function
        self._key_prefix = key_prefix
        self._ttl_ms = _milliseconds("ttl_ms", ttl_ms)
        self._request_timeout_ms = int(_milliseconds("request_timeout_ms", request_timeout_ms))
        self._now_ms = now_ms

    def beside(self, key_prefix: str, *, ttl_ms: float) -> ConvexServerCache:
        """Return a cache of the same owner under another prefix, with a lifetime of its own.

        Args:
            key_prefix: What all its keys begin with.
            ttl_ms: How long its entries live, in milliseconds; 0 is for ever.

        Raises:
            InvalidArgument: The lifetime is negative or not a number.
        """
        other = copy.copy(self)
        other._key_prefix = key_prefix
        other._ttl_ms = _milliseconds("ttl_ms", ttl_ms)
        return other

    async def get(self, key: str) -> Value:
        """The value of a key; `None` when there is none."""
        return whole_numbers(await self._repeat("get", True, key=self._key(key)))

    async def set(self, key: str, value: Value, ttl_ms: float | None = None) -> None:
        """Store a value, whatever the key held before.

        Args:
            key: The key, without prefix.
            value: Any JSON value.
            ttl_ms: Its lifetime in milliseconds, 0 for ever; the cache's own where absent.

        Raises:
            InvalidArgument: A negative lifetime, or a value that cannot be sent.
        """
        await self._repeat("set", True, value=_sendable(value), **self._entry(key, ttl_ms))

    async def list_length(self, key: str) -> int:
        """The number of items of a list; 0 when there is none.

        Raises:
            Conflict: The key holds something else.
        """
        return self._count(await self._repeat("listLength", True, key=self._key(key)))

    async def list_push(self, key: str, value: Value) -> int:
        """Append to a list, making it when there is none, and renew its lifetime.

        Never sent twice: after a `DeploymentError` the item may or may not be there, as it says.

        Returns:
            The new length. Where the deployment's function does not tell it, it is asked for
            afterwards, and counts what others have pushed in between.

        Raises:
            Conflict: The key holds something else.
            InvalidArgument: The value cannot be sent.
        """
        length = await self._repeat(
            "listPush", False, value=_sendable(value), **self._entry(key, None)
        )
        return await self.list_length(key) if length is None else self._count(length)

    async def list_from_to(self, key: str, from_index: int, to_index: int = -1) -> list[Value]:
        """The items from one index to another, both included.

        Args:
            key: The key, without prefix.
            from_index: From 0; negative counts from the end, at most back to the first.
            to_index: Likewise; -1 is the last item.

        Returns:
            The items; `[]` for an empty range, and when the key holds no list.

        Raises:
            InvalidArgument: An index is not an integer.
        """
        positions: dict[str, Value] = {
            "from": _index("from_index", from_index),
            "to": _index("to_index", to_index),
        }
        items = await self._repeat("listFromTo", True, key=self._key(key), **positions)
        if not isinstance(items, list | tuple):
            raise InvalidResponse(f"{self._function} answered listFromTo without a list.")
        return [whole_numbers(item) for item in items]

    async def delete(self, key: str) -> None:
        """Remove a key; an absent one is fine."""
        await self._repeat("delete", True, key=self._key(key))

    async def clear(self) -> None:
        """Remove all keys with exactly this cache's prefix; longer prefixes are left alone."""
        await self._repeat("clear", True, keyPrefix=self._key_prefix)

    async def increment(self, key: str) -> int:
        """Add one to a counter, making it when there is none, and renew its lifetime.

        Never sent twice: after a `DeploymentError` it may or may not have counted, as it says.

        Returns:
            The new count: 1, 2, …

        Raises:
            Conflict: The key holds something else.
        """
        return self._count(await self._repeat("increment", False, **self._entry(key, None)))

    def _key(self, key: str) -> str:
        if not isinstance(key, str):
            raise InvalidArgument("A cache key must be text.")
        return self._key_prefix + key

    def _entry(self, key: str, ttl_ms: float | None) -> dict[str, Value]:
        lifetime = self._ttl_ms if ttl_ms is None else _milliseconds("ttl_ms", ttl_ms)
        return {
            "key": self._key(key),
            "keyPrefix": self._key_prefix,
            "expiresAt": self._now_ms() + lifetime if lifetime > 0 else None,
        }

    def _count(self, result: Value) -> int:
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise InvalidResponse(f"{self._function} answered without the number it promises.")
        return int(result)

    async def _repeat(self, op: str, retry: bool, **fields: Value) -> Value:
        """Send one operation until the deployment has nothing left to remove for it."""
        request = {"op": op, **fields}
        for _ in range(CACHE_BATCHES_MAX):
            reply = await self._deployment.call(
                "mutation",
                self._function,
                request,
                timeout_ms=self._request_timeout_ms,
                retry=retry,
            )
            envelope = self._accepted(reply)
            if not envelope.get("hasMore"):
                return envelope.get("result")
        raise LimitExceeded(
            f"ConvexServerCache operation exceeded {CACHE_BATCHES_MAX} batches. "
            "Call it again to go on with the removal."
        )

    def _accepted(self, reply: Value) -> Mapping[str, Value]:
        if not isinstance(reply, Mapping):
            raise InvalidResponse(f"{self._function} answered with something not an object.")
        if reply.get("ok"):
            return reply
        text = str(reply.get("error") or "Unknown Convex cache error")
        if text.endswith(_KIND_CONFLICTS):
            raise Conflict(text)
        raise FUNCTION_ERRORS.get(str(reply.get("code")), FunctionError)(text)


def _sendable(value: Value) -> Value:
    check(value, "value")
    return value


def _index(name: str, index: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int):
        raise InvalidArgument(f"{name} must be an integer.")
    return index


def _milliseconds(name: str, milliseconds: float) -> float:
    number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool)
    if not number or not math.isfinite(milliseconds) or milliseconds < 0:
        raise InvalidArgument(f"{name} must be milliseconds from 0 up; 0 is for ever.")
    return milliseconds
