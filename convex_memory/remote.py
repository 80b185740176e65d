"""A deployment on Convex, called over its HTTP function API.

What decides whether a call is sent again is whether it can have been executed. No connection,
HTTP 429 and Convex's own 503 prove that nothing was: those are tried again for every call. An
answer that was lost on the way proves nothing: then only what is harmless twice is tried again.
Mutations carry no identifier that would let Convex recognise a second sending.

A call that fails leaves one WARNING line: function, kind, code, HTTP status, tries, milliseconds.
Tries before the last leave a DEBUG line each. No line holds content, arguments or the key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from convex_memory.deployment import Kind
from convex_memory.errors import (
    ConfigurationError,
    ConvexMemoryError,
    InvalidArgument,
    LimitExceeded,
    Unreachable,
)
from convex_memory.limits import (
    ARGUMENTS_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_TIMEOUT_MS_DEFAULT,
)
from convex_memory.remote_answers import (
    Answered,
    Called,
    Failed,
    late,
    read_answer,
    too_long,
    unanswered,
)
from convex_memory.remote_exchange import (
    AnswerTooLong,
    Broken,
    Connections,
    Exchange,
    Outgoing,
    Reply,
    UnusableAddress,
)
from convex_memory.values import Value, check

if TYPE_CHECKING:
    from types import TracebackType

    import httpx2

TRIES_MAX: Final = 4
"""Times one call is sent at most."""
PAUSE_FIRST_SECONDS: Final = 0.1
PAUSE_SECONDS_MAX: Final = 2.0
"""Pauses between tries double from the first to this, each shortened by up to half at random."""
RETRY_AFTER_SECONDS_MAX: Final = 60.0
"""A deployment that asks for a longer pause is not waited for."""
CONNECT_SECONDS_MAX: Final = 5.0
_THREAD_BYTES: Final = 64 << 10
"""Arguments and answers larger than this are coded in a thread, off the event loop."""

_log = logging.getLogger(__name__)


class RemoteDeployment:
    """A Convex deployment, or anything else that serves Convex's HTTP function API.

    Nothing is connected before the first call. Connections are kept alive and shared, for each
    event loop its own (`remote_pool`). Proxies and certificates are not read from the
    environment: give a `transport` for those.

    Args:
        url: `https://<name>.convex.cloud`, or the address of a self-hosted deployment.
        admin_key: The deployment's admin or deploy key. No error, log or repr shows it.
        timeout_ms: How long one call may take with all its tries, in milliseconds; 0 waits
            for ever.
        transport: What carries requests instead of such connections; closed with this.
        clock: Seconds, monotonic.
        sleep: Waits that many seconds.
        observe: Told of every request, in the context of its caller.

    Raises:
        ConfigurationError: The URL, the key or the timeout cannot be used.
    """

    def __init__(
        self,
        url: str,
        admin_key: str,
        *,
        timeout_ms: int = REQUEST_TIMEOUT_MS_DEFAULT,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._url = _base_url(url)
        self._admin_key = _usable_key(admin_key)
        if timeout_ms < 0:
            raise ConfigurationError(
                f"timeout_ms is {timeout_ms}; give milliseconds, or 0 to wait for ever."
            )
        self._timeout_ms = timeout_ms
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._observe = observe
        self._given: Connections | None = None
        self._pools: dict[asyncio.AbstractEventLoop, Connections] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"RemoteDeployment({self._url!r})"

    async def __aenter__(self) -> RemoteDeployment:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection and refuse every later call; calls on their way fail."""
        self._closed = True
        given, self._given = self._given, None
        if given is not None:
            await given.aclose()
        while self._pools:
            loop, pool = self._pools.popitem()
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await pool.aclose()
            else:
                asyncio.run_coroutine_threadsafe(pool.aclose(), loop)

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one function on the deployment; see `Deployment.call`.

        Args:
            kind: What the function was declared as.
            path: `module/path:function`.
            args: JSON values; checked before anything is sent.
            timeout_ms: How long to wait, with all tries and the pauses between them; 0 for
                ever, None as the deployment was made with.
            retry: Whether sending again after a lost answer is harmless; None means it is
                for queries.

        Returns:
            The function's value, integral numbers as `int`. Int64 values come as `int` and
            bytes as base64 text.

        Raises:
            InvalidArgument: The arguments cannot be sent, or the function refused them.
            LimitExceeded: The arguments are too large or too deep, or the function says so.
            FunctionError: The function ran and refused.
            DeploymentError: No usable answer; the subclass says why.
        """
        began = self._clock()
        if timeout_ms is None:
            timeout_ms = self._timeout_ms
        if timeout_ms < 0:
            raise InvalidArgument(
                f"timeout_ms is {timeout_ms}; give milliseconds, or 0 to wait for ever."
            )
        called = Called(kind, path, self._url, self._admin_key)
        harmless = kind == "query" if retry is None else retry
        sending = _Sending(called, timeout_ms, harmless, began)
        try:
            return await self._send(sending, await _request_body(path, args))
        except ConvexMemoryError as error:
            _log.warning(
                "call failed path=%s kind=%s code=%s status=%s tries=%d ms=%d",
                path,
                kind,
                error.code,
                sending.status or "-",
                sending.tries,
                (self._clock() - began) * 1000,
            )
            raise

    async def _send(self, sending: _Sending, body: bytes) -> Value:
        while True:
            outcome = await self._try(sending, body)
            if isinstance(outcome, Answered):
                return outcome.value
            pause = self._pause(sending, outcome)
            if outcome.again == "if_harmless":
                sending.lost = outcome
            elif outcome.again == "always" and sending.lost is not None:
                # This try was not executed, but an earlier one may have been.
                outcome = sending.lost
            if pause is None:
                raise outcome.error from outcome.cause
            _log.debug(
                "call goes again path=%s kind=%s code=%s status=%s tries=%d pause_ms=%d",
                sending.called.path,
                sending.called.kind,
                outcome.error.code,
                sending.status or "-",
                sending.tries,
                pause * 1000,
            )
            await self._sleep(pause)

    def _remaining(self, sending: _Sending) -> float | None:
        if sending.timeout_ms == 0:
            return None
        return sending.began + sending.timeout_ms / 1000 - self._clock()

    def _pause(self, sending: _Sending, failed: Failed) -> float | None:
        """Seconds until the next try, None when there is to be none."""
        allowed = failed.again == "always" or (failed.again == "if_harmless" and sending.harmless)
        if not allowed or sending.tries >= TRIES_MAX or self._closed:
            return None
        longest = min(PAUSE_SECONDS_MAX, PAUSE_FIRST_SECONDS * 2 ** (sending.tries - 1))
        pause = max(longest * random.uniform(0.5, 1), failed.after_seconds)
        remaining = self._remaining(sending)
        limit = RETRY_AFTER_SECONDS_MAX if remaining is None else remaining
        return pause if pause < limit else None

    async def _try(self, sending: _Sending, body: bytes) -> Answered | Failed:
        called, remaining = sending.called, self._remaining(sending)
        if self._closed:
            gone = Unreachable("This deployment has been closed; make another one to call it.")
            return Failed(gone, "always")
        # At most half of what is left, so that a host that swallows packets leaves time for
        # another try.
        connect = CONNECT_SECONDS_MAX if remaining is None else remaining / 2
        outgoing = Outgoing(
            f"{self._url}/api/{called.kind}",
            body,
            connect_seconds=min(CONNECT_SECONDS_MAX, max(connect, 0)),
            once=not sending.harmless,
        )
        sending.status = None
        try:
            async with asyncio.timeout(remaining):
                connections = await self._connections()
                sending.tries += 1
                reply = await self._exchanged(connections, outgoing, sending)
                sending.status = reply.status
                read = partial(read_answer, called, reply)
                large = len(reply.content) > _THREAD_BYTES
                return await asyncio.to_thread(read) if large else read()
        except TimeoutError:
            return late(called, sending.timeout_ms, begun=outgoing.begun)
        except Broken as broken:
            return unanswered(called, broken, begun=outgoing.begun)
        except AnswerTooLong:
            return too_long(called)
        except UnusableAddress:
            return Failed(ConfigurationError(f"{self._url} is no address that can be called."))

    async def _exchanged(
        self, connections: Connections, outgoing: Outgoing, sending: _Sending
    ) -> Reply:
        if self._observe is None:
            return await connections.send(outgoing)
        epoch_ns, began_ns = time.time_ns(), time.perf_counter_ns()
        status, received = None, 0
        try:
            reply = await connections.send(outgoing)
            status, received = reply.status, len(reply.content)
            return reply
        finally:
            took_ns = time.perf_counter_ns() - began_ns
            sent = len(outgoing.body)
            self._observe(Exchange(sending.tries, status, sent, received, epoch_ns, took_ns))

    async def _connections(self) -> Connections:
        if self._transport is not None:
            if self._given is None:
                from convex_memory.remote_transport import GivenTransport

                self._given = GivenTransport(self._transport, self._headers())
            return self._given
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            from convex_memory.remote_pool import PooledConnections

            secure = self._url.startswith("https:")
            pool = self._pools[loop] = PooledConnections(self._headers(), secure=secure)
            for ended in [each for each in self._pools if each.is_closed()]:
                await self._pools.pop(ended).aclose()
        return pool

    def _headers(self) -> Mapping[str, str]:
        return {
            "Accept-Encoding": "gzip, deflate",
            "Authorization": f"Convex {self._admin_key}",
            "Content-Type": "application/json",
            "User-Agent": "convex-memory",
        }


@dataclass(slots=True)
class _Sending:
    called: Called
    timeout_ms: int
    harmless: bool
    began: float
    tries: int = 0
    status: int | None = None
    lost: Failed | None = None


async def _request_body(path: str, args: Mapping[str, Value]) -> bytes:
    from convex_memory.remote_coding import encode_request

    size = check(args, "args")
    if size > ARGUMENTS_BYTES_MAX:
        raise LimitExceeded(
            f"The arguments of {path} are {size} bytes; one call takes at most "
            f"{ARGUMENTS_BYTES_MAX}. Send them in several calls."
        )
    encode = partial(encode_request, path, args)
    body = await asyncio.to_thread(encode) if size > _THREAD_BYTES else encode()
    if len(body) > REQUEST_BODY_BYTES_MAX:
        raise LimitExceeded(
            f"The call of {path} is {len(body)} bytes of JSON; one request takes at most "
            f"{REQUEST_BODY_BYTES_MAX}. Send its arguments in several calls."
        )
    return body


def _base_url(url: str) -> str:
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    extra = valid and ("@" in parts.netloc or parts.query or parts.fragment)
    if not valid or extra or any(character.isspace() for character in text):
        # The text itself is not shown: it may hold a password.
        raise ConfigurationError(
            "The deployment URL must be http:// or https:// with a host, without user, query or "
            "fragment, for instance https://happy-animal-123.convex.cloud."
        )
    if str(parts.hostname).endswith(".convex.site"):
        raise ConfigurationError(
            "The deployment URL ends in .convex.site, which serves HTTP actions. "
            "Use the one that ends in .convex.cloud."
        )
    return text


def _usable_key(admin_key: str) -> str:
    if not admin_key or not all("!" <= character <= "~" for character in admin_key):
        raise ConfigurationError(
            "The admin key must be printable ASCII without spaces, and not empty. "
            "Copy it from the deployment's settings again."
        )
    return admin_key
