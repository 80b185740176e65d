"""Embedding in the background: texts that wait in a deployment's queue get their vectors.

Many runners may work on one deployment. A text is claimed for a while by one of them; a runner
that dies leaves its claims to run out, and the texts to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import Deployment
from convex_memory.embedders.embedder import Embedder
from convex_memory.errors import (
    Conflict,
    ConvexMemoryError,
    EmbedderRefused,
    EmbedderUnavailable,
    InvalidResponse,
)
from convex_memory.limits import VECTOR_UPSERT_BATCH
from convex_memory.values import Value

logger = logging.getLogger(__name__)

BEGIN: Final = "memory/embeddings:begin"
STATUS: Final = "memory/embeddings:status"
CLAIM: Final = "memory/embeddings:claim"
STORE: Final = "memory/embeddings:store"
RELEASE: Final = "memory/embeddings:release"
REEMBED: Final = "memory/embeddings:reembed"

POLL_MS_DEFAULT: Final = 5_000
"""How often a runner looks for texts that others saved."""
POLL_MS_REMOTE: Final = 30_000
"""The same on Convex, where every look is a call that somebody pays for."""
LEASE_MS_DEFAULT: Final = 60_000
"""How long a claim holds; what a dead runner had claimed waits that long."""
CLAIM_ROWS: Final = 64
"""Texts claimed at a time: a second or two of work for the offline embedder."""
WORKERS_MOST: Final = 2
BACKOFF_MS_MAX: Final = 60_000


@dataclass(slots=True)
class _Work:
    """What the workers of one round have done: vectors stored, and the first failure."""

    workers: int = 0
    stored: int = 0
    failed: ConvexMemoryError | None = None


class EmbeddingRunner:
    """Embeds what waits in the queue of one deployment, with one embedder.

    Args:
        deployment: Where the texts are.
        embedder: What makes their vectors.
        capabilities: What is known of the deployment's functions.
        poll_ms: How often to look for texts that others saved, in milliseconds.
        lease_ms: How long a claim holds, in milliseconds.
        may_write: Whether `begin` may say that messages are to be embedded; otherwise questions
            are embedded where messages are already.
    """

    def __init__(
        self,
        deployment: Deployment,
        embedder: Embedder,
        *,
        capabilities: Capabilities | None = None,
        poll_ms: int = POLL_MS_DEFAULT,
        lease_ms: int = LEASE_MS_DEFAULT,
        may_write: bool = True,
    ) -> None:
        self._deployment = deployment
        self.embedder = embedder
        self._capabilities = capabilities or Capabilities(deployment)
        self._poll_ms = poll_ms
        self._lease_ms = lease_ms
        self._may_write = may_write
        self._begun = False
        self._refusal: str | None = None
        self._awake = anyio.Event()

    @property
    def refusal(self) -> str | None:
        """Why texts are not embedded, as a sentence; None while nothing is in the way."""
        return self._refusal

    def wake(self) -> None:
        """Say that there may be texts to embed."""
        self._awake.set()

    async def begin(self) -> bool:
        """Make sure that messages wait for this embedder; say whether they do.

        Costs nothing once it is so, and never loads a model or asks another machine than the
        deployment. Where messages have another embedder, or the deployment has none of our
        functions, `refusal` says so.

        Raises:
            DeploymentError: The deployment gave no usable answer.
        """
        if self._begun or self.embedder.dimension is None:
            return self._begun
        self._refusal = self.embedder.why_unavailable()
        if self._refusal is not None:
            return False
        if not await self._capabilities.has(BEGIN):
            self._refusal = "The deployment has none of our functions, which keep what is embedded."
            return False
        try:
            status = await self._status()
            if status.get("embedder") != self.embedder.id:
                if not self._may_write:
                    return False
                args: dict[str, Value] = {
                    "embedder": self.embedder.id,
                    "dimension": self.embedder.dimension,
                }
                await self._deployment.call("mutation", BEGIN, args, retry=True)
        except Conflict as error:
            self._refusal = error.message
            return False
        self._begun = True
        return True

    async def reembed(self, index_name: str | None = None) -> int:
        """Have the texts of an index, or messages, embedded anew by this embedder.

        Search by meaning goes on meanwhile, over what has been embedded so far.

        Args:
            index_name: An index that keeps its texts; None for messages.

        Returns:
            How many texts wait now.

        Raises:
            NotFound: The index keeps no texts.
            FunctionNotDeployed: The deployment has only Mastra's functions.
            EmbedderError: Only an answer of the embedder tells its dimension, and it gave none.
        """
        if self.embedder.dimension is None:
            await self.embedder.embed(["dimension"])
        args: dict[str, Value] = {
            "embedder": self.embedder.id,
            "dimension": self.embedder.dimension,
        }
        if index_name is None:
            answer = await self._deployment.call("mutation", BEGIN, {**args, "switch": True})
            self._begun, self._refusal = True, None
        else:
            answer = await self._deployment.call(
                "mutation", REEMBED, {**args, "indexName": index_name}
            )
        return int(_object(BEGIN, answer)["pending"])

    async def pending(self, index_name: str | None = None) -> int:
        """Count the messages, or the texts of an index, that have no vector yet.

        Raises:
            DeploymentError: The deployment gave no usable answer.
        """
        pending = (await self._status(index_name)).get("pending")
        return int(pending) if isinstance(pending, int | float) else 0

    async def run(self) -> None:
        """Embed what waits, for ever; ends when it is cancelled."""
        backoff_ms = self._poll_ms
        while True:
            # First a pause: a server that has just started has an assistant to answer.
            with anyio.move_on_after(backoff_ms / 1000):
                await self._awake.wait()
            self._awake = anyio.Event()
            try:
                await self.run_once()
                backoff_ms = self._poll_ms
            except ConvexMemoryError as error:
                logger.warning("texts could not be embedded: %s", error.code)
                if isinstance(error, EmbedderUnavailable):
                    self._refusal = error.message
                backoff_ms = min(BACKOFF_MS_MAX, 2 * backoff_ms)

    async def run_once(self) -> int:
        """Embed everything that waits now and return how many vectors were stored.

        Raises:
            ConvexMemoryError: The deployment or the embedder cannot work; what was claimed can
                be claimed again.
        """
        if self.embedder.dimension is None:
            # Only an answer tells.
            await self.embedder.embed(["dimension"])
        if not await self.begin():
            return 0
        work = _Work()
        async with anyio.create_task_group() as tasks:
            await self._work_off(work, tasks)
        if work.failed is not None:
            raise work.failed
        return work.stored

    async def _work_off(self, work: _Work, tasks: TaskGroup) -> None:
        """Claim, embed and store until nothing waits; with much to do, two at a time.

        While one of them claims or stores, the embedder works for the other.
        """
        work.workers += 1
        try:
            while (await self._status()).get("waiting"):
                items = await self._claim()
                if not items:
                    break
                if len(items) == CLAIM_ROWS and work.workers < WORKERS_MOST:
                    tasks.start_soon(self._work_off, work, tasks)
                work.stored += await self._embed(items)
        except ConvexMemoryError as error:
            work.failed = work.failed or error
            tasks.cancel_scope.cancel()

    async def _status(self, index_name: str | None = None) -> Mapping[str, Any]:
        args: dict[str, Value] = {"embedder": self.embedder.id}
        if index_name is not None:
            args["indexName"] = index_name
        return _object(STATUS, await self._deployment.call("query", STATUS, args))

    async def _claim(self) -> list[tuple[Value, str]]:
        answer = await self._deployment.call(
            "mutation",
            CLAIM,
            {"embedder": self.embedder.id, "limit": CLAIM_ROWS, "leaseMs": self._lease_ms},
        )
        items = _object(CLAIM, answer).get("items")
        if not isinstance(items, list):
            raise InvalidResponse(f"{CLAIM} did not answer with a list of items.")
        return [(item["ticket"], item["text"]) for item in items]

    async def _embed(self, items: Sequence[tuple[Value, str]]) -> int:
        try:
            vectors = await self._vectors(items)
        except BaseException:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await self._release([ticket for ticket, _ in items])
            raise
        stored = 0
        for at in range(0, len(vectors), VECTOR_UPSERT_BATCH):
            batch: list[Value] = [
                {"ticket": ticket, "vector": vector}
                for ticket, vector in vectors[at : at + VECTOR_UPSERT_BATCH]
            ]
            answer = await self._deployment.call(
                "mutation", STORE, {"embedder": self.embedder.id, "items": batch}, retry=True
            )
            stored += int(_object(STORE, answer)["stored"])
        return stored

    async def _vectors(self, items: Sequence[tuple[Value, str]]) -> list[tuple[Value, list[float]]]:
        try:
            made = await self.embedder.embed([text for _, text in items])
        except EmbedderRefused:
            if len(items) > 1:
                return [pair for item in items for pair in await self._vectors([item])]
            # It stays claimed, and is tried again when the claim has run out.
            logger.warning("the embedder refused a text; it is found by its words only")
            return []
        if made.sampled:
            logger.info(
                "%d very long texts were read in places for their meaning, "
                "and whole for their words",
                len(made.sampled),
            )
        return [
            (ticket, vector.tolist())
            for (ticket, _), vector in zip(items, made.vectors, strict=True)
        ]

    async def _release(self, tickets: list[Value]) -> None:
        try:
            await self._deployment.call("mutation", RELEASE, {"tickets": tickets}, retry=True)
        except ConvexMemoryError:
            logger.debug("claims could not be given back; they run out")


def _object(path: str, answer: Value) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise InvalidResponse(f"{path} did not answer with an object.")
    return answer
