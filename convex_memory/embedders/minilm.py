"""The offline embedder: all-MiniLM-L6-v2, from a package that holds nothing but its weights.

English foremost; 384 dimensions; 256 tokens at a time, which are some 1,000 characters. It needs
no network and no file outside the installed packages. It runs on numpy alone: from the same
weights onnxruntime computes the same vectors, a question in 5.0 ms instead of 8.5 and many texts
a tenth faster (one thread, `python -m bench.embedders`), but takes 165 MB more memory, 83 MB more
disk and twice the time to load, and has no wheel for some platforms.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from convex_memory.embedders import minilm_files
from convex_memory.embedders.embedder import Embeddings, checked, closed
from convex_memory.embedders.windows import (
    WINDOWS_MAX,
    Borders,
    Owner,
    places_in,
    pooled,
    spread,
    windows_of,
)
from convex_memory.embedders.wordpiece import LINE_END, WordPiece
from convex_memory.errors import ConfigurationError, EmbedderUnavailable

if TYPE_CHECKING:
    from convex_memory.embedders.blas import OneThread
    from convex_memory.embedders.minilm_model import MiniLMModel

ID: Final = "minilm-l6-v2-int8-8199be6f/mean-254"
"""The model, its weights and how long texts are read; another one when vectors change."""
DIMENSION: Final = 384
WINDOW_TOKENS: Final = 254
"""What the model was trained to read, 256 tokens, without the two that mark begin and end."""
OVERLAP_TOKENS: Final = 32
WHOLE_CHARS_MAX: Final = 1 << 16
"""A longer text is looked at in places only; 32 windows rarely hold more."""
BATCH_TOKENS: Final = 512
"""Tokens computed at once: some 100 ms of one core, and 20 MB while they last."""
GROUP_CHARS: Final = 4096
"""Texts with fewer characters in all are embedded at once, ahead of longer work."""
THREADS_MAX: Final = 4
_BEGIN, _END = 101, 102
_SENTENCE_ENDS: Final = frozenset({".", "!", "?", "。", "！", "？", LINE_END})  # noqa: RUF001


class MiniLMEmbedder:
    """Embeds texts offline. The model is loaded once for the process, and with the first text.

    Work of more than a few lines queues for the given number of threads; a question does not
    queue behind it.

    Args:
        threads: Threads that compute long work; by default half of the cores, at most 4, so
            that others can be used meanwhile.

    Raises:
        ConfigurationError: The number of threads is not positive.
    """

    id: str = ID
    dimension: int = DIMENSION

    def __init__(self, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ConfigurationError(f"threads is {threads}; an embedder needs at least one.")
        self._threads = threads or min(THREADS_MAX, max(1, (os.cpu_count() or 1) // 2))
        self._model: _Loaded | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"MiniLMEmbedder(threads={self._threads})"

    def why_unavailable(self) -> str | None:
        """Why it cannot work here: the weights are missing or not the right ones."""
        return minilm_files.problem()

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts; see `Embedder.embed`.

        Raises:
            InvalidArgument: This is no list of texts.
            EmbedderUnavailable: The weights are missing or not the right ones.
        """
        listed = checked(texts)
        if self._closed:
            raise closed()
        if self._model is None:
            self._model = await asyncio.to_thread(_loaded)
        model = self._model
        if sum(map(len, listed)) <= GROUP_CHARS:
            return await asyncio.to_thread(model.embed, listed)
        return await self._embed_in_turn(model, listed)

    async def aclose(self) -> None:
        """Let go of the model; the last embedder that does so frees its memory."""
        self._closed = True
        self._model = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    async def _embed_in_turn(self, model: _Loaded, texts: list[str]) -> Embeddings:
        import numpy as np

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="embedder")
        loop = asyncio.get_running_loop()
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        sampled: list[int] = []
        unread: list[int] = []

        async def embed_group(start: int, stop: int) -> None:
            if self._closed or self._pool is None:
                raise closed()
            made = await loop.run_in_executor(self._pool, model.embed, texts[start:stop])
            vectors[start:stop] = made.vectors
            sampled.extend(start + position for position in made.sampled)
            unread.extend(start + position for position in made.unread)

        groups = list(_groups(texts))
        for at in range(0, len(groups), self._threads):
            await asyncio.gather(*(embed_group(*each) for each in groups[at : at + self._threads]))
        return Embeddings(vectors, tuple(sorted(sampled)), tuple(sorted(unread)))


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where neighbouring texts begin and end that have few characters together, or are one."""
    start = chars = 0
    for position, text in enumerate(texts):
        if position > start and chars + len(text) > GROUP_CHARS:
            yield start, position
            start, chars = position, 0
        chars += len(text)
    yield start, len(texts)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Loaded:
    """The model and its tokenizer, loaded."""

    model: MiniLMModel
    tokenizer: WordPiece
    one_thread: OneThread = field(repr=False)

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts in this thread."""
        import numpy as np

        owners: list[Owner] = []
        windows: list[list[int]] = []
        sampled, unread = [], []
        for position, text in enumerate(texts):
            parts, whole = self._windows_of(text)
            windows += parts
            owners += [Owner(position, len(part)) for part in parts]
            if not whole:
                sampled.append(position)
            pieces = list(chain.from_iterable(parts))
            if 2 * pieces.count(self.tokenizer.unknown) > len(pieces) - 2 * len(parts):
                unread.append(position)
        if not windows:
            return Embeddings(np.empty((0, DIMENSION), np.float32))
        with self.one_thread.held():
            vectors = np.concatenate([self.model.vectors_of(batch) for batch in _batches(windows)])
        pooled_vectors = pooled(vectors, owners, len(texts))
        return Embeddings(pooled_vectors, tuple(sampled), tuple(unread))

    def _windows_of(self, text: str) -> tuple[list[list[int]], bool]:
        """The windows of a text as token ids, and whether they hold all of it."""
        places = [text]
        if len(text) > WHOLE_CHARS_MAX:
            places = [text[place] for place in places_in(len(text), WHOLE_CHARS_MAX // WINDOWS_MAX)]
        windows = [window for place in places for window in self._windows_in(place)]
        chosen = spread(windows)
        whole = len(places) == 1 and len(chosen) == len(windows)
        return [[_BEGIN, *window, _END] for window in chosen], whole

    def _windows_in(self, text: str) -> Iterator[list[int]]:
        ids: list[int] = []
        words, sentences = [], []
        for word in self.tokenizer.words(text):
            if word != LINE_END:
                words.append(len(ids))
                ids += self.tokenizer.pieces(word)
            if word in _SENTENCE_ENDS:
                sentences.append(len(ids))
        borders = Borders(len(ids), words, sentences)
        return (ids[window] for window in windows_of(borders, WINDOW_TOKENS, OVERLAP_TOKENS))


def _batches(windows: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    tokens = 0
    for window in windows:
        if batch and tokens + len(window) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(window)
        tokens += len(window)
    yield batch


# --- One model for the process

_LOADING: Final = threading.Lock()
_MODELS: Final[WeakValueDictionary[str, _Loaded]] = WeakValueDictionary()


def _loaded() -> _Loaded:
    """The model; loaded if no embedder holds it. Blocks for some 200 ms, most of it numpy's."""
    with _LOADING:
        model = _MODELS.get(ID)
        if model is None:
            model = _MODELS[ID] = _load()
        return model


def _load() -> _Loaded:
    from convex_memory.embedders.blas import OneThread
    from convex_memory.embedders.minilm_model import MiniLMModel

    weights = minilm_files.weights()
    problem = minilm_files.problem()
    if weights is None or problem is not None:
        raise EmbedderUnavailable(problem or "The weights of the embedding model are gone.")
    with minilm_files.VOCABULARY.content() as vocabulary:
        # Not by splitlines: pieces hold characters that it takes for ends of lines.
        pieces = vocabulary[:].decode().split("\n")[:-1]
    return _Loaded(MiniLMModel(weights.content()), WordPiece(pieces), OneThread())
