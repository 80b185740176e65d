"""What `offline.py` runs in an environment of its own, cut off from any network."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from pathlib import Path

import convex_memory
from convex_memory import open_embedder

NOWHERE = ("192.0.2.1", 9)
"""An address that no network has (RFC 5737)."""


def check_that_nothing_can_be_reached() -> None:
    try:
        socket.create_connection(NOWHERE, timeout=5).close()
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            return
        raise SystemExit(f"there is a route: {error}") from error
    raise SystemExit("there is a network")


def check_that_this_is_installed() -> None:
    found = Path(convex_memory.__file__)
    if not found.is_relative_to(sys.prefix):
        raise SystemExit(f"convex_memory comes from {found}, not from the environment")


async def embed() -> None:
    embedder = open_embedder()
    if embedder is None:
        raise SystemExit("there is no embedder by default")
    why = embedder.why_unavailable()
    if why is not None:
        raise SystemExit(why)
    asked, same, other = (
        await embedder.embed(
            [
                "How do I get back into my account?",
                "I forgot my password and cannot log in.",
                "The trains to Bergen run every two hours.",
            ]
        )
    ).vectors
    near, far = float(asked @ same), float(asked @ other)
    if not near > far + 0.2:
        raise SystemExit(f"similar texts are not nearer: {near:.3f} and {far:.3f}")
    print(f"{embedder.id}: similar texts {near:.3f}, others {far:.3f}")
    await embedder.aclose()


check_that_nothing_can_be_reached()
check_that_this_is_installed()
asyncio.run(embed())
