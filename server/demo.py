"""`convex-memory demo`: the main job in front of a newcomer's eyes.

A real MCP client starts the real server on a scratch folder, and every call, its answer and its
time is shown.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mcp import Client, StdioServerParameters

_SHOWN_CHARS: Final = 300
_SAID: Final = (
    ("user", "I'm Mara. I bake sourdough on Sundays and I am allergic to hazelnuts."),
    ("assistant", "Noted: no hazelnuts. Rye or wheat for your starter?"),
    ("user", "Rye. And my brother Ilan visits from Lisbon on the 14th of March."),
)


async def run(show: Callable[[str], None]) -> int:
    """Show the demonstration line by line; return 0 when everything held."""
    with tempfile.TemporaryDirectory(prefix="convex-memory-demo-") as folder:
        show("A scratch memory in a temporary folder; no account, no key, no network.\n")
        thread = await _remember(show, folder)
        show("\n-- the server has stopped; a new one starts on the same folder --\n")
        return await _recall(show, folder, thread)


def _server(folder: str) -> StdioServerParameters:
    root = Path(__file__).resolve().parents[1]
    package = root if (root / "convex_memory").is_dir() else root.parents[1]
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "convex_memory"],
        # What has stopped has to have stopped: no daemon goes on behind it.
        env={"MEMORY_DATA_DIR": folder, "MEMORY_DAEMON": "off"},
        cwd=package,
    )


async def _remember(show: Callable[[str], None], folder: str) -> str:
    started = time.perf_counter()
    async with Client(_server(folder)) as client:
        tools = (await client.list_tools()).tools
        seconds = time.perf_counter() - started
        show(f"started, {len(tools)} tools listed ({seconds * 1000:.0f} ms)\n")
        first = await _call(
            show, client, "save_message", role=_SAID[0][0], content=_SAID[0][1], title="Baking"
        )
        thread: str = first["thread_id"]
        await _call(
            show,
            client,
            "save_messages",
            thread_id=thread,
            messages=[{"role": role, "content": content} for role, content in _SAID[1:]],
        )
        await _call(
            show,
            client,
            "update_working_memory",
            content="# User\n- Mara; bakes sourdough; allergic to hazelnuts",
        )
        await _call(show, client, "create_index", index="recipes", dimension=3)
        await _call(
            show,
            client,
            "upsert_embeddings",
            index="recipes",
            items=[
                {"id": "rye", "vector": [0.9, 0.1, 0.0], "metadata": {"minutes": 90}},
                {"id": "praline", "vector": [0.1, 0.9, 0.1], "metadata": {"minutes": 40}},
            ],
        )
        for token in ("Preheat", " the", " oven"):
            await _call(show, client, "cache_push", key="stream:1", value=token)
    return thread


async def _recall(show: Callable[[str], None], folder: str, thread: str) -> int:
    async with Client(_server(folder)) as client:
        recalled = await _call(show, client, "recall_thread", thread_id=thread)
        found = await _call(show, client, "search_memory", query="Who is visiting in March?")
        nearest = await _call(
            show,
            client,
            "vector_query",
            index="recipes",
            vector=[1.0, 0.2, 0.0],
            filter={"minutes": {"$gte": 60}},
        )
        replayed = await _call(show, client, "cache_replay", key="stream:1")
    held = {
        "every message is there, in order": [each["content"] for each in recalled["messages"]]
        == [content for _, content in _SAID],
        "search finds the visit": bool(found["hits"]) and "Ilan" in found["hits"][0]["content"],
        "the nearest recipe is rye": [match["id"] for match in nearest["matches"]] == ["rye"],
        "the stream replays": replayed["items"] == ["Preheat", " the", " oven"],
    }
    show("")
    for what, holds in held.items():
        show(f"{'ok  ' if holds else 'FAIL'} {what}")
    return 0 if all(held.values()) else 1


async def _call(
    show: Callable[[str], None], client: Client, tool: str, **arguments: Any
) -> dict[str, Any]:
    started = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    milliseconds = (time.perf_counter() - started) * 1000
    show(f"> {tool} {_short(json.dumps(arguments, ensure_ascii=False))}")
    answer = result.structured_content
    if result.is_error or not isinstance(answer, dict):
        raise RuntimeError(f"{tool} failed: {result.content}")
    show(f"  {_short(json.dumps(answer, ensure_ascii=False))}  ({milliseconds:.1f} ms)")
    return answer


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
