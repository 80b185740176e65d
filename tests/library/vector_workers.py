"""Processes that work on the vectors of one folder, for `test_vector_processes`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.vector_index import lists, nearest, nearly_nearest, saving, wanted_by
from convex_memory.filters import parse
from convex_memory.vector import ConvexVector
from tests.library.vector_rows import SCOPE, scored_one_by_one

DIMENSION: Final = 16
SHARED: Final = "shared"
_FILTERS: Final = (None, {"by": 1}, {"n": {"$gte": 10, "$lt": 60}}, {"by": {"$ne": 0}, "n": 5})


def small_indexes_have_files_and_lists() -> None:
    """Let what happens to large indexes happen to those of tests, and often."""
    saving.ROWS_LEAST = 50  # type: ignore[misc]
    saving._UNSAVED_PART = 100  # type: ignore[misc]
    saving._ELSEWHERE_SECONDS = 0  # type: ignore[misc]
    lists.ROWS_LEAST = 200  # type: ignore[misc]


def vector_of(value: int) -> list[float]:
    """Return the vector that stands for a value."""
    drawn: list[float] = np.random.default_rng(value).standard_normal(DIMENSION).tolist()
    return drawn


class Worker:
    """Puts, changes and deletes vectors of its own, and says so before and after.

    Args:
        deployment: The folder.
        number: Which worker it is; part of its ids.
        told: Takes `("will", changes)` before each write, `("did", changes)` when it has
            returned; changes are values by id, None for what is deleted.
        round: Part of its ids.
    """

    def __init__(
        self, deployment: EmbeddedDeployment, number: int, told: Connection, round: int
    ) -> None:
        self.deployment = deployment
        self.adapter = ConvexVector(deployment)
        self.number = number
        self.random = np.random.default_rng(1000 * round + number)
        self.there: list[str] = []
        self._told = told
        self._prefix = f"{round}-{number}-"
        self._made = 0

    async def put(self, count: int = 5) -> None:
        """Put new vectors."""
        ids = [f"{self._prefix}{self._made + at}" for at in range(count)]
        self._made += count
        await self._write_all(ids)
        self.there += ids

    async def change(self) -> None:
        """Put another vector in place of one."""
        if self.there:
            await self._write_all([self.there[int(self.random.integers(len(self.there)))]])

    async def delete(self) -> None:
        """Delete one."""
        if self.there:
            id = self.there.pop(int(self.random.integers(len(self.there))))
            await self._told_of({id: None}, self.adapter.delete_vectors("i", ids=[id]))

    async def _write_all(self, ids: list[str]) -> None:
        values = {id: int(self.random.integers(2**31)) for id in ids}
        writing = self.adapter.upsert(
            "i",
            [vector_of(value) for value in values.values()],
            ids=ids,
            metadata=[
                {"value": value, "by": self.number, "n": value % 100} for value in values.values()
            ],
        )
        await self._told_of({**values}, writing)

    async def _told_of(
        self, changes: dict[str, int | None], writing: Coroutine[Any, Any, Any]
    ) -> None:
        self._told.send(("will", changes))
        await writing
        self._told.send(("did", changes))

    async def ask(self) -> None:
        """Ask what is nearest, and compare with brute force over the same snapshot."""
        query = self.random.standard_normal(DIMENSION).tolist()
        filter = _FILTERS[int(self.random.integers(len(_FILTERS)))]

        def compare(documents: Documents) -> None:
            everything = scored_one_by_one(documents.connection, query, 10**6, filter=filter)
            exact = nearest(documents, SCOPE, query, 10, wanted=wanted_by(parse(filter)))
            assert [(each.sequence, each.score) for each in exact] == everything[:10]
            if filter is None:
                nearly, is_exact = nearly_nearest(documents, SCOPE, query, 10)
                answer = [(each.sequence, each.score) for each in nearly]
                assert set(answer) <= set(everything)
                assert answer == everything[:10] or not is_exact

        await self.deployment._load().read(compare)


def write_until_killed(folder: Path, number: int, told: Connection, round: int) -> None:
    """Put, change, delete and ask, for ever."""
    small_indexes_have_files_and_lists()

    async def run() -> None:
        async with EmbeddedDeployment(folder) as deployment:
            worker = Worker(deployment, number, told, round)
            while True:
                await worker.put(20)
                await worker.change()
                await worker.adapter.query("i", vector_of(1))
                await worker.delete()

    asyncio.run(run())


def work(folder: Path, number: int, told: Connection, seconds: float) -> None:
    """Do a bit of everything for some time; say how it ended."""
    small_indexes_have_files_and_lists()

    async def run() -> int:
        async with EmbeddedDeployment(folder) as deployment:
            worker = Worker(deployment, number, told, 0)
            until, done = time.monotonic() + seconds, 0
            while time.monotonic() < until:
                for step in (worker.put, worker.ask, worker.change, worker.ask, worker.delete):
                    await step()
                done += 1
                await worker.adapter.update_vector("i", id=SHARED, metadata={f"w{number}": done})
                if len(worker.there) > 60:
                    gone = [worker.there.pop() for _ in range(40)]
                    deleting = worker.adapter.delete_vectors("i", ids=gone)
                    await worker._told_of(dict.fromkeys(gone), deleting)
            return done

    try:
        told.send(("ended", asyncio.run(run())))
    except BaseException as error:
        told.send(("failed", repr(error)))
        raise
