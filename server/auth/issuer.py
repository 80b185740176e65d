"""The authorization server: its metadata, and the keys with which it signs tokens."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from server.auth.door import CannotVerify

logger = logging.getLogger(__name__)

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures that only the holder of a private key can make."""
RSA_BITS_MIN: Final = 2048
FRESH_SECONDS: Final = 600
"""After so long the keys are fetched again."""
KEPT_SECONDS_MAX: Final = 3600
"""So long they are used while the issuer cannot be reached."""
REFETCH_SECONDS_MIN: Final = 10
"""The issuer is asked no more often, whatever tokens come."""
FETCH_SECONDS_MAX: Final = 5
DOCUMENT_BYTES_MAX: Final = 1 << 18
_KIND: Final = {"R": "RSA", "P": "RSA", "E": "EC"}


class Issuer:
    """Finds the keys of an issuer, keeps them, and fetches them again when they change.

    Args:
        url: The issuer, exactly as it names itself.
        now: Seconds that only go forward.
    """

    def __init__(self, url: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._now = now
        self._keys: tuple[PyJWK, ...] = ()
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._failure = ""
        self._lock = anyio.Lock()

    async def key(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key that a token names, or None when the issuer has none of that name.

        A name that is not known has the keys fetched again: the issuer may have new ones.

        Raises:
            CannotVerify: The issuer's keys are not known, and it does not tell them now.
        """
        if self._age() > FRESH_SECONDS:
            await self._refresh(self._fetched_at)
        found = _chosen(self._keys, kid, algorithm)
        if found is None:
            await self._refresh(self._fetched_at)
            found = _chosen(self._keys, kid, algorithm)
        if self._age() > KEPT_SECONDS_MAX:
            raise CannotVerify(f"{self.url} does not tell its keys: {self._failure}")
        return found

    async def known_keys(self) -> int:
        """Return how many keys the issuer has, asked now unless it was a moment ago.

        Raises:
            CannotVerify: It does not tell them.
        """
        await self._refresh(self._fetched_at)
        if self._fetched_at is None:
            raise CannotVerify(f"{self.url} does not tell its keys: {self._failure}")
        return len(self._keys)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._now() - self._fetched_at

    async def _refresh(self, seen: float | None) -> None:
        """Fetch the keys, unless that was done since `seen` or tried a moment ago."""
        async with self._lock:
            asked_long_ago = (
                self._asked_at is None or self._now() - self._asked_at >= REFETCH_SECONDS_MIN
            )
            if self._fetched_at != seen or not asked_long_ago:
                return
            self._asked_at = self._now()
            try:
                with anyio.fail_after(FETCH_SECONDS_MAX):
                    self._keys = await self._fetch()
                self._fetched_at = self._now()
            except (CannotVerify, httpx2.HTTPError, TimeoutError) as error:
                self._failure = str(error) or type(error).__name__
                logger.error("the keys of %s could not be fetched: %s", self.url, self._failure)

    async def _fetch(self) -> tuple[PyJWK, ...]:
        async with httpx2.AsyncClient(timeout=FETCH_SECONDS_MAX, follow_redirects=False) as http:
            metadata = await self._metadata(http)
            address = metadata.get("jwks_uri")
            if not isinstance(address, str) or not _is_secure(address):
                raise CannotVerify("its metadata names no https jwks_uri")
            document = await _document(http, address)
        if document is None:
            raise CannotVerify(f"{address} holds no keys")
        keys = tuple(_usable(document))
        if not keys:
            raise CannotVerify(f"{address} holds no key that can check a signature")
        return keys

    async def _metadata(self, http: httpx2.AsyncClient) -> Mapping[str, Any]:
        for address in metadata_addresses(self.url):
            document = await _document(http, address)
            if document is None:
                continue
            if document.get("issuer") != self.url:
                raise CannotVerify(
                    f"{address} is of the issuer {document.get('issuer')!a}, not of {self.url!a}; "
                    "MEMORY_OAUTH_ISSUER must be exactly what it says"
                )
            return document
        raise CannotVerify(f"it has no metadata at {' or '.join(metadata_addresses(self.url))}")


def metadata_addresses(issuer: str) -> Sequence[str]:
    """Return where an issuer's metadata may be, in the order in which to look.

    RFC 8414, section 3.1, then OpenID Connect Discovery, as MCP's authorization has it.
    """
    address = urlsplit(issuer)
    origin, path = f"{address.scheme}://{address.netloc}", address.path.rstrip("/")
    found = [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
    ]
    return [*found, f"{origin}{path}/.well-known/openid-configuration"] if path else found


async def _document(http: httpx2.AsyncClient, address: str) -> Mapping[str, Any] | None:
    """Return a JSON object, or None where there is none."""
    async with http.stream("GET", address, headers={"Accept": "application/json"}) as response:
        if response.status_code >= 500:
            raise CannotVerify(f"{address} answered {response.status_code}")
        if response.status_code != 200:
            return None
        body = b""
        async for part in response.aiter_bytes():
            body += part
            if len(body) > DOCUMENT_BYTES_MAX:
                raise CannotVerify(f"{address} is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _is_secure(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def _usable(document: Mapping[str, Any]) -> Iterator[PyJWK]:
    """Yield the keys of a JWK set that may check signatures."""
    keys = document.get("keys")
    for each in keys if isinstance(keys, list) else ():
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        if each.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            key = PyJWK(each)
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key.key, RSAPublicKey) and key.key.key_size < RSA_BITS_MIN:
            continue
        if not _is_private(each):
            yield key


def _is_private(key: Mapping[str, Any]) -> bool:
    # An issuer that shows its private key has lost it.
    return "d" in key


def _chosen(keys: Sequence[PyJWK], kid: str | None, algorithm: str) -> PyJWK | None:
    kind = _KIND.get(algorithm[0], "OKP") if algorithm != "EdDSA" else "OKP"
    fitting = [
        key
        for key in keys
        if key.key_type == kind
        and key._jwk_data.get("alg", algorithm) == algorithm
        and (kid is None or key.key_id == kid)
    ]
    # Without a name there is nothing to choose by.
    return fitting[0] if len(fitting) == 1 else None
