"""Convex's HTTP function API over a deployment that answers as each test says."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Kind
from convex_memory.embedded.admission import Admission
from convex_memory.embedded.http import _overloaded, create_app, serve
from convex_memory.embedded.listener import _listen
from convex_memory.errors import (
    ConfigurationError,
    Conflict,
    ConvexMemoryError,
    DeploymentTimeout,
    DimensionMismatch,
    FunctionError,
    FunctionNotDeployed,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Overloaded,
    StorageFailed,
    Unauthorized,
)
from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from convex_memory.remote import RemoteDeployment
from convex_memory.values import Value, check

pytestmark = pytest.mark.anyio

KEY = "local|0123abcd"
AUTHORIZED = {"Authorization": f"Convex {KEY}"}
KINDS: dict[str, Kind] = {
    "mastra/storage:handle": "mutation",
    "memory/meta:version": "query",
    "mastra/nativeVector:query": "action",
    "jobs:default": "mutation",
}


class Recorded:
    """A deployment that remembers its calls and answers with `answer(args)`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Kind, str, Mapping[str, Value]]] = []
        self.answer: Callable[[Mapping[str, Value]], Awaitable[Value]] = self.echo

    async def echo(self, args: Mapping[str, Value]) -> Value:
        check(args)
        return {"ok": True, "args": args}

    def returns(self, value: Value) -> None:
        async def answer(args: Mapping[str, Value]) -> Value:
            return value

        self.answer = answer

    def raises(self, error: Exception) -> None:
        async def answer(args: Mapping[str, Value]) -> Value:
            raise error

        self.answer = answer

    def kind_of(self, path: str) -> Kind | None:
        return KINDS.get(path)

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.calls.append((kind, path, args))
        return await self.answer(args)

    async def aclose(self) -> None:
        raise AssertionError("whoever made the deployment closes it")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def deployment() -> Recorded:
    return Recorded()


@pytest.fixture
async def http(deployment: Recorded) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(deployment, admin_key=KEY)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://deployment", trust_env=False
    ) as client:
        yield client


async def post(
    http: httpx2.AsyncClient, route: str, body: Any, headers: Mapping[str, str] = AUTHORIZED
) -> httpx2.Response:
    return await http.post(route, json=body, headers=dict(headers))


def storage(args: Any, **more: Any) -> dict[str, Any]:
    return {"path": "mastra/storage:handle", "args": args, **more}


async def error_message(http: httpx2.AsyncClient, route: str, body: Any, **headers: str) -> str:
    answer = await post(http, route, body, {**AUTHORIZED, **headers})
    assert answer.status_code == 200
    reply = answer.json()
    assert reply["status"] == "error"
    wrapper, text = reply["errorMessage"].split(" Server Error\n", 1)
    assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\]", wrapper)
    return str(text)


# --- Calls


@pytest.mark.parametrize(
    ("route", "path", "kind"),
    [
        ("/api/query", "memory/meta:version", "query"),
        ("/api/mutation", "mastra/storage:handle", "mutation"),
        ("/api/action", "mastra/nativeVector:query", "action"),
        ("/api/function", "memory/meta:version", "query"),
        ("/api/function", "mastra/storage:handle", "mutation"),
        ("/api/function", "mastra/nativeVector:query", "action"),
    ],
)
async def test_each_route_runs_its_kind_of_function(
    http: httpx2.AsyncClient, deployment: Recorded, route: str, path: str, kind: Kind
) -> None:
    answer = await post(http, route, {"path": path, "args": {"a": 1}})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "status": "success",
        "value": {"ok": True, "args": {"a": 1}},
        "logLines": [],
    }
    assert deployment.calls == [(kind, path, {"a": 1})]


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("/api/run/mastra/storage/handle", "mutation", "mastra/storage:handle"),
        ("/api/run/mastra/storage.js/handle", "mutation", "mastra/storage:handle"),
        ("/api/run/memory/meta/version", "query", "memory/meta:version"),
        ("/api/run/jobs/default", "mutation", "jobs:default"),
    ],
)
async def test_run_takes_the_path_from_the_url(
    http: httpx2.AsyncClient, deployment: Recorded, url: str, kind: Kind, path: str
) -> None:
    answer = await post(http, url, {"args": {"a": "b"}})

    assert answer.json()["status"] == "success"
    assert deployment.calls == [(kind, path, {"a": "b"})]


