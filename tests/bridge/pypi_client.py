"""Calls a deployment with the HTTP client of PyPI `convex`; prints what came back as JSON.

`python tests/bridge/pypi_client.py URL KEY`, run by `tests/application/test_cross_client.py` in a
process of its own, because the client blocks.
"""

import json
import sys
from typing import Any

from convex import ConvexError
from convex.http_client import ConvexHttpClient

THREAD: dict[str, Any] = {
    "id": "pypi-thread",
    "resourceId": "pypi-resource",
    "title": "Grüße 👋",
    "metadata": {"whole": 3, "half": 0.5, "none": None, "list": [True, {"deep": "ключ"}]},
    "createdAt": "2025-01-31T12:00:00.000Z",
    "updatedAt": "2025-01-31T12:00:00.000Z",
}
INDEX: dict[str, Any] = {
    "tableName": "cross_client_pypi",
    "vectorIndexName": "by_embedding",
    "dimension": 3,
    "filterFields": ["kind"],
}


def storage(client: ConvexHttpClient, **request: Any) -> Any:
    """One request to the storage function; the whole reply."""
    return client.mutation("mastra/storage:handle", request)


def threads(client: ConvexHttpClient) -> dict[str, Any]:
    """Insert a thread and load it, and one that does not exist."""
    table = "mastra_threads"
    return {
        "insert": storage(client, op="insert", tableName=table, record=THREAD),
        "load": storage(client, op="load", tableName=table, keys={"id": THREAD["id"]}),
        "absent": storage(client, op="load", tableName=table, keys={"id": "absent"}),
    }


def vectors(client: ConvexHttpClient) -> dict[str, Any]:
    """Upsert three vectors, search them, and read the hits."""
    upsert: dict[str, Any] = {
        "op": "upsert",
        "config": INDEX,
        "ids": ["x", "xy", "y"],
        "vectors": [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]],
        "metadata": [{"kind": "axis"}, {"kind": "between"}, {"kind": "axis"}],
    }
    written = client.mutation("mastra/nativeVector:write", upsert)
    question: dict[str, Any] = {"config": INDEX, "vector": [2.0, 0.0, 0.0], "limit": 2}
    found = client.action("mastra/nativeVector:query", question)
    axes = {**question, "filter": {"field": "kind", "value": "axis"}}
    filtered = client.action("mastra/nativeVector:query", axes)

    def read(hits: list[dict[str, Any]]) -> Any:
        ids = [hit["id"] for hit in hits]
        request: dict[str, Any] = {"op": "getByConvexIds", "config": INDEX, "ids": ids}
        return client.query("mastra/nativeVector:read", request)

    return {
        "write": written,
        "scores": [hit["score"] for hit in found],
        "documents": read(found),
        "filtered": [row["id"] for row in read(filtered)],
    }


def refusal(client: ConvexHttpClient, kind: str, path: str, args: dict[str, Any]) -> str | None:
    """What the exception that a call ends with says; None when the call succeeds."""
    try:
        getattr(client, kind)(path, args)
    except ConvexError as error:
        return json.dumps(error.data)
    except Exception as error:
        return str(error)
    return None


def refusals(url: str, client: ConvexHttpClient) -> dict[str, str | None]:
    """What is said to calls that cannot succeed."""
    stranger = ConvexHttpClient(url)
    intruder = ConvexHttpClient(url)
    intruder.set_admin_auth("wrong")
    path = "mastra/storage:handle"
    load = {"op": "load", "tableName": "mastra_threads", "keys": {"id": THREAD["id"]}}
    unnamed = {"op": "insert", "tableName": "mastra_threads", "record": {}}
    return {
        "without_key": refusal(stranger, "mutation", path, load),
        "wrong_key": refusal(intruder, "mutation", path, load),
        "absent_function": refusal(client, "query", "memory/absent:function", {}),
        "wrong_kind": refusal(client, "query", path, load),
        "function_error": refusal(client, "mutation", path, unnamed),
    }


def main(url: str, key: str) -> None:
    """Make every call and print the answers."""
    client = ConvexHttpClient(url)
    client.set_admin_auth(key)
    answers = {
        "threads": threads(client),
        "version": client.query("memory/meta:version"),
        "vectors": vectors(client),
        "refusals": refusals(url, client),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
