"""Real conversations, saved through the tools over stdio and recalled after a restart.

Takes a file in the shape of the LoCoMo benchmark. Every turn must come back, word for word and
in its place: page by page, among its neighbours, and when it is saved once more. How often
search finds a turn by some of its words is counted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import anyio
from mcp import Client, StdioServerParameters

from bench.report import CHECKOUT, RESULTS, Report, percentile, positive
from bench.stdio_client import ALONE
from convex_memory.limits import SAVE_MESSAGES_MAX

PAGE: Final = 50
BESIDE: Final = 2
"""Neighbours asked for on either side of a turn."""
QUERY_WORDS: Final = 6
HITS: Final = 10
CHARS: Final = 200_000
TURN_SECONDS: Final = 30
"""The file dates sessions, not turns."""
SHOWN_FAULTS: Final = 10
NOTHING: Final[dict[str, Any]] = {
    "status": None,
    "saved": [],
    "messages": [],
    "hits": [],
    "next_cursor": None,
}
"""Stands for the answer that a refused call did not give."""

_DATED = re.compile(r"session_(\d+)_date_time")
_WORD = re.compile(r"\w+")


class Turn(NamedTuple):
    """One turn, as a message."""

    message_id: str
    thread_id: str
    role: str
    content: str
    created_at: str
    speaker: str

    def as_argument(self) -> dict[str, Any]:
        """Return what `save_messages` takes for it."""
        return {
            "role": self.role,
            "content": self.content,
            "message_id": self.message_id,
            "created_at": self.created_at,
            "metadata": {"speaker": self.speaker},
        }


Conversation = Sequence[Turn]


@dataclass(slots=True)
class Tally:
    """What was measured of one kind of call, and what was wrong."""

    calls: list[float] = field(default_factory=list)
    checked: int = 0
    faults: list[str] = field(default_factory=list)

    def check(self, right: bool, fault: str) -> None:
        """Count one check, and keep what is wrong."""
        self.checked += 1
        if not right:
            self.faults.append(fault)


@dataclass(slots=True)
class Found:
    """At which place search found each turn by its words; None when it did not."""

    places: list[int | None] = field(default_factory=list)
    in_thread: list[bool] = field(default_factory=list)

    def share(self, first: int) -> float:
        """Return the share of turns that were among the first so many hits."""
        return sum(place is not None and place < first for place in self.places) / len(self.places)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="conversations in the shape of LoCoMo")
    parser.add_argument("--in-flight", type=positive, default=1, help="saves at once (1)")
    asked = parser.parse_args()
    conversations = list(read(asked.file))
    report = Report("conversations", asked)
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        faults = anyio.run(measure, report, conversations, asked.in_flight, Path(folder))
    for fault in faults[:SHOWN_FAULTS]:
        print(f"  {fault}")
    report.require("turns missing, changed or out of order", len(faults), at_most=0)
    return report.finish()


# --- The file


def read(file: Path) -> Iterator[Conversation]:
    """Return the conversations of a file, their turns in the order of time."""
    for sample in json.loads(file.read_text(encoding="utf-8")):
        turns = turns_of(sample["sample_id"], sample["conversation"])
        yield sorted(turns, key=lambda turn: turn.created_at)


def turns_of(thread_id: str, conversation: Mapping[str, Any]) -> Iterator[Turn]:
    for name, dated in conversation.items():
        match = _DATED.fullmatch(name)
        if match is None:
            continue
        began = datetime.strptime(dated, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        # Some sessions have a date and no turns.
        for place, turn in enumerate(conversation.get(f"session_{match[1]}", ())):
            at = began + timedelta(seconds=TURN_SECONDS * place)
            yield Turn(
                message_id=f"{thread_id}:{turn['dia_id']}",
                thread_id=thread_id,
                role="user" if turn["speaker"] == conversation["speaker_a"] else "assistant",
                content=turn["text"] or turn["blip_caption"],
                created_at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                speaker=turn["speaker"],
            )


# --- The measurement


async def measure(
    report: Report, conversations: Sequence[Conversation], in_flight: int, folder: Path
) -> list[str]:
    """Save, restart, recall; return what was wrong."""
    turns = [turn for conversation in conversations for turn in conversation]
    print(f"{len(conversations)} conversations, {len(turns)} turns")
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "convex_memory"],
        cwd=CHECKOUT,
        env={"MEMORY_DATA_DIR": str(folder), **ALONE},
    )
    tallies: dict[str, Tally] = {}
    async with Client(server) as client:
        began = time.perf_counter()
        tallies[f"save_message, {in_flight} at once"] = await save_all(client, turns, in_flight)
        saving = time.perf_counter() - began
    began = time.perf_counter()
    async with Client(server) as client:
        restarting = time.perf_counter() - began
        for order in ("oldest", "newest"):
            tallies[f"recall_thread, pages of {PAGE}, {order} first"] = await walk_pages(
                client, conversations, order
            )
        tallies["recall_thread around each turn"] = await look_around(client, conversations)
        tallies["save_messages, all once more"] = await save_again(client, conversations)
        found = Found()
        tallies["search_memory by words of each turn"] = await search(client, turns, found)
        tallies["recall_thread with these words"] = await recall_for(client, turns, found)
    tell(report, tallies, found)
    report.table(
        "in all",
        ("", "figure"),
        [
            ("saves a second", len(turns) / saving),
            ("restart and greeting, ms", restarting * 1000),
        ],
    )
    return [fault for tally in tallies.values() for fault in tally.faults]


def tell(report: Report, tallies: Mapping[str, Tally], found: Found) -> None:
    report.table(
        "over stdio, one server, one client",
        ("what", "calls", "ms p50", "ms p95", "checked", "wrong"),
        [
            (
                name,
                len(tally.calls),
                median(tally.calls),
                percentile([*tally.calls, tally.calls[-1]], 95),
                tally.checked,
                len(tally.faults),
            )
            for name, tally in tallies.items()
        ],
    )
    report.table(
        f"share of turns found by up to {QUERY_WORDS} of their words",
        ("how", "share"),
        [
            ("search_memory across all threads, first hit", found.share(1)),
            (f"search_memory across all threads, first {HITS}", found.share(HITS)),
            (
                f"recall_thread with query, limit {HITS}",
                sum(found.in_thread) / len(found.in_thread),
            ),
        ],
    )


async def call(client: Client, tally: Tally, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, keep how long it took, and return its structured answer.

    A refusal is kept as a fault, and answered with nothing.
    """
    began = time.perf_counter()
    answer = await client.call_tool(tool, arguments)
    tally.calls.append((time.perf_counter() - began) * 1000)
    if answer.is_error or answer.structured_content is None:
        tally.faults.append(f"{tool} refused: {answer.content}")
        return NOTHING
    structured: dict[str, Any] = answer.structured_content
    return structured


