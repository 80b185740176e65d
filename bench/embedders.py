"""What the offline embedder costs: loading, memory, a question, many texts."""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from bench.report import CHECKOUT, Report, positive
from convex_memory.embedders import Embedder, open_embedder
from convex_memory.embedders.minilm_files import VOCABULARY, weights
from convex_memory.embedders.wordpiece import WordPiece

FIRST_MS_MOST: Final = 1000
QUESTION_MS_MOST: Final = 100
BATCH: Final = 16
_START: Final = "import time\nbegan = time.perf_counter()\n"
_END: Final = """
print((time.perf_counter() - began) * 1000)
try:
    # Unlike ru_maxrss, which begins with what the parent had.
    status = open('/proc/self/status').read()
    print(int(status.split('VmHWM:')[1].split()[0]) / 1024)
except OSError:
    print('nan')
"""
STARTS: Final = {
    "Python, asyncio": "import asyncio",
    "and numpy": "import asyncio, numpy",
    "and ours, one text embedded": (
        "import asyncio\nfrom convex_memory import open_embedder\n"
        "asyncio.run(open_embedder().embed(['hello']))"
    ),
}
ONNXRUNTIME_START: Final = (
    "import asyncio, numpy, onnxruntime\nfrom bench.embedders import Onnx\nOnnx().embed(['hello'])"
)

Embed = Callable[[Sequence[str]], Awaitable[object]]


class Start(NamedTuple):
    """A new process, until it had its first vector."""

    ms: float
    peak_mb: float


class Onnx:
    """The same weights under onnxruntime on one thread, where it is installed."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        found = weights()
        assert found is not None
        self._session = onnxruntime.InferenceSession(
            str(found.path), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = WordPiece(VOCABULARY.path.read_bytes().decode().split("\n")[:-1])

    def embed(self, texts: Sequence[str]) -> Any:
        """Embed texts of less than a window, sorted by length and padded in batches."""
        import numpy as np

        ids = sorted((self._ids(text) for text in texts), key=len)
        made = []
        for batch in (ids[at : at + BATCH] for at in range(0, len(ids), BATCH)):
            tokens = np.zeros((len(batch), len(batch[-1])), np.int64)
            mask = np.zeros_like(tokens)
            for row, each in enumerate(batch):
                tokens[row, : len(each)] = each
                mask[row, : len(each)] = 1
            types = np.zeros_like(tokens)
            asked = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": types}
            [states] = self._session.run(None, asked)
            made.append((states * mask[:, :, np.newaxis]).sum(axis=1))
        vectors = np.concatenate(made)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _ids(self, text: str) -> list[int]:
        words = self._tokenizer.words(text)
        return [101, *(id for word in words for id in self._tokenizer.pieces(word)), 102]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=positive, default=200, help="embedded at once (200)")
    parser.add_argument("--questions", type=positive, default=50, help="one by one (default 50)")
    parser.add_argument("--rounds", type=positive, default=5, help="of each (default 5)")
    asked = parser.parse_args()
    report = Report("embedders", asked)
    onnx = _onnx()
    starts = {**STARTS, **({"onnxruntime, one text embedded": ONNXRUNTIME_START} if onnx else {})}
    tell_starts(report, starts, asked.rounds)
    asyncio.run(measure(report, asked, onnx))
    return report.finish()


def _onnx() -> Onnx | None:
    try:
        return Onnx()
    except ImportError:
        print("onnxruntime is not installed, and not compared")
        return None


def tell_starts(report: Report, programs: dict[str, str], rounds: int) -> None:
    measured: dict[str, list[Start]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            finished = subprocess.run(
                [sys.executable, "-c", f"{_START}{program}{_END}"],
                cwd=CHECKOUT,
                capture_output=True,
                check=True,
            )
            measured[name].append(Start(*map(float, finished.stdout.split())))
    medians = {
        name: Start(median(each.ms for each in starts), median(each.peak_mb for each in starts))
        for name, starts in measured.items()
    }
    report.table(
        "a new process",
        ("has loaded", "ms p50", "ms min", "peak MiB"),
        [
            (name, figures.ms, min(each.ms for each in measured[name]), figures.peak_mb)
            for name, figures in medians.items()
        ],
    )
    first = medians["and ours, one text embedded"]
    report.require("ms to the first vector,", first.ms, at_most=FIRST_MS_MOST)


async def measure(report: Report, asked: argparse.Namespace, onnx: Onnx | None) -> None:
    questions, texts = english(asked.questions, 8, 16), english(asked.texts, 8, 60)
    embedder: Embedder | None = open_embedder()
    assert embedder is not None
    embedders: dict[str, Embed] = {"ours": embedder.embed}
    if onnx is not None:
        embedders["onnxruntime"] = lambda texts: asyncio.to_thread(onnx.embed, texts)
    one: dict[str, list[float]] = {name: [] for name in embedders}
    many: dict[str, list[float]] = {name: [] for name in embedders}
    for embed in embedders.values():
        await embed(["loaded"])
    for _ in range(asked.rounds):
        for question in questions:
            for name, embed in embedders.items():
                one[name].append(await _seconds(embed, [question]) * 1000)
        for name, embed in embedders.items():
            many[name].append(asked.texts / await _seconds(embed, texts))
    report.table(
        "one question of 8 to 16 words; many texts of 8 to 60 words, 34 on average",
        ("", "question ms p50", "ms min", "texts a second p50", "most"),
        [
            (name, median(one[name]), min(one[name]), median(many[name]), max(many[name]))
            for name in embedders
        ],
    )
    report.require("ms a question,", median(one["ours"]), at_most=QUESTION_MS_MOST)
    await embedder.aclose()


async def _seconds(embed: Embed, texts: Sequence[str]) -> float:
    began = time.perf_counter()
    await embed(texts)
    return time.perf_counter() - began


def english(count: int, least: int, most: int) -> list[str]:
    """Return texts of common English words, one token each."""
    pieces = VOCABULARY.path.read_text(encoding="utf-8").split("\n")
    # The vocabulary stands in the order of frequency.
    words = [piece for piece in pieces if piece.isascii() and piece.isalpha() and len(piece) > 1]
    choices = random.Random(1)
    return [
        " ".join(choices.choices(words[:5000], k=choices.randint(least, most)))
        for _ in range(count)
    ]


if __name__ == "__main__":
    sys.exit(main())
