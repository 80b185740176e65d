"""Searching a large memory through the tool over stdio, and the first search of a new server.

The messages are made of real turns (a file in the shape of LoCoMo's): each is two sentences of
different turns, so that words are as common as they are in speech and no two messages are the
same. Every message has a vector: embedding so many would take half an hour, so the turns are
embedded, and the vector of a message is the mean of those of its two turns, a little noise in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.recall import Conversation, conversation_of
from bench.report import RESULTS, Report, percentile, positive
from bench.stdio_client import MODERN, OUR_SERVER, StdioClient
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedders import open_embedder
from convex_memory.indexing import BEGIN, CLAIM, STORE
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore
from convex_memory.text import message_text, text_content

P50_MS_MOST: Final = 30.0
COLD_MS_MOST: Final = 1500.0
RESOURCE: Final = "default"
"""Whose memory the server opens when nobody says otherwise."""
THREAD_MESSAGES: Final = 200
NOISE: Final = 0.3
"""Length of the noise in a vector, beside 1 for the mean."""
MONTHS_BACK: Final = 24
LIMIT: Final = 10
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")
_MADE: Final = "made.json"


class Turns(NamedTuple):
    """The turns that messages are made of: sentences, whose each is, and the turns' vectors."""

    sentences: Sequence[str]
    turn: Sequence[int]
    speaker: Sequence[str]
    vectors: NDArray[np.float32]


def main() -> int:
    """Build the memory, search it, and hold the times against what they must be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="a file in the shape of LoCoMo's")
    parser.add_argument("--messages", type=positive, default=100_000, help="(default 100000)")
    parser.add_argument("--questions", type=positive, default=300, help="asked (default 300)")
    parser.add_argument("--starts", type=positive, default=5, help="new servers (default 5)")
    parser.add_argument("--folder", type=Path, help="made there, and found there the next time")
    asked = parser.parse_args()
    report = Report("search_scale", asked)
    conversations = [conversation_of(each) for each in json.loads(asked.path.read_text())]
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as scratch:
        folder = asked.folder or Path(scratch)
        if not (folder / _MADE).exists():
            tell_building(report, asyncio.run(build(folder, conversations, asked.messages)))
        questions = questions_of(conversations, asked.questions)
        tell_first(report, folder, questions[: asked.starts])
        tell_searches(report, folder, questions, asked.messages)
    return report.finish()


def questions_of(conversations: Sequence[Conversation], count: int) -> list[str]:
    """Return questions of all conversations, the same ones every time."""
    texts = [question.text for each in conversations for question in each.questions]
    random.Random(1).shuffle(texts)
    return texts[:count]


# --- The memory


async def build(
    folder: Path, conversations: Sequence[Conversation], count: int
) -> Mapping[str, float]:
    """Save the messages, have each of them embedded, and say how long either took."""
    turns = await turns_of(conversations)
    async with EmbeddedDeployment(folder) as deployment:
        memory = ConvexStore(deployment).memory
        began = time.perf_counter()
        made = 0
        for thread, messages, _ in threads_of(turns, count):
            await memory.save_thread(thread)
            await memory.save_messages(messages)
            made += len(messages)
        saved = time.perf_counter()
        await embed_all(deployment, vectors_of(turns, count))
        done = time.perf_counter()
    (folder / _MADE).write_text(json.dumps({"messages": made}))
    return {"saved": saved - began, "vectors stored": done - saved}


async def turns_of(conversations: Sequence[Conversation]) -> Turns:
    """Split every turn into its sentences, and embed it."""
    sentences, turn, speakers = [], [], []
    texts = [f"{each.speaker}: {each.text}" for one in conversations for each in one.turns]
    for at, each in enumerate(each for one in conversations for each in one.turns):
        speakers.append(each.speaker)
        found = [part.strip() for part in _SENTENCE.findall(each.text) if len(part) > 8]
        sentences += found
        turn += [at] * len(found)
    embedder = open_embedder()
    assert embedder is not None
    vectors = (await embedder.embed(texts)).vectors
    await embedder.aclose()
    return Turns(sentences, turn, speakers, vectors)


def threads_of(
    turns: Turns, count: int
) -> Iterator[tuple[Thread, list[Message], list[tuple[int, int]]]]:
    """Yield threads with their messages, and the two turns that each message is made of."""
    choices = random.Random(1)
    start = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=30 * MONTHS_BACK)
    threads = -(-count // THREAD_MESSAGES)
    for number in range(threads):
        thread = Thread(id=f"thread-{number}", resource_id=RESOURCE)
        begun = start + timedelta(days=30 * MONTHS_BACK * number / threads)
        messages, pairs = [], []
        for place in range(min(THREAD_MESSAGES, count - number * THREAD_MESSAGES)):
            first, second = (choices.randrange(len(turns.sentences)) for _ in range(2))
            pairs.append((turns.turn[first], turns.turn[second]))
            said = f"{turns.sentences[first]} {turns.sentences[second]}"
            who = turns.speaker[turns.turn[first]]
            messages.append(
                Message(
                    id=f"{number}:{place}",
                    thread_id=thread.id,
                    resource_id=RESOURCE,
                    role="assistant" if place % 2 else "user",
                    content=text_content(f"{who}: {said}"),
                    created_at=begun + timedelta(seconds=30 * place),
                )
            )
        yield thread, messages, pairs


def vectors_of(turns: Turns, count: int) -> dict[str, NDArray[np.float32]]:
    """Return the vector of every message by its text."""
    noise = np.random.default_rng(1)
    vectors = {}
    for _, messages, pairs in threads_of(turns, count):
        mean = np.stack([turns.vectors[list(pair)].mean(axis=0) for pair in pairs])
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        mean += NOISE / np.sqrt(mean.shape[1]) * noise.standard_normal(mean.shape)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        for message, vector in zip(messages, mean.astype(np.float32), strict=True):
            vectors[message_text(message.content)] = vector
    return vectors


async def embed_all(
    deployment: EmbeddedDeployment, vectors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Take every message out of the queue as the server's runner does, and store its vector."""
    embedder = open_embedder()
    assert embedder is not None
    named = {"embedder": embedder.id}
    await deployment.call("mutation", BEGIN, {**named, "dimension": embedder.dimension})
    while True:
        answer: Any = await deployment.call(
            "mutation", CLAIM, {**named, "limit": 100, "leaseMs": 60_000}
        )
        items = [
            {"ticket": each["ticket"], "vector": vectors[each["text"]].tolist()}
            for each in answer["items"]
        ]
        if not items:
            return
        await deployment.call("mutation", STORE, {**named, "items": items})


