"""The `cache` toolset: values, counters and streams that expire."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, JsonValue

from tools.adapters import Adapters
from tools.arguments import Id, json_of, part_of
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.toolset import Answer, Arguments, Progress, Toolset

cache = Toolset("cache")


class KeyArguments(Arguments):
    """A key."""

    key: Id


class GetArguments(KeyArguments):
    """Arguments of `cache_get`."""

    max_chars: MaxChars = CHARS_DEFAULT
    offset: Annotated[int, Field(ge=0, description="Of a cut value: skip so many characters.")] = 0


class CachedValue(Answer):
    """A value, or none."""

    key: str
    found: bool
    value: JsonValue
    text: Annotated[
        str | None, Field(description="A part of the value's JSON: it is too long whole.")
    ] = None
    chars: Annotated[int | None, Field(description="Characters of the whole JSON, when cut.")] = (
        None
    )


@cache.tool("Get a cached value", reads=True)
async def cache_get(arguments: GetArguments, adapters: Adapters, progress: Progress) -> CachedValue:
    """Read a cached value; found is false when it is absent or expired."""
    value: Any = await adapters.cache.get(arguments.key)
    part, chars = part_of(json_of(value), arguments.offset, arguments.max_chars)
    if chars is None:
        return CachedValue(key=arguments.key, found=value is not None, value=value)
    return CachedValue(key=arguments.key, found=True, value=None, text=part, chars=chars)


class SetArguments(KeyArguments):
    """Arguments of `cache_set`."""

    value: JsonValue
    ttl_ms: Annotated[
        int | None, Field(ge=0, description="Lifetime; 0: for ever; absent: the default.")
    ] = None


class Stored(Answer):
    """It was stored."""

    key: str
    stored: bool


@cache.tool("Cache a value", destroys=True, repeatable=True)
async def cache_set(arguments: SetArguments, adapters: Adapters, progress: Progress) -> Stored:
    """Cache a JSON value under a key, replacing what is there."""
    await adapters.cache.set(arguments.key, arguments.value, arguments.ttl_ms)
    return Stored(key=arguments.key, stored=True)


class PushArguments(KeyArguments):
    """Arguments of `cache_push`."""

    value: JsonValue


class Length(Answer):
    """How long the stream is now."""

    length: int


@cache.tool("Append to a stream")
async def cache_push(arguments: PushArguments, adapters: Adapters, progress: Progress) -> Length:
    """Append a JSON value to a cached stream, to be replayed later."""
    return Length(length=await adapters.cache.list_push(arguments.key, arguments.value))


class ReplayArguments(KeyArguments):
    """Arguments of `cache_replay`."""

    from_index: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    max_chars: MaxChars = CHARS_DEFAULT


class Replayed(Answer):
    """A part of a stream."""

    items: list[JsonValue]
    next_index: int
    length: int


@cache.tool("Replay a stream", reads=True)
async def cache_replay(
    arguments: ReplayArguments, adapters: Adapters, progress: Progress
) -> Replayed:
    """Read a cached stream from an index on. Go on from next_index until it is length."""
    first, last = arguments.from_index, arguments.from_index + arguments.limit - 1
    length = await adapters.cache.list_length(arguments.key)
    items = await adapters.cache.list_from_to(arguments.key, first, last) if length else []
    kept: list[JsonValue] = []
    chars = 0
    for item in items:
        chars += len(json.dumps(item, ensure_ascii=False))
        if kept and chars > arguments.max_chars:
            break
        kept.append(item)  # type: ignore[arg-type]
    return Replayed(
        items=kept,
        next_index=min(first, length) + len(kept),
        length=max(length, first + len(kept) if kept else 0),
    )


class Counted(Answer):
    """A counter's new value."""

    value: int


@cache.tool("Increment a counter")
async def cache_increment(
    arguments: KeyArguments, adapters: Adapters, progress: Progress
) -> Counted:
    """Add one to a cached counter; the first call gives 1."""
    return Counted(value=await adapters.cache.increment(arguments.key))


class Deleted(Answer):
    """It is gone."""

    key: str
    deleted: bool


@cache.tool("Delete a cached key", destroys=True, repeatable=True)
async def cache_delete(arguments: KeyArguments, adapters: Adapters, progress: Progress) -> Deleted:
    """Remove one key with all it holds."""
    await adapters.cache.delete(arguments.key)
    return Deleted(key=arguments.key, deleted=True)


class NoArguments(Arguments):
    """No arguments."""


class Cleared(Answer):
    """All is gone."""

    cleared: bool


@cache.tool("Clear the cache", destroys=True, repeatable=True, long=True)
async def cache_clear(arguments: NoArguments, adapters: Adapters, progress: Progress) -> Cleared:
    """Remove every cached key, everybody's. Threads and vectors stay."""
    await progress(0)
    await adapters.cache.clear()
    return Cleared(cleared=True)
