"""A real deployment behind a proxy that misbehaves: nothing twice, nothing late, all told."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import logging
import os
import random
import re
import traceback
import uuid
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import pytest
from pydantic import SecretStr

from convex_memory import remote_exchange, remote_pool
from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import CACHE_FUNCTION, NATIVE_VECTOR_ACTION, Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.http import serve
from convex_memory.errors import (
    ConfigurationError,
    ConvexMemoryError,
    DeploymentError,
    DeploymentTimeout,
    FunctionNotDeployed,
    InvalidResponse,
    Overloaded,
    Unreachable,
)
from convex_memory.limits import CACHE_PREFIX_DEFAULT
from convex_memory.records import Message
from convex_memory.remote import TRIES_MAX, RemoteDeployment
from convex_memory.remote_exchange import AnswerTooLong
from convex_memory.remote_pool import CONNECTIONS_MAX
from convex_memory.store import ConvexStore
from convex_memory.text import text_content
from convex_memory.values import Value
from server.settings import Settings
from tests import fault_proxy as faults
from tests.application.connections import Caller, connected
from tests.fault_proxy import Fault, FaultProxy, answering, sending

pytestmark = pytest.mark.anyio

T = TypeVar("T")
KEY: Final = "prod:happy-animal-123|01ab+/="
CONTENT: Final = "my grandmother's recipe"
TABLE: Final[Mapping[str, Value]] = {
    "tableName": "recipes",
    "vectorIndexName": "by_vector",
    "dimension": 3,
    "vectorField": "embedding",
    "idField": "id",
    "idIndexName": "by_record_id",
    "metadataField": "metadata",
    "filterFields": [],
}
SHORT_MS: Final = 100
HOUR_MS: Final = 3_600_000
HANGS_SECONDS: Final = 30
"""Nothing here takes this long unless it hangs."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Served:
    """An embedded deployment that says what was executed, and gives each test a place."""

    def __init__(self, deployment: EmbeddedDeployment) -> None:
        self.deployment = deployment
        self.url = ""
        self.place = ""
        self.executed: list[str] = []
        self.cache = ConvexServerCache(deployment)
        self.store = ConvexStore(deployment)

    def kind_of(self, path: str) -> Kind | None:
        return self.deployment.kind_of(path)

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.executed.append(path)
        return await self.deployment.call(kind, path, args)

    async def aclose(self) -> None:
        raise AssertionError("whoever made the deployment closes it")

    async def messages(self) -> list[str]:
        """The ids of the messages in the place's thread."""
        listed = await self.store.memory.list_messages(thread_id=self.place, per_page=False)
        return [message.id for message in listed.messages]

    async def items(self) -> list[Value]:
        """What is in the place's list."""
        return await self.cache.list_from_to(self.place, 0)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with EmbeddedDeployment(tmp_path_factory.mktemp("served")) as deployment:
        served = Served(deployment)
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(served, host="127.0.0.1", port=0, admin_key=KEY, on_started=started.set_result)
        )
        served.url = await started
        yield served
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def served(shared: Served) -> Served:
    shared.place = uuid.uuid4().hex
    shared.executed.clear()
    return shared


@pytest.fixture
async def proxy(served: Served) -> AsyncIterator[FaultProxy]:
    async with faults.fault_proxy(served.url) as proxy:
        yield proxy


def loop_clock() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(scope="module")
async def an_hour_passes() -> Callable[[], None]:
    """Move the event loop's clock on, for all that is timed by it. It never goes back."""
    loop = asyncio.get_running_loop()
    time, hours = loop.time, itertools.count(1)

    def pass_an_hour() -> None:
        ahead = next(hours) * HOUR_MS / 1000 + 1
        loop.time = lambda: time() + ahead  # type: ignore[method-assign]

    return pass_an_hour


