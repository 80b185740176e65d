"""What anybody who knows a Convex deployment's URL gets from it, without the key."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from convex_memory.deployment import Kind
from convex_memory.values import Value
from server.convex_probes import Probe
from server.finding import Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

CONNECT_SECONDS_MAX: Final = 5.0
ANSWER_SECONDS_MAX: Final = 10.0
REQUESTS_AT_ONCE: Final = 8

_ANSWERED: Final = (200, 404, 560)
"""Statuses of functions that ran, failed or do not exist (560 and 404: older, and by setting)."""
_ABSENT_TEXT: Final = "Could not find public function"
_REQUEST_ID = re.compile(r"\[Request ID: [^\]]*\]")


class Undecided(Exception):
    """An answer that says nothing about the function."""


@asynccontextmanager
async def somebody(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client that has no key and, as calls with the key, no proxy of the environment."""
    import httpx2

    timeout = httpx2.Timeout(ANSWER_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)
    async with httpx2.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as client:
        yield client


async def reach(client: httpx2.AsyncClient, url: str) -> Finding:
    """Say whether a Convex deployment answers at a URL, and if not, what does."""
    import httpx2

    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            response = await _ask(client, "query", f"memory/meta:{_absent()}", {})
    except TimeoutError:
        told: str | None = f"{url} did not answer in time. Is it running?"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        told = _why_unreached(url, error)
    else:
        told = _why_not_convex(url, response)
    if told is None:
        return Finding("deployment", True, f"Convex {url}")
    return Finding("deployment", False, told)


async def look_closed(client: httpx2.AsyncClient, url: str, probes: Sequence[Probe]) -> Finding:
    """Say which functions show anybody that they are there.

    A function is closed when a call of it without the key is answered as one of a function that
    never existed is.
    """
    import httpx2

    turns = asyncio.Semaphore(REQUESTS_AT_ONCE)
    opened: list[Probe] = []
    undecided: list[str] = []
    lost: list[str] = []

    async def try_one(probe: Probe) -> None:
        async with turns:
            try:
                # Whoever does not answer one call is not asked the others.
                if not lost and await _is_open(client, probe):
                    opened.append(probe)
            except Undecided as error:
                undecided.append(str(error))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                lost.append(_why_unreached(url, error))

    await asyncio.gather(*(try_one(probe) for probe in probes))
    if opened:
        return Finding("access", False, _what_is_open(opened))
    if lost or undecided:
        why = (lost + undecided)[0]
        return Finding("access", False, f"Whether it is closed could not be seen: {why}")
    told = f"{len(probes)} functions called without the key, answered as if they did not exist"
    return Finding("access", True, told)


def _what_is_open(opened: Sequence[Probe]) -> str:
    paths = ", ".join(sorted(probe.path for probe in opened))
    powers = "; ".join(dict.fromkeys(probe.power for probe in opened))
    return (
        f"OPEN TO EVERYBODY: {paths}. Without any key, whoever has the URL can {powers}. "
        "Mastra's own handlers are public, ours are not: `convex-memory functions DIR --force` "
        "puts ours in their place and keeps copies; then run `npx convex deploy`."
    )


async def _ask(
    client: httpx2.AsyncClient, kind: Kind, path: str, args: Mapping[str, Value]
) -> httpx2.Response:
    return await client.post(f"/api/{kind}", json={"path": path, "args": args, "format": "json"})


async def _is_open(client: httpx2.AsyncClient, probe: Probe) -> bool:
    module, _, name = probe.path.partition(":")
    absent = _absent()
    answer = _comparable(await _ask(client, probe.kind, probe.path, probe.args), name)
    if _ABSENT_TEXT in answer:
        return False
    # A production deployment gives the same text for every failure, so only this tells.
    other = await _ask(client, probe.kind, f"{module}:{absent}", probe.args)
    return answer != _comparable(other, absent)


def _absent() -> str:
    """A name that no function has, and that no other text can be mistaken for."""
    return f"absent{secrets.token_hex(12)}"


def _comparable(response: httpx2.Response, name: str) -> str:
    """An answer without what is different in each, and without the function's name."""
    if response.status_code not in _ANSWERED:
        raise Undecided(f"A call was answered with HTTP {response.status_code}. Try again later.")
    text = _REQUEST_ID.sub("", response.text).replace(f":{name}", ":")
    return f"{response.status_code} {text}"


def _why_unreached(url: str, error: Exception) -> str:
    import httpx2

    host = urlsplit(url).hostname
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return f"There is no host {host} (DNS). Check CONVEX_URL and the network."
            case ssl.SSLCertVerificationError():
                return f"The certificate of {host} is not trusted: {cause.verify_message}."
            case ssl.SSLError():
                return f"{host} does not speak TLS there. Should CONVEX_URL begin with http://?"
            case ConnectionRefusedError():
                return f"{url} refused the connection: nothing listens there. Is it running?"
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} did not answer in time. Check CONVEX_URL, the network and any firewall."
    if isinstance(error, httpx2.ConnectError):
        return f"No connection to {url} could be made. Check CONVEX_URL and the network."
    return f"{url} does not answer as a web server does. Check CONVEX_URL."


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _why_not_convex(url: str, response: httpx2.Response) -> str | None:
    """What an answer to a call of an absent function says against a Convex deployment."""
    status = response.status_code
    match _json(response):
        case {"status": "error" | "success"} if status in _ANSWERED:
            return None
        case {"code": str(code), "message": str(message)}:
            return f"{url} answered HTTP {status}: {code[:80]}, {message[:200]}"
    if 300 <= status < 400:
        return f"{url} sends its callers to another address (HTTP {status}). Use that one."
    return f"{url} is no Convex deployment: it answered a call with HTTP {status}."


def _json(response: httpx2.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None