async def test_a_query_can_be_asked_for_with_get(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    answer = await http.get(
        "/api/query",
        params={"path": "memory/meta:version", "args": '{"a":[1]}', "format": "json"},
        headers=AUTHORIZED,
    )

    assert answer.json()["value"] == {"ok": True, "args": {"a": [1]}}
    assert deployment.calls == [("query", "memory/meta:version", {"a": [1]})]


async def test_a_batch_answers_each_query(http: httpx2.AsyncClient, deployment: Recorded) -> None:
    answer = await post(
        http,
        "/api/query_batch",
        {
            "queries": [
                {"path": "memory/meta:version", "args": {"n": 1}},
                {"path": "memory/meta:nothing", "args": {}},
                {"path": "mastra/storage:handle", "args": {}},
                {"path": "memory/meta:version", "args": [{"n": 2}]},
            ]
        },
    )

    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["success", "error", "error", "success"]
    assert [args for _, _, args in deployment.calls] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("path", ["mastra/storage:handle", "mastra/storage.js:handle"])
@pytest.mark.parametrize("args", [{"op": "load"}, [{"op": "load"}]])
async def test_both_spellings_of_paths_and_arguments_are_the_same_call(
    http: httpx2.AsyncClient, deployment: Recorded, path: str, args: Any
) -> None:
    await post(http, "/api/mutation", {"path": path, "args": args})

    assert deployment.calls == [("mutation", "mastra/storage:handle", {"op": "load"})]


@pytest.mark.parametrize("path", ["jobs", "jobs.js", "jobs:default"])
async def test_a_path_without_function_means_the_default_one(
    http: httpx2.AsyncClient, deployment: Recorded, path: str
) -> None:
    await post(http, "/api/mutation", {"path": path, "args": {}})

    assert deployment.calls == [("mutation", "jobs:default", {})]


# --- Values


async def test_numbers_have_fractions_and_keys_are_sorted(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    deployment.returns({"b": 1, "a": [0, 1e21, True], "_id": None})

    answer = await post(http, "/api/mutation", storage({}))

    assert '"value":{"_id":null,"a":[0.0,1e+21,true],"b":1.0}' in answer.text


@pytest.mark.parametrize(
    ("name", "minus_zero"),
    [
        (None, "-0.0"),
        ("json", "-0.0"),
        ("convex_clean_json", "-0.0"),
        ("convex_json", '{"$float":"AAAAAAAAAIA="}'),
        ("convex_encoded_json", '{"$float":"AAAAAAAAAIA="}'),
    ],
)
async def test_formats_differ_in_numbers_that_json_lacks(
    http: httpx2.AsyncClient, deployment: Recorded, name: str | None, minus_zero: str
) -> None:
    deployment.returns([-0.0, 2])

    answer = await post(http, "/api/mutation", storage({}, format=name))

    assert f'"value":[{minus_zero},2.0]' in answer.text


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=JSON_VALUES)
async def test_any_json_value_arrives_and_comes_back_unchanged(
    http: httpx2.AsyncClient, value: Value
) -> None:
    answer = await post(http, "/api/mutation", storage({"value": value}))

    assert answer.json()["value"]["args"] == {"value": value}


async def test_integers_beyond_two_to_the_53_are_the_float_the_wire_means(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    await http.post(
        "/api/mutation",
        content='{"path":"mastra/storage:handle","args":{"a":10000000000000000000,"b":12}}',
        headers={**AUTHORIZED, "Content-Type": "application/json; charset=utf-8"},
    )

    assert repr(deployment.calls[0][2]) == "{'a': 1e+19, 'b': 12}"


async def test_encoded_minus_zero_is_read(http: httpx2.AsyncClient, deployment: Recorded) -> None:
    await post(http, "/api/mutation", storage({"a": {"$float": "AAAAAAAAAIA="}}))

    assert repr(deployment.calls[0][2]) == "{'a': -0.0}"


def encoded(number: float) -> str:
    return base64.b64encode(struct.pack("<d", number)).decode()


@pytest.mark.parametrize(
    ("special", "told"),
    [
        ({"$float": encoded(float("nan"))}, "$float holds nan; numbers must be finite."),
        ({"$float": encoded(float("-inf"))}, "$float holds -inf; numbers must be finite."),
        ({"$float": encoded(1.5)}, "Send it as a plain number."),
        ({"$float": "??"}, "must hold the base64 of a 64-bit float."),
        ({"$float": "AAAA"}, "must hold the base64 of a 64-bit float."),
        ({"$float": 1}, "must hold the base64 of a 64-bit float."),
        ({"$integer": "AAAAAAAAAAA="}, "64-bit integers, which are not stored here."),
        ({"$bytes": "AAAA"}, "bytes, which are not stored here."),
    ],
)
async def test_special_values_that_cannot_be_stored_are_refused(
    http: httpx2.AsyncClient, deployment: Recorded, special: Any, told: str
) -> None:
    body = storage({"deep": [{"a": special}, 1]})
    reply = (await post(http, "/api/mutation", body)).json()

    assert (
        reply["errorMessage"]
        .split("\n", 1)[1]
        .startswith("Invalid arguments for mastra/storage.js:handle: $")
    )
    assert told in reply["errorMessage"]
    assert reply["errorData"]["code"] == "invalid_argument"
    assert deployment.calls == []


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"metadata": {"$x": 1}}, "Field name $x starts with '$', which is reserved."),
        ({"metadata": {"ключ": 1}}, "has a character outside printable ASCII."),
        ({"a": {"$x": 1, "$y": 2}}, "Field name $x starts with '$', which is reserved."),
    ],
)
async def test_malformed_field_names_are_refused_with_the_text_of_convex(
    http: httpx2.AsyncClient, args: Any, told: str
) -> None:
    text = await error_message(http, "/api/mutation", storage(args))

    assert text.startswith("Invalid arguments for mastra/storage.js:handle: Field name ")
    assert told in text