class Pauses(list[float]):
    """Remembers the pauses between tries, and takes none."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Calling:
    """A remote deployment behind the proxy."""

    deployment: RemoteDeployment
    pauses: Pauses


@pytest.fixture
async def calling(proxy: FaultProxy) -> AsyncIterator[Calling]:
    pauses = Pauses()
    with anyio.fail_after(HANGS_SECONDS):
        async with RemoteDeployment(proxy.url, KEY, sleep=pauses) as deployment:
            yield Calling(deployment, pauses)


# --- The classes of calls


def message(place: str, id: str) -> dict[str, Value]:
    return Message(
        id=f"{place}:{id}",
        thread_id=place,
        resource_id="me",
        role="user",
        content=text_content(CONTENT),
    ).to_row()


def saving(place: str, id: str = "recipe") -> Mapping[str, Value]:
    thread: Value = {"id": place, "resourceId": "me", "title": CONTENT}
    return {"messages": [message(place, id)], "thread": thread, "onExisting": "keep"}


def pushing(place: str, value: Value = CONTENT) -> Mapping[str, Value]:
    return _cached("listPush", place, value=value)


def _cached(op: str, key: str, **more: Value) -> Mapping[str, Value]:
    entry = {"key": CACHE_PREFIX_DEFAULT + key, "keyPrefix": CACHE_PREFIX_DEFAULT}
    return {"op": op, **entry, "expiresAt": None, **more}


async def _none(served: Served) -> int:
    return 0


async def _saved(served: Served) -> int:
    return len(await served.messages())


async def _pushed(served: Served) -> int:
    return len(await served.items())


async def _counted(served: Served) -> int:
    return await served.cache.increment(served.place) - 1


@dataclass(frozen=True)
class Operation:
    """A call, whether it may be repeated, and how often it has happened."""

    name: str
    kind: Kind
    path: str
    args: Callable[[str], Mapping[str, Value]]
    retry: bool | None
    harmless: bool
    effect: Callable[[Served], Awaitable[int]]

    def __str__(self) -> str:
        return self.name

    async def call(
        self, deployment: RemoteDeployment, served: Served, timeout_ms: int | None = None
    ) -> Value:
        return await deployment.call(
            self.kind, self.path, self.args(served.place), timeout_ms=timeout_ms, retry=self.retry
        )


def _nearest(place: str) -> Mapping[str, Value]:
    return {"config": TABLE, "vector": [1, 0, 0], "limit": 1}


QUERY = Operation("query", "query", "memory/meta:version", lambda place: {}, None, True, _none)
SAVE = Operation("save", "mutation", "memory/messages:save", saving, True, True, _saved)
PUSH = Operation("push", "mutation", CACHE_FUNCTION, pushing, None, False, _pushed)
INCREMENT = Operation(
    "increment", "mutation", CACHE_FUNCTION, partial(_cached, "increment"), False, False, _counted
)
ACTION = Operation("action", "action", NATIVE_VECTOR_ACTION, _nearest, None, False, _none)
REPEATABLE = Operation("repeatable", "action", NATIVE_VECTOR_ACTION, _nearest, True, True, _none)
OPERATIONS = [QUERY, SAVE, PUSH, INCREMENT, ACTION, REPEATABLE]


# --- The classes of faults

JSON: Final = "Content-Type: application/json"


def _refusal(status: int, code: str, *headers: str, forwards: bool = False) -> Fault:
    body = json.dumps({"code": code, "message": "What happened."})
    return answering(status, body, JSON, *headers, forwards=forwards, name=f"{status} {code}")


BUSY = _refusal(429, "TooManyConcurrentRequests")
NOT_EXECUTED: list[tuple[Fault, type[ConvexMemoryError]]] = [
    (BUSY, Overloaded),
    (answering(429, "<html>slow down</html>", "Retry-After: 7"), Overloaded),
    (_refusal(503, "OptimisticConcurrencyControlFailure"), Overloaded),
    (_refusal(503, "Overloaded", "Retry-After: 3"), Overloaded),
]
LOST: list[tuple[Fault, type[ConvexMemoryError]]] = [
    (faults.DROP_BEFORE, InvalidResponse),
    (faults.RESET_BEFORE, InvalidResponse),
    (faults.DROP_AFTER, InvalidResponse),
    (faults.RESET_AFTER, InvalidResponse),
    (faults.HALF_HEADER, InvalidResponse),
    (faults.HALF_BODY, InvalidResponse),
    (faults.HALF_CHUNKS, InvalidResponse),
    (faults.NOT_HTTP, InvalidResponse),
    (_refusal(500, "InternalServerError", forwards=True), DeploymentError),
    (answering(502, "<html>bad gateway</html>", forwards=True), DeploymentError),
    (answering(503, "<html>unavailable</html>", forwards=True), DeploymentError),
    (answering(504, forwards=True), DeploymentError),
    (answering(408, forwards=True), DeploymentTimeout),
]
FINAL: list[tuple[Fault, type[ConvexMemoryError]]] = [
    (answering(200, "<html>Sign in to the hotel</html>", forwards=True), InvalidResponse),
    (answering(200, '{"status":"success"}', JSON, forwards=True, name="no value"), InvalidResponse),
    (answering(200, b"\x1f\x8b\x08garbage", JSON, forwards=True, name="bytes"), InvalidResponse),
    (answering(200, b"\xff" * 64, JSON, forwards=True, name="not UTF-8"), InvalidResponse),
    (answering(307, "", "Location: http://127.0.0.1:1/"), InvalidResponse),
    (answering(404, "<html>no such page</html>"), FunctionNotDeployed),
    (answering(400, "<html>bad request</html>"), DeploymentError),
]
LATE = [faults.HOLD_BEFORE, faults.HOLD_AFTER, faults.DRIP]
HARD = [fault for fault, _ in NOT_EXECUTED + LOST + FINAL]
DOUBT = {
    "query": "It was a query, so nothing was changed.",
    "other": "It may or may not have happened: look before you do it again.",
}


def named(value: object) -> str | None:
    return str(value) if isinstance(value, Fault | Operation) else None


async def error_of(call: Awaitable[object]) -> ConvexMemoryError:
    with pytest.raises(ConvexMemoryError) as raised:
        await call
    return raised.value


async def soon(awaitable: Awaitable[T]) -> T:
    """Wait for what comes, unless something hangs."""
    with anyio.fail_after(HANGS_SECONDS):
        return await awaitable


def doubt(operation: Operation) -> str:
    return DOUBT["query" if operation is QUERY else "other"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
@pytest.mark.parametrize(("fault", "kind"), NOT_EXECUTED, ids=named)
async def test_what_was_refused_unexecuted_happens_once(
    fault: Fault,
    kind: type[ConvexMemoryError],
    operation: Operation,
    proxy: FaultProxy,
    served: Served,
    calling: Calling,
) -> None:
    proxy.will(fault)

    if operation is ACTION and "503" in fault.name:
        # Half of an action may be done when Convex gives up on it.
        error = await error_of(operation.call(calling.deployment, served))
        assert type(error) is kind
        assert error.message.endswith(doubt(operation))
        assert served.executed == []
        return
    await operation.call(calling.deployment, served)

    assert served.executed == [operation.path]
    assert await operation.effect(served) == (0 if operation.effect is _none else 1)
    wanted = {"Retry-After: 7": 7, "Overloaded": 3}
    for text, seconds in wanted.items():
        if text in fault.name:
            assert calling.pauses == [seconds]


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
@pytest.mark.parametrize(("fault", "kind"), LOST, ids=named)
async def test_a_lost_answer_never_makes_anything_happen_twice(
    fault: Fault,
    kind: type[ConvexMemoryError],
    operation: Operation,
    proxy: FaultProxy,
    served: Served,
    calling: Calling,
) -> None:
    proxy.will(fault)

    if operation.harmless:
        await operation.call(calling.deployment, served)
    else:
        error = await error_of(operation.call(calling.deployment, served))
        assert type(error) is kind
        assert error.message.endswith(doubt(operation))

    sent = int(fault.forwards) + int(operation.harmless)
    assert served.executed == [operation.path] * sent
    left = await operation.effect(served)
    assert left == (0 if operation.effect is _none else min(sent, 1))
    assert proxy.requests == 1 + int(operation.harmless)


@pytest.mark.parametrize("operation", [QUERY, SAVE, PUSH], ids=named)
@pytest.mark.parametrize(("fault", "kind"), FINAL, ids=named)
async def test_an_answer_that_is_none_is_told_and_not_asked_for_again(
    fault: Fault,
    kind: type[ConvexMemoryError],
    operation: Operation,
    proxy: FaultProxy,
    served: Served,
    calling: Calling,
) -> None:
    proxy.always(fault)

    error = await error_of(operation.call(calling.deployment, served))

    assert type(error) is kind
    assert ("is not an answer of a Convex function" in error.message) == (kind is InvalidResponse)
    assert proxy.requests == 1
    assert len(served.executed) == int(fault.forwards)


@pytest.mark.parametrize("operation", [QUERY, SAVE, PUSH], ids=named)
@pytest.mark.parametrize(("fault", "kind"), NOT_EXECUTED + LOST, ids=named)
async def test_a_fault_that_stays_is_told_after_a_few_tries(
    fault: Fault,
    kind: type[ConvexMemoryError],
    operation: Operation,
    proxy: FaultProxy,
    served: Served,
    calling: Calling,
) -> None:
    proxy.always(fault)

    error = await error_of(operation.call(calling.deployment, served))

    again = operation.harmless or (fault, kind) in NOT_EXECUTED
    assert type(error) is kind
    assert proxy.requests == (TRIES_MAX if again else 1)
    assert len(calling.pauses) == proxy.requests - 1
    left = await operation.effect(served)
    assert left == (0 if operation.effect is _none else int(fault.forwards))


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
@pytest.mark.parametrize("fault", LATE, ids=named)
async def test_no_call_outlives_its_deadline(
    fault: Fault,
    operation: Operation,
    proxy: FaultProxy,
    served: Served,
    an_hour_passes: Callable[[], None],
) -> None:
    proxy.always(fault)

    async with RemoteDeployment(proxy.url, KEY, clock=loop_clock) as deployment:
        call = asyncio.create_task(operation.call(deployment, served, HOUR_MS))
        await soon(proxy.met(1))
        an_hour_passes()
        error = await error_of(soon(call))
        await soon(proxy.hung_up.wait())

    assert type(error) is DeploymentTimeout
    assert error.message == (
        f"{operation.path} had no answer within {HOUR_MS} ms. {doubt(operation)}"
    )
    assert proxy.requests == 1
    assert len(served.executed) == int(fault.forwards)


@pytest.mark.parametrize(
    "fault", [faults.OTHER_TYPE, faults.CLOSE_WHEN_IDLE, faults.RESET_WHEN_IDLE], ids=named
)
async def test_what_only_looks_odd_does_no_harm(
    fault: Fault, proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.will(fault)

    first = await calling.deployment.call("mutation", CACHE_FUNCTION, pushing(served.place, 1))
    if fault is not faults.OTHER_TYPE:
        await proxy.ended.wait()
    second = await calling.deployment.call("mutation", CACHE_FUNCTION, pushing(served.place, 2))

    assert [first, second] == [{"ok": True, "result": 1}, {"ok": True, "result": 2}]
    assert await served.items() == [1, 2]
    assert proxy.requests == 2


async def test_an_answer_that_is_late_but_in_time_counts(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    released = asyncio.Event()
    proxy.will(faults.late(released))

    call = asyncio.create_task(PUSH.call(calling.deployment, served))
    await proxy.met(1)
    assert not call.done()
    released.set()

    assert await call == {"ok": True, "result": 1}
    assert await served.items() == [CONTENT]


@pytest.mark.parametrize("fault", [faults.CLOSE_AT_ONCE, faults.RESET_AT_ONCE], ids=named)
@pytest.mark.parametrize("operation", [QUERY, SAVE], ids=named)
async def test_a_connection_that_ends_before_anything_is_read_is_made_again(
    operation: Operation, fault: Fault, proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.will(fault)

    await operation.call(calling.deployment, served)

    assert served.executed == [operation.path]


# --- Connections


@pytest.mark.parametrize("operation", [QUERY, SAVE, PUSH, ACTION], ids=named)
async def test_where_nobody_listens_nothing_happens(
    operation: Operation, proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.stop_listening()

    error = await error_of(operation.call(calling.deployment, served))

    assert type(error) is Unreachable
    assert error.message == (
        f"No connection to {proxy.url} could be made (Connection refused), so {operation.path} "
        "was not executed. Check the URL, the network and that the deployment is running."
    )
    assert len(calling.pauses) == TRIES_MAX - 1


async def test_a_server_without_tls_is_told(proxy: FaultProxy, served: Served) -> None:
    proxy.always(replace(sending("plain", b"HTTP/1.1 400 Bad Request\r\n\r\n"), unread=True))
    url = proxy.url.replace("http:", "https:")
    async with RemoteDeployment(url, KEY, sleep=Pauses()) as deployment:
        error = await error_of(PUSH.call(deployment, served))

    assert type(error) is Unreachable
    assert error.message.startswith(f"No connection to {url} could be made (WRONG_VERSION_NUMBER)")
    assert served.executed == []


@pytest.mark.parametrize("url", ["http://a\\b", "http://a..b"])
async def test_an_address_that_cannot_be_called_is_told(url: str) -> None:
    async with RemoteDeployment(url, KEY) as deployment:
        error = await error_of(deployment.call("query", "a:b", {}))

    assert type(error) is ConfigurationError
    assert error.message == f"{url} is no address that can be called."


async def test_a_call_that_found_no_free_connection_was_not_sent(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.always(faults.HOLD_BEFORE)
    holding = [
        asyncio.create_task(PUSH.call(calling.deployment, served)) for _ in range(CONNECTIONS_MAX)
    ]
    await proxy.met(CONNECTIONS_MAX)

    error = await error_of(PUSH.call(calling.deployment, served, SHORT_MS))

    assert type(error) is Unreachable
    assert error.message == (
        f"{PUSH.path} was not executed: it could not be sent to {proxy.url} within {SHORT_MS} ms. "
        "Check the network, ask for less at once, or allow more time."
    )
    assert proxy.requests == CONNECTIONS_MAX
    for each in holding:
        each.cancel()
    await asyncio.gather(*holding, return_exceptions=True)


async def test_closing_fails_the_calls_on_their_way_and_those_that_wait(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.always(faults.HOLD_BEFORE)
    calls = [
        asyncio.create_task(PUSH.call(calling.deployment, served))
        for _ in range(CONNECTIONS_MAX + 6)
    ]
    await proxy.met(CONNECTIONS_MAX)

    await calling.deployment.aclose()
    errors = Counter([type(await error_of(call)) for call in calls])

    assert errors == {InvalidResponse: CONNECTIONS_MAX, Unreachable: 6}
    assert calling.pauses == []
    assert served.executed == []


@pytest.mark.parametrize("fault", [faults.HOLD_BEFORE, faults.DRIP], ids=named)
async def test_a_cancelled_call_takes_its_connection_with_it(
    fault: Fault, proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.will(fault)
    call = asyncio.create_task(SAVE.call(calling.deployment, served))
    await proxy.met(1)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await proxy.hung_up.wait()

    assert await QUERY.call(calling.deployment, served) == await served.deployment.call(
        "query", QUERY.path, {}
    )


async def test_a_connection_that_was_cut_since_is_noticed_before_anything_is_sent(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    await PUSH.call(calling.deployment, served)
    proxy.cut()
    await PUSH.call(calling.deployment, served)

    assert await served.items() == [CONTENT] * 2
    assert proxy.requests == 2


async def test_a_call_that_fails_after_its_answer_leaves_the_connection_to_others(
    proxy: FaultProxy, served: Served, calling: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_and_fail(pieces: AsyncIterable[bytes], announced: int | None = None) -> bytes:
        async for _ in pieces:
            pass
        raise AnswerTooLong

    with monkeypatch.context() as patched:
        patched.setattr(remote_pool, "read_whole", read_and_fail)
        assert type(await error_of(PUSH.call(calling.deployment, served))) is InvalidResponse
    await PUSH.call(calling.deployment, served)

    assert proxy.accepted == 1
    assert proxy.requests == 2


class Stalled:
    """A call whose body, of 15 MB, is not taken beyond its beginning until it is `released`."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.begun, self.released = asyncio.Event(), asyncio.Event()
        self.counted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        proxy.will(faults.unread(self.begun, self.released, self.counted))

    async def call(self, deployment: RemoteDeployment) -> Value:
        args: Mapping[str, Value] = {"parts": ["x" * 1_000_000] * 15}
        return await deployment.call("mutation", "a:b", args, timeout_ms=HOUR_MS)


