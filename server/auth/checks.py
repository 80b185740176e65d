"""What `convex-memory doctor` says of who may call over HTTP."""

from __future__ import annotations

from convex_memory.errors import ConfigurationError
from server.auth.door import CannotVerify
from server.auth.issuer import Issuer
from server.auth.tokens import StaticTokens
from server.finding import Finding
from server.settings import Settings


async def examine(settings: Settings) -> list[Finding]:
    """Return what there is to say of tokens and issuer, where the settings name any."""
    findings = []
    if settings.http_tokens is not None:
        findings.append(_tokens(settings.http_tokens.get_secret_value()))
    if settings.oauth_issuer is not None:
        findings.append(await _issuer(settings.oauth_issuer, settings.oauth_audience))
    return findings


def _tokens(given: str) -> Finding:
    try:
        tokens = StaticTokens(given)
    except ConfigurationError as error:
        return Finding("tokens", False, error.message)
    return Finding("tokens", True, f"may call: {', '.join(tokens.principals())}")


async def _issuer(url: str, audience: str | None) -> Finding:
    try:
        keys = await Issuer(url).known_keys()
    except CannotVerify as error:
        return Finding("issuer", False, f"{error}. Until it does, nobody of it may call.")
    return Finding("issuer", True, f"{url}, keys: {keys}; takes tokens made out to {audience}")
