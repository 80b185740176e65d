"""The embedded deployment: how its functions are called, what they read, and the change feed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from convex_memory.deployment import NATIVE_VECTOR_ACTION, NATIVE_VECTOR_MUTATION, Kind
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment, database_file, turns
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.functions import FUNCTIONS
from convex_memory.errors import (
    ConvexMemoryError,
    DeploymentError,
    DeploymentTimeout,
    FunctionError,
    FunctionNotDeployed,
    InvalidArgument,
    LimitExceeded,
)
from convex_memory.limits import ARGUMENTS_BYTES_MAX

pytestmark = pytest.mark.anyio

NOW = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[EmbeddedDeployment]:
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        yield deployment


def message(number: int, thread_id: str = "t", resource_id: str = "r") -> dict[str, Any]:
    return {
        "id": f"{thread_id}-{number}",
        "thread_id": thread_id,
        "resourceId": resource_id,
        "role": "user",
        "type": "v2",
        "content": f'{{"format":2,"parts":[{{"type":"text","text":"word{number}"}}]}}',
        "createdAt": f"2026-01-01T00:00:{number % 60:02}.000Z",
    }


async def furnish(
    deployment: EmbeddedDeployment, count: int, thread_id: str = "t", resource_id: str = "r"
) -> None:
    """Store a thread with so many messages."""
    await deployment.call(
        "mutation",
        "memory/messages:save",
        {
            "messages": [message(number, thread_id, resource_id) for number in range(count)],
            "thread": {"id": thread_id, "resourceId": resource_id},
            "now": NOW,
        },
    )


# --- Calling


async def test_one_function_has_two_spellings(deployment: EmbeddedDeployment) -> None:
    for path in ("memory/meta:version", "memory/meta.js:version"):
        answer: Any = await deployment.call("query", path, {})
        assert answer["version"] == "1"
        assert answer["functions"] == sorted(
            path for path in FUNCTIONS if path.startswith("memory/")
        )
        assert deployment.kind_of(path) == "query"
    assert deployment.kind_of("memory/meta:nothing") is None


@pytest.mark.parametrize("path", ["memory/meta:nothing", "memory/meta", "", ":", "meta:version"])
async def test_a_function_that_is_not_there_is_named(
    deployment: EmbeddedDeployment, path: str
) -> None:
    with pytest.raises(FunctionNotDeployed) as caught:
        await deployment.call("query", path, {})
    assert f"'{path}'" in caught.value.message


@pytest.mark.parametrize("path", FUNCTIONS)
async def test_a_function_is_called_as_what_it_is(
    deployment: EmbeddedDeployment, path: str
) -> None:
    kinds: tuple[Kind, ...] = ("query", "mutation", "action")
    for kind in kinds:
        if kind != FUNCTIONS[path].kind:
            with pytest.raises(FunctionError, match=f"{path} is a {FUNCTIONS[path].kind}"):
                await deployment.call(kind, path, {})


@pytest.mark.parametrize("path", [path for path in FUNCTIONS if path.startswith("memory/")])
async def test_an_argument_that_is_not_declared_is_refused_with_those_that_are(
    deployment: EmbeddedDeployment, path: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await deployment.call(FUNCTIONS[path].kind, path, {"nonsense": 1})
    assert "`nonsense`" in caught.value.message


@pytest.mark.parametrize("path", FUNCTIONS)
@pytest.mark.parametrize("args", [{}, {"op": 5}, {"limit": None, "threadId": [], "items": "x"}])
async def test_odd_arguments_end_in_an_answer_or_a_coded_refusal(
    deployment: EmbeddedDeployment, path: str, args: dict[str, Any]
) -> None:
    # Any other failure comes through and fails the test.
    with suppress(ConvexMemoryError):
        await deployment.call(FUNCTIONS[path].kind, path, args)
    assert await deployment.call("query", "memory/meta:version", {})


@pytest.mark.parametrize(
    ("args", "error", "told"),
    [
        ({"$x": 1}, InvalidArgument, r"\$x"),
        ({"größe": 1}, InvalidArgument, "printable ASCII"),
        ({"after": float("nan")}, InvalidArgument, "finite"),
        ({"after": 2**53 + 1}, InvalidArgument, r"2\^53"),
        ({"resourceId": "\ud83d"}, InvalidArgument, "lone surrogate"),
        ({"after": object()}, InvalidArgument, "not a JSON value"),
        ({"resourceId": "x" * ARGUMENTS_BYTES_MAX}, LimitExceeded, "16 MiB"),
    ],
)
async def test_arguments_that_convex_would_not_take_are_refused(
    deployment: EmbeddedDeployment,
    args: dict[str, Any],
    error: type[ConvexMemoryError],
    told: str,
) -> None:
    with pytest.raises(error, match=told):
        await deployment.call("query", "memory/changes:list", args)


async def test_an_or_filter_reaches_the_native_search(deployment: EmbeddedDeployment) -> None:
    config: dict[str, Any] = {
        "tableName": "articles",
        "vectorIndexName": "by_embedding",
        "dimension": 2,
        "idField": "id",
        "idIndexName": "by_record_id",
        "vectorField": "embedding",
        "metadataField": "metadata",
        "filterFields": ["lang"],
    }
    await deployment.call(
        "mutation",
        NATIVE_VECTOR_MUTATION,
        {
            "op": "upsert",
            "config": config,
            "ids": ["a", "b", "c"],
            "vectors": [[1, 0], [0, 1], [1, 1]],
            "metadata": [{"lang": "en"}, {"lang": "de"}, {"lang": "fr"}],
        },
    )
    either = [{"field": "lang", "value": "en"}, {"field": "lang", "value": "fr"}]
    found: Any = await deployment.call(
        "action",
        NATIVE_VECTOR_ACTION,
        {"config": config, "vector": [1, 0], "limit": 5, "filter": {"$or": either}},
    )
    again: Any = await deployment.call(
        "action",
        NATIVE_VECTOR_ACTION,
        {"config": config, "vector": [1, 0], "limit": 5, "filter": {"or": either}},
    )
    assert found == again
    assert len(found) == 2


async def test_a_call_that_takes_too_long_says_how_long_it_waited(
    deployment: EmbeddedDeployment, tmp_path: Path
) -> None:
    await furnish(deployment, 1)
    with closing(
        sqlite3.connect(tmp_path / "memory" / DATABASE_NAME, isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DeploymentTimeout, match="no answer in 30 ms") as caught:
            await deployment.call(
                "mutation", "memory/threads:remove", {"threadId": "t"}, timeout_ms=30
            )
        assert "may still have happened" in caught.value.message
        other.execute("ROLLBACK")
    answer = await deployment.call("query", "memory/meta:stats", {}, timeout_ms=0)
    assert isinstance(answer, dict)


async def test_a_closed_deployment_refuses_calls(tmp_path: Path) -> None:
    deployment = EmbeddedDeployment(tmp_path / "memory")
    await deployment.aclose()
    assert not (tmp_path / "memory").exists()
    await deployment.call("query", "memory/meta:version", {})
    await deployment.aclose()
    await deployment.aclose()
    with pytest.raises(DeploymentError, match="closed"):
        await deployment.call("query", "memory/meta:version", {})


# --- What there is


async def test_stats_count_everything_or_one_resource(deployment: EmbeddedDeployment) -> None:
    await furnish(deployment, 3)
    await furnish(deployment, 2, "other", "somebody")
    whole: Any = await deployment.call("query", "memory/meta:stats", {})
    assert (whole["threads"], whole["messages"], whole["vectors"]) == (2, 5, 0)
    assert whole["lastChange"] == 7
    mine: Any = await deployment.call("query", "memory/meta:stats", {"resourceId": "r"})
    assert (mine["threads"], mine["messages"], mine["vectors"]) == (1, 3, None)


async def test_the_change_feed_tells_every_write_in_order(deployment: EmbeddedDeployment) -> None:
    await furnish(deployment, 2)
    await deployment.call(
        "mutation", "memory/threads:update", {"threadId": "t", "title": "T", "now": NOW}
    )
    await deployment.call("mutation", "memory/messages:remove", {"ids": ["t-0"]})
    await furnish(deployment, 1, "other", "somebody")
    feed: Any = await deployment.call("query", "memory/changes:list", {"after": 0, "limit": 1000})
    told = [(change["table"], change["id"], change["kind"]) for change in feed["changes"]]
    assert told == [
        ("mastra_threads", "t", "insert"),
        ("mastra_messages", "t-0", "insert"),
        ("mastra_messages", "t-1", "insert"),
        ("mastra_threads", "t", "update"),
        ("mastra_messages", "t-0", "delete"),
        ("mastra_threads", "other", "insert"),
        ("mastra_messages", "other-0", "insert"),
    ]
    sequences = [change["sequence"] for change in feed["changes"]]
    assert sequences == sorted(set(sequences))
    assert feed["last"] == sequences[-1]
    assert feed["changes"][1]["threadId"] == "t"
    rest: Any = await deployment.call(
        "query", "memory/changes:list", {"after": sequences[4], "limit": 1}
    )
    assert [change["id"] for change in rest["changes"]] == ["other"]
    mine: Any = await deployment.call(
        "query", "memory/changes:list", {"after": 0, "limit": 1000, "resourceId": "somebody"}
    )
    assert {change["id"] for change in mine["changes"]} == {"other", "other-0"}
    refused: Any = {"ids": ["none"]}
    await deployment.call("mutation", "memory/messages:remove", refused)
    after: Any = await deployment.call("query", "memory/changes:list", {"after": 0, "limit": 1})
    assert after["last"] == feed["last"]


async def test_a_reader_who_is_too_far_behind_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_file, "CHANGES_KEPT", 3)
    ask: Any = {"after": 0, "limit": 1000}
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        nothing: Any = await deployment.call("query", "memory/changes:list", ask)
        assert nothing == {"changes": [], "first": 1, "last": 0}
        await furnish(deployment, 9)
        whole: Any = await deployment.call("query", "memory/changes:list", ask)
        assert (whole["first"], whole["last"], len(whole["changes"])) == (1, 10, 10)
    # The log is shortened when the folder is opened.
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        rest: Any = await deployment.call("query", "memory/changes:list", ask)
        assert [change["sequence"] for change in rest["changes"]] == [8, 9, 10]
        assert (rest["first"], rest["last"]) == (8, 10)
        others: Any = await deployment.call(
            "query", "memory/changes:list", {**ask, "resourceId": "somebody"}
        )
        assert others == {"changes": [], "first": 8, "last": 10}


async def test_two_deployments_on_one_folder_follow_each_other(tmp_path: Path) -> None:
    async with (
        EmbeddedDeployment(tmp_path / "memory") as one,
        EmbeddedDeployment(tmp_path / "memory") as other,
        anyio.create_task_group() as tasks,
    ):
        for number, deployment in enumerate((one, other) * 4):
            tasks.start_soon(furnish, deployment, 5, f"thread {number}")
    async with EmbeddedDeployment(tmp_path / "memory") as third:
        stats: Any = await third.call("query", "memory/meta:stats", {})
        assert (stats["threads"], stats["messages"], stats["lastChange"]) == (8, 40, 48)


async def test_a_page_reads_no_more_than_it_returns(deployment: EmbeddedDeployment) -> None:
    await furnish(deployment, 60)
    for order, ids in (
        ("newest", ["t-59", "t-58", "t-57"]),
        ("oldest", ["t-0", "t-1", "t-2"]),
    ):
        page: Any = await deployment.call(
            "query", "memory/messages:page", {"threadId": "t", "limit": 3, "order": order}
        )
        assert [row["id"] for row in page["messages"]] == ids
    narrowed: Any = await deployment.call(
        "query",
        "memory/messages:page",
        {
            "threadId": "t",
            "limit": 10,
            "order": "oldest",
            "since": "2026-01-01T00:00:10.000Z",
            "until": "2026-01-01T00:00:12.000Z",
            "role": "user",
        },
    )
    assert [row["id"] for row in narrowed["messages"]] == ["t-10", "t-11"]
    short: Any = await deployment.call(
        "query", "memory/messages:page", {"threadId": "t", "limit": 10, "charsMax": 1}
    )
    assert [row["id"] for row in short["messages"]] == ["t-59"]
    assert short["cursor"] is not None


# --- Indexes are used

HOT: list[tuple[str, dict[str, Any]]] = [
    ("memory/messages:page", {"threadId": "t", "limit": 5}),
    ("memory/messages:page", {"threadId": "t", "limit": 5, "order": "oldest", "resourceId": "r"}),
    (
        "memory/messages:page",
        {"threadId": "t", "limit": 5, "since": NOW, "until": "2026-01-01T00:00:30.000Z"},
    ),
    ("memory/messages:around", {"messageId": "t-9", "before": 3, "after": 3, "resourceId": "r"}),
    ("memory/messages:get", {"ids": ["t-1", "t-2"]}),
    ("memory/threads:get", {"threadId": "t"}),
    ("memory/threads:list", {"limit": 5}),
    ("memory/threads:list", {"limit": 5, "by": "createdAt", "order": "oldest"}),
    ("memory/threads:list", {"limit": 5, "resourceId": "r"}),
    ("memory/threads:list", {"limit": 5, "resourceId": "r", "by": "createdAt"}),
    ("memory/working:get", {"resourceId": "r"}),
    ("memory/working:get", {"resourceId": "r", "threadId": "t"}),
    ("memory/changes:list", {"after": 3, "limit": 5}),
    ("memory/vectors:describe", {"indexName": "i"}),
    ("memory/vectors:search", {"indexName": "i", "vector": [1, 0], "limit": 3}),
    ("mastra/storage:handle", {"op": "load", "tableName": "mastra_threads", "keys": {"id": "t"}}),
    (
        "mastra/storage:handle",
        {"op": "load", "tableName": "mastra_messages", "keys": {"id": "t-1"}},
    ),
    ("mastra/cache:handle", {"op": "get", "key": "k"}),
    ("mastra/cache:handle", {"op": "listFromTo", "key": "k", "from": 2, "to": 5}),
    ("mastra/cache:handle", {"op": "listLength", "key": "k"}),
    ("memory/messages:save", {"messages": [message(3)], "thread": {"id": "t", "resourceId": "r"}}),
    ("memory/messages:remove", {"ids": ["t-5"]}),
    ("memory/threads:update", {"threadId": "t", "title": "x"}),
    (
        "memory/vectors:upsert",
        {"indexName": "i", "items": [{"id": "v3", "vector": [1, 2], "metadata": {"n": 1}}]},
    ),
    ("memory/vectors:update", {"indexName": "i", "id": "v3", "metadata": {"n": 1}}),
    ("memory/vectors:remove", {"indexName": "i", "ids": ["v3", "v4"]}),
]


@pytest.fixture
async def furnished(tmp_path: Path) -> AsyncIterator[Engine]:
    """A file with a little of everything."""
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        for number in range(5):
            await furnish(deployment, 30, "t" if number == 0 else f"t{number}")
        await deployment.call("mutation", "memory/working:update", {"resourceId": "r", "text": "x"})
        await deployment.call(
            "mutation", "memory/vectors:createIndex", {"indexName": "i", "dimension": 2}
        )
        items: list[Any] = [{"id": f"v{number}", "vector": [1, number]} for number in range(30)]
        await deployment.call(
            "mutation", "memory/vectors:upsert", {"indexName": "i", "items": items}
        )
        for number in range(10):
            push: dict[str, Any] = {"op": "listPush", "key": "k", "keyPrefix": "", "value": number}
            await deployment.call("mutation", "mastra/cache:handle", {**push, "expiresAt": None})
    engine = Engine(tmp_path / "memory" / DATABASE_NAME)
    yield engine
    await engine.aclose()


@pytest.mark.parametrize(
    ("path", "args"), HOT, ids=[f"{number}-{path}" for number, (path, _) in enumerate(HOT)]
)
async def test_what_is_asked_all_the_time_goes_through_an_index(
    furnished: Engine, path: str, args: dict[str, Any]
) -> None:
    def work(documents: Documents) -> list[tuple[str, str]]:
        statements: list[str] = []
        documents.connection.set_trace_callback(statements.append)
        FUNCTIONS[path].handler(documents, args)
        documents.connection.set_trace_callback(None)
        told = []
        for statement in statements:
            # What FTS5 does with its own tables is its business.
            if statement.startswith(("SELECT", "UPDATE", "DELETE")) and not re.search(
                "message_text_", statement
            ):
                plan = documents.connection.execute(f"EXPLAIN QUERY PLAN {statement}")
                told += [(statement, row[3]) for row in plan]
        return told

    plans = await furnished.write(work)
    assert plans
    slow = [(text[:300], step) for text, step in plans if not _goes_straight_there(text, step)]
    assert slow == []


def _goes_straight_there(statement: str, step: str) -> bool:
    """Whether a step of a plan costs the same however many rows there are."""
    if "TEMP B-TREE" in step:
        return False
    if not step.startswith("SCAN ") or "VIRTUAL TABLE" in step:
        return True
    # Along an index as far as the limit, or to the end of a key and no further.
    along_an_index = "USING INDEX" in step and "LIMIT" in statement
    return along_an_index or "max(sequence)" in statement


async def test_statements_are_the_same_texts_whatever_the_values(
    deployment: EmbeddedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else none would be found prepared, and the cache of them would only cost."""
    texts: set[str] = set()

    class Noting(turns.TurnsConnection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            texts.add(statement)
            return super().execute(statement, *values)

    monkeypatch.setattr(database_file, "TurnsConnection", Noting)

    async def use(number: int) -> None:
        thread = f"thread {number}"
        await furnish(deployment, 3 + number, thread, f"resource {number}")
        calls: list[tuple[Kind, str, dict[str, Any]]] = [
            ("query", "memory/messages:page", {"threadId": thread, "limit": 2 + number}),
            ("query", "memory/messages:get", {"ids": [f"{thread}-{number}"]}),
            ("query", "memory/threads:list", {"resourceId": f"resource {number}", "limit": 5}),
            ("query", "memory/search:messages", {"query": f"word{number}", "limit": 5}),
            ("mutation", "memory/threads:update", {"threadId": thread, "title": f"t {number}"}),
            ("mutation", "memory/messages:remove", {"ids": [f"{thread}-{number}"]}),
        ]
        for operation in ("set", "get", "delete"):
            key = {"key": f"key {number}", "keyPrefix": "", "value": number, "expiresAt": None}
            calls.append(("mutation", "mastra/cache:handle", {"op": operation, **key}))
        for kind, path, args in calls:
            await deployment.call(kind, path, args)

    for number in range(3):
        await use(number)
    known = set(texts)
    for number in range(3, 6):
        await use(number)
    assert texts == known
    assert 20 < len(known) < database_file.STATEMENTS_CACHED