def open_files() -> int:
    count = 0
    for number in range(1024):
        with suppress(OSError):
            os.fstat(number)
            count += 1
    return count


async def test_a_body_that_nobody_reads_does_not_arrive_after_the_deadline(
    proxy: FaultProxy, served: Served, an_hour_passes: Callable[[], None]
) -> None:
    stalled = Stalled(proxy)
    async with RemoteDeployment(proxy.url, KEY, clock=loop_clock) as deployment:
        call = asyncio.create_task(stalled.call(deployment))
        await soon(stalled.begun.wait())
        before = open_files()
        an_hour_passes()
        error = await error_of(soon(call))
        assert open_files() == before - 1
    stalled.released.set()

    assert type(error) is DeploymentTimeout
    assert error.message.endswith(doubt(PUSH))
    assert await soon(stalled.counted) < 15_000_000


async def test_closing_does_not_wait_for_a_body_that_nobody_reads(
    proxy: FaultProxy, served: Served
) -> None:
    stalled = Stalled(proxy)
    deployment = RemoteDeployment(proxy.url, KEY)
    call = asyncio.create_task(stalled.call(deployment))
    await soon(stalled.begun.wait())

    await soon(deployment.aclose())

    assert type(await error_of(soon(call))) is InvalidResponse


# --- Answers


