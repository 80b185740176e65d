"""Two principals on one deployment, and the deployment that each of them sees."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import CACHE_FUNCTION, Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import ConfigurationError, FunctionError
from convex_memory.scoped import ScopedDeployment, require_gate
from convex_memory.text import text_content
from tests.contract.conversations import StockDeployment

NOW: Final = "2026-01-01T00:00:00.000Z"
LATER: Final = 4_000_000_000_000
Call = tuple[Kind, str, dict[str, Any]]


def said(thread: str, message: str, word: str) -> Call:
    row = {
        "id": message, "thread_id": thread, "role": "user", "type": "v2", "createdAt": NOW,
        "content": json.dumps(text_content(f"the {word} of {thread}")),
    }  # fmt: skip
    opened = {"id": thread, "title": word}
    args = {"messages": [row], "thread": opened, "now": NOW}
    return ("mutation", "memory/messages:save", args)


def cached(op: str, key: str) -> Call:
    named = {"keyPrefix": "p"} if op == "clear" else {"key": f"p{key}", "keyPrefix": "p"}
    return ("mutation", CACHE_FUNCTION, {"op": op, **named, "value": key, "expiresAt": None})


threads, messages = st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "3"])
words = st.sampled_from(["heron", "wren"])
indexes = st.sampled_from(["i", "j"])
vectors = st.sampled_from([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
purge = st.sampled_from([{}, {"purgeAt": LATER}])
calls: st.SearchStrategy[Call] = st.one_of(
    st.builds(said, threads, messages, words),
    st.builds(lambda t: ("query", "memory/messages:page", {"threadId": t, "limit": 5}), threads),
    st.builds(
        lambda m: ("query", "memory/messages:around", {"messageId": m, "before": 2, "after": 2}),
        messages,
    ),
    st.builds(lambda w: ("query", "memory/search:messages", {"query": w, "limit": 5}), words),
    st.builds(
        lambda m, at: ("mutation", "memory/messages:remove", {"ids": [m], **at}), messages, purge
    ),
    st.builds(lambda m: ("mutation", "memory/messages:restore", {"ids": [m]}), messages),
    st.builds(
        lambda t, at: ("mutation", "memory/threads:remove", {"threadId": t, **at}), threads, purge
    ),
    st.builds(lambda t: ("mutation", "memory/threads:restore", {"threadId": t}), threads),
    st.builds(
        lambda t, n: ("mutation", "memory/threads:clone", {"threadId": t, "newThreadId": n}),
        threads, threads,
    ),
    st.just(("query", "memory/threads:list", {"limit": 5})),
    st.builds(
        lambda w: ("mutation", "memory/working:update", {"text": w, "mode": "append", "now": NOW}),
        words,
    ),
    st.builds(
        lambda i, n: ("mutation", "memory/vectors:createIndex", {"indexName": i, "dimension": n}),
        indexes, st.sampled_from([2, 3]),
    ),
    st.builds(
        lambda i, v: (
            "mutation",
            "memory/vectors:upsert",
            {"indexName": i, "items": [{"id": "v", "vector": v}]},
        ),
        indexes, vectors,
    ),
    st.builds(
        lambda i, v: (
            "action", "memory/vectors:search", {"indexName": i, "vector": v, "limit": 5}
        ),
        indexes, vectors,
    ),
    st.builds(lambda i: ("mutation", "memory/vectors:deleteIndex", {"indexName": i}), indexes),
    st.just(("query", "memory/vectors:list", {})),
    st.builds(cached, st.sampled_from(["get", "set", "listPush", "increment", "clear"]), messages),
)  # fmt: skip

_VARIES: Final = (
    (re.compile(r'"_(id|creationTime)": [^,}]+'), ""),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r'"cursor": "[^"]+"'), "CURSOR"),
)


async def answers(plan: Sequence[tuple[str, Call]]) -> list[tuple[str, str]]:
    """Return who was answered what, on a deployment of its own."""
    told = []
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedDeployment(folder, now_ms=lambda: 1_767_225_600_000.0) as deployment:
            for who, (kind, path, args) in plan:
                try:
                    answer: Any = await ScopedDeployment(deployment, who).call(kind, path, args)
                except FunctionError as error:
                    answer = [error.code, error.message]
                text = json.dumps(answer, sort_keys=True)
                for pattern, word in _VARIES:
                    text = pattern.sub(word, text)
                told.append((who, text))
    return told


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["alice", "bob"]), calls), min_size=2, max_size=24))
def test_each_is_answered_as_if_alone(plan: list[tuple[str, Call]]) -> None:
    together = asyncio.run(answers(plan))
    for who in ("alice", "bob"):
        alone = asyncio.run(answers([each for each in plan if each[0] == who]))
        assert [each for each in together if each[0] == who] == alone


def test_a_deployment_without_the_gate_serves_no_principals() -> None:
    async def ask() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with EmbeddedDeployment(folder) as deployment:
                await require_gate(Capabilities(deployment))
                with pytest.raises(ConfigurationError, match="npx convex deploy"):
                    await require_gate(Capabilities(StockDeployment(deployment)))

    asyncio.run(ask())


def test_what_is_shown_of_it_names_the_deployment_and_the_principal(tmp_path: Any) -> None:
    shown = repr(ScopedDeployment(EmbeddedDeployment(tmp_path), "alice"))
    assert "EmbeddedDeployment" in shown
    assert "'alice'" in shown
