"""What one connection may cost the listener, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from convex_memory.embedded.admission import Admission
from convex_memory.embedded.connections import HEADER_BYTES_MAX, ConnectionLimits
from tests.application.raw_http import Socket, listening, request

pytestmark = pytest.mark.anyio

QUICK = ConnectionLimits(
    connections_max=8,
    head_seconds=0.15,
    body_seconds=0.1,
    body_bytes_second=1000,
    linger_seconds=0.15,
    unread_seconds=0.1,
)
PATIENT = ConnectionLimits(connections_max=8)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Echo:
    """Answers with the size of the body; `/refuse` without reading it, `/much` endlessly."""

    def __init__(self) -> None:
        self.hold = asyncio.Event()
        self.left = asyncio.Event()
        self.working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["path"] == "/refuse":
            response = PlainTextResponse("too large", 413)
        elif scope["path"] == "/much":
            await StreamingResponse(self._much())(scope, receive, send)
            return
        elif scope["path"] == "/hold":
            self.working += 1
            await self.hold.wait()
            response = PlainTextResponse("held")
        else:
            try:
                response = PlainTextResponse(str(len(await request.body())))
            except Exception:
                self.left.set()
                raise
        await response(scope, receive, send)

    async def _much(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            self.left.set()


async def test_a_header_that_never_ends_is_ended() -> None:
    async with listening(Echo(), limits=QUICK) as site:
        slow = await site.connect()
        await slow.send(b"GET / HTTP/1.1\r\n")
        drip = asyncio.create_task(_drip(slow))
        assert (await slow.answer()).status == 408
        assert await slow.end() == b""
        drip.cancel()
        # The next request of a connection that is kept has as long.
        again = await site.connect()
        await again.send(request("GET", "/"))
        assert (await again.answer()).body == b"0"
        await again.send(b"GET / HT")
        assert (await again.answer()).status == 408


async def _drip(slow: Socket) -> None:
    for number in range(1000):
        await slow.send(b"X-%d: y\r\n" % number)
        await asyncio.sleep(0.01)


async def test_who_says_nothing_is_not_waited_for() -> None:
    async with listening(Echo(), limits=QUICK) as site:
        silent = await site.connect()
        assert (await silent.answer()).status == 408


async def test_a_body_that_hardly_comes_is_ended_and_the_application_told() -> None:
    echo = Echo()
    async with listening(echo, limits=QUICK) as site:
        slow = await site.connect()
        await slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc")
        assert (await slow.answer()).status == 408
        with anyio.fail_after(5):
            await echo.left.wait()


async def test_a_body_that_comes_fast_enough_may_take_long() -> None:
    async with listening(Echo(), limits=QUICK) as site:
        steady = await site.connect()
        await steady.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        for _ in range(9):
            await steady.send(b"x" * 1000)
            await asyncio.sleep(0.04)
        assert (await steady.answer()).body == b"9000"


async def test_a_refused_body_is_not_taken_whole_and_the_refusal_is_seen() -> None:
    async with listening(Echo(), limits=QUICK) as site:
        large = await site.connect()
        await large.send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        await large.send(b"x" * 100_000)
        assert (await large.answer()).status == 413
        assert await large.end() == b""


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    echo = Echo()
    async with listening(echo, limits=QUICK) as site:
        deaf = await site.connect()
        await deaf.send(request("GET", "/much"))
        with anyio.fail_after(10):
            await echo.left.wait()


async def test_a_header_has_an_end() -> None:
    async with listening(Echo(), limits=PATIENT) as site:
        large = await site.connect()
        await large.send(request("GET", "/", "X: " + "y" * (HEADER_BYTES_MAX * 20)))
        assert (await large.answer()).status == 400


async def test_silent_connections_make_room_for_those_that_ask() -> None:
    async with listening(Echo(), limits=PATIENT) as site:
        kept = await site.connect()
        await kept.send(request("GET", "/"))
        assert (await kept.answer()).body == b"0"
        silent = [await site.connect() for _ in range(PATIENT.connections_max * 5)]
        for _ in range(3):
            assert (await site.ask("GET", "/")).body == b"0"
        # Those longest without a request went first.
        assert await kept.end() == b""
        for connection in silent[: -PATIENT.connections_max]:
            assert await connection.end() == b""
            await connection.close()
        for connection in silent:
            await connection.close()


async def test_connections_at_work_are_not_ended_for_others() -> None:
    echo = Echo()
    async with listening(echo, limits=PATIENT) as site:
        busy = [await site.connect() for _ in range(PATIENT.connections_max)]
        for connection in busy:
            await connection.send(request("GET", "/hold"))
        with anyio.fail_after(5):
            while echo.working < len(busy):
                await asyncio.sleep(0)
        late = await site.connect()
        refused = await late.answer()
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        echo.hold.set()
        for connection in busy:
            assert (await connection.answer()).body == b"held"


async def test_what_is_over_the_number_is_told_to_come_back() -> None:
    echo = Echo()
    app = Admission(echo, requests_max=2, refuse=lambda why: PlainTextResponse(why, 503))
    async with listening(app, limits=PATIENT) as site:
        held = [await site.connect() for _ in range(2)]
        for connection in held:
            await connection.send(request("GET", "/hold"))
        with anyio.fail_after(5):
            while app.in_flight < 2:
                await asyncio.sleep(0)
        refused = await site.ask("GET", "/")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert b"nothing was done" in refused.body
        echo.hold.set()
        for connection in held:
            assert (await connection.answer()).body == b"held"
        assert (await site.ask("GET", "/")).body == b"0"


async def test_a_server_that_stops_answers_what_it_began_and_nothing_more() -> None:
    echo = Echo()
    app = Admission(echo, requests_max=9, refuse=lambda why: PlainTextResponse(why, 503))
    async with listening(app, limits=PATIENT) as site:
        held, kept = await site.connect(), await site.connect()
        await held.send(request("GET", "/hold"))
        with anyio.fail_after(5):
            while not app.in_flight:
                await asyncio.sleep(0)
        drained = asyncio.create_task(app.drain())
        await asyncio.sleep(0)
        for connection in (kept, await site.connect()):
            await connection.send(request("GET", "/"))
            refused = await connection.answer()
            assert (refused.status, refused.headers["connection"]) == (503, "close")
            assert b"stopping" in refused.body
        assert not drained.done()
        echo.hold.set()
        assert (await held.answer()).body == b"held"
        await drained
