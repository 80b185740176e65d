"""Calls of a deployment over HTTP, against transports that answer as each test says."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import math
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import httpx2
import pytest
from convex.values import ConvexInt64, convex_to_json, json_to_convex
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded.http import create_app
from convex_memory.errors import (
    ConfigurationError,
    Conflict,
    ConvexMemoryError,
    DeploymentError,
    DeploymentTimeout,
    DimensionMismatch,
    FunctionError,
    FunctionNotDeployed,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
    NotFound,
    Overloaded,
    StorageFailed,
    Unauthorized,
    Unreachable,
)
from convex_memory.remote import RemoteDeployment
from convex_memory.remote_coding import decode_answer, encode_request
from convex_memory.remote_exchange import ANSWER_BYTES_MAX
from convex_memory.values import Value, check, whole_numbers

pytestmark = pytest.mark.anyio

KEY = "prod:happy-animal-123|01ab+/="
URL = "https://happy-animal-123.convex.cloud"
Step = httpx2.Response | Exception


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Script(httpx2.AsyncBaseTransport):
    """Answers each request with the next step; the last one for ever."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)
        self.requests: list[httpx2.Request] = []
        self.closed = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return httpx2.Response(step.status_code, headers=step.headers, content=step.content)

    async def aclose(self) -> None:
        self.closed += 1


class Called:
    """A remote deployment over a script, with a clock of its own."""

    def __init__(self, *steps: Step, timeout_ms: int = 30_000) -> None:
        self.script = Script(steps)
        self.clock = Clock()
        self.deployment = RemoteDeployment(
            URL,
            KEY,
            timeout_ms=timeout_ms,
            transport=self.script,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    async def __call__(
        self,
        kind: Kind = "query",
        args: Mapping[str, Value] | None = None,
        *,
        retry: bool | None = None,
        timeout_ms: int | None = None,
    ) -> Value:
        return await self.deployment.call(
            kind, "memory/meta:version", args or {}, retry=retry, timeout_ms=timeout_ms
        )

    async def error(self, kind: Kind = "query", **how: Any) -> ConvexMemoryError:
        with pytest.raises(ConvexMemoryError) as raised:
            await self(kind, **how)
        shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.details)
        assert KEY not in shown
        return raised.value

    @property
    def sends(self) -> int:
        return len(self.script.requests)


def success(value: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"status": "success", "value": value})


def failure(text: str, **more: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"status": "error", "errorMessage": text, **more})


def refusal(status: int, code: str, **headers: str) -> httpx2.Response:
    body = {"code": code, "message": "What happened."}
    return httpx2.Response(status, json=body, headers=headers)


def bare(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, text="<html>gateway</html>", headers=headers)


# --- What is sent


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_a_call_is_one_post_with_the_admin_key(kind: Kind) -> None:
    called = Called(success(None))

    assert await called(kind, {"b": 1, "a": (0.5, -0.0, "ключ"), "c": {"d": True}}) is None

    [request] = called.script.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/api/{kind}")
    assert request.headers["authorization"] == f"Convex {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {
        "path": "memory/meta:version",
        "args": {"b": 1, "a": [0.5, {"$float": "AAAAAAAAAIA="}, "ключ"], "c": {"d": True}},
        "format": "convex_encoded_json",
    }


@pytest.mark.parametrize(
    "given",
    [
        "http://127.0.0.1:3210",
        "http://127.0.0.1:3210/",
        " http://127.0.0.1:3210// ",
    ],
)
async def test_slashes_and_spaces_around_the_url_do_not_matter(given: str) -> None:
    script = Script([success(1)])
    async with RemoteDeployment(given, KEY, transport=script) as deployment:
        await deployment.call("query", "a:b", {})

    assert str(script.requests[0].url) == "http://127.0.0.1:3210/api/query"