@pytest.mark.parametrize(
    "fault",
    [
        faults.FLOOD,
        sending(
            "announced", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", closes=False
        ),
        answering(
            200, gzip.compress(bytes(1 << 22)), JSON, "Content-Encoding: gzip", name="gzip bomb"
        ),
    ],
    ids=named,
)
async def test_an_answer_beyond_the_bound_is_not_read(
    fault: Fault,
    proxy: FaultProxy,
    served: Served,
    calling: Calling,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_exchange, "ANSWER_BYTES_MAX", 1 << 20)
    proxy.always(fault)

    error = await error_of(SAVE.call(calling.deployment, served))

    assert type(error) is InvalidResponse
    assert "Ask for less at once." in error.message
    assert proxy.requests == 1


async def test_a_compressed_answer_is_read(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    body = gzip.compress(b'{"status":"success","value":[1.0,{"$bytes":"AAEC"}]}')
    proxy.will(answering(200, body, JSON, "Content-Encoding: gzip"))

    assert await QUERY.call(calling.deployment, served) == [1, "AAEC"]


# --- What is left behind


async def test_neither_key_nor_content_is_shown_anywhere(
    proxy: FaultProxy, served: Served, calling: Calling, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"code": KEY, "message": KEY})
    echoes = [
        answering(status, echo, JSON, f"X-Key: {KEY}", name=f"echo {status}")
        for status in (200, 400, 403, 404, 429, 500, 503)
    ]
    broken = [
        sending(f"echo {at}", text.encode()) for at, text in enumerate([KEY, f"HTTP/1.1 {KEY}"])
    ]
    shown = [repr(calling.deployment), str(calling.deployment)]
    for fault in [*HARD, *echoes, *broken]:
        for operation in (SAVE, PUSH):
            proxy.always(fault)
            error = await error_of(operation.call(calling.deployment, served))
            shown += traceback.format_exception(error)
            shown += [repr(error), repr(error.details), repr(error.__cause__)]
    shown += [record.getMessage() + str(record.exc_info) for record in caplog.records]

    for text in shown:
        for secret in (KEY, CONTENT, "grandmother"):
            assert secret not in text


