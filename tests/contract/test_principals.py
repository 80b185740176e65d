"""The gate: `memory/principal:*` and the deployment that a principal sees through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.capabilities import Capabilities
from convex_memory.deployment import CACHE_FUNCTION, STORAGE_FUNCTION, Deployment, Kind
from convex_memory.embedded.functions.memory.policy import OBSERVATIONS, POLICY
from convex_memory.errors import (
    Conflict,
    Forbidden,
    FunctionError,
    InvalidArgument,
    NotFound,
)
from convex_memory.indexing import STATUS
from convex_memory.principals import PRINCIPAL_NAME_CHARS_MAX, namespace_of
from convex_memory.records import Message, Thread
from convex_memory.scoped import ScopedDeployment
from convex_memory.store import ConvexStore
from convex_memory.store.memory import MemoryStore
from convex_memory.text import text_content
from convex_memory.text_vectors import TextVectors
from convex_memory.values import Value
from convex_memory.vector import ConvexVector
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.embedders import WordEmbedder

pytestmark = pytest.mark.anyio

ALICE, BOB = "alice", "b\N{LATIN SMALL LETTER O WITH DIAERESIS}b:1"
As = Callable[[str], ScopedDeployment]


@pytest.fixture
def seen_by(deployment: Deployment) -> As:
    return lambda principal: ScopedDeployment(deployment, principal)


@pytest.fixture
def alice(seen_by: As, clock: Clock) -> MemoryStore:
    return ConvexStore(seen_by(ALICE), now_ms=clock.now_ms).memory


@pytest.fixture
def bob(seen_by: As, clock: Clock) -> MemoryStore:
    return ConvexStore(seen_by(BOB), now_ms=clock.now_ms).memory


def message(id: str, text: str, thread_id: str, resource_id: str | None) -> Message:
    return Message(
        id=id,
        thread_id=thread_id,
        content=text_content(text),
        role="user",
        resource_id=resource_id,
    )


async def save(
    memory: MemoryStore, who: str, thread_id: str, *ids: str, text: str = "a heron"
) -> None:
    thread = Thread(id=thread_id, resource_id=who, title=f"of {who}")
    said = [message(each, f"{text} {each}", thread_id, who) for each in ids]
    await memory.save_conversation(thread=thread, messages=said)


async def texts(memory: MemoryStore, who: str, thread_id: str) -> list[str]:
    page = await memory.page_messages(thread_id=thread_id, limit=50, resource_id=who)
    assert page.thread.resource_id == who
    return [each.id for each in page.messages]


@requirement("principals:own")
async def test_what_a_principal_stores_goes_by_the_ids_they_chose(
    alice: MemoryStore, deployment: Deployment
) -> None:
    await save(alice, ALICE, "t", "m1", "m2")
    assert await texts(alice, ALICE, "t") == ["m2", "m1"]
    around = await alice.messages_around(message_id="m1", before=1, after=1, resource_id=ALICE)
    assert around.thread is not None
    assert (around.thread.id, [each.id for each in around.messages]) == ("t", ["m1", "m2"])
    assert around.messages[0].thread_id == "t"
    found = await alice.search_messages(query="heron", limit=5, resource_id=ALICE)
    assert {(hit.message.id, hit.message.thread_id) for hit in found.hits} == {
        ("m1", "t"), ("m2", "t"),
    }  # fmt: skip
    copy = await alice.clone_thread(source_thread_id="t", new_thread_id="copy")
    assert copy.thread.id == "copy"
    assert copy.thread.metadata is not None
    assert copy.thread.metadata["clone"]["sourceThreadId"] == "t"  # type: ignore[index,call-overload]
    assert await alice.get_thread_by_id(thread_id="copy") is not None
    await alice.save_conversation(
        thread=Thread(id="t", resource_id=ALICE),
        messages=[message("m3", "a wren", "t", ALICE)],
        supersedes={"m3": "m1"},
    )
    page = await alice.page_messages(thread_id="t", limit=50, resource_id=ALICE)
    assert page.marks["m1"].superseded_by == "m3"
    stored: Any = await deployment.call(
        "query", "memory/threads:list", {"limit": 5, "resourceId": ALICE}
    )
    assert {each["id"] for each in stored["threads"]} == {
        f"{namespace_of(ALICE)}t", f"{namespace_of(ALICE)}copy",
    }  # fmt: skip


@requirement("principals:same-ids")
async def test_principals_may_choose_the_same_ids(alice: MemoryStore, bob: MemoryStore) -> None:
    await save(alice, ALICE, "t", "m")
    await save(bob, BOB, "t", "m", text="a wren")
    await save(bob, BOB, "t", "n", text="a wren")
    assert await texts(alice, ALICE, "t") == ["m"]
    assert await texts(bob, BOB, "t") == ["n", "m"]
    with pytest.raises(Conflict, match="'m' is already stored"):
        await save(bob, BOB, "t", "m", text="something else")
    assert (await alice.remove_messages(ids=["m"], resource_id=ALICE)).ids == ["m"]
    assert await texts(bob, BOB, "t") == ["n", "m"]
    await alice.remove_thread(thread_id="t", resource_id=ALICE)
    assert await texts(bob, BOB, "t") == ["n", "m"]


@requirement("principals:foreign")
@pytest.mark.parametrize("prefix", ["", namespace_of(ALICE)], ids=["chosen", "stored"])
async def test_an_id_of_somebody_else_is_free(
    alice: MemoryStore, bob: MemoryStore, seen_by: As, prefix: str
) -> None:
    await save(alice, ALICE, "t", "m", "gone")
    await alice.remove_messages(
        ids=["gone"], resource_id=ALICE, purge_at="2099-01-01T00:00:00.000Z"
    )
    thread, one, gone = f"{prefix}t", f"{prefix}m", f"{prefix}gone"
    for call in (
        bob.page_messages(thread_id=thread, limit=5, resource_id=BOB),
        bob.messages_around(message_id=one, before=1, after=1, resource_id=BOB),
        bob.update_message(message_id=one, text="x", resource_id=BOB),
        bob.patch_thread(thread_id=thread, title="x", resource_id=BOB),
        bob.clone_thread(source_thread_id=thread),
        bob.restore_thread(thread_id=thread, resource_id=BOB),
        bob.update_working_memory(thread_id=thread, text="x", resource_id=BOB),
    ):
        with pytest.raises(NotFound) as refused:
            await call
        assert namespace_of(BOB) not in refused.value.message
    assert await bob.get_thread_by_id(thread_id=thread) is None
    assert await bob.get_messages(ids=[one, gone], resource_id=BOB) == []
    assert (await bob.remove_messages(ids=[one, gone], resource_id=BOB)).ids == []
    assert await bob.restore_messages(ids=[one, gone], resource_id=BOB) == []
    removal = await bob.remove_thread(thread_id=thread, resource_id=BOB)
    assert (removal.found, removal.messages) == (False, 0)
    await save(bob, BOB, thread, one, text="a wren")
    assert await texts(bob, BOB, thread) == [one]
    # Replacing is by id: what is replaced has to be one's own.
    await seen_by(BOB).call(
        "mutation",
        "memory/messages:save",
        {
            "messages": [
                {
                    "id": each, "thread_id": "t", "content": json.dumps(text_content("mine")),
                    "role": "user", "type": "v2", "createdAt": "2026-01-01T00:00:00.000Z",
                    "resourceId": BOB,
                }
                for each in (one, gone)
            ],
            "onExisting": "replace",
        },
    )  # fmt: skip
    assert await texts(alice, ALICE, "t") == ["m"]
    assert await alice.restore_messages(ids=["gone"], resource_id=ALICE) == ["gone"]


@requirement("principals:adopted")
async def test_what_another_program_stored_for_a_principal_is_theirs(
    store: ConvexStore, alice: MemoryStore, bob: MemoryStore
) -> None:
    await save(store.memory, ALICE, "plain", "p1", "p2")
    assert await texts(alice, ALICE, "plain") == ["p2", "p1"]
    assert [each.id for each in (await alice.page_threads(limit=5, resource_id=ALICE)).threads] == [
        "plain"
    ]
    with pytest.raises(NotFound):
        await bob.page_messages(thread_id="plain", limit=5, resource_id=BOB)
    await save(alice, ALICE, "plain", "new")
    assert await texts(alice, ALICE, "plain") == ["new", "p2", "p1"]
    stored = await store.memory.page_messages(thread_id="plain", limit=5)
    assert [each.id for each in stored.messages] == [f"{namespace_of(ALICE)}new", "p2", "p1"]
    changed = await alice.update_message(message_id="p1", text="a kite", resource_id=ALICE)
    assert changed.message.id == "p1"
    later = "2099-01-01T00:00:00.000Z"
    removal = await alice.remove_messages(ids=["p1", "new"], resource_id=ALICE, purge_at=later)
    assert removal.ids == ["p1", "new"]
    assert await alice.restore_messages(ids=["p1", "new"], resource_id=ALICE) == ["p1", "new"]
    removed = await alice.remove_thread(thread_id="plain", resource_id=ALICE, purge_at=later)
    assert (removed.found, removed.messages) == (True, 3)
    restored = await alice.restore_thread(thread_id="plain", resource_id=ALICE)
    assert (restored.thread.id, restored.messages) == ("plain", 3)
    # Bob's own by that id is another.
    await save(bob, BOB, "plain", "p1", text="a wren")
    assert await texts(bob, BOB, "plain") == ["p1"]
    assert len(await texts(alice, ALICE, "plain")) == 3


@requirement("principals:mixed")
async def test_a_message_in_a_thread_of_somebody_else_shows_nothing_around_it(
    store: ConvexStore, bob: MemoryStore
) -> None:
    await save(store.memory, ALICE, "plain", "p1")
    await store.memory.save_conversation(
        thread=None, messages=[message("p2", "for bob", "plain", BOB)]
    )
    with pytest.raises(NotFound):
        await bob.messages_around(message_id="p2", before=5, after=5, resource_id=BOB)


@requirement("principals:resource")
async def test_another_resource_is_one_that_has_nothing(
    alice: MemoryStore, bob: MemoryStore
) -> None:
    await save(alice, ALICE, "t", "m")
    await alice.update_working_memory(resource_id=ALICE, text="secret")
    assert (await bob.page_threads(limit=5, resource_id=ALICE)).threads == []
    assert (await bob.search_messages(query="heron", limit=5, resource_id=ALICE)).hits == []
    assert (await bob.get_working_memory(resource_id=ALICE)).text is None
    await bob.update_working_memory(resource_id=ALICE, text="forged")
    assert (await alice.get_working_memory(resource_id=ALICE)).text == "secret"
    # What names no resource is the principal's own.
    assert [each.id for each in (await alice.page_threads(limit=5)).threads] == ["t"]
    assert (await bob.page_threads(limit=5)).threads == []


@requirement("principals:denied")
async def test_what_has_no_rule_is_forbidden(deployment: Deployment, seen_by: As) -> None:
    version: Any = await deployment.call("query", "memory/meta:version", {})
    paths = {*version["functions"], STORAGE_FUNCTION, "mastra/nativeVector:write", "no/such:one"}
    ruled = {name.split(" ")[0] for name in POLICY}
    kinds: tuple[Kind, ...] = ("query", "mutation", "action")
    for path in paths:
        for kind in kinds:
            if path in ruled and path != STORAGE_FUNCTION and POLICY[path].kind == kind:
                continue
            with pytest.raises(Forbidden):
                await seen_by(ALICE).call(kind, path, {})
    for path in ("memory/threads.js:list", "memory/threads:list ", "constructor", "toString"):
        with pytest.raises(Forbidden):
            await seen_by(ALICE).call("query", path, {"limit": 1})


@requirement("principals:storage")
@pytest.mark.parametrize(
    "request_",
    [
        {"op": "queryTable", "tableName": "mastra_threads"},
        {"op": "queryTable", "tableName": "mastra_messages", "filters": []},
        {"op": "queryTable", "tableName": "mastra_messages"},
        {"op": "queryTable", "tableName": OBSERVATIONS},
        {"op": "queryTable", "tableName": OBSERVATIONS, "filters": []},
        {
            "op": "queryTable",
            "tableName": OBSERVATIONS,
            "filters": [{"field": "scope", "value": "resource"}],
        },
        {"op": "clearTable", "tableName": OBSERVATIONS},
        {"op": "load", "tableName": "mastra_threads", "keys": {}},
        {"op": "load", "tableName": "mastra_threads", "keys": {"resourceId": ALICE}},
        {"op": "load", "tableName": "mastra_messages", "keys": {"id": "m"}},
        {"op": "omGetLatest", "tableName": "mastra_threads", "lookupKey": "thread:t"},
    ],
    ids=lambda request: f"{request['op']}-{request['tableName']}-{len(request)}",
)
async def test_of_the_storage_function_nothing_else_passes(
    seen_by: As, request_: dict[str, Any]
) -> None:
    with pytest.raises(Forbidden):
        await seen_by(BOB).call("mutation", STORAGE_FUNCTION, request_)


@requirement("principals:arguments")
async def test_an_argument_without_a_rule_is_refused(seen_by: As) -> None:
    with pytest.raises(InvalidArgument, match="everybody"):
        await seen_by(ALICE).call("query", "memory/threads:list", {"limit": 5, "everybody": True})


@requirement("principals:long-names")
async def test_a_name_that_is_too_long_is_refused(alice: MemoryStore) -> None:
    fits = "x" * PRINCIPAL_NAME_CHARS_MAX
    await save(alice, ALICE, fits, fits)
    assert await texts(alice, ALICE, fits) == [fits]
    with pytest.raises(InvalidArgument, match=f"at most {PRINCIPAL_NAME_CHARS_MAX}"):
        await save(alice, ALICE, f"{fits}x", "m")


@requirement("principals:refusals")
async def test_refusals_name_what_the_principal_chose(seen_by: As) -> None:
    for who, index in ((ALICE, "birds"), (BOB, "trees")):
        await ConvexVector(seen_by(who)).create_index(index, 256)
    for who, own, other in ((ALICE, "birds", "trees"), (BOB, "trees", "birds")):
        with pytest.raises(NotFound) as refused:
            await ConvexVector(seen_by(who)).describe_index(other)
        assert f"There is no index '{other}'; the indexes are {own}." in refused.value.message
    with pytest.raises(NotFound, match="there are none yet"):
        await ConvexVector(seen_by("carol")).describe_index("birds")
    cache = ConvexServerCache(seen_by(BOB))
    await cache.set("k", 1)
    with pytest.raises(FunctionError) as refusal:
        await cache.list_push("k", 1)
    assert refusal.value.message.startswith("mastra:cache:k exists")


@requirement("principals:indexes")
async def test_indexes_are_each_principals_own(
    seen_by: As, deployment: Deployment, vector: ConvexVector
) -> None:
    ours, theirs = ConvexVector(seen_by(ALICE)), ConvexVector(seen_by(BOB))
    unit = [1.0, *[0.0] * 255]
    await ours.create_index("i", 256)
    await ours.upsert("i", [unit], ids=["v"], metadata=[{"kind": "x"}])
    assert await theirs.list_indexes() == []
    await theirs.create_index("i", 384)
    assert (await theirs.describe_index("i")).count == 0
    for name in ("i", f"{namespace_of(ALICE)}i"):
        await theirs.delete_index(name)
    assert await ours.list_indexes() == ["i"]
    assert [match.id for match in (await ours.query("i", unit)).matches] == ["v"]
    assert await vector.list_indexes() == [f"{namespace_of(ALICE)}i"]
    # Without a name space those of principals are not named.
    with pytest.raises(NotFound, match="there are none yet"):
        await vector.describe_index("absent")


@requirement("principals:texts")
async def test_indexes_of_texts_are_each_principals_own(
    deployment: Deployment, seen_by: As
) -> None:
    embedder = WordEmbedder(dimension=256)
    known = Capabilities(deployment)
    ours, theirs = [TextVectors(seen_by(who), embedder, capabilities=known) for who in (ALICE, BOB)]
    for who, texts, said in ((ALICE, ours, "a heron"), (BOB, theirs, "a wren")):
        await ConvexVector(seen_by(who)).create_index("i", 256)
        await texts.upsert("i", [said], ids=["v"], metadata=[{"said": said}])
    for texts, said in ((ours, "a heron"), (theirs, "a wren")):
        found = await texts.query("i", "heron")
        assert [(each.id, each.metadata) for each in found.matches] == [("v", {"said": said})]
    # A vector of another origin is refused in the principal's own words.
    with pytest.raises(Conflict, match=r"^Index 'i' holds vectors that words made"):
        await ConvexVector(seen_by(BOB)).upsert("i", [[1.0, *[0.0] * 255]])
    begin: dict[str, Value] = {"indexName": "i", "embedder": embedder.id, "dimension": 256}
    for path, kind in (("memory/embeddings:reembed", "mutation"), (STATUS, "query")):
        with pytest.raises(Forbidden):
            await seen_by(BOB).call(kind, path, begin)  # type: ignore[arg-type]


@requirement("principals:cache")
async def test_cache_keys_are_each_principals_own(seen_by: As, cache: ConvexServerCache) -> None:
    ours, theirs = ConvexServerCache(seen_by(ALICE)), ConvexServerCache(seen_by(BOB))
    for each in (ours, theirs):
        await each.set("k", 1)
        await each.list_push("l", 1)
        assert await each.increment("c") == 1
    await theirs.clear()
    await theirs.delete(f"{namespace_of(ALICE)}mastra:cache:k")
    assert await ours.get("k") == 1
    assert await ours.list_length("l") == 1
    assert await theirs.get("k") is None
    raw: Any = await seen_by(BOB).call(
        "mutation", CACHE_FUNCTION, {"op": "get", "key": f"{namespace_of(ALICE)}mastra:cache:k"}
    )
    assert raw["result"] is None
    assert await cache.get("k") is None


@requirement("principals:observations")
async def test_observational_memory_is_each_principals_own(
    alice: MemoryStore, bob: MemoryStore, store: ConvexStore
) -> None:
    for memory, who in ((alice, ALICE), (bob, BOB)):
        for thread in ("t", None):
            record = await memory.initialize_observational_memory(
                thread_id=thread, resource_id=who, scope="thread" if thread else "resource",
                config={},
            )  # fmt: skip
            await memory.update_active_observations(
                id=record.id, observations=f"of {who}", token_count=1,
                last_observed_at="2026-01-01T00:00:00.000Z", observed_message_ids=["m"],
            )  # fmt: skip
    for thread in ("t", None):
        found = await alice.get_observational_memory(thread_id=thread, resource_id=ALICE)
        assert found is not None
        assert (found.active_observations, found.thread_id) == (f"of {ALICE}", thread)
        assert found.observed_message_ids == ["m"]
        assert await bob.get_observational_memory(thread_id=None, resource_id=ALICE) is None
        with pytest.raises(FunctionError):
            await bob.update_active_observations(
                id=found.id, observations="forged", token_count=1,
                last_observed_at="2026-01-01T00:00:00.000Z",
            )  # fmt: skip
        await bob.insert_observational_memory_record(found)
        await bob.clear_observational_memory(thread_id=thread, resource_id=BOB)
        assert await bob.get_observational_memory(thread_id=thread, resource_id=BOB) is None
        history = await alice.get_observational_memory_history(thread_id=thread, resource_id=ALICE)
        assert [each.active_observations for each in history] == [f"of {ALICE}"]


@requirement("principals:meaning")
async def test_search_by_meaning_is_within_the_principals_own(
    deployment: Deployment, alice: MemoryStore, bob: MemoryStore, seen_by: As
) -> None:
    embedder = WordEmbedder(dimension=256)
    begin: dict[str, Value] = {"embedder": embedder.id, "dimension": 256}
    await deployment.call("mutation", "memory/embeddings:begin", begin)
    await save(alice, ALICE, "t", "m1", "m2")
    [vector] = (await embedder.embed(["a heron m1"])).vectors.tolist()

    async def asked(who: str) -> Any:
        question = {"vector": vector, "embedder": embedder.id, "limit": 5, "ids": ["m1", "m2"]}
        return await seen_by(who).call("action", "memory/search:semantic", question)

    assert ((await asked(ALICE))["pending"], (await asked(BOB))["pending"]) == (2, 0)
    claim: dict[str, Value] = {"embedder": embedder.id, "limit": 10, "leaseMs": 1000}
    claimed: Any = await deployment.call("mutation", "memory/embeddings:claim", claim)
    items = [
        {
            "ticket": each["ticket"],
            "vector": (await embedder.embed([each["text"]])).vectors[0].tolist(),
        }
        for each in claimed["items"]
    ]
    await deployment.call(
        "mutation", "memory/embeddings:store", {"embedder": embedder.id, "items": items}
    )
    own = await asked(ALICE)
    assert {hit["id"] for hit in own["hits"]} == {"m1", "m2"}
    assert {pair[0] for pair in own["scores"]} == {"m1", "m2"}
    other = await asked(BOB)
    assert (other["hits"], other["scores"], other["pending"]) == ([], [], 0)


@requirement("principals:names")
@pytest.mark.parametrize(
    "name", ["", "~x", "x" * 129, "a\nb", " a", "a ", "\u2028", "~5:alice:"],
)  # fmt: skip
async def test_what_is_no_principals_name_is_refused(seen_by: As, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await seen_by(name).call("query", "memory/threads:list", {"limit": 1})


@requirement("principals:stats")
async def test_counts_are_of_the_principals_own(alice: MemoryStore, bob: MemoryStore) -> None:
    await save(alice, ALICE, "t", "m1", "m2")
    await save(bob, BOB, "t", "m1")
    counts = await alice.stats()
    assert (counts.threads, counts.messages, counts.vectors) == (1, 2, None)