async def test_a_deployment_may_live_below_a_path() -> None:
    script = Script([success(1)])
    async with RemoteDeployment("https://proxy/convex/", KEY, transport=script) as deployment:
        await deployment.call("query", "a:b", {})

    assert str(script.requests[0].url) == "https://proxy/convex/api/query"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"metadata": {"$x": 1}}, InvalidArgument),
        ({"a": math.nan}, InvalidArgument),
        ({"a": "\ud800"}, InvalidArgument),
        ({"a": 2**60}, InvalidArgument),
        ({"a": [0.5] * 8193}, LimitExceeded),
        ({str(n): "x" * (1 << 20) for n in range(17)}, LimitExceeded),
        ({str(n): "\x01" * (1 << 20) for n in range(8)}, LimitExceeded),
    ],
)
async def test_arguments_that_convex_refuses_never_travel(
    args: Mapping[str, Value], error: type[ConvexMemoryError]
) -> None:
    called = Called(success(None))

    with pytest.raises(error):
        await called("mutation", args)

    assert called.sends == 0


async def test_a_large_call_is_coded_like_a_small_one() -> None:
    vectors = [[number / 7 for number in range(4096)] for _ in range(4)]
    called = Called(success(vectors))

    assert await called("mutation", {"vectors": vectors}) == vectors
    assert json.loads(called.script.requests[0].content)["args"] == {"vectors": vectors}


# --- What comes back