async def save_all(client: Client, turns: Sequence[Turn], in_flight: int) -> Tally:
    tally = Tally()
    left = iter(turns)

    async def saver() -> None:
        for turn in left:
            saved = await call(
                client,
                tally,
                "save_message",
                thread_id=turn.thread_id,
                **turn.as_argument(),
            )
            tally.check(saved["status"] == "stored", f"{turn.message_id} was not stored")

    async with anyio.create_task_group() as tasks:
        for _ in range(in_flight):
            tasks.start_soon(saver)
    return tally


async def walk_pages(client: Client, conversations: Sequence[Conversation], order: str) -> Tally:
    tally = Tally()
    for turns in conversations:
        recalled: list[Any] = []
        cursor: str | None = None
        while True:
            page = await call(
                client,
                tally,
                "recall_thread",
                thread_id=turns[0].thread_id,
                limit=PAGE,
                order=order,
                max_chars=CHARS,
                **({} if cursor is None else {"cursor": cursor}),
            )
            recalled += page["messages"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        in_order = recalled if order == "oldest" else recalled[::-1]
        compare(tally, turns, in_order, f"pages, {order} first")
    return tally


async def look_around(client: Client, conversations: Sequence[Conversation]) -> Tally:
    tally = Tally()
    for turns in conversations:
        for place, turn in enumerate(turns):
            around = await call(
                client,
                tally,
                "recall_thread",
                thread_id=turn.thread_id,
                around=turn.message_id,
                limit=2 * BESIDE + 1,
                max_chars=CHARS,
            )
            expected = turns[max(0, place - BESIDE) : place + BESIDE + 1]
            compare(tally, expected, around["messages"], f"around {turn.message_id}")
    return tally


async def save_again(client: Client, conversations: Sequence[Conversation]) -> Tally:
    tally = Tally()
    for turns in conversations:
        for first in range(0, len(turns), SAVE_MESSAGES_MAX):
            batch = turns[first : first + SAVE_MESSAGES_MAX]
            saved = await call(
                client,
                tally,
                "save_messages",
                thread_id=batch[0].thread_id,
                messages=[turn.as_argument() for turn in batch],
            )
            unchanged = {
                receipt["message_id"]
                for receipt in saved["saved"]
                if receipt["status"] == "unchanged"
            }
            for turn in batch:
                tally.check(
                    turn.message_id in unchanged, f"{turn.message_id} was not there unchanged"
                )
    return tally


async def search(client: Client, turns: Sequence[Turn], found: Found) -> Tally:
    tally = Tally()
    for turn in turns:
        answer = await call(
            client, tally, "search_memory", query=query_for(turn), limit=HITS, max_chars=CHARS
        )
        ids = [hit["message_id"] for hit in answer["hits"]]
        found.places.append(ids.index(turn.message_id) if turn.message_id in ids else None)
    return tally


async def recall_for(client: Client, turns: Sequence[Turn], found: Found) -> Tally:
    tally = Tally()
    for turn in turns:
        answer = await call(
            client,
            tally,
            "recall_thread",
            thread_id=turn.thread_id,
            query=query_for(turn),
            limit=HITS,
            max_chars=CHARS,
        )
        found.in_thread.append(
            any(message["id"] == turn.message_id for message in answer["messages"])
        )
    return tally


def query_for(turn: Turn) -> str:
    """Return the longest words of a turn: roughly those one would remember."""
    words = dict.fromkeys(_WORD.findall(turn.content.lower()))
    return " ".join(sorted(words, key=len, reverse=True)[:QUERY_WORDS])


def compare(
    tally: Tally, expected: Sequence[Turn], recalled: Sequence[Mapping[str, Any]], where: str
) -> None:
    """Hold recalled messages against the turns: as many, in this order, word for word."""
    tally.check(
        len(expected) == len(recalled),
        f"{where}: {len(recalled)} messages instead of {len(expected)}",
    )
    for turn, message in zip(expected, recalled, strict=False):
        same = (
            message["id"] == turn.message_id
            and message["role"] == turn.role
            and message["content"] == turn.content
            and message["created_at"] == turn.created_at
            and message.get("metadata") == {"speaker": turn.speaker}
        )
        told = "changed" if message["id"] == turn.message_id else f"{message['id']} in its place"
        tally.check(same, f"{where}: {turn.message_id}: {told}")


if __name__ == "__main__":
    sys.exit(main())