async def test_lone_surrogates_are_refused_and_never_break_the_answer(
    http: httpx2.AsyncClient,
) -> None:
    answer = await http.post(
        "/api/mutation",
        content=b'{"path":"mastra/storage:handle","args":{"$\\ud800":1,"b":2}}',
        headers={**AUTHORIZED, "Content-Type": "application/json"},
    )

    assert answer.status_code == 200
    assert "Field name $\ud800 starts with '$'" in answer.json()["errorMessage"]


# --- Errors of functions


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (FunctionError("No."), {"code": "refused", "message": "No."}),
        (InvalidArgument("No."), {"code": "invalid_argument", "message": "No."}),
        (NotFound("No."), {"code": "not_found", "message": "No."}),
        (Conflict("No."), {"code": "conflict", "message": "No."}),
        (LimitExceeded("No."), {"code": "limit_exceeded", "message": "No."}),
        (
            DimensionMismatch("No.", details={"expected": 3}),
            {"code": "dimension_mismatch", "message": "No.", "details": {"expected": 3.0}},
        ),
    ],
)
async def test_a_refusal_is_an_answer_with_its_code(
    http: httpx2.AsyncClient, deployment: Recorded, error: FunctionError, data: Any
) -> None:
    deployment.raises(error)

    answer = await post(
        http,
        "/api/mutation",
        storage({}),
        {**AUTHORIZED, "convex-request-id": "3d96a5baeec009b4"},
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "error",
        "errorMessage": ("[Request ID: 3d96a5baeec009b4] Server Error\nUncaught ConvexError: No."),
        "errorData": data,
        "logLines": [],
    }


