"""A deployment on Convex, called over its HTTP function API.

What decides whether a call is sent again is whether it can have been executed. No connection,
HTTP 429 and Convex's own 503 prove that nothing was: those are tried again for every call. An
answer that was lost on the way proves nothing: then only what is harmless twice is tried again.
Mutations carry no identifier that would let Convex recognise a second sending.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from convex_memory.deployment import Kind
from convex_memory.errors import (
    ConfigurationError,
    DeploymentTimeout,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
    Unreachable,
)
from convex_memory.limits import (
    ARGUMENTS_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_TIMEOUT_MS_DEFAULT,
)
from convex_memory.remote_answers import Answered, Called, Failed, read_answer, unanswered
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
CONNECTIONS_MAX: Final = 64
IDLE_SECONDS_MAX: Final = 15.0
"""Idle connections are dropped before a server or a proxy would drop them."""
ANSWER_BYTES_MAX: Final = 64 << 20
"""An answer of Convex holds at most 16 MiB of values; this is what is read of any server."""
_THREAD_BYTES: Final = 64 << 10
"""Arguments and answers larger than this are coded in a thread, off the event loop."""

_log = logging.getLogger(__name__)


class RemoteDeployment:
    """A Convex deployment, or anything else that serves Convex's HTTP function API.

    Nothing is connected before the first call. Connections are pooled for each event loop.
    Proxies and certificates are not read from the environment: give a `transport` for those.

    Args:
        url: `https://<name>.convex.cloud`, or the address of a self-hosted deployment.
        admin_key: The deployment's admin or deploy key. No error, log or repr shows it.
        timeout_ms: How long one call may take with all its tries, in milliseconds; 0 waits
            for ever.
        transport: What carries requests instead of a pool of connections; closed with this.
        clock: Seconds, monotonic.
        sleep: Waits that many seconds.

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
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
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
        """Close the connections of this event loop and refuse every later call."""
        self._closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        self._clients.clear()
        if client is not None:
            await client.aclose()

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
        if timeout_ms is None:
            timeout_ms = self._timeout_ms
        if timeout_ms < 0:
            raise InvalidArgument(
                f"timeout_ms is {timeout_ms}; give milliseconds, or 0 to wait for ever."
            )
        body = await _request_body(path, args)
        if self._closed:
            raise Unreachable("This deployment has been closed; make another one to call it.")
        called = Called(kind, path, self._url, self._admin_key)
        harmless = kind == "query" if retry is None else retry
        return await self._send(_Sending(called, body, timeout_ms, harmless, self._clock()))

    async def _send(self, sending: _Sending) -> Value:
        while True:
            sending.tries += 1
            outcome = await self._try(sending)
            if isinstance(outcome, Answered):
                return outcome.value
            pause = self._pause(sending, outcome)
            if outcome.again == "if_harmless":
                sending.lost = outcome
            elif outcome.again == "always" and sending.lost is not None:
                # This try was not executed, but an earlier one may have been.
                outcome = sending.lost
            if pause is None:
                _log.warning(
                    "call failed path=%s kind=%s code=%s tries=%d ms=%d",
                    sending.called.path,
                    sending.called.kind,
                    outcome.error.code,
                    sending.tries,
                    (self._clock() - sending.began) * 1000,
                )
                raise outcome.error from outcome.cause
            await self._sleep(pause)

    def _remaining(self, sending: _Sending) -> float | None:
        if sending.timeout_ms == 0:
            return None
        return sending.began + sending.timeout_ms / 1000 - self._clock()

    def _pause(self, sending: _Sending, failed: Failed) -> float | None:
        """Seconds until the next try, None when there is to be none."""
        allowed = failed.again == "always" or (failed.again == "if_harmless" and sending.harmless)
        if not allowed or sending.tries >= TRIES_MAX:
            return None
        longest = min(PAUSE_SECONDS_MAX, PAUSE_FIRST_SECONDS * 2 ** (sending.tries - 1))
        pause = max(longest * random.uniform(0.5, 1), failed.after_seconds)
        remaining = self._remaining(sending)
        limit = RETRY_AFTER_SECONDS_MAX if remaining is None else remaining
        return pause if pause < limit else None

    async def _try(self, sending: _Sending) -> Answered | Failed:
        import httpx2

        called, remaining = sending.called, self._remaining(sending)
        try:
            async with asyncio.timeout(remaining):
                return await self._exchange(sending, remaining)
        except TimeoutError as error:
            late = DeploymentTimeout(
                f"{called.path} had no answer within {sending.timeout_ms} ms. {called.doubt}"
            )
            return Failed(late, cause=error)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return unanswered(error, called)

    async def _exchange(self, sending: _Sending, remaining: float | None) -> Answered | Failed:
        import httpx2

        # At most half of what is left, so that a host that swallows packets leaves time for
        # another try, and the error can say that nothing was executed.
        connect = CONNECT_SECONDS_MAX if remaining is None else remaining / 2
        content = bytearray()
        async with self._client().stream(
            "POST",
            f"{self._url}/api/{sending.called.kind}",
            content=sending.body,
            timeout=httpx2.Timeout(None, connect=min(CONNECT_SECONDS_MAX, connect)),
        ) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    return Failed(
                        InvalidResponse(
                            f"{sending.called.path} was answered with more than "
                            f"{ANSWER_BYTES_MAX} bytes. Ask for less at once. "
                            f"{sending.called.doubt}"
                        )
                    )
        read = partial(
            read_answer,
            sending.called,
            response.status_code,
            response.headers.get("retry-after"),
            bytes(content),
        )
        return await asyncio.to_thread(read) if len(content) > _THREAD_BYTES else read()

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = httpx2.AsyncClient(
                headers={
                    "Authorization": f"Convex {self._admin_key}",
                    "Content-Type": "application/json",
                    "User-Agent": "convex-memory",
                },
                limits=httpx2.Limits(
                    max_connections=CONNECTIONS_MAX,
                    max_keepalive_connections=CONNECTIONS_MAX,
                    keepalive_expiry=IDLE_SECONDS_MAX,
                ),
                transport=self._transport,
                trust_env=False,
            )
        return client


@dataclass(slots=True)
class _Sending:
    called: Called
    body: bytes
    timeout_ms: int
    harmless: bool
    began: float
    tries: int = 0
    lost: Failed | None = None


async def _request_body(path: str, args: Mapping[str, Value]) -> bytes:
    size = check(args, "args")
    if size > ARGUMENTS_BYTES_MAX:
        raise LimitExceeded(
            f"The arguments of {path} are {size} bytes; one call takes at most "
            f"{ARGUMENTS_BYTES_MAX}. Send them in several calls."
        )
    encode = partial(_encode, path, args)
    body = await asyncio.to_thread(encode) if size > _THREAD_BYTES else encode()
    if len(body) > REQUEST_BODY_BYTES_MAX:
        raise LimitExceeded(
            f"The call of {path} is {len(body)} bytes of JSON; one request takes at most "
            f"{REQUEST_BODY_BYTES_MAX}. Send its arguments in several calls."
        )
    return body


def _encode(path: str, args: Mapping[str, Value]) -> bytes:
    from convex.values import convex_to_json

    coded = convex_to_json(args)  # type: ignore[arg-type]
    fields = {"path": path, "args": coded, "format": "convex_encoded_json"}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


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
