"""`mastra/cache:handle`: values, lists and counters that expire.

One row of `mastra_cache` for each key; a list keeps its length in `counter` and its items in
`mastra_cache_list_items`. Expiry is checked when a key is touched. What has to be removed is
removed a few items at a time: the answer says `hasMore`, the row is a tombstone meanwhile, and
the caller repeats its call.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import Args, SoftRefusal
from convex_memory.embedded.tables import CACHE, CACHE_LIST_ITEMS
from convex_memory.errors import InvalidArgument
from convex_memory.limits import CACHE_DELETE_ITEMS_MAX, CACHE_SWEEP_ROWS
from convex_memory.values import Value

READS: Final = frozenset({"get", "listLength", "listFromTo"})

_AGAIN: Final[Mapping[str, Value]] = {"ok": True, "hasMore": True}


def reads(args: Args) -> bool:
    """Whether this request only reads (unless it meets an expired key)."""
    return str(args.get("op")) in READS


def handle(documents: Documents, args: Args) -> Value:
    """Run one cache request and return its envelope."""
    operation = _OPERATIONS.get(str(args.get("op")))
    if operation is None:
        raise SoftRefusal(f"Unsupported operation {args.get('op')}")
    return operation(documents, args)


def _get(documents: Documents, args: Args) -> Value:
    row, more = _live(documents, args)
    if more:
        return {"ok": True, "result": None, "hasMore": True}
    if row is None or row.fields["kind"] != "value":
        return {"ok": True, "result": None}
    return {"ok": True, "result": json.loads(row.fields["value"])}


def _set(documents: Documents, args: Args) -> Value:
    row = _row(documents, args)
    if row is not None and (row.fields["kind"] != "value" or _expired(documents, row)):
        if _remove(documents, _key(args), row):
            return _AGAIN
        row = None
    record = _record(args, "value") | {"value": _json(args.get("value"))}
    documents.upsert(CACHE, record, row)
    return {"ok": True}


def _list_length(documents: Documents, args: Args) -> Value:
    row, more = _live(documents, args)
    if more:
        return {"ok": True, "result": 0, "hasMore": True}
    if row is None:
        return {"ok": True, "result": 0}
    return {"ok": True, "result": _of_kind(row, "list", "an array")}


def _list_push(documents: Documents, args: Args) -> Value:
    row, more = _live(documents, args)
    if more:
        return _AGAIN
    length = (0 if row is None else _of_kind(row, "list", "an array")) + 1
    documents.upsert(CACHE, _record(args, "list") | {"counter": length}, row)
    documents.insert(
        CACHE_LIST_ITEMS,
        {
            "key": _key(args),
            "keyPrefix": _prefix(args),
            "index": length - 1,
            "value": _json(args.get("value")),
        },
    )
    return {"ok": True, "result": length}


def _list_from_to(documents: Documents, args: Args) -> Value:
    row, more = _live(documents, args)
    if more:
        return {"ok": True, "result": [], "hasMore": True}
    if row is None or row.fields["kind"] != "list":
        return {"ok": True, "result": []}
    length = int(row.fields["counter"])
    first, last = _position(args, "from"), _position(args, "to")
    first = max(length + first, 0) if first < 0 else first
    last = length + last if last < 0 else last
    if last < first or first >= length:
        return {"ok": True, "result": []}
    items = documents.scan(
        CACHE_LIST_ITEMS,
        {"key": _key(args)},
        order=("index",),
        where='"index" BETWEEN ? AND ?',
        bound=(first, last),
    )
    return {"ok": True, "result": [json.loads(item.fields["value"]) for item in items]}


def _increment(documents: Documents, args: Args) -> Value:
    row, more = _live(documents, args)
    if more:
        return _AGAIN
    count = (0 if row is None else _of_kind(row, "counter", "a number")) + 1
    documents.upsert(CACHE, _record(args, "counter") | {"counter": count}, row)
    return {"ok": True, "result": count}


def _delete(documents: Documents, args: Args) -> Value:
    return {"ok": True, "hasMore": _remove(documents, _key(args), _row(documents, args))}


def _clear(documents: Documents, args: Args) -> Value:
    prefix = {"keyPrefix": _prefix(args)}
    most = CACHE_DELETE_ITEMS_MAX
    rows = list(documents.scan(CACHE, prefix, limit=most + 1))
    items = list(documents.scan(CACHE_LIST_ITEMS, prefix, limit=most + 1))
    if not rows:
        for item in items[:most]:
            documents.delete(CACHE_LIST_ITEMS, item)
        return {"ok": True, "hasMore": len(items) > most}
    for row in rows[:most]:
        if row.fields["kind"] in ("list", "deleted"):
            more = _remove(documents, row.fields["key"], row)
            return {"ok": True, "hasMore": more or len(rows) > 1 or bool(items)}
        documents.delete(CACHE, row)
    return {"ok": True, "hasMore": len(rows) > most or bool(items)}


_OPERATIONS: Final[Mapping[str, Callable[[Documents, Args], Value]]] = {
    "get": _get,
    "set": _set,
    "listLength": _list_length,
    "listPush": _list_push,
    "listFromTo": _list_from_to,
    "increment": _increment,
    "delete": _delete,
    "clear": _clear,
}


def sweep(documents: Documents) -> bool:
    """Remove some keys that have expired and that nobody touches any more; say whether it did.

    There is no index of when keys expire. So each call looks at some keys that follow one another,
    beginning anywhere; of a small cache it looks at all.
    """
    connection = documents.connection
    first, last = connection.execute(
        'SELECT min("_sequence"), max("_sequence") FROM mastra_cache'
    ).fetchone()
    if first is None:
        return False
    dead = connection.execute(
        'SELECT "key" FROM (SELECT "key", "kind", "expiresAt" FROM mastra_cache '
        'WHERE "_sequence" >= ? ORDER BY "_sequence" LIMIT ?) WHERE "kind" = \'deleted\' '
        "OR (typeof(\"expiresAt\") IN ('integer', 'real') AND \"expiresAt\" <= ?)",
        (
            first + random.randrange(max(last - first - CACHE_SWEEP_ROWS + 2, 1)),
            CACHE_SWEEP_ROWS,
            documents.now_ms(),
        ),
    ).fetchall()
    for (key,) in dead:
        _remove(documents, key, documents.first(CACHE, key=key))
    return bool(dead)


# --- Rows


def _row(documents: Documents, args: Args) -> Row | None:
    return documents.first(CACHE, key=_key(args))


def _expired(documents: Documents, row: Row) -> bool:
    expires_at = row.fields["expiresAt"]
    return expires_at is not None and expires_at <= documents.now_ms()


def _live(documents: Documents, args: Args) -> tuple[Row | None, bool]:
    """Return the key's live row, removing a dead one; and whether removing goes on."""
    row = _row(documents, args)
    if row is not None and (row.fields["kind"] == "deleted" or _expired(documents, row)):
        return None, _remove(documents, _key(args), row)
    return row, False


