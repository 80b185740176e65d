"""Spans around what a request does: the MCP method, the calls of the deployment, the transaction.

In place of the SDK's own middleware, whose spans carry the texts of errors and whatever name a
client calls a tool by. These carry names that exist, sizes, times and codes.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.types import INTERNAL_ERROR, CallToolResult
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, StatusCode
from pydantic import ValidationError

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded.observed import Transaction
from convex_memory.errors import ConvexMemoryError
from convex_memory.remote_exchange import Exchange
from convex_memory.scoped import GATES
from convex_memory.values import Value
from server.auth import current_principal
from server.log import current_request
from server.telemetry import SCOPE, measured
from tools.toolset import ERROR_META

METHODS: Final = frozenset(
    {
        "completion/complete",
        "initialize",
        "notifications/cancelled",
        "notifications/initialized",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/update",
        "tools/call",
        "tools/list",
    }
)
"""What a client may call; anything else is `other` in spans and metrics."""
OK: Final = "ok"
_GATES: Final = frozenset(GATES.values())

logger = logging.getLogger(__name__)
_tracer = trace.get_tracer(SCOPE)


class ObserveCalls(ServerMiddleware[Any]):
    """A span, a measure and a note for each message, whatever becomes of it.

    Args:
        targets: Names of tools and prompts that exist.
    """

    def __init__(self, targets: Collection[str]) -> None:
        self._targets = frozenset(targets)

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer the message, and tell how long it took and what came of it."""
        method = ctx.method if ctx.method in METHODS else "other"
        named = (ctx.params or {}).get("name")
        target = named if isinstance(named, str) and named in self._targets else ""
        outcome, began = "cancelled", time.perf_counter()
        with _tracer.start_as_current_span(
            f"{method} {target}".strip(),
            kind=SpanKind.SERVER,
            context=_caller_context(ctx.meta),
            attributes=_attributes(ctx, method, target),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                result = await call_next(ctx)
                outcome = _outcome_of(result)
                return result
            except MCPError as error:
                outcome = str(error.error.code)
                raise
            except ValidationError:
                outcome = "invalid_params"
                raise
            except Exception as error:
                outcome = "internal"
                raise _incident(method, error) from error
            finally:
                _end(span, outcome)
                _note(method, target, outcome)
                if (measures := measured()) is not None:
                    seconds = time.perf_counter() - began
                    measures.call_measures.answered(method, target, outcome, seconds)


def _attributes(
    ctx: ServerRequestContext[Any, Any], method: str, target: str
) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "mcp.method.name": method,
        "mcp.protocol.version": ctx.protocol_version,
    }
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    if target:
        attributes["gen_ai.prompt.name" if method == "prompts/get" else "gen_ai.tool.name"] = target
    note = current_request.get()
    if note is not None:
        attributes["convex_memory.request_id"] = note.request_id
    return attributes


def _caller_context(meta: Mapping[str, Any] | None) -> Context | None:
    """Return the trace that the caller's message belongs to, if it says so."""
    if not meta or "traceparent" not in meta:
        return None
    try:
        context = extract(
            {name: meta[name] for name in ("traceparent", "tracestate") if name in meta}
        )
    except (TypeError, ValueError):
        return None
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _outcome_of(result: HandlerResult) -> str:
    match result:
        case CallToolResult(is_error=True, meta=meta):
            return _code_in(meta)
        case {"isError": True, **rest}:
            return _code_in(rest.get("_meta"))
    return OK


def _code_in(meta: object) -> str:
    told = meta.get(ERROR_META) if isinstance(meta, Mapping) else None
    return str(told["code"]) if isinstance(told, Mapping) and "code" in told else "tool_error"


def _incident(method: str, error: Exception) -> MCPError:
    incident = secrets.token_hex(4)
    logger.error("%s failed, incident %s", method, incident, exc_info=error)
    return MCPError(INTERNAL_ERROR, f"The server failed (incident {incident}, see its log).")


def _note(method: str, target: str, outcome: str) -> None:
    note = current_request.get()
    if note is None:
        return
    principal = current_principal()
    note.method, note.target, note.outcome = method, target, outcome
    note.principal = principal.id if principal else ""


def _end(span: Span, outcome: str) -> None:
    if outcome != OK:
        span.set_attribute("error.type", outcome)
        span.set_status(StatusCode.ERROR)


class ObservedDeployment:
    """A deployment whose calls leave spans and measures.

    Args:
        deployment: Where the functions run.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def __repr__(self) -> str:
        return f"ObservedDeployment({self._deployment!r})"

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one function (see `Deployment.call`)."""
        outcome, began, name = "cancelled", time.perf_counter(), _function_called(path, args)
        with _tracer.start_as_current_span(
            f"call {name}",
            kind=SpanKind.CLIENT,
            attributes={
                "convex_memory.function": name,
                "convex_memory.function.kind": kind,
                "convex_memory.function.gated": name != path,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                value = await self._deployment.call(
                    kind, path, args, timeout_ms=timeout_ms, retry=retry
                )
                outcome = OK
                return value
            except ConvexMemoryError as error:
                outcome = error.code
                raise
            except Exception:
                outcome = "internal"
                raise
            finally:
                _end(span, outcome)
                if (measures := measured()) is not None:
                    measures.call_measures.called(name, outcome, time.perf_counter() - began)

    async def aclose(self) -> None:
        """Close the deployment."""
        await self._deployment.aclose()


def _function_called(path: str, args: Mapping[str, Value]) -> str:
    """Return the path of the function that does the work: not the gate's, but of what is behind."""
    behind = args.get("path") if path in _GATES else None
    return behind if isinstance(behind, str) else path


def observe_transaction(done: Transaction) -> None:
    """Tell of a function that ran on the embedded database, in the span of its call."""
    if (measures := measured()) is not None:
        measures.call_measures.transacted(
            done.writes, done.waited_ns / 1e9, done.ran_ns / 1e9, done.settled_ns / 1e9
        )
    start = done.submitted_ns + done.waited_ns
    span = _tracer.start_span(
        "transaction write" if done.writes else "transaction read",
        start_time=start,
        attributes={
            "db.system.name": "sqlite",
            "convex_memory.waited_ms": done.waited_ns / 1e6,
            "convex_memory.ran_ms": done.ran_ns / 1e6,
            "convex_memory.settled_ms": done.settled_ns / 1e6,
        },
    )
    span.end(start + done.ran_ns + done.settled_ns)


def observe_exchange(done: Exchange) -> None:
    """Tell of one request to a Convex deployment, in the span of its call."""
    span = _tracer.start_span(
        "POST",
        kind=SpanKind.CLIENT,
        start_time=done.began_ns,
        attributes={
            "http.request.method": "POST",
            "http.request.body.size": done.sent_bytes,
            "http.response.body.size": done.received_bytes,
            "http.request.resend_count": done.tries - 1,
            **({"http.response.status_code": done.status} if done.status else {}),
        },
    )
    if not done.status or done.status >= 400:
        span.set_status(StatusCode.ERROR)
    span.end(done.began_ns + done.took_ns)