def coded(form: str, value: float) -> str:
    return base64.b64encode(struct.pack(form, value)).decode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1),
        ("1", 1),
        ("0.5", 0.5),
        ("1732300000000.25", 1732300000000.25),
        ("1e+21", 1e21),
        ("-0.0", 0),
        ('{"$float":"AAAAAAAAAIA="}', 0),
        (f'{{"$float":"{coded("<d", math.inf)}"}}', math.inf),
        (f'{{"$integer":"{coded("<q", 2**60 + 1)}"}}', 2**60 + 1),
        ('{"$bytes":"AAEC"}', "AAEC"),
        (
            '{"a":[1.0,{"$integer":"AQAAAAAAAAA="},{"$bytes":""}],"b":null}',
            {"a": [1, 1, ""], "b": None},
        ),
        ("[true,false]", [True, False]),
        ('"ключ"', "ключ"),
        ("{}", {}),
        ("null", None),
    ],
)
async def test_values_are_read_as_what_they_mean(text: str, value: Value) -> None:
    body = f'{{"status":"success","value":{text},"logLines":["[LOG] \'x\'"]}}'
    called = Called(httpx2.Response(200, text=body))

    assert repr(await called()) == repr(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.floats()
    | st.integers()
    | st.builds(lambda number: ConvexInt64(number), st.integers(-(2**63), 2**63 - 1))
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("ab$ ~é_", max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def _as_json(value: Any) -> Any:
    """What a value is on the wire, also where it is none that Convex has."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return convex_to_json(value)


def _through_convex_values(text: str) -> Value:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return value.value if isinstance(value, ConvexInt64) else whole_numbers(value)

    return cast(Value, plain(json_to_convex(json.loads(text, parse_int=float))))


@given(value=VALUES)
def test_answers_are_read_as_convex_values_reads_them(value: Any) -> None:
    text = json.dumps(_as_json(value), ensure_ascii=False)
    expected = read = "no value of Convex"
    with suppress(ValueError, TypeError):
        expected = repr(_through_convex_values(text))
    with suppress(ValueError):
        read = repr(decode_answer(text.encode()))

    assert read == expected


@given(value=VALUES)
def test_arguments_are_written_as_convex_values_writes_them(value: Any) -> None:
    args = {"value": value}
    try:
        check(args)
    except FunctionError:
        return
    written = json.loads(encode_request("a:b", args))

    assert written["args"] == convex_to_json(args)
    assert repr(_through_convex_values(json.dumps(written["args"]))) == repr(whole_numbers(args))


async def test_a_function_error_may_come_with_status_560() -> None:
    called = Called(
        httpx2.Response(560, json={"status": "error", "errorMessage": "Uncaught Error: x"})
    )

    error = await called.error()

    assert (type(error), error.message) == (FunctionError, "x")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("refused", FunctionError),
        ("invalid_argument", InvalidArgument),
        ("dimension_mismatch", DimensionMismatch),
        ("not_found", NotFound),
        ("conflict", Conflict),
        ("limit_exceeded", LimitExceeded),
    ],
)
async def test_coded_refusals_become_their_class(code: str, kind: type[FunctionError]) -> None:
    data = {"code": code, "message": "No such thing.", "details": {"limit": 3.0, "of": ["a"]}}
    called = Called(failure("[Request ID: 1] Server Error", errorData=data))

    error = await called.error("mutation", retry=True)

    assert (type(error), error.message) == (kind, "No such thing.")
    assert repr(error.details) == "{'limit': 3, 'of': ['a']}"
    assert called.sends == 1


REQUEST = "[Request ID: 3d96a5baeec009b4] Server Error"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            f"{REQUEST}\nUncaught Error: boom\n    at handler (../convex/t.ts:7:9)\n",
            FunctionError,
            "boom",
        ),
        (f"{REQUEST}\nUncaught TypeError: boom\n    at f (a.ts)", FunctionError, "TypeError: boom"),
        (f'{REQUEST}\nUncaught ConvexError: {{"a":1}}\n', FunctionError, '{"a":1}'),
        ("Uncaught Error: first\nsecond", FunctionError, "first\nsecond"),
        ("plain", FunctionError, "plain"),
        (
            f"{REQUEST}\nTrying to execute t.js:f as Mutation, but it is defined as Query.",
            FunctionError,
            "Trying to execute t.js:f as Mutation, but it is defined as Query.",
        ),
        (
            f"{REQUEST}\nArgumentValidationError: Object contains extra field `x` that is not in "
            'the validator.\n\nObject: {text: "secret"}\nValidator: v.object({})',
            InvalidArgument,
            "ArgumentValidationError: Object contains extra field `x` that is not in the "
            "validator.\n\nValidator: v.object({})",
        ),
        (
            f"{REQUEST}\nInvalid arguments for t.js:f: Field name $x starts with '$', "
            "which is reserved.",
            InvalidArgument,
            "Invalid arguments for t.js:f: Field name $x starts with '$', which is reserved.",
        ),
        (
            f"{REQUEST}\nArguments for t.js:f are too large (actual: 17 MiB, limit: 16 MiB)",
            LimitExceeded,
            "Arguments for t.js:f are too large (actual: 17 MiB, limit: 16 MiB)",
        ),
    ],
)
async def test_texts_of_functions_are_shown_without_their_wrapping(
    text: str, kind: type[FunctionError], message: str
) -> None:
    error = await Called(failure(text)).error()

    assert (type(error), error.message) == (kind, message)


@pytest.mark.parametrize(
    "text",
    [
        "Could not find public function for 'memory/meta:version'.",
        f"{REQUEST}\nCould not find public function for 'memory/meta:version'.",
        f"{REQUEST}\nCould not find function for 'memory/meta:version'. Did you forget to run "
        "`npx convex dev`?",
    ],
)
async def test_an_unknown_function_is_not_deployed(text: str) -> None:
    error = await Called(failure(text)).error()

    assert type(error) is FunctionNotDeployed
    assert "memory/meta:version" in error.message


async def test_a_deployment_that_hides_its_errors_still_names_the_request() -> None:
    error = await Called(failure(REQUEST)).error()

    assert type(error) is FunctionError
    assert "request 3d96a5baeec009b4" in error.message


@pytest.mark.parametrize("data", ["text", 7, None, {"code": "other"}, {"code": ["not_found"]}, {}])
async def test_error_data_of_others_is_not_mistaken_for_ours(data: Any) -> None:
    error = await Called(failure("Uncaught ConvexError: theirs", errorData=data)).error()

    assert (type(error), error.message) == (FunctionError, "theirs")


async def test_long_texts_are_cut() -> None:
    error = await Called(failure("Uncaught Error: " + "x" * 10_000)).error()

    assert error.message == "x" * 500


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html></html>",
        '{"status":"success","value":1.0',
        "[]",
        "null",
        '{"status":"success"}',
        '{"status":"partial","value":1.0}',
        '{"value":1.0}',
        '{"status":"success","value":NaN}',
        '{"status":"success","value":{"$float":"AAAAAAAA8D8="}}',
        '{"status":"success","value":{"$float":"AAAA"}}',
        '{"status":"success","value":{"$integer":7}}',
        '{"status":"success","value":{"$set":"secret"}}',
        "[" * 100_000,
    ],
)
async def test_answers_the_protocol_does_not_know_are_reported(body: str) -> None:
    called = Called(httpx2.Response(200, text=body))

    error = await called.error("mutation", retry=True)

    assert type(error) is InvalidResponse
    assert "may or may not have happened" in error.message
    assert "secret" not in "".join(traceback.format_exception(error))
    assert called.sends == 1


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    read = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> Any:
            nonlocal read
            while True:
                read += 1 << 20
                yield b" " * (1 << 20)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Endless())

    deployment = RemoteDeployment(URL, KEY, transport=httpx2.MockTransport(answer))
    with pytest.raises(InvalidResponse, match="more than"):
        await deployment.call("query", "a:b", {})

    assert read == ANSWER_BYTES_MAX + (1 << 20)


# --- Refusals of the transport


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(401, "InvalidAuthHeader"), Unauthorized),
        (refusal(403, "BadDeployKey"), Unauthorized),
        (refusal(400, "InvalidAdminKey"), Unauthorized),
        (bare(403), Unauthorized),
        (refusal(429, "TooManyConcurrentRequests"), Overloaded),
        (bare(429), Overloaded),
        (refusal(503, "OptimisticConcurrencyControlFailure"), Overloaded),
        (refusal(503, "Overloaded"), Overloaded),
        (bare(503), DeploymentError),
        (refusal(500, "InternalServerError"), DeploymentError),
        (refusal(500, "StorageFailed"), StorageFailed),
        (bare(502), DeploymentError),
        (bare(504), DeploymentError),
        (bare(408), DeploymentTimeout),
        (refusal(404, "NotFound"), FunctionNotDeployed),
        (bare(404), FunctionNotDeployed),
        (refusal(400, "BadFormat"), DeploymentError),
        (refusal(400, "BadConvexFunctionIdentifier"), InvalidArgument),
        (bare(413), LimitExceeded),
        (
            httpx2.Response(400, json={"code": "BadJsonBody", "message": "too large"}),
            LimitExceeded,
        ),
        (bare(302, location="https://elsewhere"), InvalidResponse),
        (bare(204), InvalidResponse),
    ],
)
async def test_each_status_has_its_error(
    answer: httpx2.Response, kind: type[ConvexMemoryError]
) -> None:
    error = await Called(answer).error("mutation")

    assert type(error) is kind
    assert error.message.endswith(".")


# --- Trying again

CONNECT = httpx2.ConnectError("refused")
ALWAYS: list[Step] = [
    CONNECT,
    httpx2.ConnectTimeout("slow"),
    httpx2.PoolTimeout("full"),
    refusal(429, "TooManyConcurrentRequests"),
    bare(429),
]
NOT_EXECUTED: list[Step] = [
    refusal(503, "OptimisticConcurrencyControlFailure"),
    refusal(503, "Overloaded"),
]
LOST: list[Step] = [
    httpx2.ReadTimeout("slow"),
    httpx2.WriteTimeout("slow"),
    httpx2.ReadError("reset"),
    httpx2.WriteError("reset"),
    httpx2.RemoteProtocolError("incomplete chunked read"),
    refusal(500, "InternalServerError"),
    bare(502),
    bare(503),
    bare(504),
    bare(408),
]
FINAL: list[Step] = [
    failure("Uncaught Error: no"),
    refusal(403, "BadDeployKey"),
    refusal(404, "NotFound"),
    refusal(400, "BadJsonBody"),
    refusal(500, "StorageFailed"),
    bare(302),
    httpx2.Response(200, text="garbage"),
]
HARMLESS_MATRIX: list[tuple[Kind, bool | None, bool]] = [
    ("query", None, True),
    ("query", True, True),
    ("query", False, False),
    ("mutation", None, False),
    ("mutation", True, True),
    ("mutation", False, False),
    ("action", None, False),
    ("action", True, True),
    ("action", False, False),
]


def named(step: Step) -> str:
    return str(step.status_code) if isinstance(step, httpx2.Response) else type(step).__name__


@pytest.mark.parametrize(("kind", "retry", "harmless"), HARMLESS_MATRIX)
@pytest.mark.parametrize("step", ALWAYS, ids=named)
async def test_what_was_not_executed_is_always_sent_again(
    step: Step, kind: Kind, retry: bool | None, harmless: bool
) -> None:
    called = Called(step, step, step, success("done"))

    assert await called(kind, retry=retry) == "done"
    assert called.sends == 4


@pytest.mark.parametrize(("kind", "retry", "harmless"), HARMLESS_MATRIX)
@pytest.mark.parametrize("step", NOT_EXECUTED, ids=named)
async def test_a_503_of_convex_is_sent_again_unless_half_an_action_may_be_done(
    step: Step, kind: Kind, retry: bool | None, harmless: bool
) -> None:
    called = Called(step)

    assert type(await called.error(kind, retry=retry)) is Overloaded
    assert called.sends == (4 if harmless or kind != "action" else 1)


@pytest.mark.parametrize(("kind", "retry", "harmless"), HARMLESS_MATRIX)
@pytest.mark.parametrize("step", LOST, ids=named)
async def test_a_call_whose_answer_was_lost_is_sent_again_only_if_harmless(
    step: Step, kind: Kind, retry: bool | None, harmless: bool
) -> None:
    called = Called(step)

    error = await called.error(kind, retry=retry)

    assert called.sends == (4 if harmless else 1)
    assert ("nothing was changed" if kind == "query" else "may or may not") in error.message


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.parametrize("step", FINAL, ids=named)
async def test_a_final_answer_is_not_asked_for_again(step: Step, kind: Kind) -> None:
    called = Called(step)

    await called.error(kind, retry=True)

    assert called.sends == 1


@pytest.mark.parametrize(
    ("step", "kind", "told"),
    [
        (CONNECT, Unreachable, "was not executed"),
        (httpx2.ConnectTimeout("slow"), Unreachable, "was not executed"),
        (httpx2.ReadTimeout("slow"), DeploymentTimeout, "may or may not have happened"),
        (httpx2.ReadError("reset"), InvalidResponse, "may or may not have happened"),
    ],
)
async def test_errors_say_whether_the_call_may_have_happened(
    step: Step, kind: type[DeploymentError], told: str
) -> None:
    error = await Called(step).error("mutation")

    assert type(error) is kind
    assert told in error.message
    assert error.__cause__ is step


async def test_a_later_failure_to_connect_does_not_deny_an_earlier_try() -> None:
    called = Called(httpx2.ReadError("reset"), CONNECT)

    error = await called.error("mutation", retry=True)

    assert called.sends == 4
    assert "may or may not have happened" in error.message


async def test_pauses_double_with_jitter_and_are_bounded() -> None:
    called = Called(CONNECT)

    await called.error()

    assert len(called.clock.pauses) == 3
    for pause, longest in zip(called.clock.pauses, (0.1, 0.2, 0.4), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("after", ["7", "7.0"])
async def test_the_pause_that_the_deployment_asks_for_is_kept(after: str) -> None:
    called = Called(bare(429, **{"Retry-After": after}), success(1))

    assert await called("mutation") == 1
    assert called.clock.pauses == [7]


@pytest.mark.parametrize("after", ["-7", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
async def test_a_pause_that_is_no_number_of_seconds_is_ignored(after: str) -> None:
    called = Called(bare(429, **{"Retry-After": after}), success(1))

    assert await called("mutation") == 1
    assert called.clock.pauses[0] <= 0.1


@pytest.mark.parametrize(
    ("timeout_ms", "after", "sends"),
    [(5000, "6", 1), (5000, "4", 2), (0, "59", 4), (0, "61", 1)],
)
async def test_a_pause_beyond_the_deadline_is_not_waited_for(
    timeout_ms: int, after: str, sends: int
) -> None:
    called = Called(bare(429, **{"Retry-After": after}), timeout_ms=timeout_ms)

    assert type(await called.error()) is Overloaded
    assert called.sends == sends


async def test_the_deadline_covers_every_try() -> None:
    called = Called(bare(429, **{"Retry-After": "10"}))

    assert type(await called.error(timeout_ms=25_000)) is Overloaded
    assert called.sends == 3
    assert called.clock.pauses == [10, 10]


# --- Deadlines


def silent() -> tuple[RemoteDeployment, asyncio.Event]:
    asked = asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    return RemoteDeployment(URL, KEY, transport=httpx2.MockTransport(answer)), asked


@pytest.mark.parametrize(
    ("kind", "told"),
    [("query", "nothing was changed"), ("mutation", "may or may not have happened")],
)
async def test_a_call_without_answer_ends_at_its_deadline(kind: Kind, told: str) -> None:
    deployment, asked = silent()

    with pytest.raises(DeploymentTimeout, match=r"within 20 ms\. .*" + told):
        await deployment.call(kind, "a:b", {}, timeout_ms=20, retry=True)

    assert asked.is_set()


async def test_a_call_without_deadline_waits_until_cancelled() -> None:
    deployment, asked = silent()
    call = asyncio.create_task(deployment.call("query", "a:b", {}, timeout_ms=0))
    await asked.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize(
    ("timeout_ms", "connect"), [(0, 5.0), (1000, 0.5), (60_000, 5.0), (None, 5.0)]
)
async def test_connecting_gets_at_most_half_of_the_time(
    timeout_ms: int | None, connect: float
) -> None:
    called = Called(success(1))

    await called(timeout_ms=timeout_ms)

    assert called.script.requests[0].extensions["timeout"] == {
        "connect": connect,
        "read": None,
        "write": None,
        "pool": None,
    }


async def test_negative_timeouts_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="timeout_ms is -1"):
        await Called(success(1))(timeout_ms=-1)
    with pytest.raises(ConfigurationError, match="timeout_ms is -1"):
        RemoteDeployment(URL, KEY, timeout_ms=-1)


# --- Keys, addresses and logs


@pytest.mark.parametrize(
    "answer",
    [
        refusal(403, f"Bad key {KEY}"),
        httpx2.Response(403, json={"code": "BadDeployKey", "message": f"not {KEY}!"}),
        httpx2.Response(400, json={"code": KEY, "message": KEY}),
        httpx2.Response(429, json={"code": KEY, "message": KEY}),
        httpx2.Response(500, json={"code": KEY, "message": KEY}),
        failure(f"Uncaught Error: {KEY}"),
        failure("x", errorData={"code": "conflict", "message": KEY, "details": {"a": [KEY]}}),
        httpx2.Response(200, text=KEY),
    ],
)
async def test_a_key_that_the_deployment_repeats_is_not_shown(
    answer: httpx2.Response, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await Called(answer).error()

    assert KEY not in caplog.text


def test_the_key_is_in_no_repr() -> None:
    deployment = RemoteDeployment(URL, KEY)

    assert repr(deployment) == f"RemoteDeployment('{URL}')"


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "tab\t", "ключ", "\x00"])
def test_keys_that_cannot_be_sent_are_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RemoteDeployment(URL, key)

    assert key == "" or key not in raised.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "happy-animal-123.convex.cloud",
        "ftp://host",
        "https://",
        "https://:80",
        "https://host:0",
        "https://host:99999",
        "https://host:port",
        "https://[::1",
        "https://user:secret@host",
        "https://host?secret=1",
        "https://host#secret",
        "https://ho st",
        "https://secret.convex.site",
    ],
)
def test_addresses_that_cannot_be_called_are_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RemoteDeployment(url, KEY)

    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("step", "code", "status", "sends"),
    [
        (CONNECT, "unreachable", "-", 4),
        (refusal(429, "TooManyConcurrentRequests"), "overloaded", "429", 4),
        (failure("Uncaught Error: content"), "refused", "200", 1),
    ],
)
async def test_a_failed_call_leaves_one_line_without_content(
    step: Step, code: str, status: str, sends: int, caplog: pytest.LogCaptureFixture
) -> None:
    called = Called(step)

    await called.error("query", args={"text": "content"})

    [record] = [one for one in caplog.records if one.name == "convex_memory.remote"]
    ms = int(sum(called.clock.pauses) * 1000)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"call failed path=memory/meta:version kind=query code={code} status={status} "
        f"tries={sends} ms={ms}"
    )


async def test_a_call_that_is_never_sent_leaves_its_line_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await Called(success(1)).error("mutation", args={"$content": 1})

    assert [record.getMessage() for record in caplog.records] == [
        "call failed path=memory/meta:version kind=mutation code=invalid_argument status=- "
        "tries=0 ms=0"
    ]


async def test_a_call_that_succeeds_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    await Called(CONNECT, success(1))()

    assert [one for one in caplog.records if one.name.startswith("convex_memory")] == []


# --- Lifetime


async def test_calls_of_one_loop_share_their_connections() -> None:
    called = Called(success(1))

    await asyncio.gather(*(called() for _ in range(5)))
    async with called.deployment:
        await called()

    assert called.script.closed == 1


async def test_a_closed_deployment_refuses_calls() -> None:
    called = Called(success(1))
    await called.deployment.aclose()
    await called.deployment.aclose()

    assert type(await called.error()) is Unreachable
    assert called.sends == 0


def test_a_transport_serves_one_event_loop_after_another() -> None:
    called = Called(success(1))

    assert asyncio.run(called()) == 1
    assert asyncio.run(called()) == 1
    assert called.sends == 2
    assert called.script.closed == 0


def test_each_event_loop_has_connections_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    deployment = RemoteDeployment(nobody, KEY, sleep=Clock().sleep)

    async def fails() -> None:
        with pytest.raises(Unreachable):
            await deployment.call("query", "a:b", {})

    asyncio.run(fails())
    asyncio.run(fails())
    asyncio.run(deployment.aclose())
    gc.collect()


def test_connections_of_a_loop_that_runs_elsewhere_are_closed_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    deployment = RemoteDeployment(nobody, KEY, sleep=Clock().sleep)
    failed, closed = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        with pytest.raises(Unreachable):
            await deployment.call("query", "a:b", {})
        failed.set()
        await asyncio.to_thread(closed.wait)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    failed.wait()
    asyncio.run(deployment.aclose())
    closed.set()
    thread.join()
    gc.collect()


# --- Over the HTTP function API of the embedded deployment


class Answering:
    def __init__(self, answer: Callable[[Mapping[str, Value]], Value]) -> None:
        self.answer = answer

    def kind_of(self, path: str) -> Kind | None:
        return "mutation" if path == "memory/messages:save" else None

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        check(args)
        return self.answer(args)

    async def aclose(self) -> None:
        pass


def over_http(answer: Callable[[Mapping[str, Value]], Value], key: str = KEY) -> Deployment:
    app = create_app(Answering(answer), admin_key=KEY)
    return RemoteDeployment(URL, key, transport=httpx2.ASGITransport(app), sleep=Clock().sleep)


async def test_values_pass_through_both_sides_unchanged() -> None:
    args: dict[str, Value] = {"a": [1, 0.5, 1e21, "ключ", None, True], "b": {"c": {}}, "d": -1.5}

    deployment = over_http(lambda received: {"got": received, "time": 1732300000000.25})

    assert await deployment.call("mutation", "memory/messages.js:save", args) == {
        "got": args,
        "time": 1732300000000.25,
    }


@pytest.mark.parametrize(
    "error",
    [
        FunctionError("Said so."),
        InvalidArgument("Said so."),
        DimensionMismatch("Said so.", details={"expected": 3, "got": 4}),
        NotFound("Said so."),
        Conflict("Said so."),
        LimitExceeded("Said so."),
    ],
)
async def test_refusals_pass_through_both_sides_unchanged(error: FunctionError) -> None:
    def refuse(args: Mapping[str, Value]) -> Value:
        raise error

    with pytest.raises(FunctionError) as raised:
        await over_http(refuse).call("mutation", "memory/messages:save", {})

    assert (type(raised.value), raised.value.message) == (type(error), "Said so.")
    assert raised.value.details == error.details


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StorageFailed("The disk is full."), StorageFailed),
        (Overloaded("Slow down."), Overloaded),
        (DeploymentTimeout("Late."), DeploymentTimeout),
        (FunctionNotDeployed("Gone."), FunctionNotDeployed),
        (RuntimeError("secret"), DeploymentError),
    ],
)
async def test_failures_keep_their_class_over_both_sides(
    error: Exception, kind: type[DeploymentError]
) -> None:
    def fail(args: Mapping[str, Value]) -> Value:
        raise error

    with pytest.raises(DeploymentError) as raised:
        await over_http(fail).call("mutation", "memory/messages:save", {})

    assert type(raised.value) is kind
    assert "secret" not in raised.value.message


async def test_a_wrong_key_and_a_wrong_path_are_told_apart() -> None:
    with pytest.raises(Unauthorized):
        await over_http(lambda args: None, key="other").call("mutation", "a:b", {})
    with pytest.raises(FunctionNotDeployed):
        await over_http(lambda args: None).call("mutation", "a:b", {})
    with pytest.raises(FunctionError, match="it is defined as Mutation"):
        await over_http(lambda args: None).call("query", "memory/messages:save", {})
    with pytest.raises(InvalidArgument, match="cannot be the path"):
        await over_http(lambda args: None).call("query", "a-b:c", {})
