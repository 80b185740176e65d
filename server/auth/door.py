"""The door of the endpoint: who shows no good token is told what to do, and comes no further."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextvars import Token
from typing import Final, Protocol

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from server.auth.principal import SCOPES

logger = logging.getLogger(__name__)

TOKEN_CHARS_MAX: Final = 16_384
"""Longer ones are refused unread."""
RETRY_AFTER_SECONDS: Final = 5


class CannotVerify(Exception):
    """Whether a token is good cannot be told now; the message says why, for the log."""


class Verifier(Protocol):
    """Tells whose a bearer token is."""

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what the token allows, or None when it is not good.

        Raises:
            CannotVerify: Nothing can be said now.
        """
        ...


class Door:
    """Lets through only requests to one path that show who makes them.

    The request's scope has the principal under `user` then, as the SDK's own middleware leaves
    it, and `current_principal()` gives it.

    Args:
        app: What is behind the door.
        path: The path that is guarded; others pass.
        verifiers: Asked in this order; the first that knows a token decides.
        scope_of: Tells which scope a request needs, by its method and the tool that it calls.
        metadata_url: Where a client learns which issuer to ask for a token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        verifiers: Sequence[Verifier],
        scope_of: Callable[[str, str | None], str],
        metadata_url: str | None = None,
    ) -> None:
        self._app = app
        self._path = path
        self._verifiers = tuple(verifiers)
        self._scope_of = scope_of
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403 or 503, or let the request through."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != self._path:
            await self._app(scope, receive, send)
            return
        token = bearer_token(Headers(scope=scope))
        if token is None:
            await self._refuse(401)(scope, receive, send)
            return
        try:
            access = await self._verified(token)
        except CannotVerify as error:
            # Why is logged once by whoever asked the issuer, not for every request.
            logger.info("a request was refused: %s", error)
            await _unavailable()(scope, receive, send)
            return
        if access is None or not access.subject:
            await self._refuse(401, "invalid_token", "The token is not good here.")(
                scope, receive, send
            )
            return
        if not set(SCOPES) <= set(access.scopes):
            # Who may do everything is not asked what it is; nobody else waits for that.
            read, receive = await _read_ahead(receive)
            needed = self._needed(read)
            if needed is not None and needed not in access.scopes:
                await self._lacking(needed, access)(scope, receive, send)
                return
        await self._admit(access, scope, receive, send)

    def _needed(self, body: bytes) -> str | None:
        """Return the scope a request needs, or None when it is not one that can be read."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return None
        method = request.get("method") if isinstance(request, dict) else None
        if not isinstance(method, str):
            return None
        params = request.get("params")
        name = params.get("name") if isinstance(params, dict) else None
        return self._scope_of(method, name if isinstance(name, str) else None)

    def _lacking(self, needed: str, access: AccessToken) -> Response:
        wanted = [scope for scope in SCOPES if scope == needed or scope in access.scopes]
        why = f"This needs the scope {needed}."
        return self._refuse(403, "insufficient_scope", why, wanted)

    async def _admit(self, access: AccessToken, scope: Scope, receive: Receive, send: Send) -> None:
        user = AuthenticatedUser(access)
        before: Token[AuthenticatedUser | None] = auth_context_var.set(user)
        try:
            await self._app({**scope, "user": user}, receive, send)
        finally:
            auth_context_var.reset(before)

    async def _verified(self, token: str) -> AccessToken | None:
        if not token or len(token) > TOKEN_CHARS_MAX:
            return None
        undecided = None
        for verifier in self._verifiers:
            try:
                access = await verifier.verify_token(token)
            except CannotVerify as error:
                undecided = error
                continue
            if access is not None:
                return access
        if undecided is not None:
            raise undecided
        return None

    def _refuse(
        self,
        status: int,
        error: str | None = None,
        why: str | None = None,
        scopes: Sequence[str] = SCOPES,
    ) -> Response:
        challenge = {
            "error": error,
            "error_description": why,
            "scope": " ".join(scopes),
            "resource_metadata": self._metadata_url,
        }
        shown = ", ".join(f'{name}="{value}"' for name, value in challenge.items() if value)
        return Response(
            json.dumps({"error": error or "unauthorized", "error_description": why or _WITHOUT}),
            status,
            headers={"WWW-Authenticate": f"Bearer {shown}".strip(), "Cache-Control": "no-store"},
            media_type="application/json",
        )


_WITHOUT: Final = "Send a token, as Authorization: Bearer TOKEN."


def bearer_token(headers: Headers) -> str | None:
    """Return the bearer token of a request, or None without one; two are none."""
    given = headers.getlist("authorization")
    if len(given) != 1:
        return None
    scheme, _, token = given[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def _read_ahead(receive: Receive) -> tuple[bytes, Receive]:
    """Return a request's body, and a `receive` that gives all of it again.

    Of one that is longer than a call may be no more is read: whoever comes next refuses it.
    """
    read: list[Message] = []
    body = b""
    while len(body) <= REQUEST_BODY_BYTES_MAX:
        message = await receive()
        read.append(message)
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    again = iter(read)

    async def replay() -> Message:
        message = next(again, None)
        return await receive() if message is None else message

    return body, replay


def _unavailable() -> Response:
    return Response(
        json.dumps(
            {
                "error": "temporarily_unavailable",
                "error_description": "Tokens cannot be checked now. Try again in a moment.",
            }
        ),
        503,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"},
        media_type="application/json",
    )
