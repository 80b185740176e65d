"""How much one caller may ask for, so that the others are served.

Kept in this process: of several replicas each has its own counts.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from mcp.types import INTERNAL_ERROR
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.auth import current_principal
from server.telemetry import measured

CALLERS_MAX: Final = 10_000
"""Callers that are counted at once; those longest silent are forgotten."""
BURST_SECONDS: Final = 4
"""How much of a rate may be used at once, after a pause."""
GUESSES_BURST: Final = 20
GUESSES_PER_MINUTE: Final = 30
"""Requests without a good token that one address may make."""
KNOWN_SECONDS: Final = 300
"""How long a token that was good is let through though others of its address were not."""
LISTEN: Final = "subscriptions/listen"
STREAMS_FOR_EACH_CALL: Final = 4
"""Streams of notifications one caller may have for each call at a time: clients open several."""
_IPV6_PREFIX: Final = 64
"""What one customer gets of IPv6: its addresses count as one."""

Clock = Callable[[], float]


class Buckets:
    """Token buckets, one for each caller.

    Args:
        rate: Tokens that come back in a second.
        burst: The most a bucket holds.
        clock: Seconds, monotonic.
    """

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Return how many seconds until the caller has a token: 0 when it has one."""
        return max(0.0, (1 - self._level(caller)) / self._rate)

    def take(self, caller: str) -> float:
        """Take a token; return 0, or how many seconds until there is one."""
        level = self._level(caller)
        if level < 1:
            return (1 - level) / self._rate
        self._held[caller] = (level - 1, self._clock())
        self._held.move_to_end(caller)
        if len(self._held) > CALLERS_MAX:
            self._held.popitem(last=False)
        return 0.0

    def _level(self, caller: str) -> float:
        level, since = self._held.get(caller, (self._burst, 0.0))
        return min(self._burst, level + (self._clock() - since) * self._rate)


class CallLimits:
    """Lets each principal make so many calls a second, and so many at a time.

    Without authentication there is no principal, and callers are told apart by their address.

    Args:
        app: What answers; this stands inside whatever asks who calls.
        path: The path whose requests count.
        rate: Calls a second; None for as many as they like.
        concurrency: Calls at a time; None for as many as they like. Listening is not a call that
            is being answered, and has a number of its own, `STREAMS_FOR_EACH_CALL` times that.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        rate: int | None,
        concurrency: int | None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._app = app
        self._path = path
        self._rate = rate
        self._concurrency = concurrency
        self._buckets = None if rate is None else Buckets(rate, rate * BURST_SECONDS, clock)
        self._running: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 429."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != self._path:
            await self._app(scope, receive, send)
            return
        caller = _caller(scope)
        if self._buckets is not None and (wait := self._buckets.take(caller)):
            why = f"At most {self._rate} calls a second are answered for one caller."
            await too_many("rate", why, wait)(scope, receive, send)
            return
        with self._counted(caller, scope) as admitted:
            if admitted:
                await self._app(scope, receive, send)
                return
        why = f"At most {self._most(scope)} {_kind(scope)} of one caller are answered at a time."
        await too_many("concurrency", why, 1)(scope, receive, send)

    def _most(self, scope: Scope) -> int | None:
        if self._concurrency is None:
            return None
        return self._concurrency * (STREAMS_FOR_EACH_CALL if is_listening(scope) else 1)

    @contextmanager
    def _counted(self, caller: str, scope: Scope) -> Iterator[bool]:
        kind, most = f"{_kind(scope)} {caller}", self._most(scope)
        running = self._running.get(kind, 0)
        if most is not None and running >= most:
            yield False
            return
        self._running[kind] = running + 1
        try:
            yield True
        finally:
            left = self._running.pop(kind) - 1
            if left:
                self._running[kind] = left


class GuessLimits:
    """Slows down whoever tries tokens: an address gets so many answers 401, and then 429.

    A token that was good lately is let through all the same, so that nobody is kept out by a
    neighbour behind the same address. Of tokens only keyed digests are kept.

    Args:
        app: What asks for tokens, and what is behind it.
        clock: Seconds, monotonic.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._buckets = Buckets(GUESSES_PER_MINUTE / 60, GUESSES_BURST, clock)
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it unread."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address, token = _address(scope), self._digest(scope)
        known = self._known.get(token, 0.0) > self._clock()
        wait = self._buckets.wait(address)
        if wait and not known:
            why = "Too many requests without a good token came from your address."
            await too_many("guessing", why, wait)(scope, receive, send)
            return

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(address, token, message["status"])
            await send(message)

        await self._app(scope, receive, watching)

    def _note(self, address: str, token: bytes, status: int) -> None:
        if status == 401:
            self._known.pop(token, None)
            self._buckets.take(address)
        elif token and status < 400:
            self._known[token] = self._clock() + KNOWN_SECONDS
            self._known.move_to_end(token)
            if len(self._known) > CALLERS_MAX:
                self._known.popitem(last=False)

    def _digest(self, scope: Scope) -> bytes:
        given = Headers(scope=scope).get("authorization")
        if not given:
            return b""
        return hashlib.blake2b(given.encode("latin-1"), key=self._key, digest_size=16).digest()


def is_listening(scope: Scope) -> bool:
    """Whether a request opens a stream of notifications, which lasts as long as the client."""
    headers = Headers(scope=scope)
    # In the older era the header means nothing, and anything could be behind it.
    older = headers.get("mcp-protocol-version") in (None, *HANDSHAKE_PROTOCOL_VERSIONS)
    return headers.get("mcp-method") == LISTEN and not older


def _kind(scope: Scope) -> str:
    return "streams" if is_listening(scope) else "calls"


def too_many(reason: str, why: str, wait_seconds: float) -> Response:
    """Return the refusal of a caller who asks for too much."""
    count_refusal(reason)
    seconds = max(1, math.ceil(wait_seconds))
    answer = refused(429, f"{why} Nothing was done. Try again in {seconds} s.")
    answer.headers["Retry-After"] = str(seconds)
    return answer


def count_refusal(reason: str) -> None:
    """Count a request that was refused so that others are served."""
    if (measures := measured()) is not None:
        measures.request_measures.refused(reason)


def refused(status: int, why: str) -> Response:
    """Return a refusal in the words of JSON-RPC, to a request whose id was not read."""
    error: dict[str, Any] = {"code": INTERNAL_ERROR, "message": why}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(body, status, media_type="application/json")


def _caller(scope: Scope) -> str:
    principal = current_principal()
    return f"address {_address(scope)}" if principal is None else f"principal {principal.id}"


def _address(scope: Scope) -> str:
    return _counted_as((scope.get("client") or ("",))[0])


@lru_cache(CALLERS_MAX)
def _counted_as(host: str) -> str:
    """Return an address as it is counted."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    return str(ip_network((address, _IPV6_PREFIX), strict=False))
