"""Clients that others wrote, over the server that everybody gets: strict ones, in both eras."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.bridge.serving import ROOT, serving
from tests.conformance.installing import HERE, Judges
from tools import DEFAULT_TOOLSETS, TOOLSETS, select

CALL_TIMEOUT_S: Final = 60
TOKEN: Final = "an-inspector-token-0123456789abcdef0123456789"
TOOLS: Final = sorted(select(DEFAULT_TOOLSETS))
ERAS: Final = ("legacy", "modern")


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`convex-memory serve` that asks for a token."""
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path_factory.mktemp("clients") / "memory"),
        "MEMORY_EMBEDDER": "off",
        "MEMORY_HTTP_TOKENS": f"inspector={TOKEN}",
    }
    command = [sys.executable, "-m", "convex_memory", "serve", "--port", "0"]
    with serving(command, settings) as url:
        yield f"{url}/mcp"


class Inspector:
    """MCP Inspector's command, towards one server in one era."""

    def __init__(self, outside: Judges, era: str, *options: str, target: tuple[str, ...] = ()):
        self._outside = outside
        self._options = ("--cli", *options, "--protocol-era", era, "--format", "json")
        self._target = ("--", *target) if target else ()

    def run(self, method: str, *options: str) -> subprocess.CompletedProcess[str]:
        inspector = self._outside.packages / "@modelcontextprotocol" / "inspector"
        return self._outside.run(
            inspector / "clients" / "launcher" / "build" / "index.js",
            *(*self._options, "--method", method, *options, *self._target),
            timeout_s=CALL_TIMEOUT_S,
        )

    def answer(self, method: str, *options: str) -> dict[str, Any]:
        done = self.run(method, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)["result"]
        return result


def over_http(outside: Judges, era: str, url: str, token: str = TOKEN) -> Inspector:
    authorization = ("--header", f"Authorization: Bearer {token}")
    return Inspector(outside, era, url, "--transport", "http", *authorization)


def over_stdio(outside: Judges, era: str, folder: Path, *settings: str) -> Inspector:
    ours = (f"MEMORY_DATA_DIR={folder}", "MEMORY_EMBEDDER=off", "MEMORY_DAEMON_IDLE_MS=0")
    return Inspector(
        outside,
        era,
        *(word for each in (*ours, *settings) for word in ("-e", each)),
        *("--cwd", str(ROOT)),
        target=(sys.executable, "-m", "convex_memory"),
    )


def check_schemas(inspector: Inspector, tools: Sequence[str]) -> None:
    """Have the Inspector look for what models and clients stumble over in schemas."""
    done = inspector.run("tools/list", "--strict")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)["result"]["tools"]
    assert sorted(tool["name"] for tool in listed) == sorted(tools)
    assert re.search(r"^0 errors, \d+ warnings", done.stderr, re.MULTILINE), done.stderr
    # Null beside a type, and JSON values that may be anything, are meant.
    meant = ("`type` is an array", "no validation keyword at all")
    for issue in re.findall(r"^ +Issue: (.*)$", done.stderr, re.MULTILINE):
        assert any(each in issue for each in meant), issue


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_finds_no_error_in_the_schemas(
    era: str, outside: Judges, guarded_url: str
) -> None:
    check_schemas(over_http(outside, era, guarded_url), TOOLS)


def test_the_inspector_finds_no_error_in_those_of_other_toolsets(
    outside: Judges, tmp_path: Path
) -> None:
    inspector = over_stdio(outside, "modern", tmp_path, "MEMORY_TOOLSETS=all")
    check_schemas(inspector, list(select(TOOLSETS)))


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_calls_tools_over_http_with_a_token(
    era: str, outside: Judges, guarded_url: str
) -> None:
    inspector = over_http(outside, era, guarded_url)
    call = ("--tool-name", "cache_push", "--tool-args-json")
    answer = inspector.answer("tools/call", *call, json.dumps({"key": era, "value": {"a": [1]}}))
    assert answer["structuredContent"] == {"length": 1}


def test_the_inspector_tells_a_refused_call(outside: Judges, guarded_url: str) -> None:
    refused = over_http(outside, "modern", guarded_url).run(
        "tools/call", "--tool-name", "cache_push", "--tool-arg", "key=k"
    )
    assert refused.returncode == 5, refused.stderr
    [content] = json.loads(refused.stdout)["result"]["content"]
    assert content["text"] == "invalid_argument: value is required."


def test_the_inspector_is_refused_without_a_good_token(outside: Judges, guarded_url: str) -> None:
    refused = over_http(outside, "modern", guarded_url, token="of-nobody").run("tools/list")
    assert refused.returncode != 0
    assert "cache_push" not in refused.stdout


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_calls_tools_over_stdio(era: str, outside: Judges, tmp_path: Path) -> None:
    inspector = over_stdio(outside, era, tmp_path)
    call = ("--tool-name", "cache_push", "--tool-args-json")
    answer = inspector.answer("tools/call", *call, json.dumps({"key": "k", "value": 1}))
    assert answer["structuredContent"] == {"length": 1}


def test_the_typescript_sdk_takes_every_answer(outside: Judges, guarded_url: str) -> None:
    message = {"role": "user", "content": "The harbour is closed.", "thread_id": "ts"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("save_message", message),
        ("recall_thread", {"thread_id": "ts"}),
        ("recall_thread", {"thread_id": "nowhere"}),
        ("search_memory", {"query": "harbour"}),
        ("get_working_memory", {}),
        ("create_index", {"index": "i", "dimension": 2}),
        ("upsert_embeddings", {"index": "i", "items": [{"id": "a", "vector": [1, 0]}]}),
        ("vector_query", {"index": "i", "vector": [1, 0]}),
        ("vector_query", {"index": "i", "vector": [1, 0, 0]}),
        ("cache_get", {"key": "nothing"}),
        ("no_such_tool", {}),
        ("delete_thread", {"thread_id": "ts"}),
    ]
    done = outside.run(
        HERE / "client.mjs",
        *(str(outside.packages), guarded_url, TOKEN, json.dumps(calls)),
        timeout_s=CALL_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert seen["server"] == "convex-memory"
    assert sorted(seen["tools"]) == TOOLS
    failed = [calls[at][1] for at, answer in enumerate(seen["answers"]) if answer["isError"]]
    assert failed == [calls[2][1], calls[8][1], calls[10][1]]
    assert seen["answers"][3]["structuredContent"]["hits"][0]["content"] == message["content"]
    assert seen["answers"][7]["structuredContent"]["matches"][0]["id"] == "a"
    assert (seen["read"], seen["said"]) == ("memory://working-memory", "user")
