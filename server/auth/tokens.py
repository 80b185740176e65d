"""Static bearer tokens: the lines of `MEMORY_HTTP_TOKENS`, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp.server.auth.provider import AccessToken

from convex_memory.errors import ConfigurationError
from convex_memory.principals import PRINCIPAL_RULE, may_be_principal
from server.auth.principal import READ, SCOPES

logger = logging.getLogger(__name__)

TOKEN_CHARS_MIN: Final = 16
"""Shorter ones could be guessed; and a SHA-256 of them could be turned back."""
VARIABLE: Final = "MEMORY_HTTP_TOKENS"
HOW: Final = (
    "write principal=token, or principal:read=token for one that may only read; "
    "`convex-memory token NAME` makes one"
)
_READS_ONLY: Final = ":read"
_ENTRY: Final = re.compile(r"[^\s,]+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may consist of (RFC 6750, section 2.1)."""


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One entry: whose it is, what it allows, and the SHA-256 of the token itself."""

    principal: str
    scopes: tuple[str, ...]
    digest: bytes


class StaticTokens:
    """Checks bearer tokens against a list. A list in a file is read again when it changes.

    Args:
        given: Entries separated by commas or whitespace, or the path of a file with one a line.

    Raises:
        ConfigurationError: An entry or the file cannot be used. No message repeats a token.
    """

    def __init__(self, given: str) -> None:
        self._path = _path_in(given)
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[StaticToken, ...] = ()
        if self._path is None:
            self._tokens = _checked(_ENTRY.findall(given))
        else:
            self._read(self._path)

    def __repr__(self) -> str:
        return f"StaticTokens({len(self._tokens)} tokens)"

    def principals(self) -> list[str]:
        """Return whose tokens there are, each once."""
        return list(dict.fromkeys(token.principal for token in self._tokens))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what a token allows, or None when it is not on the list.

        Every entry is compared, each in constant time, so that the time taken tells nothing.
        """
        self._follow()
        digest = _digest(token)
        found = None
        for each in self._tokens:
            if hmac.compare_digest(each.digest, digest):
                found = each
        if found is None:
            return None
        return AccessToken(
            # The token itself goes no further than this.
            token="",
            client_id=found.principal,
            subject=found.principal,
            scopes=list(found.scopes),
        )

    def _follow(self) -> None:
        if self._path is None:
            return
        try:
            changed = _identity(self._path) != self._seen
        except ConfigurationError:
            # Told of once, and read again when it is back.
            changed, self._seen = self._seen is not None, None
        if not changed:
            return
        try:
            self._read(self._path)
        except ConfigurationError as error:
            logger.error("%s The tokens read before stay in use.", error.message)

    def _read(self, path: Path) -> None:
        try:
            self._seen = _identity(path)
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            # What stands in the variable may be a token that somebody took for the whole setting.
            raise ConfigurationError(
                f"{VARIABLE} names no file that can be read, and holds no principal=token "
                f"({type(error).__name__}): {HOW}."
            ) from None
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            logger.warning(
                "the file of tokens that %s names can be read by other users of this machine: "
                "chmod 600 it",
                VARIABLE,
            )
        self._tokens = _checked(_lines(text))


def make_token() -> str:
    """Return a new token, of 256 random bits."""
    return secrets.token_urlsafe(32)


def line_for(name: str) -> str:
    """Return a line for `MEMORY_HTTP_TOKENS` with a new token of somebody.

    Raises:
        ConfigurationError: The name cannot be a principal's.
    """
    plain = name.removesuffix(_READS_ONLY)
    if not may_be_principal(plain) or _ENTRY.fullmatch(name) is None or "=" in name:
        raise ConfigurationError(
            f"{name[:80]!r} cannot stand before a token. {PRINCIPAL_RULE} Here it has no spaces, "
            "commas or `=`."
        )
    return f"{name}={make_token()}"


def _path_in(given: str) -> Path | None:
    if "=" in given and not given.startswith(("/", "~", "./", "../")):
        return None
    return Path(given).expanduser()


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{VARIABLE} names no file that can be read, and holds no principal=token "
            f"({type(error).__name__}): {HOW}."
        ) from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield entry


def _checked(entries: Iterable[str]) -> tuple[StaticToken, ...]:
    tokens: dict[bytes, StaticToken] = {}
    for number, entry in enumerate(entries, 1):
        token = _read_entry(entry, f"{VARIABLE}: entry {number}")
        if token.digest in tokens:
            raise ConfigurationError(
                f"{VARIABLE}: entry {number} has the token of an earlier entry. Each has its own."
            )
        tokens[token.digest] = token
    if not tokens:
        raise ConfigurationError(f"{VARIABLE} holds no token: {HOW}.")
    return tuple(tokens.values())


def _read_entry(entry: str, where: str) -> StaticToken:
    name, separator, token = entry.partition("=")
    if not separator:
        raise ConfigurationError(f"{where} is no principal=token: {HOW}.")
    principal = name.strip().removesuffix(_READS_ONLY)
    if not may_be_principal(principal):
        raise ConfigurationError(f"{where} names nobody before the `=`: {HOW}. {PRINCIPAL_RULE}")
    token = token.strip()
    if len(token) < TOKEN_CHARS_MIN:
        raise ConfigurationError(
            f"{where} has a token of {len(token)} characters, which could be guessed: at least "
            f"{TOKEN_CHARS_MIN}. `convex-memory token NAME` makes one."
        )
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            f"{where} has a token that no Authorization header can carry: letters, digits and "
            "-._~+/ only. `convex-memory token NAME` makes one."
        )
    scopes = (READ,) if name.strip().endswith(_READS_ONLY) else SCOPES
    return StaticToken(principal, scopes, _digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