async def test_a_failed_call_leaves_one_warning_and_its_tries_debug_lines(
    proxy: FaultProxy, served: Served, calling: Calling, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "convex_memory.remote")
    proxy.will(BUSY, faults.DROP_AFTER)
    await SAVE.call(calling.deployment, served)
    proxy.always(faults.DROP_BEFORE)
    await error_of(PUSH.call(calling.deployment, served))

    lines = [
        (record.levelname, re.sub(r"ms=\d+", "ms=N", record.getMessage()))
        for record in caplog.records
        if record.name == "convex_memory.remote"
    ]
    again, failed = f"path={SAVE.path} kind=mutation", f"path={PUSH.path} kind=mutation"
    assert lines == [
        ("DEBUG", f"call goes again {again} code=overloaded status=429 tries=1 pause_ms=N"),
        ("DEBUG", f"call goes again {again} code=invalid_response status=- tries=2 pause_ms=N"),
        ("WARNING", f"call failed {failed} code=invalid_response status=- tries=1 ms=N"),
    ]


def hostile(seed: int) -> Callable[[], Fault]:
    """Spoil two requests of five, one way or another."""
    chance = random.Random(seed)
    ways = [fault for fault, _ in NOT_EXECUTED + LOST]
    ways += [faults.CLOSE_WHEN_IDLE, faults.RESET_WHEN_IDLE]
    return lambda: chance.choice(ways) if chance.random() < 0.4 else faults.PASS