async def test_a_useless_request_id_is_replaced(http: httpx2.AsyncClient) -> None:
    body = {"path": "nowhere:f", "args": {}}

    text = await error_message(http, "/api/query", body, **{"convex-request-id": "not an id!"})

    assert text == "Could not find public function for 'nowhere:f'."


@pytest.mark.parametrize(
    ("route", "path", "told"),
    [
        (
            "/api/mutation",
            "memory/meta:version",
            "Trying to execute memory/meta.js:version as Mutation, but it is defined as Query.",
        ),
        (
            "/api/query",
            "mastra/nativeVector.js:query",
            "Trying to execute mastra/nativeVector.js:query as Query, but it is defined as Action.",
        ),
        ("/api/action", "m:f", "Could not find public function for 'm:f'."),
        ("/api/action", "m.js:f", "Could not find public function for 'm:f'."),
        (
            "/api/function",
            "m:f",
            "Could not find function for 'm:f'. Did you forget to run `npx convex dev`?",
        ),
    ],
)
async def test_a_function_that_cannot_be_run_so_is_an_error_of_the_call(
    http: httpx2.AsyncClient, deployment: Recorded, route: str, path: str, told: str
) -> None:
    assert await error_message(http, route, {"path": path, "args": {}}) == told
    assert deployment.calls == []


