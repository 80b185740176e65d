"""A transport of httpx2 that a caller made: for proxies, or an application in this process."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from convex_memory.remote_exchange import Broken, Outgoing, Reply, UnusableAddress, read_whole


class GivenTransport:
    """Carries requests over a transport of httpx2.

    Args:
        transport: Closed with this.
        headers: What goes with every request.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._headers = headers

    async def send(self, outgoing: Outgoing) -> Reply:
        """See `Connections.send`."""
        try:
            return await self._exchange(outgoing)
        except httpx2.InvalidURL:
            raise UnusableAddress from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            outgoing.begun = False
            raise Broken(cause=error) from None
        except httpx2.HTTPError as error:
            # The text of a protocol error quotes what came.
            shown = isinstance(error, httpx2.NetworkError | httpx2.TimeoutException)
            raise Broken(
                timed_out=isinstance(error, httpx2.TimeoutException),
                cause=error if shown else None,
            ) from None

    async def _exchange(self, outgoing: Outgoing) -> Reply:
        timeouts = {"connect": outgoing.connect_seconds, "read": None, "write": None, "pool": None}
        request = httpx2.Request(
            "POST",
            outgoing.url,
            headers={**self._headers, "Content-Length": str(len(outgoing.body))},
            content=outgoing.pieces(),
            extensions={"timeout": timeouts},
        )
        response = await self._transport.handle_async_request(request)
        try:
            content = await read_whole(response.aiter_bytes())
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers.get("Retry-After"), content)

    async def aclose(self) -> None:
        """See `Connections.aclose`."""
        await self._transport.aclose()
