"""Indexes of texts: the vectors are made here, by one embedder, and the texts are kept.

An index into which texts were put belongs to the embedder that made its vectors. Another one is
refused, until the texts are embedded anew (`EmbeddingRunner.reembed`); vectors that callers made
go into other indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convex_memory.capabilities import DEPLOY, Capabilities
from convex_memory.deployment import Deployment
from convex_memory.embedders.embedder import Embedder
from convex_memory.embeddings import Metadata, VectorMatches, ids_of, metadata_of, top_k_of
from convex_memory.errors import FunctionNotDeployed, InvalidArgument, LimitExceeded
from convex_memory.filters import parse
from convex_memory.indexing import STATUS
from convex_memory.limits import EMBED_TEXT_CHARS_MAX, VECTOR_RESULTS_DEFAULT
from convex_memory.vector_functions import FunctionVectors


class TextVectors:
    """Texts in the indexes of a deployment that has our functions.

    Args:
        deployment: Where the indexes are.
        embedder: What makes the vectors.
        capabilities: What is known of the deployment's functions.
    """

    def __init__(
        self, deployment: Deployment, embedder: Embedder, *, capabilities: Capabilities | None
    ) -> None:
        self._functions = FunctionVectors(deployment)
        self._embedder = embedder
        self._capabilities = capabilities or Capabilities(deployment)

    async def dimension(self) -> int:
        """Return the dimension that an index for these texts needs.

        Raises:
            EmbedderError: Only an answer of the embedder tells, and it gave none.
        """
        if self._embedder.dimension is None:
            await self._embedder.embed(["dimension"])
        assert self._embedder.dimension is not None
        return self._embedder.dimension

    async def upsert(
        self,
        index_name: str,
        texts: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata | None] | None = None,
    ) -> list[str]:
        """Embed texts and store them with their vectors, each in place of the one with its id.

        Args:
            index_name: An index of the embedder's dimension.
            texts: At least one, none of them blank, each of at most 262,144 characters.
            ids: One per text; random ones where absent. Of equal ids the last wins.
            metadata: One object, or `None`, per text.

        Returns:
            The ids, in the order of the texts.

        Raises:
            NotFound: There is no such index.
            Conflict: The index holds vectors of another origin.
            DimensionMismatch: The index has another dimension than the embedder.
            InvalidArgument: A text is blank, or lengths differ.
            LimitExceeded: A text is too long.
            EmbedderError: The texts could not be embedded; nothing was stored.
        """
        await self._ready()
        if not texts:
            raise InvalidArgument("upsert: texts is empty; send at least one.")
        for position, text in enumerate(texts):
            if not text.strip():
                raise InvalidArgument(f"upsert: texts[{position}] is blank.")
            if len(text) > EMBED_TEXT_CHARS_MAX:
                raise LimitExceeded(
                    f"upsert: texts[{position}] has {len(text):,} characters; at most "
                    f"{EMBED_TEXT_CHARS_MAX:,} are kept. Split it into several."
                )
        chosen = ids_of("upsert", ids, len(texts))
        described = metadata_of("upsert", metadata, len(texts))
        # Asked before anything is embedded: an unknown index costs no work.
        await self._functions.describe_index(index_name)
        vectors = (await self._embedder.embed(list(texts))).vectors.tolist()
        last = {each[0]: each for each in zip(chosen, vectors, described, texts, strict=True)}
        await self._functions.upsert(
            index_name,
            [(id, vector, entry) for id, vector, entry, _ in last.values()],
            texts=[text for *_, text in last.values()],
            embedder=self._embedder.id,
        )
        return chosen

    async def query(
        self,
        index_name: str,
        text: str,
        *,
        top_k: int = VECTOR_RESULTS_DEFAULT,
        filter: Mapping[str, object] | None = None,
        include_vector: bool = False,
        exact: bool = False,
    ) -> VectorMatches:
        """The texts most similar in meaning to one.

        Args:
            index_name: The index.
            text: What to look for; not blank.
            top_k: How many at most, 1 to 256.
            filter: What their metadata must satisfy.
            include_vector: Whether matches carry their vectors.
            exact: Compare with every vector of the index.

        Raises:
            NotFound: There is no such index.
            Conflict: The index is of another embedder, or holds vectors that callers made.
            InvalidArgument: The text is blank, or a `top_k` or filter is not valid.
            EmbedderError: The text could not be embedded.
        """
        await self._ready()
        if not text.strip():
            raise InvalidArgument("query: the text is blank; say what to look for.")
        limit, wanted = top_k_of("query", top_k), parse(filter)
        vector = (await self._embedder.embed([text])).vectors[0].tolist()
        return await self._functions.query(
            index_name,
            vector,
            limit,
            wanted,
            with_vectors=include_vector,
            exact=exact,
            embedder=self._embedder.id,
        )

    async def _ready(self) -> None:
        if not await self._capabilities.has(STATUS):
            raise FunctionNotDeployed(
                f"Texts need our functions, and the deployment has none of them. {DEPLOY} Vectors "
                "that you make yourself can be stored as it is."
            )
