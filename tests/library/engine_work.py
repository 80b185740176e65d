"""Work for an engine, and ways to have several pieces of it meet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.tables import CACHE_LIST_ITEMS
from convex_memory.errors import InvalidArgument

WAIT_S = 20
Work = Callable[[Documents], Any]


def item(index: int, value: str = "v", key: str = "k") -> dict[str, Any]:
    return {"key": key, "keyPrefix": "", "index": index, "value": value}


def put(index: int, value: str = "v") -> Work:
    """Work that inserts one row."""
    return lambda documents: documents.insert(CACHE_LIST_ITEMS, item(index, value))


def refuse(index: int) -> Work:
    """Work that inserts one row and then refuses."""

    def work(documents: Documents) -> None:
        documents.insert(CACHE_LIST_ITEMS, item(index))
        raise InvalidArgument(f"no {index}")

    return work


def indexes(documents: Documents) -> list[int]:
    """Work that reads which rows there are."""
    return [int(row.fields["index"]) for row in documents.scan(CACHE_LIST_ITEMS, {"key": "k"})]


class Gate:
    """Work that holds its thread until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def __call__(self, documents: Documents) -> None:
        self._loop.call_soon_threadsafe(self.entered.set)
        if not self._open.wait(WAIT_S):
            raise TimeoutError("the gate was never opened")

    def open(self) -> None:
        self._open.set()


async def settled(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    with anyio.fail_after(WAIT_S):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def held(engine: Engine) -> tuple[Gate, asyncio.Task[None]]:
    """Hold the writer, so that what follows queues up behind it."""
    gate = Gate()
    holding = asyncio.create_task(engine.write(gate))
    with anyio.fail_after(WAIT_S):
        await gate.entered.wait()
    return gate, holding


async def queued(engine: Engine, *works: Work) -> list[asyncio.Task[Any]]:
    """Submit writes in this order without waiting for them."""
    tasks = [asyncio.create_task(engine.write(work)) for work in works]
    await anyio.lowlevel.checkpoint()
    return tasks
