"""Search by meaning through the tools, with the embedder that comes with the server."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment
from convex_memory.embedders import open_embedder
from convex_memory.indexing import EmbeddingRunner
from tests.application.connections import ALONE, FOLDER, ROOT, Caller, connected, settings_in

pytestmark = pytest.mark.anyio

EMBEDDED_WITHIN_S = 60
KILLS = 2
SOAK_KILLS = 20
BULK = 120


@pytest.fixture
async def meaning(tmp_path: Path) -> AsyncIterator[Caller]:
    """A caller of a server with its default embedder."""
    async with connected("memory/2026", settings_in(tmp_path, embedder="minilm")) as caller:
        yield caller


async def all_embedded(caller: Caller) -> None:
    """Wait until every message can be found by its meaning."""
    with anyio.fail_after(EMBEDDED_WITHIN_S):
        while True:
            answer = await caller.call("search_memory", query="anything", limit=1)
            assert answer["searched"] == ["lexical", "semantic"]
            if not answer["pending"]:
                return
            await anyio.sleep(0.05)


async def test_what_was_said_in_other_words_is_found(meaning: Caller) -> None:
    [saved] = await meaning.save("vet", "My dog had to be taken to the animal doctor on Monday")
    await meaning.save("work", "The quarterly report is due on Friday")
    assert saved["embedding"] == "pending"
    await all_embedded(meaning)
    answer = await meaning.call("search_memory", query="is the puppy ill?")
    assert answer["hits"][0]["message_id"] == saved["message_id"]
    assert list(answer["hits"][0]["reasons"]) == ["semantic"]
    recalled = await meaning.call("recall_thread", thread_id="vet", query="a sick pet")
    assert [message["id"] for message in recalled["messages"]] == [saved["message_id"]]
    again = await meaning.call(
        "save_message",
        role="user",
        thread_id="vet",
        message_id=saved["message_id"],
        content="My dog had to be taken to the animal doctor on Monday",
    )
    assert (again["status"], again["embedding"]) == ("unchanged", "embedded")


async def test_words_are_found_at_once_whatever_waits(meaning: Caller) -> None:
    await meaning.save("t", *[f"number {n} of many" for n in range(100)], "the kestrel nests")
    answer = await meaning.call("search_memory", query="kestrel", limit=1)
    assert [hit["content"] for hit in answer["hits"]] == ["the kestrel nests"]
    assert answer["pending"] > 0


@pytest.mark.parametrize("query", ["the of and", '"(kestrel* NEAR OR', "kestrel\u0000"])
async def test_words_that_are_there_are_found_whatever_stands_around_them(
    meaning: Caller, query: str
) -> None:
    await meaning.save("t", "The kestrel nests on the tower")
    answer = await meaning.call("search_memory", query=query)
    assert [hit["content"] for hit in answer["hits"]] == ["The kestrel nests on the tower"]
    assert "lexical" in answer["hits"][0]["reasons"]


@pytest.mark.parametrize("query", ["🦅🪺", "αετός", "鹰在塔上", "نسر", "?!", "\u0000"])
async def test_any_question_has_an_answer(meaning: Caller, query: str) -> None:
    await meaning.save("t", "The kestrel nests on the tower")
    await all_embedded(meaning)
    answer = await meaning.call("search_memory", query=query)
    assert answer["exhausted"] is True
    assert all("lexical" not in hit["reasons"] for hit in answer["hits"])


@pytest.mark.parametrize("query", [" ", "?!", "🦅", "\u0000"])
async def test_a_question_without_a_word_finds_nothing_and_says_so(
    meaning: Caller, query: str
) -> None:
    await meaning.save("t", "The kestrel nests on the tower! Why?")
    await all_embedded(meaning)
    answer = await meaning.call("search_memory", query=query)
    assert (answer["hits"], answer["exhausted"], answer["searched"]) == ([], True, ["lexical"])
    assert "no word" in answer["note"]


async def test_a_script_that_the_model_never_learnt_is_searched_by_words(meaning: Caller) -> None:
    await meaning.save("t", "แมวของฉันชื่อมะลิ", "我的猫叫小白", "猫咪睡觉", "Nothing of the kind")
    await all_embedded(meaning)
    first = await meaning.call("search_memory", query="猫", limit=1)
    assert (first["searched"], first["exhausted"]) == (["lexical"], False)
    assert "words" in first["note"]
    others = await meaning.call("search_memory", query="猫", cursor=first["next_cursor"])
    found = [hit for hit in first["hits"] + others["hits"] if "lexical" in hit["reasons"]]
    assert sorted(hit["content"] for hit in found) == ["我的猫叫小白", "猫咪睡觉"]


async def test_a_question_that_is_too_long_or_empty_is_refused(meaning: Caller) -> None:
    for query in ("", "x" * 100_000):
        refusal = await meaning.refused("search_memory", query=query)
        assert refusal.code == "invalid_argument"
        assert "query" in refusal.message


async def test_texts_are_embedded_into_an_index_of_their_own(meaning: Caller) -> None:
    made = await meaning.call("create_index", index="recipes")
    assert made["dimension"] == 384
    await meaning.call(
        "upsert_embeddings",
        index="recipes",
        items=[
            {"id": "soup", "text": "Boil the carrots and blend them", "metadata": {"time": 20}},
            {"id": "cake", "text": "Whisk eggs, flour and sugar, then bake"},
        ],
    )
    answer = await meaning.call("vector_query", index="recipes", text="a sweet dessert", top_k=1)
    assert [match["id"] for match in answer["matches"]] == ["cake"]
    answer = await meaning.call(
        "vector_query", index="recipes", text="a sweet dessert", filter={"time": {"$lt": 30}}
    )
    assert [(match["id"], match["metadata"]) for match in answer["matches"]] == [
        ("soup", {"time": 20})
    ]
    described = await meaning.call("describe_index", index="recipes")
    assert described["count"] == 2
    assert "minilm" in described["embedder"].lower()


async def test_vectors_and_texts_are_not_mixed(meaning: Caller) -> None:
    await meaning.call("create_index", index="texts")
    await meaning.call("upsert_embeddings", index="texts", items=[{"id": "a", "text": "one"}])
    item: dict[str, Any] = {"id": "b", "vector": [1.0] * 384}
    refusal = await meaning.refused("upsert_embeddings", index="texts", items=[item])
    assert (refusal.code, "Give text" in refusal.message) == ("conflict", True)
    await meaning.call("create_index", index="vectors", dimension=384)
    await meaning.call("upsert_embeddings", index="vectors", items=[item])
    refusal = await meaning.refused("upsert_embeddings", index="vectors", items=[{"text": "one"}])
    assert refusal.code == "conflict"
    refusal = await meaning.refused("vector_query", index="vectors", text="one")
    assert refusal.code == "conflict"
    for arguments in ({}, {"text": "one", "vector": [1.0]}):
        refusal = await meaning.refused("vector_query", index="texts", **arguments)
        assert (refusal.code, refusal.message) == (
            "invalid_argument",
            "Give a vector or a text to look for.",
        )
    for items in ([{"id": "c"}], [{"text": "x"}, {"vector": [1.0] * 384}]):
        refusal = await meaning.refused("upsert_embeddings", index="texts", items=items)
        assert refusal.code == "invalid_argument"


async def test_without_embedder_texts_are_refused_with_what_to_do(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        [saved] = await caller.save("t", "hello")
        assert saved["embedding"] == "off"
        refusal = await caller.refused("create_index", index="texts")
        assert (refusal.code, "MEMORY_EMBEDDER is off" in refusal.message) == (
            "invalid_argument",
            True,
        )


async def test_a_memory_of_another_embedder_says_so(tmp_path: Path) -> None:
    async with EmbeddedDeployment(tmp_path / FOLDER) as deployment:
        await deployment.call(
            "mutation", "memory/embeddings:begin", {"embedder": "another", "dimension": 8}
        )
    async with connected("memory/2026", settings_in(tmp_path, embedder="minilm")) as caller:
        await caller.save("t", "the kestrel nests")
        answer = await caller.call("search_memory", query="kestrel")
    assert [hit["content"] for hit in answer["hits"]] == ["the kestrel nests"]
    assert answer["searched"] == ["lexical"]
    assert "embedded by another" in answer["note"]
    assert "convex-memory reembed" in answer["note"]


async def killed_while_it_embeds(tmp_path: Path, kill: int) -> None:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "convex_memory"],
        env={"MEMORY_DATA_DIR": str(tmp_path / FOLDER), **ALONE},
        cwd=ROOT,
    )
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        async with Client(stdio_client(parameters, errlog=nowhere)) as client:
            caller = Caller(client)
            await caller.save("t", *[f"round {kill} text {n}" for n in range(BULK)])
            await some_embedded(tmp_path)
            os.kill(server_process(), signal.SIGKILL)
            await caller.call("list_threads")


async def survives(tmp_path: Path, kills: int) -> None:
    """Kill a server that embeds, again and again; at last every message has one vector."""
    for kill in range(kills):
        # However the client notices that nobody is there any more.
        with pytest.raises(Exception):  # noqa: B017, PT011
            await killed_while_it_embeds(tmp_path, kill)
    embedder = open_embedder()
    assert embedder is not None
    async with EmbeddedDeployment(tmp_path / FOLDER, now_ms=lambda: 4e12) as deployment:
        await EmbeddingRunner(deployment, embedder).run_once()
    await embedder.aclose()
    with closing(sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME)) as connection:
        messages = {row[0] for row in connection.execute("SELECT id FROM mastra_messages")}
        vectors = [row[0] for row in connection.execute("SELECT id FROM mastra_vectors")]
        waiting = connection.execute("SELECT count(*) FROM embedding_queue").fetchone()
        intact = connection.execute("PRAGMA integrity_check").fetchone()
    assert len(messages) == kills * BULK
    assert sorted(vectors) == sorted(messages)
    assert (waiting, intact) == ((0,), ("ok",))


async def some_embedded(tmp_path: Path) -> None:
    """Wait until some of what waits has been embedded, and not all."""
    path = tmp_path / FOLDER / DATABASE_NAME
    with anyio.fail_after(EMBEDDED_WITHIN_S), closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT count(*) FROM embedding_queue").fetchone()
        while connection.execute("SELECT count(*) FROM embedding_queue").fetchone() >= before:
            await anyio.sleep(0.01)


def server_process() -> int:
    """Return the one child process that serves."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    serving = [
        int(pid)
        for pid in children
        if b"convex_memory" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    [process] = serving
    return process


async def test_a_server_killed_while_it_embeds_leaves_nothing_undone(tmp_path: Path) -> None:
    await survives(tmp_path, KILLS)


@pytest.mark.soak
async def test_twenty_servers_killed_while_they_embed_leave_nothing_undone(tmp_path: Path) -> None:
    await survives(tmp_path, SOAK_KILLS)
