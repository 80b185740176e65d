"""One peer's local vector search, driven over a pipe by `bench.vectors`.

It runs under an interpreter that has numpy and the peer, and needs nothing of this checkout:
`PYTHON bench/vector_peers.py PEER VECTORS.npy QUERIES.npy FOLDER`. It stores the vectors, prints
`{"seconds": …}`, and then answers each line `{"query": n, "k": k, "tenth": n | null}` with the ids
it found and the milliseconds it took.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Search = Callable[[Any, int, "int | None"], list[int]]
_BATCH = 5000


def sqlite_vec(vectors: Any, folder: Path) -> Search:
    apsw, extension = importlib.import_module("apsw"), importlib.import_module("sqlite_vec")
    connection = apsw.Connection(str(folder / "peer.db"))
    connection.enable_load_extension(True)
    connection.load_extension(extension.loadable_path())
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(embedding float[{vectors.shape[1]}] "
        "distance_metric=cosine, tenth integer)"
    )
    with connection:
        connection.executemany(
            "INSERT INTO v (rowid, embedding, tenth) VALUES (?, ?, ?)",
            ((at, vector.tobytes(), at % 10) for at, vector in enumerate(vectors)),
        )

    def search(query: Any, k: int, tenth: int | None) -> list[int]:
        only = "" if tenth is None else " AND tenth = ?"
        bound = (query.tobytes(), k) if tenth is None else (query.tobytes(), k, tenth)
        sql = f"SELECT rowid FROM v WHERE embedding MATCH ? AND k = ?{only} ORDER BY distance"
        return [row[0] for row in connection.execute(sql, bound)]

    return search


def qdrant(vectors: Any, folder: Path) -> Search:
    qdrant_client = importlib.import_module("qdrant_client")
    models = qdrant_client.models
    client = qdrant_client.QdrantClient(":memory:")
    client.create_collection(
        "v",
        vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE),
    )
    client.upload_collection(
        "v", vectors=vectors, ids=range(len(vectors)),
        payload=({"tenth": at % 10} for at in range(len(vectors))),
    )  # fmt: skip

    def search(query: Any, k: int, tenth: int | None) -> list[int]:
        only = None
        if tenth is not None:
            match = models.MatchValue(value=tenth)
            only = models.Filter(must=[models.FieldCondition(key="tenth", match=match)])
        found = client.query_points("v", query=query, limit=k, query_filter=only)
        return [point.id for point in found.points]

    return search


def chroma(vectors: Any, folder: Path) -> Search:
    client = importlib.import_module("chromadb").PersistentClient(str(folder))
    collection = client.create_collection("vectors", metadata={"hnsw:space": "cosine"})
    for start in range(0, len(vectors), _BATCH):
        places = range(start, min(start + _BATCH, len(vectors)))
        collection.add(
            ids=[str(at) for at in places],
            embeddings=vectors[start : start + _BATCH],
            metadatas=[{"tenth": at % 10} for at in places],
        )

    def search(query: Any, k: int, tenth: int | None) -> list[int]:
        only = None if tenth is None else {"tenth": tenth}
        found = collection.query(query_embeddings=[query], n_results=k, where=only, include=[])
        return [int(each) for each in found["ids"][0]]

    return search


def lancedb(vectors: Any, folder: Path) -> Search:
    lance, arrow = importlib.import_module("lancedb"), importlib.import_module("pyarrow")
    flat = arrow.array(vectors.reshape(-1))
    table = lance.connect(str(folder)).create_table(
        "v",
        arrow.table(
            {
                "id": arrow.array(range(len(vectors))),
                "tenth": arrow.array([at % 10 for at in range(len(vectors))]),
                "vector": arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            }
        ),
    )

    def search(query: Any, k: int, tenth: int | None) -> list[int]:
        asked = table.search(query).metric("cosine").limit(k).select(["id"])
        if tenth is not None:
            asked = asked.where(f"tenth = {tenth}", prefilter=True)
        return list(asked.to_arrow()["id"].to_pylist())

    return search


PEERS: dict[str, Callable[[Any, Path], Search]] = {
    "sqlite-vec": sqlite_vec,
    "qdrant-client local": qdrant,
    "lancedb": lancedb,
    "chromadb": chroma,
}


def main() -> None:
    import numpy as np

    peer, vectors, queries, folder = sys.argv[1:]
    asked = np.load(queries)
    began = time.perf_counter()
    search = PEERS[peer](np.load(vectors), Path(folder))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        query = asked[request["query"]]
        began = time.perf_counter()
        ids = search(query, request["k"], request["tenth"])
        taken = (time.perf_counter() - began) * 1000
        print(json.dumps({"ids": ids, "ms": taken}), flush=True)


if __name__ == "__main__":
    main()
