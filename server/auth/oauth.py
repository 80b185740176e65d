"""Access tokens of an OAuth 2.1 authorization server: JWTs made out to this server (RFC 9068)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from mcp.server.auth.provider import AccessToken
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convex_memory.principals import PRINCIPAL_RULE, may_be_principal
from server.auth.issuer import ALGORITHMS, Issuer
from server.auth.principal import SCOPES

logger = logging.getLogger(__name__)

LEEWAY_SECONDS: Final = 30
"""How far the clocks of issuer and server may be apart."""
_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_TYPES: Final = (None, "jwt", "at+jwt", "application/at+jwt")


class OAuthTokens:
    """Checks the access tokens of one issuer.

    A token is good when a key of the issuer signed it, it says so itself, it is made out to this
    server, and its time has come and not passed.

    Args:
        issuer: Who signs them.
        audience: The address of this server's `/mcp`, to which they are made out (RFC 8707).
    """

    def __init__(self, issuer: Issuer, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what a token allows, or None when it is not good.

        Raises:
            CannotVerify: The issuer's keys are not known now.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not _is_plain(header):
            return None
        key = await self._issuer.key(kid, algorithm)
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=_spellings(self._audience),
                issuer=self._issuer.url,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            logger.info("a token was refused: %s", type(error).__name__)
            return None
        return self._access(claims)

    def _access(self, claims: Mapping[str, Any]) -> AccessToken | None:
        subject = claims["sub"]
        if "cnf" in claims:
            logger.warning("a token was refused: it is bound to a key, which cannot be checked")
            return None
        if not may_be_principal(subject):
            logger.warning("a token was refused for its subject. %s", PRINCIPAL_RULE)
            return None
        client = claims.get("client_id", claims.get("azp"))
        return AccessToken(
            # The token itself goes no further than this.
            token="",
            client_id=client if isinstance(client, str) else subject,
            subject=subject,
            scopes=[scope for scope in SCOPES if scope in _scopes_in(claims)],
            expires_at=int(claims["exp"]),
            resource=self._audience,
            claims={"iss": self._issuer.url},
        )


def metadata_url(audience: str) -> str:
    """Return where a client finds which issuer to ask (RFC 9728, section 3.1)."""
    address = urlsplit(audience)
    query = f"?{address.query}" if address.query else ""
    return f"{address.scheme}://{address.netloc}{_WELL_KNOWN}{_path_of(audience)}{query}"


def metadata_routes(issuer: str, audience: str) -> list[Route]:
    """Return the routes that tell clients which issuer to ask, and for what."""
    document = {
        "resource": audience,
        "resource_name": "Convex Memory",
        "authorization_servers": [issuer],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
    }

    async def tell(request: Request) -> Response:
        # It is public, and pages that run in a browser have to read it before they have a token.
        headers = {"Cache-Control": "max-age=3600", "Access-Control-Allow-Origin": "*"}
        if request.method == "OPTIONS":
            headers |= {"Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Headers": "*"}
            return Response(status_code=204, headers=headers)
        return JSONResponse(document, headers=headers)

    paths = dict.fromkeys((f"{_WELL_KNOWN}{_path_of(audience)}", _WELL_KNOWN))
    return [Route(path, tell, methods=["GET", "OPTIONS"]) for path in paths]


def _path_of(audience: str) -> str:
    return urlsplit(audience).path.rstrip("/")


def _spellings(audience: str) -> list[str]:
    """Return an address with and without the slash at its end, which mean the same."""
    return list(dict.fromkeys((audience, audience.rstrip("/"), f"{audience.rstrip('/')}/")))


def _is_plain(header: Mapping[str, Any]) -> bool:
    """Whether a token is an access token that needs nothing known beyond the standard."""
    kind, kid = header.get("typ"), header.get("kid")
    return (
        (kind is None or isinstance(kind, str))
        and (kind.lower() if kind else None) in _TYPES
        and (kid is None or isinstance(kid, str))
        and "crit" not in header
    )


def _scopes_in(claims: Mapping[str, Any]) -> list[str]:
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