async def test_a_function_the_deployment_misses_is_unknown(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    deployment.raises(FunctionNotDeployed("gone"))

    text = await error_message(http, "/api/mutation", storage({}))

    assert text == "Could not find public function for 'mastra/storage:handle'."


async def test_components_have_no_functions_here(http: httpx2.AsyncClient) -> None:
    body = storage({}, componentPath="rag")

    assert "Could not find function" in await error_message(http, "/api/function", body)


# --- Keys


@pytest.mark.parametrize(
    "header",
    [
        f"Convex {KEY}",
        f"convex {KEY}",
        f"CONVEX  {KEY} ",
        f"Convex prod:{KEY}",
        f"Convex dev:{KEY}",
        f"Convex {KEY}:{base64.b64encode(b'{}').decode()}",
        f"Convex prod:{KEY}:" + base64.b64encode(b'{"subject":"u"}').decode(),
    ],
)
async def test_the_admin_key_opens_every_function(
    http: httpx2.AsyncClient, deployment: Recorded, header: str
) -> None:
    answer = await post(http, "/api/mutation", storage({}), {"Authorization": header})

    assert answer.json()["status"] == "success"


async def test_the_admin_key_may_stand_in_the_url(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    answer = await http.post("/api/mutation", params={"adminKey": KEY}, json=storage({}))
    refused = await http.post("/api/mutation", params={"adminKey": "other"}, json=storage({}))

    assert answer.json()["status"] == "success"
    assert refused.status_code == 403
    assert len(deployment.calls) == 1


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("Convex wrong", 403, "BadDeployKey"),
        (f"Convex {KEY}x", 403, "BadDeployKey"),
        (f"Convex {KEY[:-1]}", 403, "BadDeployKey"),
        (f"Convex {KEY}:garbage", 403, "BadDeployKey"),
        (f"Convex {KEY}:" + base64.b64encode(b"[]").decode(), 403, "BadDeployKey"),
        (f"Convex preview:{KEY}", 403, "BadDeployKey"),
        ("Convex \xff\xfe", 403, "BadDeployKey"),
        ("Convex", 401, "InvalidAuthHeader"),
        ("Convex  ", 401, "InvalidAuthHeader"),
        (KEY, 401, "InvalidAuthHeader"),
        (f"Basic {KEY}", 401, "InvalidAuthHeader"),
        ("", 401, "InvalidAuthHeader"),
        ("Bearer eyJ.e30.x", 401, "NoAuthProvider"),
    ],
)
@pytest.mark.parametrize("route", ["/api/mutation", "/api/function", "/api/query_batch"])
async def test_other_keys_are_refused(
    http: httpx2.AsyncClient,
    deployment: Recorded,
    header: str,
    status: int,
    code: str,
    route: str,
) -> None:
    answer = await http.post(
        route, json=storage({}), headers=[(b"Authorization", header.encode("latin-1"))]
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert KEY not in answer.text
    assert deployment.calls == []


@pytest.mark.parametrize("path", ["mastra/storage:handle", "memory/meta:version"])
async def test_without_a_key_functions_look_as_if_they_did_not_exist(
    http: httpx2.AsyncClient, deployment: Recorded, path: str
) -> None:
    id_header = {"convex-request-id": "0000000000000000"}
    known = await post(http, "/api/mutation", {"path": path, "args": {"$a": 1}}, id_header)
    unknown = await post(http, "/api/mutation", {"path": "a/b:c", "args": {}}, id_header)
    run = await post(http, f"/api/run/{path.replace(':', '/')}", {"args": {}}, id_header)
    admin_only = await post(http, "/api/function", {"path": path, "args": {}}, {})

    assert known.status_code == unknown.status_code == 200
    assert known.text == unknown.text.replace("a/b:c", path)
    assert f"Could not find function for '{path}'" in run.json()["errorMessage"]
    assert admin_only.status_code == 403
    assert deployment.calls == []


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "ключ"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(deployment: Recorded, key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        create_app(deployment, admin_key=key)

    assert key == "" or key not in raised.value.message


# --- Refusals before a function


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "BadJsonBody"),
        ("", "BadJsonBody"),
        ("[" * 100_000, "BadJsonBody"),
        (b"\xff", "BadJsonBody"),
        ("[]", "BadJsonBody"),
        ('{"path":"mastra/storage:handle","args":{"a":NaN}}', "BadJsonBody"),
        ('{"args":{}}', "BadJsonBody"),
        ('{"path":1,"args":{}}', "BadJsonBody"),
        ('{"path":"mastra/storage:handle"}', "BadJsonBody"),
        ('{"path":"mastra/storage:handle","args":null}', "BadJsonBody"),
        ('{"path":"mastra/storage:handle","args":[]}', "BadJsonBody"),
        ('{"path":"mastra/storage:handle","args":[{},{}]}', "BadJsonBody"),
        ('{"path":"mastra/storage:handle","args":{"$bytes":""}}', "BadJsonBody"),
        ('{"path":"","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"a-b:c","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"a b:c","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"a/b:c:d","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"/a:b","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"a:1","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"\\ud800","args":{}}', "BadConvexFunctionIdentifier"),
        ('{"path":"mastra/storage:handle","args":{},"format":"xml"}', "BadFormat"),
        ('{"path":"mastra/storage:handle","args":{},"format":7}', "BadFormat"),
    ],
)
async def test_requests_that_make_no_call_are_refused(
    http: httpx2.AsyncClient, deployment: Recorded, body: str | bytes, code: str
) -> None:
    answer = await http.post(
        "/api/mutation", content=body, headers={**AUTHORIZED, "Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"]
    assert deployment.calls == []


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(http: httpx2.AsyncClient, media_type: str) -> None:
    answer = await http.post(
        "/api/mutation",
        content=json.dumps(storage({})),
        headers={**AUTHORIZED, "Content-Type": media_type},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/api/query_batch", {}),
        ("/api/query_batch", {"queries": {}}),
        ("/api/query_batch", {"queries": [1]}),
        ("/api/run/mastra/storage/handle", {}),
    ],
)
async def test_the_other_routes_want_their_fields_too(
    http: httpx2.AsyncClient, url: str, body: Any
) -> None:
    answer = await post(http, url, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


@pytest.mark.parametrize("name", ["handle", "", "a-b/c"])
async def test_run_needs_a_module_and_a_function(http: httpx2.AsyncClient, name: str) -> None:
    answer = await post(http, f"/api/run/{name}", {"args": {}})

    assert (answer.status_code, answer.json()["code"]) == (400, "BadConvexFunctionIdentifier")


@pytest.mark.parametrize("params", [{}, {"path": "memory/meta:version", "args": "{"}])
async def test_a_query_in_the_url_must_be_whole(
    http: httpx2.AsyncClient, params: dict[str, str]
) -> None:
    answer = await http.get("/api/query", params=params, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


async def test_no_more_of_a_body_is_read_than_may_be_sent(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield b" " * (1 << 20)

    answer = await http.post(
        "/api/mutation",
        content=endless(),
        headers={**AUTHORIZED, "Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")
    assert sent == (REQUEST_BODY_BYTES_MAX // (1 << 20) + 1) << 20


async def test_a_body_announced_too_large_is_not_read_at_all(http: httpx2.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await http.post(
        "/api/mutation",
        content=unread(),
        headers={
            **AUTHORIZED,
            "Content-Type": "application/json",
            "Content-Length": str(REQUEST_BODY_BYTES_MAX + 1),
        },
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


async def test_large_bodies_are_read_whole(http: httpx2.AsyncClient, deployment: Recorded) -> None:
    vector = [number / 7 for number in range(8192)]

    await post(http, "/api/mutation", storage({"vectors": [vector] * 2}))

    assert deployment.calls[0][2] == {"vectors": [vector] * 2}


# --- Failures


@pytest.mark.parametrize(
    ("error", "status", "code", "told"),
    [
        (Overloaded("Slow down."), 503, "Overloaded", "Slow down."),
        (StorageFailed("The disk is full."), 500, "StorageFailed", "The disk is full."),
        (DeploymentTimeout("Too late."), 408, "Timeout", "Too late."),
    ],
)
async def test_a_deployment_that_fails_says_how(
    http: httpx2.AsyncClient,
    deployment: Recorded,
    error: ConvexMemoryError,
    status: int,
    code: str,
    told: str,
) -> None:
    deployment.raises(error)

    answer = await post(http, "/api/mutation", storage({}))

    assert (answer.status_code, answer.json()) == (status, {"code": code, "message": told})


@pytest.mark.parametrize("error", [KeyError("secret content"), Unauthorized("secret content")])
async def test_unforeseen_failures_are_hidden_and_logged_under_their_id(
    http: httpx2.AsyncClient,
    deployment: Recorded,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment.raises(error)

    answer = await post(http, "/api/mutation", storage({}))

    assert answer.status_code == 500
    assert answer.json()["code"] == "InternalServerError"
    request_id = answer.headers["convex-request-id"]
    assert request_id in answer.json()["message"]
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert request_id in record.getMessage()
    assert type(error).__name__ in record.getMessage()
    assert "secret" not in answer.text + caplog.text


async def test_values_that_are_not_json_are_a_failure_of_the_server(
    http: httpx2.AsyncClient, deployment: Recorded
) -> None:
    value: Any = {"a": object()}
    deployment.returns(value)

    answer = await post(http, "/api/mutation", storage({}))

    assert (answer.status_code, answer.json()["code"]) == (500, "InternalServerError")


# --- Around the functions


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("/", "This Convex deployment is running. See https://docs.convex.dev/."),
        ("/version", "convex-memory"),
        ("/instance_name", "convex-memory"),
    ],
)
async def test_the_deployment_names_itself(http: httpx2.AsyncClient, url: str, text: str) -> None:
    answer = await http.get(url)

    assert (answer.status_code, answer.text) == (200, text)


async def test_unknown_routes_and_methods_are_refused_as_json(http: httpx2.AsyncClient) -> None:
    missing = await http.get("/api/nothing")
    wrong = await http.get("/api/mutation")

    assert (missing.status_code, missing.json()["code"]) == (404, "NotFound")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "MethodNotAllowed")


async def test_browsers_of_any_origin_may_call(http: httpx2.AsyncClient) -> None:
    asked = await http.options(
        "/api/mutation",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,convex-client",
        },
    )
    answer = await post(
        http, "/api/mutation", storage({}), {**AUTHORIZED, "Origin": "https://app.example"}
    )

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-headers"] == "authorization,convex-client"
    assert asked.headers["access-control-max-age"] == "86400"
    for headers in (asked.headers, answer.headers):
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert headers["access-control-allow-credentials"] == "true"


# --- Over a socket


class Serving:
    """`serve` in a task, and where it listens."""

    def __init__(self, deployment: Recorded, host: str = "127.0.0.1") -> None:
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(deployment, host=host, port=0, admin_key=KEY, on_started=self.url.set_result)
        )


async def test_serving_answers_at_the_url_it_tells_and_stops_when_cancelled(
    deployment: Recorded, capfd: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.timeout(10):
        serving = Serving(deployment)
        url = await serving.url
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            answer = await post(http, "/api/mutation", storage({"a": 1}))
        serving.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving.task

    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
    assert answer.json()["value"]["args"] == {"a": 1}
    assert "server" not in answer.headers
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    assert capfd.readouterr().out == ""


LISTENER = "convex_memory.embedded.listener"


class Noticing(logging.Handler):
    """Sets an event when the server says that it shuts down."""

    def __init__(self, event: asyncio.Event) -> None:
        super().__init__()
        self.event = event

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Told to stop"):
            self.event.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_calls_finish_and_returns(
    deployment: Recorded, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    entered, stopping = asyncio.Event(), asyncio.Event()

    async def slow(args: Mapping[str, Value]) -> Value:
        entered.set()
        await stopping.wait()
        return "done"

    deployment.answer = slow
    before = signal.getsignal(number)
    caplog.set_level(logging.INFO, LISTENER)
    noticing = Noticing(stopping)
    logging.getLogger(LISTENER).addHandler(noticing)
    try:
        async with asyncio.timeout(10):
            serving = Serving(deployment)
            async with httpx2.AsyncClient(base_url=await serving.url, trust_env=False) as http:
                running = asyncio.create_task(post(http, "/api/mutation", storage({})))
                await entered.wait()
                os.kill(os.getpid(), number)
                answer = await running
            await serving.task
    finally:
        logging.getLogger(LISTENER).removeHandler(noticing)

    assert answer.json()["value"] == "done"
    assert signal.getsignal(number) is before


async def test_answers_are_sent_without_waiting_for_acknowledgements() -> None:
    with await _listen("127.0.0.1", 0, 16) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_more_requests_than_are_answered_are_told_that_nothing_was_done(
    deployment: Recorded,
) -> None:
    app = Admission(create_app(deployment, admin_key=KEY), requests_max=0, refuse=_overloaded)
    remote = RemoteDeployment(
        "http://127.0.0.1:3210",
        KEY,
        transport=httpx2.ASGITransport(app=app),
        sleep=lambda seconds: asyncio.sleep(0),
    )
    async with remote:
        # Tried again even where it must not happen twice, for it did not happen.
        with pytest.raises(Overloaded, match="nothing was done"):
            await remote.call("mutation", "a:b", {})
    assert deployment.calls == []


async def test_an_address_that_cannot_be_bound_is_a_setting_to_correct(
    deployment: Recorded,
) -> None:
    started: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1, port {port}: .*in use"):
            await serve(
                deployment, host="127.0.0.1", port=port, admin_key=KEY, on_started=started.append
            )
    with pytest.raises(ConfigurationError, match="70000 is no port"):
        await serve(
            deployment, host="127.0.0.1", port=70000, admin_key=KEY, on_started=started.append
        )
    assert started == []