def tell_building(report: Report, seconds: Mapping[str, float]) -> None:
    report.table(
        "building the memory, which is not measured", ("", "seconds"), list(seconds.items())
    )


# --- Searching


def tell_first(report: Report, folder: Path, questions: Sequence[str]) -> None:
    """Measure the first search of servers that have just started."""
    first, second, whole = [], [], []
    for question in questions:
        with ending(StdioClient(OUR_SERVER, MODERN, folder)) as client:
            client.request("tools/list")
            first.append(search(client, question)[0])
            whole.append((time.perf_counter() - client.started) * 1000)
            second.append(search(client, question)[0])
    report.table(
        "a server that has just started, the files in the page cache",
        ("ms", "p50", "min", "max"),
        [
            (name, percentile(times, 50), min(times), max(times))
            for name, times in (
                ("its first search, loading the model", first),
                ("the same again", second),
                ("start, tools/list, first search", whole),
            )
        ],
    )
    report.require("ms for the first search,", percentile(first, 50), at_most=COLD_MS_MOST)


def tell_searches(report: Report, folder: Path, questions: Sequence[str], count: int) -> None:
    """Measure searches one after another, some of them narrowed."""
    ways: dict[str, Mapping[str, Any]] = {
        "whole memory": {},
        "one role": {"role": "user"},
        "the last month": {"since": (datetime(2025, 12, 2, tzinfo=UTC)).isoformat()},
        "one thread": {"thread_id": "thread-7"},
        "neighbours=2": {"neighbours": 2},
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    searched: set[str] = set()
    with ending(StdioClient(OUR_SERVER, MODERN, folder)) as client:
        for question in questions[:10]:
            search(client, question)
        for question in questions:
            for name, narrowed in ways.items():
                taken, answer = search(client, question, **narrowed)
                times[name].append(taken)
                searched.update(answer["searched"])
    report.table(
        f"{len(questions)} questions over {count:,} messages, by {' and '.join(sorted(searched))}",
        ("ms a search", "min", "p50", "p95", "p99", "max"),
        [
            (name, min(each), *(percentile(each, at) for at in (50, 95, 99)), max(each))
            for name, each in times.items()
        ],
    )
    report.require("ms a search, p50,", percentile(times["whole memory"], 50), at_most=P50_MS_MOST)


@contextmanager
def ending(client: StdioClient) -> Iterator[StdioClient]:
    """Open a server, and end it."""
    try:
        client.open()
        yield client
    finally:
        client.end()


def search(client: StdioClient, question: str, **narrowed: Any) -> tuple[float, Mapping[str, Any]]:
    """Search through the tool; return the milliseconds and the answer.

    Raises:
        RuntimeError: Meaning was not searched, or nothing was found in the whole memory.
    """
    arguments = {"query": question, "limit": LIMIT, **narrowed}
    result, seconds = client.request(
        "tools/call", {"name": "search_memory", "arguments": arguments}
    )
    answer = result["structuredContent"]
    if "semantic" not in answer["searched"] or not (answer["hits"] or narrowed):
        raise RuntimeError(f"{question!r} was searched by {answer['searched']} only.")
    return seconds * 1000, answer


if __name__ == "__main__":
    sys.exit(main())
