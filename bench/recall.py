"""How much of what a question needs is found: evidence recall on conversations in LoCoMo's shape.

Every turn is saved through the MCP tool over stdio, a conversation to a resource of its own, and
each question is asked through `search_memory`. Beside it, on the same turns in the same run:
SQLite's full-text search (FTS5, BM25, porter stemming, stop words) and the embedder alone; with
`--peers` also other searches that run without a key and network (`recall_peers`).

The recall of a question at k is the share of its evidence among the first k turns returned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any, Final

import anyio
import numpy as np
from mcp import Client, StdioServerParameters

from bench import recall_peers
from bench.report import CHECKOUT, Report, percentile
from bench.stdio_client import ALONE
from convex_memory.embedders import open_embedder
from convex_memory.search_words import TOKENIZER, match_expression

AT: Final = (5, 10, 20)
DEEPEST: Final = max(AT)
SAVED_AT_ONCE: Final = 100
TURN_SECONDS: Final = 1
RECALL_AT_10_LEAST: Final = 0.78
CHARS_A_TOKEN: Final = 4
"""The usual rule of thumb for English."""

_EVIDENCE = re.compile(r"D(\d+):0*(\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `place` is its evidence id, `session` the session it is in."""

    place: str
    session: int
    speaker: str
    role: str
    text: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the places of the turns it needs."""

    text: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; `unread` counts evidence ids that name no turn of it."""

    name: str
    turns: Sequence[Turn]
    questions: Sequence[Question]
    unread: int


@dataclass(slots=True)
class Tally:
    """What one way of searching found."""

    recalls: list[tuple[float, ...]] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)

    def note(self, found: Sequence[str], question: Question, seconds: float) -> None:
        """Take in the places found for a question, best first."""
        ranks = [found.index(each) if each in found else len(found) for each in question.evidence]
        known = [rank for rank in ranks if rank < len(found)]
        self.recalls.append(
            tuple(sum(rank < k for rank in known) / len(question.evidence) for k in AT)
        )
        self.first.append(1 / (1 + min(known)) if known else 0.0)
        self.seconds.append(seconds)

    def row(self, name: str) -> list[object]:
        """Return the line of the table."""
        milliseconds = [each * 1000 for each in self.seconds]
        return [
            name,
            *(round(mean(each[at] for each in self.recalls), 3) for at in range(len(AT))),
            round(mean(self.first), 3),
            round(mean(self.characters) / CHARS_A_TOKEN) if self.characters else "",
            round(percentile(milliseconds, 50), 1),
            round(percentile(milliseconds, 95), 1),
        ]


def main() -> int:
    """Measure, print, and hold ours against what it must find."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="a file in the shape of LoCoMo's")
    parser.add_argument(
        "--peers", type=Path, help="a folder outside the checkout, where peers are installed"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="for the peers (basic-memory: 3.12 or newer)"
    )
    asked = parser.parse_args()
    report = Report("recall", asked)
    conversations = [conversation_of(each) for each in json.loads(asked.path.read_text())]
    ours, each_of_ours = asyncio.run(search_ours(conversations))
    words, meaning = Tally(), Tally()
    for conversation in conversations:
        search_words(conversation, words)
        asyncio.run(search_meaning(conversation, meaning))
    others = search_peers(conversations, asked.peers, asked.python) if asked.peers else {}
    columns = ["", *(f"recall@{k}" for k in AT), "MRR", "tokens", "p50 ms", "p95 ms"]
    questions = sum(len(each.questions) for each in conversations)
    report.table(
        f"{len(conversations)} conversations, {questions} questions with evidence; "
        f"{sum(each.unread for each in conversations)} evidence ids named no turn",
        columns,
        [
            ours.row("search_memory over stdio"),
            words.row("FTS5 BM25, stemmed, stop words"),
            meaning.row("the embedder alone"),
            *(tally.row(name) for name, tally in others.items()),
        ],
    )
    report.table("search_memory, each conversation", columns, [
        tally.row(conversation.name)
        for conversation, tally in zip(conversations, each_of_ours, strict=True)
    ])  # fmt: skip
    report.require(
        "recall@10 of search_memory",
        mean(each[1] for each in ours.recalls),
        at_least=RECALL_AT_10_LEAST,
    )
    return report.finish()


# --- The file


def conversation_of(sample: Mapping[str, Any]) -> Conversation:
    """Read one sample of the file."""
    said = sample["conversation"]
    turns: list[Turn] = []
    for session in sorted(int(name[8:]) for name in said if re.fullmatch(r"session_\d+", name)):
        dated = f"{said[f'session_{session}_date_time']} +0000"
        when = datetime.strptime(dated, "%I:%M %p on %d %B, %Y %z")
        for number, turn in enumerate(said[f"session_{session}"]):
            caption = turn.get("blip_caption")
            photo = f" [shares a photo: {caption}]" if caption else ""
            at = when + timedelta(seconds=number * TURN_SECONDS)
            turns.append(
                Turn(
                    place=turn["dia_id"],
                    session=session,
                    speaker=turn["speaker"],
                    role="user" if turn["speaker"] == said["speaker_a"] else "assistant",
                    text=f"{turn['text']}{photo}",
                    created_at=at.isoformat(),
                )
            )
    places = {turn.place for turn in turns}
    questions, unread = [], 0
    for asked in sample["qa"]:
        named = [
            f"D{int(session)}:{int(turn)}"
            for text in asked.get("evidence") or []
            for session, turn in _EVIDENCE.findall(text)
        ]
        evidence = frozenset(named) & places
        unread += len(set(named)) - len(evidence)
        if evidence:
            questions.append(Question(asked["question"], evidence))
    return Conversation(str(sample["sample_id"]), turns, questions, unread)


# --- Ours


async def search_ours(conversations: Sequence[Conversation]) -> tuple[Tally, list[Tally]]:
    """Save and search through the tools; return all of it, and each conversation's."""
    whole, parts = Tally(), []
    with tempfile.TemporaryDirectory() as folder:
        for conversation in conversations:
            part = Tally()
            async with server(Path(folder), conversation.name) as client:
                places = await save(client, conversation)
                await embedded(client, conversation)
                for question in conversation.questions:
                    began = time.perf_counter()
                    answer = await call(
                        client,
                        "search_memory",
                        query=question.text,
                        limit=DEEPEST,
                        max_chars=200_000,
                    )
                    seconds = time.perf_counter() - began
                    found = [places[hit["message_id"]] for hit in answer["hits"]]
                    for tally in (whole, part):
                        tally.note(found, question, seconds)
                        tally.characters.append(sum(len(hit["content"]) for hit in answer["hits"]))
            parts.append(part)
    return whole, parts


