"""A deployment served over Convex's HTTP function API.

Mastra's adapters, the `convex` packages of PyPI and npm and our own `RemoteDeployment` speak to
it as they would to Convex: HTTP 200 for everything a function answered, errors of functions
included, and `{"code", "message"}` with another status for what never reached a function.

Every function served is internal: without the admin key each one is answered as a function that
does not exist.
"""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded.admission import Admission
from convex_memory.embedded.http_requests import (
    INSTANCE_NAME,
    Call,
    Refused,
    bad_json,
    bad_key,
    call_in,
    flaw_in,
    is_admin,
    json_body,
    parse,
)
from convex_memory.embedded.listener import run_app
from convex_memory.errors import (
    ConfigurationError,
    DeploymentTimeout,
    FunctionError,
    FunctionNotDeployed,
    Overloaded,
    StorageFailed,
)
from convex_memory.values import Value, check, to_wire

VERSION_TEXT: Final = "convex-memory"
RUNNING_TEXT: Final = "This Convex deployment is running. See https://docs.convex.dev/."
REQUESTS_MAX: Final = 512
"""Requests answered at a time; others are refused, and nothing of them is executed."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_log = logging.getLogger(__name__)


class ServedDeployment(Deployment, Protocol):
    """A deployment that also knows how each of its functions was declared."""

    def kind_of(self, path: str) -> Kind | None:
        """The kind of the function at `module/path:function`, None when there is none."""
        ...


def create_app(deployment: ServedDeployment, *, admin_key: str) -> Starlette:
    """The HTTP function API over a deployment, as an ASGI application.

    Args:
        deployment: Where the functions run. The application never closes it.
        admin_key: What callers send as `Authorization: Convex <key>`: printable ASCII
            without spaces.

    Returns:
        The application.

    Raises:
        ConfigurationError: The key is empty or could not be sent in a header.
    """
    if not admin_key or not all("!" <= character <= "~" for character in admin_key):
        raise ConfigurationError(
            "The admin key must be printable ASCII without spaces, and not empty. "
            "Choose another one."
        )
    api = _FunctionApi(deployment, admin_key)
    return Starlette(
        routes=[
            Route("/", partial(_text, RUNNING_TEXT), methods=["GET"]),
            Route("/version", partial(_text, VERSION_TEXT), methods=["GET"]),
            Route("/instance_name", partial(_text, INSTANCE_NAME), methods=["GET"]),
            Route("/api/query", _endpoint(api.query_from_url), methods=["GET"]),
            Route("/api/query", _endpoint(partial(api.one, "query")), methods=["POST"]),
            Route("/api/mutation", _endpoint(partial(api.one, "mutation")), methods=["POST"]),
            Route("/api/action", _endpoint(partial(api.one, "action")), methods=["POST"]),
            Route("/api/query_batch", _endpoint(api.batch), methods=["POST"]),
            Route("/api/function", _endpoint(api.any_kind), methods=["POST"]),
            Route("/api/run/{path:path}", _endpoint(api.run), methods=["POST"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origin_regex=".*",
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials=True,
                allow_private_network=True,
                max_age=86400,
            )
        ],
        exception_handlers={HTTPException: _no_route},
    )


async def serve(
    deployment: ServedDeployment,
    *,
    host: str,
    port: int,
    admin_key: str,
    on_started: Callable[[str], None],
) -> None:
    """Serve the HTTP function API until SIGINT or SIGTERM, or until cancelled.

    Running calls get some seconds to finish (`listener`). The deployment stays open: the
    caller closes it afterwards.

    Args:
        deployment: Where the functions run.
        host: The name or address to bind.
        port: The port to bind; 0 takes a free one.
        admin_key: As for `create_app`.
        on_started: Gets the URL actually bound, once requests are answered.

    Raises:
        ConfigurationError: The address cannot be bound, or the key cannot be used.
    """
    app = Admission(
        create_app(deployment, admin_key=admin_key), requests_max=REQUESTS_MAX, refuse=_overloaded
    )
    await run_app(app, host=host, port=port, on_started=on_started, drain=app.drain)


class _FunctionApi:
    """The routes. Each takes a request and its id, and returns the JSON text to answer."""

    def __init__(self, deployment: ServedDeployment, admin_key: str) -> None:
        self._deployment = deployment
        self._admin_key = admin_key

    async def one(self, kind: Kind, request: Request, request_id: str) -> str:
        admin = is_admin(request, self._admin_key)
        call = call_in(await json_body(request), kind)
        return await self._run(call, admin, request_id)

    async def query_from_url(self, request: Request, request_id: str) -> str:
        admin = is_admin(request, self._admin_key)
        fields: dict[str, Any] = dict(request.query_params)
        fields["args"] = parse(fields.get("args", "{}"), "the `args` parameter")
        return await self._run(call_in(fields, "query"), admin, request_id)

    async def any_kind(self, request: Request, request_id: str) -> str:
        if not is_admin(request, self._admin_key):
            raise bad_key()
        fields = await json_body(request)
        call = call_in(fields, None)
        if fields.get("componentPath"):
            return _failure(call.absent, request_id)
        return await self._run(call, True, request_id)

    async def run(self, request: Request, request_id: str) -> str:
        admin = is_admin(request, self._admin_key)
        module, _, function = request.path_params["path"].rpartition("/")
        fields = {**await json_body(request), "path": f"{module}:{function}"}
        return await self._run(call_in(fields, None), admin, request_id)

    async def batch(self, request: Request, request_id: str) -> str:
        admin = is_admin(request, self._admin_key)
        queries = (await json_body(request)).get("queries")
        if not isinstance(queries, list):
            raise bad_json("`queries` must be an array of `{path, args}` objects.")
        calls = [call_in(fields, "query") for fields in queries]
        answers = [await self._run(call, admin, request_id) for call in calls]
        return f'{{"results":[{",".join(answers)}]}}'

    async def _run(self, call: Call, admin: bool, request_id: str) -> str:
        kind = self._deployment.kind_of(call.path) if admin else None
        if kind is None:
            return _failure(call.absent, request_id)
        if call.kind not in (None, kind):
            return _failure(
                f"Trying to execute {call.label} as {str(call.kind).capitalize()}, "
                f"but it is defined as {kind.capitalize()}.",
                request_id,
            )
        flaw = flaw_in(call.args)
        if flaw is not None:
            return _failure(
                f"Invalid arguments for {call.label}: {flaw.message}",
                request_id,
                {"code": "invalid_argument", "message": flaw.message},
            )
        try:
            value = await self._deployment.call(kind, call.path, call.args)
        except FunctionNotDeployed:
            return _failure(call.absent, request_id)
        except FunctionError as error:
            return _failure(_described(error, call), request_id, _error_data(error))
        text = await anyio.to_thread.run_sync(partial(to_wire, value, encoded=call.encoded))
        return f'{{"status":"success","value":{text},"logLines":[]}}'


def _described(error: FunctionError, call: Call) -> str:
    # Convex refuses malformed arguments before a function runs, with a text of their own.
    try:
        check(call.args)
    except FunctionError as malformed:
        return f"Invalid arguments for {call.label}: {malformed.message}"
    return f"Uncaught ConvexError: {error.message}"


def _error_data(error: FunctionError) -> Mapping[str, Value]:
    details = {"details": error.details} if error.details else {}
    return {"code": error.code, "message": error.message, **details}


def _failure(text: str, request_id: str, data: Mapping[str, Value] | None = None) -> str:
    fields: dict[str, Value] = {
        "status": "error",
        "errorMessage": f"[Request ID: {request_id}] Server Error\n{text}",
        "logLines": [],
    }
    return to_wire(fields if data is None else {**fields, "errorData": data})


def _endpoint(
    handle: Callable[[Request, str], Awaitable[str]],
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        given = request.headers.get("convex-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        try:
            return _json(200, await handle(request, request_id), request_id)
        except Exception as error:
            refused = _refusal_of(error, request_id)
        text = to_wire({"code": refused.code, "message": refused.message})
        return _json(refused.status, text, request_id)

    return endpoint


def _refusal_of(error: Exception, request_id: str) -> Refused:
    match error:
        case Refused():
            return error
        case Overloaded():
            return Refused(503, "Overloaded", error.message)
        case DeploymentTimeout():
            return Refused(408, "Timeout", error.message)
        case StorageFailed():
            _log.error("Request %s: %s", request_id, error.message)
            return Refused(500, "StorageFailed", error.message)
        case ClientDisconnect():
            return Refused(408, "ClientDisconnected", "The request ended before its body did.")
    # The text of a foreign exception may quote content, so only its type and place are kept.
    _log.error(
        "Request %s failed with %s\n%s",
        request_id,
        type(error).__name__,
        "".join(traceback.format_tb(error.__traceback__)),
    )
    return Refused(
        500,
        "InternalServerError",
        f"[Request ID: {request_id}] Your request couldn't be completed. Try again later.",
    )


def _overloaded(why: str) -> Response:
    body = to_wire({"code": "Overloaded", "message": why})
    return Response(body, 503, media_type="application/json")


def _json(status: int, text: str, request_id: str) -> Response:
    # In JSON `\udXXX` is how a lone surrogate is written, and Python's escape reads the same.
    return Response(
        text.encode("utf-8", "backslashreplace"),
        status,
        {"convex-request-id": request_id},
        "application/json",
    )


async def _text(text: str, request: Request) -> Response:
    return PlainTextResponse(text)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = to_wire({"code": error.detail.replace(" ", ""), "message": error.detail})
    return Response(body, error.status_code, error.headers, "application/json")
