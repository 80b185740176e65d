"""Many messages saved at once: found by their words at once, and embedded how fast meanwhile.

First the embedder alone embeds some of the texts in a process of its own: its batch throughput.
Then all are saved through the tool over stdio. When the last save has returned, messages from
everywhere among them must be found by their words. While the server embeds, one caller goes on
saving and another searching, and both say how long they wait.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.embedders import english
from bench.report import CHECKOUT, RESULTS, Report, percentile, positive
from bench.stdio_client import MODERN, OUR_SERVER, StdioClient
from convex_memory.embedders import open_embedder

SAVED_AT_ONCE: Final = 100
SHARE_LEAST: Final = 0.8
LOOKED_FOR: Final = 50
WORDS_LEAST: Final = 8
WORDS_MOST: Final = 60
BATCH: Final = 64
"""Texts that the server's runner embeds at a time; the embedder alone is given as many."""
PAUSE_S: Final = 0.2


def main() -> int:
    """Measure, print, and hold the throughput against the embedder's own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=positive, default=10_000, help="(default 10000)")
    parser.add_argument("--seconds", type=positive, default=60, help="of embedding (default 60)")
    parser.add_argument("--alone", type=positive, default=1000, help="texts for it (default 1000)")
    parser.add_argument("--only-embed", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only_embed:
        print(asyncio.run(embed_alone(texts_of(asked.alone))))
        return 0
    report = Report("bulk_embedding", asked)
    texts = texts_of(asked.messages)
    alone = [alone_rate(asked.alone)]
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        client = StdioClient(OUR_SERVER, MODERN, Path(folder))
        try:
            client.open()
            seconds = save_all(client, texts)
            found = found_at_once(client, texts)
            rate, waits = work_meanwhile(client, asked.seconds)
        finally:
            client.end()
    alone.append(alone_rate(asked.alone))
    own = sum(alone) / len(alone)
    report.table(
        f"{asked.messages:,} messages of {WORDS_LEAST} to {WORDS_MOST} words",
        ("", "a second"),
        [
            (f"saved, {SAVED_AT_ONCE} at once, embedding meanwhile", asked.messages / seconds),
            ("embedded by the embedder alone, before and after", own),
            (f"embedded by the server in {asked.seconds} s", rate),
        ],
    )
    report.table(
        "meanwhile, one after another, both from one client",
        ("ms", "calls", "p50", "p95", "p99", "max"),
        [
            (name, len(each), *(percentile(each, at) for at in (50, 95, 99)), max(each))
            for name, each in waits.items()
        ],
    )
    report.require(
        f"of {LOOKED_FOR} messages, found by words after the last save", found, at_least=LOOKED_FOR
    )
    report.require("of the embedder's own throughput", rate / own, at_least=SHARE_LEAST)
    return report.finish()


def texts_of(count: int) -> list[str]:
    """Return texts that each hold a word of their own."""
    return [
        f"{text} item{at:06}" for at, text in enumerate(english(count, WORDS_LEAST, WORDS_MOST))
    ]


# --- The embedder alone


def alone_rate(count: int) -> float:
    """Return how many texts a second a new process embeds that does nothing else."""
    command = [sys.executable, "-m", "bench.bulk_embedding", "--only-embed", "--alone", str(count)]
    finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True)
    return float(finished.stdout)


async def embed_alone(texts: Sequence[str]) -> float:
    """Embed in batches as the server does, and return texts a second."""
    embedder = open_embedder()
    assert embedder is not None
    await embedder.embed(["loaded"])
    began = time.perf_counter()
    for at in range(0, len(texts), BATCH):
        await embedder.embed(texts[at : at + BATCH])
    seconds = time.perf_counter() - began
    await embedder.aclose()
    return len(texts) / seconds


# --- The server


def save_all(client: StdioClient, texts: Sequence[str]) -> float:
    """Save all texts and return the seconds until the last save had returned."""
    began = time.perf_counter()
    for at in range(0, len(texts), SAVED_AT_ONCE):
        messages = [
            {"role": "user", "content": text, "message_id": f"m{at + place}"}
            for place, text in enumerate(texts[at : at + SAVED_AT_ONCE])
        ]
        client.call_tool("save_messages", {"messages": messages, "thread_id": f"t{at // 1000}"})
    return time.perf_counter() - began


def found_at_once(client: StdioClient, texts: Sequence[str]) -> int:
    """Count the messages that come first when they are searched for by their own word."""
    places = [len(texts) - 1, *random.Random(1).sample(range(len(texts)), LOOKED_FOR - 1)]
    return sum(
        _search(client, f"item{at:06}")["hits"][0]["message_id"] == f"m{at}" for at in places
    )


def work_meanwhile(client: StdioClient, seconds: int) -> tuple[float, dict[str, list[float]]]:
    """Save and search while the server embeds; return its rate and what the calls waited."""
    waits: dict[str, list[float]] = {"save_message": [], "search_memory": []}
    questions = english(200, 4, 10)
    saved = 0
    pending, began = _search(client, "anything")["pending"], time.perf_counter()
    while time.perf_counter() - began < seconds:
        content = f"{random.choice(questions)} meanwhile {saved}"
        waits["save_message"].append(
            _ms(client.call_tool, "save_message", {"role": "user", "content": content})
        )
        saved += 1
        question = random.choice(questions)
        waits["search_memory"].append(_ms(client.call_tool, "search_memory", {"query": question}))
        time.sleep(PAUSE_S)
    left, ended = _search(client, "anything")["pending"], time.perf_counter()
    if left == 0:
        raise RuntimeError("Everything was embedded before the time was over; take more messages.")
    return (pending + saved - left) / (ended - began), waits


def _ms(call: Callable[..., float], *arguments: Any) -> float:
    return call(*arguments) * 1000


def _search(client: StdioClient, query: str) -> Any:
    arguments = {"name": "search_memory", "arguments": {"query": query, "limit": 1}}
    return client.request("tools/call", arguments)[0]["structuredContent"]


if __name__ == "__main__":
    sys.exit(main())