async def test_a_hundred_saves_through_every_fault_are_there_once(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.choose = hostile(seed=1)
    ids = [f"{served.place}:{number}" for number in range(100)]

    async def save(number: int) -> Value:
        args = saving(served.place, str(number))
        return await calling.deployment.call("mutation", SAVE.path, args, retry=True)

    answers = await asyncio.gather(*map(save, range(100)), return_exceptions=True)

    stored = Counter(await served.messages())
    acknowledged = {
        id for id, answer in zip(ids, answers, strict=True) if not isinstance(answer, Exception)
    }
    assert len(acknowledged) >= 80
    assert all(isinstance(each, dict | DeploymentError) for each in answers)
    assert set(stored.values()) == {1}
    assert acknowledged <= set(stored) <= set(ids)
    assert proxy.requests > 120


async def test_a_hundred_pushes_through_every_fault_are_there_at_most_once(
    proxy: FaultProxy, served: Served, calling: Calling
) -> None:
    proxy.choose = hostile(seed=2)
    chance = random.Random(3)
    proxy.choose_connection = lambda: faults.CLOSE_AT_ONCE if chance.random() < 0.1 else faults.PASS

    async def push(number: int) -> Value:
        args = pushing(served.place, number)
        return await calling.deployment.call("mutation", CACHE_FUNCTION, args)

    answers = await asyncio.gather(*map(push, range(100)), return_exceptions=True)

    pushed = Counter(await served.items())
    acknowledged = {at for at, answer in enumerate(answers) if isinstance(answer, dict)}
    doubtful = [each for each in answers if not isinstance(each, dict)]
    assert set(pushed.values()) == {1}
    assert acknowledged <= set(pushed)
    assert len(acknowledged) >= 30
    for each in doubtful:
        assert isinstance(each, DeploymentError)
        assert "may or may not have happened" in each.message or isinstance(each, Overloaded)


# --- What an assistant reads


@asynccontextmanager
async def assistant(
    proxy: FaultProxy, tmp_path: Path, key: str = KEY, timeout_ms: int = 10_000
) -> AsyncIterator[Caller]:
    settings = Settings(
        data_dir=tmp_path,
        convex_url=proxy.url,
        convex_admin_key=SecretStr(key),
        request_timeout_ms=timeout_ms,
    )
    with anyio.fail_after(HANGS_SECONDS):
        async with connected("memory/2026", settings) as caller:
            yield caller


# What befalls a call, what is called, and the whole text that comes back.
TOLD: dict[str, tuple[Fault, str, dict[str, Any], str]] = {
    "a lost answer to what must not be repeated": (
        faults.DROP_AFTER,
        "cache_push",
        {"key": "shopping", "value": CONTENT},
        "invalid_response: The connection broke before mastra/cache:handle was answered whole. "
        "It may or may not have happened: look before you do it again.",
    ),
    "a deployment that asks for patience": (
        _refusal(429, "TooManyConcurrentRequests", "Retry-After: 900"),
        "cache_get",
        {"key": "shopping"},
        "overloaded: {url} is overloaded and did not complete mastra/cache:handle (HTTP 429, "
        "TooManyConcurrentRequests: What happened). Try again in 900 seconds.",
    ),
    "a network that wants a sign-in first": (
        answering(200, "<html>Welcome to the hotel</html>", "Content-Type: text/html"),
        "cache_get",
        {"key": "shopping"},
        "invalid_response: mastra/cache:handle was answered with something that is not an answer "
        "of a Convex function. Check that {url} is a Convex deployment. It may or may not have "
        "happened: look before you do it again.",
    ),
    "a key of another deployment": (
        _refusal(403, "BadDeployKey"),
        "cache_increment",
        {"key": "visits"},
        "unauthorized: {url} refused the admin key (HTTP 403, BadDeployKey: What happened). "
        "Check that the key belongs to this deployment.",
    ),
}


@pytest.mark.parametrize("told", TOLD)
async def test_an_assistant_reads_what_happened(
    told: str, proxy: FaultProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fault, tool, arguments, text = TOLD[told]
    async with assistant(proxy, tmp_path) as caller:
        proxy.always(fault)
        refused = await caller.refused(tool, **arguments)

    assert f"{refused.code}: {refused.message}" == text.format(url=proxy.url)
    assert KEY not in caplog.text
    assert CONTENT not in caplog.text


async def test_an_assistant_reads_that_its_question_came_too_late(
    proxy: FaultProxy, tmp_path: Path
) -> None:
    async with assistant(proxy, tmp_path, timeout_ms=1500) as caller:
        proxy.always(faults.HOLD_AFTER)
        refused = await caller.refused("recall_thread", thread_id="kitchen")

    assert refused.code == "timeout"
    assert re.fullmatch(
        r"memory/\w+:\w+ had no answer within 1500 ms\. It was a query, so nothing was changed\.",
        refused.message,
    )


async def test_a_push_whose_answer_was_lost_is_there_once(
    proxy: FaultProxy, served: Served, tmp_path: Path
) -> None:
    async with assistant(proxy, tmp_path) as caller:
        proxy.will(faults.DROP_AFTER)
        await caller.refused("cache_push", key=served.place, value=CONTENT)
        found = await caller.call("cache_replay", key=served.place)

    assert found["items"] == [CONTENT]
