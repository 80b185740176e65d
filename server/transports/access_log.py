"""One line of the log for each request over HTTP, and the id by which it is found again."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.log import FIELDS, RequestNote, current_request
from server.telemetry import measured

REQUEST_ID: Final = "X-Request-Id"
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ROUTES: Final = ("/mcp", "/healthz", "/readyz")
_METHODS: Final = ("GET", "POST", "OPTIONS", "HEAD", "DELETE", "PUT", "PATCH")

logger = logging.getLogger(__name__)


class AccessLog:
    """Gives every request an id, which its answer has too, and a line when it was answered.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and tell."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(RequestNote(_id_of(scope)), receive, send)
        restored = current_request.set(exchange.note)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.tell(scope)
            current_request.reset(restored)


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)


class _Exchange:
    """One request and its answer, counted as they pass."""

    def __init__(self, note: RequestNote, receive: Receive, send: Send) -> None:
        self.note = note
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self._received = self._sent = self._status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.note.request_id
        elif message["type"] == "http.response.body":
            self._sent += len(message.get("body", b""))
        await self._send(message)

    def tell(self, scope: Scope) -> None:
        """Write the line and count the request."""
        seconds = time.perf_counter() - self._began
        route = scope["path"].rstrip("/")
        route = route if route in _ROUTES else "other"
        verb = scope["method"] if scope["method"] in _METHODS else "other"
        if (measures := measured()) is not None:
            measures.request_measures.finished(
                verb, route, self._status, seconds, self._received, self._sent
            )
        probe = route in ("/healthz", "/readyz")
        level = logging.DEBUG if probe else logging.INFO
        if not logger.isEnabledFor(level):
            return
        note = self.note
        told = {
            "verb": verb,
            "route": route,
            "status": self._status,
            "ms": round(seconds * 1000, 1),
            "bytes_in": self._received,
            "bytes_out": self._sent,
            "principal": note.principal,
            "method": note.method,
            "target": note.target,
            "outcome": note.outcome,
        }
        fields = {name: value for name, value in told.items() if value != ""}
        logger.log(level, "answered", extra={FIELDS: fields})