def _remove(documents: Documents, key: str, row: Row | None) -> bool:
    """Remove a key, some list items at a time; say whether there is more to remove."""
    items = list(
        documents.scan(
            CACHE_LIST_ITEMS, {"key": key}, order=("index",), limit=CACHE_DELETE_ITEMS_MAX + 1
        )
    )
    more = len(items) > CACHE_DELETE_ITEMS_MAX
    for item in items[:CACHE_DELETE_ITEMS_MAX]:
        documents.delete(CACHE_LIST_ITEMS, item)
    if row is None:
        return more
    if not more:
        documents.delete(CACHE, row)
    elif row.fields["kind"] != "deleted":
        documents.patch(CACHE, row, {"kind": "deleted"})
    return more


def _of_kind(row: Row, kind: str, wording: str) -> int:
    if row.fields["kind"] != kind:
        raise SoftRefusal(f"{row.fields['key']} exists but is not {wording}")
    return int(row.fields["counter"])


def _record(args: Args, kind: str) -> Record:
    return {
        "key": _key(args),
        "keyPrefix": _prefix(args),
        "kind": kind,
        "expiresAt": args.get("expiresAt"),
    }


# --- Arguments


def _key(args: Args) -> str:
    key = args.get("key")
    if not isinstance(key, str):
        raise InvalidArgument("key must be text.")
    return key


def _prefix(args: Args) -> str:
    prefix = args.get("keyPrefix")
    if not isinstance(prefix, str):
        raise InvalidArgument("keyPrefix must be text.")
    return prefix


def _position(args: Args, name: str) -> int:
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InvalidArgument(f"{name} must be an integer.")
    return int(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
