"""stdio at the level of bytes: broken frames, both eras, and nothing else on the wire."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.application.connections import ALONE, FOLDER, nobody_can_write, stored_in
from tests.application.stdio_wire import MODERN, MODERN_META, Wire, wire_to

pytestmark = pytest.mark.anyio

PARSE_ERROR = -32700

NOISY_SERVER = """
import os, subprocess, sys
from tools import TOOLSETS
from convex_memory.__main__ import main

quiet = TOOLSETS["cache"].tools["cache_increment"]
handler = quiet.handler

async def noisy(arguments, adapters, progress):
    print("stray print")
    os.write(1, b"stray write")
    subprocess.run([sys.executable, "-c", "print('stray child')"], check=True)
    subprocess.run(["cat"], check=True)
    return await handler(arguments, adapters, progress)

object.__setattr__(quiet, "handler", noisy)
sys.exit(main())
"""


WAYS: dict[str, dict[str, str]] = {"through the daemon": {}, "alone": ALONE}
either_way = pytest.mark.parametrize("way", WAYS)


def environment(tmp_path: Path, way: str = "through the daemon") -> dict[str, str]:
    return {"MEMORY_DATA_DIR": str(tmp_path / FOLDER), "MEMORY_EMBEDDER": "off", **WAYS[way]}


def call_frame(tool: str, arguments: str, request_id: str = "77") -> bytes:
    """A tool call whose arguments are JSON as given, valid or not."""
    return (
        f'{{"jsonrpc":"2.0","id":{request_id},"method":"tools/call",'
        f'"params":{{"name":"{tool}","arguments":{arguments}}}}}'
    ).encode()


async def _answers_still(wire: Wire) -> None:
    result = await wire.call("cache_get", key="still there")
    assert result["structuredContent"]["found"] is False


BROKEN: dict[str, tuple[bytes, Any, str]] = {
    "garbage": (b"GET / HTTP/1.1", None, "not JSON"),
    "half a message": (b'{"jsonrpc":"2.0","id":5,', None, "not JSON"),
    "not UTF-8": (
        call_frame("cache_get", '{"key":"x"}').replace(b'"x"', b'"\xff\xfe"'),
        None,
        "UTF-8",
    ),
    "a lone surrogate": (
        call_frame("save_message", '{"role":"user","content":"\\ud83d"}'),
        77,
        "surrogate",
    ),
    "a lone surrogate in a name": (
        call_frame("cache_set", '{"key":"k","value":{"\\udc00":1}}', '"text id"'),
        "text id",
        "surrogate",
    ),
    "a batch": (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None, "JSON-RPC"),
    "an empty batch": (b"[]", None, "JSON-RPC"),
    "a number": (b"42", None, "JSON-RPC"),
    "another version": (b'{"jsonrpc":"1.0","id":9,"method":"ping"}', 9, "JSON-RPC"),
    "too deep to read": (
        call_frame("cache_set", '{"key":"k","value":' + "[" * 400 + "]" * 400 + "}"),
        77,
        "nested too deeply",
    ),
    "too deep to tell whose it is": (b"[" * 200_000, None, "nested too deeply"),
}


@either_way
async def test_what_is_not_a_message_is_answered_and_the_connection_goes_on(
    tmp_path: Path, way: str
) -> None:
    async with wire_to(environment(tmp_path, way)) as wire:
        await wire.initialize()
        await wire.call("cache_set", key="kept", value=1)
        before = stored_in(tmp_path)
        for name, (line, request_id, told) in BROKEN.items():
            answer = await wire.answer_to(line)
            assert answer["error"]["code"] == PARSE_ERROR, name
            assert answer["id"] == request_id, name
            assert told in answer["error"]["message"], name
            await _answers_still(wire)
        await wire.send(b"")
        await wire.send(b"   \r")
        await _answers_still(wire)
        assert stored_in(tmp_path) == before
        assert await wire.end() == b""
    assert wire.process.returncode == 0


async def test_a_message_may_end_in_crlf_and_hold_any_unicode(tmp_path: Path) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        text = '"\\ud83e\\udd8a \u2028 \\u0000"'
        answer = await wire.answer_to(call_frame("cache_set", f'{{"key":"k","value":{text}}}\r'))
        assert answer["result"]["isError"] is False
        result = await wire.call("cache_get", key="k")
        assert result["structuredContent"]["value"] == "🦊 \u2028 \0"


NOT_A_NUMBER = ("1e400", "-1e400", "NaN", "Infinity", "-Infinity")


@pytest.mark.parametrize("number", NOT_A_NUMBER)
async def test_numbers_that_are_none_are_refused_and_store_nothing(
    tmp_path: Path, number: str
) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        await wire.call("create_index", index="i", dimension=2)
        await wire.call("upsert_embeddings", index="i", items=[{"id": "a", "vector": [1, 0]}])
        await wire.call("save_message", role="user", content="x", thread_id="t")
        await wire.call("update_thread", thread_id="t", title="T")
        before = stored_in(tmp_path)
        for tool, arguments in (
            ("vector_query", f'{{"index":"i","vector":[1,{number}]}}'),
            ("upsert_embeddings", f'{{"index":"i","items":[{{"vector":[{number},1]}}]}}'),
            (
                "upsert_embeddings",
                f'{{"index":"i","items":[{{"vector":[1,1],"metadata":{{"n":{number}}}}}]}}',
            ),
            ("update_embedding", f'{{"index":"i","id":"a","vector":[{number},1]}}'),
            ("cache_set", f'{{"key":"k","value":{number}}}'),
            ("cache_push", f'{{"key":"k","value":[{number}]}}'),
            ("update_thread", f'{{"thread_id":"t","metadata":{{"n":{number}}}}}'),
            (
                "save_message",
                f'{{"role":"user","content":"x","metadata":{{"n":[{{"m":{number}}}]}}}}',
            ),
            ("recall_thread", f'{{"thread_id":"t","limit":{number}}}'),
        ):
            answer = await wire.answer_to(call_frame(tool, arguments))
            if "error" in answer:
                assert answer["error"]["code"] == PARSE_ERROR
                assert "JSON" in answer["error"]["message"]
            else:
                assert answer["result"]["isError"] is True, tool
                assert "internal" not in answer["result"]["content"][0]["text"]
        assert stored_in(tmp_path) == before


async def test_deep_metadata_is_refused_before_it_could_break_an_answer(tmp_path: Path) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        await wire.call("save_message", role="user", content="x", thread_id="t")
        before = stored_in(tmp_path)
        for levels in (70, 150, 190):
            metadata = '{"a":' * levels + "1" + "}" * levels
            arguments = f'{{"role":"user","content":"x","thread_id":"t","metadata":{metadata}}}'
            answer = await wire.answer_to(call_frame("save_message", arguments))
            text = answer["result"]["content"][0]["text"]
            assert answer["result"]["isError"] is True
            assert "64" in text
        assert stored_in(tmp_path) == before
        result = await wire.call("recall_thread", thread_id="t")
        assert len(result["structuredContent"]["messages"]) == 1


@either_way
async def test_a_probe_before_the_handshake_does_not_decide_the_era(
    tmp_path: Path, way: str
) -> None:
    async with wire_to(environment(tmp_path, way)) as wire:
        for _ in range(2):
            discovered = await wire.request("server/discover", _meta=MODERN_META)
            assert MODERN in discovered["supportedVersions"]
        await wire.initialize()
        assert len((await wire.request("tools/list"))["tools"]) > 20
        await _answers_still(wire)


async def test_a_probe_may_be_followed_by_the_modern_era(tmp_path: Path) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.request("server/discover", _meta=MODERN_META)
        listed = await wire.request("tools/list", _meta=MODERN_META)
        assert len(listed["tools"]) > 20
        discovered = await wire.request("server/discover", _meta=MODERN_META)
        assert discovered["resultType"] == "complete"
        result = await wire.request(
            "tools/call", name="cache_get", arguments={"key": "k"}, _meta=MODERN_META
        )
        assert result["structuredContent"]["found"] is False


async def test_nothing_but_the_protocol_reaches_the_wire(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        async with wire_to(
            {**environment(tmp_path), **ALONE},
            command=("-c", NOISY_SERVER),
            stderr=stderr.fileno(),
        ) as wire:
            await wire.initialize()
            for count in (1, 2):
                result = await wire.call("cache_increment", key="n")
                assert result["structuredContent"] == {"value": count}
            assert await wire.end() == b""
    said = log.read_text()
    for stray in ("stray print", "stray write", "stray child"):
        assert said.count(stray) == 2


@either_way
async def test_calls_in_flight_are_finished_when_the_client_is_slow_to_read(
    tmp_path: Path, way: str
) -> None:
    async with wire_to(environment(tmp_path, way)) as wire:
        await wire.initialize()
        text = json.dumps("x" * 100_000)
        await wire.call("cache_set", key="k", value="x" * 100_000)
        for number in range(60):
            await wire.send(
                call_frame("cache_get", '{"key":"k","max_chars":200000}', str(1000 + number))
            )
        seen = set()
        for _ in range(60):
            message = await wire.receive()
            assert json.dumps(message["result"]["structuredContent"]["value"]) == text
            seen.add(message["id"])
        assert seen == set(range(1000, 1060))


@either_way
async def test_what_was_not_answered_when_the_client_leaves_is_refused(
    tmp_path: Path, way: str
) -> None:
    async with wire_to(environment(tmp_path, way)) as wire:
        await wire.initialize()
        await wire.call("cache_set", key="k", value=1)
        with nobody_can_write(tmp_path):
            await wire.send(call_frame("cache_increment", '{"key":"n"}'))
            await _answers_still(wire)
            [line] = (await wire.end()).splitlines()
    told = json.loads(line)
    assert (told["id"], told["error"]["code"]) == (77, -32000)
    assert wire.process.returncode == 0


async def test_an_unwritable_folder_is_told_in_the_answer_and_the_server_goes_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with wire_to({"MEMORY_DATA_DIR": str(tmp_path / "file")}) as wire:
        await wire.initialize()
        assert len((await wire.request("tools/list"))["tools"]) > 20
        for _ in range(2):
            result = await wire.call("save_message", role="user", content="x")
            assert result["isError"] is True
            text = result["content"][0]["text"]
            assert text.startswith("configuration: ")
            assert str(tmp_path / "file") in text
            assert "MEMORY_DATA_DIR" in text
        os.unlink(tmp_path / "file")
        result = await wire.call("save_message", role="user", content="x")
        assert result["isError"] is False