@asynccontextmanager
async def server(folder: Path, resource_id: str) -> AsyncIterator[Client]:
    """Start the server as an assistant does."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "convex_memory"],
        env={"MEMORY_DATA_DIR": str(folder), "MEMORY_RESOURCE_ID": resource_id, **ALONE},
        cwd=CHECKOUT,
    )
    async with Client(parameters) as client:
        yield client


async def save(client: Client, conversation: Conversation) -> dict[str, str]:
    """Save every turn, a session to a thread; return the place of each message id."""
    places: dict[str, str] = {}
    sessions: dict[int, list[Turn]] = {}
    for turn in conversation.turns:
        sessions.setdefault(turn.session, []).append(turn)
    for turns in sessions.values():
        thread: dict[str, str] = {}
        for start in range(0, len(turns), SAVED_AT_ONCE):
            batch = turns[start : start + SAVED_AT_ONCE]
            answer = await call(
                client,
                "save_messages",
                messages=[
                    {
                        "role": turn.role,
                        "content": f"{turn.speaker}: {turn.text}",
                        "created_at": turn.created_at,
                    }
                    for turn in batch
                ],
                **thread,
            )
            thread = {"thread_id": answer["thread_id"]}
            for turn, saved in zip(batch, answer["saved"], strict=True):
                places[saved["message_id"]] = turn.place
    return places


async def embedded(client: Client, conversation: Conversation) -> None:
    """Wait until every turn can be found by its meaning."""
    with anyio.fail_after(600):
        while True:
            answer = await call(client, "search_memory", query="hello", limit=1)
            if "semantic" in answer["searched"] and not answer["pending"]:
                return
            await anyio.sleep(0.5)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise RuntimeError(f"{tool} failed: {result.content}")
    return dict(result.structured_content)


# --- What it is held against


def search_words(conversation: Conversation, tally: Tally) -> None:
    """Search with FTS5 and its BM25 alone."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE turns USING fts5(text, tokenize = '{TOKENIZER}')")
    connection.executemany(
        "INSERT INTO turns (rowid, text) VALUES (?, ?)",
        [(at, f"{turn.speaker}: {turn.text}") for at, turn in enumerate(conversation.turns)],
    )
    for question in conversation.questions:
        began = time.perf_counter()
        rows = connection.execute(
            "SELECT rowid FROM turns WHERE turns MATCH ? ORDER BY rank LIMIT ?",
            (match_expression(question.text), DEEPEST),
        ).fetchall()
        seconds = time.perf_counter() - began
        tally.note([conversation.turns[at].place for (at,) in rows], question, seconds)
    connection.close()


async def search_meaning(conversation: Conversation, tally: Tally) -> None:
    """Search with the embedder alone."""
    embedder = open_embedder()
    if embedder is None:
        raise RuntimeError("There is no default embedder.")
    texts = [f"{turn.speaker}: {turn.text}" for turn in conversation.turns]
    vectors = (await embedder.embed(texts)).vectors
    for question in conversation.questions:
        began = time.perf_counter()
        asked = (await embedder.embed([question.text])).vectors[0]
        best = np.argsort(-(vectors @ asked), kind="stable")[:DEEPEST]
        seconds = time.perf_counter() - began
        tally.note([conversation.turns[int(at)].place for at in best], question, seconds)
    await embedder.aclose()


def search_peers(
    conversations: Sequence[Conversation], folder: Path, python: str
) -> dict[str, Tally]:
    """Search with whatever else can be installed."""
    tallies = {}
    for name, where in recall_peers.installed(folder, python).items():
        tally = tallies[name] = Tally()
        for conversation in conversations:
            turns = [(turn.place, f"{turn.speaker}: {turn.text}") for turn in conversation.turns]
            texts = dict(turns)
            with recall_peers.PEERS[name](where, turns) as search:
                for question in conversation.questions:
                    found, seconds = recall_peers.timed(search, question.text, DEEPEST)
                    tally.note(found, question, seconds)
                    tally.characters.append(sum(len(texts[place]) for place in found))
    return tallies


if __name__ == "__main__":
    sys.exit(main())
