"""The command `convex-memory`: what it prints where, and how it exits."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from server.auth.tokens import line_for
from server.cli import main
from tests.application.connections import (
    FOLDER,
    LEAVES_AT_ONCE,
    ROOT,
    Caller,
    connected,
    settings_in,
)
from tests.application.raw_http import modern, request, site_at

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
KEY = "key-from-the-environment"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CONVEX_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / FOLDER))
    for name, value in LEAVES_AT_ONCE.items():
        monkeypatch.setenv(name, value)


async def _save_something(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await caller.save("a", "one", "two")
        await caller.save("b", "three")
        await caller.call("update_working_memory", content="x")
        await caller.call("create_index", index="i", dimension=2)
        await caller.call("upsert_embeddings", index="i", items=[{"vector": [1, 2]}] * 4)
        await caller.call("cache_set", key="k", value=1)


def test_stats_are_told_as_json_and_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_save_something(tmp_path))
    assert main(["stats", "--json"]) == 0
    counts = {
        "threads": 2,
        "messages": 3,
        "resources": 1,
        "vector_indexes": 1,
        "vectors": 4,
        "cache_keys": 1,
    }
    assert json.loads(capsys.readouterr().out) == counts
    assert main(["stats"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    told = dict(re.findall(r"(\S.*?)\s{2,}(\d+)", captured.out))
    assert told == {name.replace("_", " "): str(count) for name, count in counts.items()}


def test_stats_of_a_folder_that_is_not_there_yet_are_all_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stats", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out).values()) == {0}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org", ""])
def test_serving_where_others_could_reach_it_is_refused(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--host", host, "--port", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("convex-memory: ")
    assert "loopback" in captured.err
    assert "127.0.0.1" in captured.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "MEMORY_HTTP_HOSTS"),
        (["--port", "{taken}"], "in use"),
        (["--port", "0", "--metrics", "{taken}"], "--metrics cannot listen"),
        (["--port", "0", "--metrics", "here"], "[HOST:]PORT"),
    ],
)
def test_serving_where_it_cannot_be_served_ends_with_one_line(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MEMORY_HTTP_TOKENS", "ada=a-token-0123456789")
    monkeypatch.setenv("MEMORY_EMBEDDER", "off")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [port if each == "{taken}" else each for each in arguments]
        assert main(["serve", *given]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("convex-memory: ")
    assert told in line


@pytest.mark.parametrize("command", [[], ["serve", "--port", "0"], ["stats"], ["deployment"]])
def test_a_wrong_setting_ends_every_command_with_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONVEX_ADMIN_KEY", KEY)
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert "CONVEX_URL" in line
    assert KEY not in line


def test_a_deployment_of_somebody_else_is_not_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONVEX_ADMIN_KEY", KEY)
    monkeypatch.setenv("CONVEX_URL", "https://happy-animal-123.convex.cloud")
    assert main(["deployment", "--port", "0"]) == 2
    assert "Unset CONVEX_URL" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / "file" / "below"))
    assert main(["stats"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file" / "below") in line
    assert "MEMORY_DATA_DIR" in line


@pytest.mark.parametrize("arguments", [["frobnicate"], ["serve", "--port", "x"], ["--no"]])
def test_a_wrong_command_line_is_refused_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: convex-memory" in captured.err


def test_help_names_every_command_and_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    for word in ("serve", "deployment", "demo", "doctor", "stats", "MEMORY_DATA_DIR", "CONVEX_URL"):
        assert word in told


def test_what_only_the_conformance_suite_needs_is_not_offered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "conformance" not in capsys.readouterr().out


def test_the_command_itself_fails_without_a_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "convex_memory"],
        cwd=ROOT,
        env={**os.environ, "MEMORY_TOOLSETS": "nonsense"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("convex-memory: MEMORY_TOOLSETS")


@pytest.mark.parametrize("kind", ["an empty pipe", "/dev/null", "a file"])
def test_ended_stdin_ends_the_command(kind: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with open(os.devnull if kind == "/dev/null" else tmp_path / "empty", "rb") as file:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "convex_memory"],
            cwd=ROOT,
            stdin=subprocess.PIPE if kind == "an empty pipe" else file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said = process.communicate(timeout=START_TIMEOUT_S)
    assert (process.returncode, *said) == (0, b"", b"")


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run a command that serves until it is told to stop."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "convex_memory", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            if process.poll() is None:
                process.kill()


def test_serve_answers_mcp_and_health_until_it_is_told_to_stop() -> None:
    async def use(url: str) -> None:
        async with Client(url) as client:
            saved = await client.call_tool("save_message", {"role": "user", "content": "x"})
            assert saved.is_error is False

    with running("serve", "--port", "0") as (process, said):
        announced = said.readline()
        match = re.fullmatch(r"MCP at (http://127\.0\.0\.1:(\d+))/mcp\n", announced)
        assert match is not None, announced
        asyncio.run(use(f"{match[1]}/mcp"))
        assert httpx2.get(f"{match[1]}/healthz").text == "ok"
        assert httpx2.get(f"{match[1]}/readyz").json() == {"ready": True}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0
        assert process.stdout is not None
        [sentence] = said.read().splitlines()
        assert "this machine alone" in sentence
        assert "MEMORY_HTTP_TOKENS" in sentence
        assert process.stdout.read() == ""


def test_serve_lets_in_who_shows_a_token_wherever_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    entries = {name: line_for(name).partition("=")[2] for name in ("mara", "jo")}
    tokens.write_text("".join(f"{name}={token}\n" for name, token in entries.items()))
    tokens.chmod(0o600)

    async def use(url: str, token: str, content: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as wire,
            Client(streamable_http_client(url, http_client=wire)) as client,
        ):
            caller = Caller(client)
            if content is not None:
                await caller.save("t", content)
            return len((await caller.call("list_threads"))["threads"])

    monkeypatch.setenv("MEMORY_HTTP_TOKENS", str(tokens))
    monkeypatch.setenv("MEMORY_HTTP_HOSTS", "memory.example.com")
    monkeypatch.setenv("MEMORY_TOOLSETS", "memory,schedules")
    with running("serve", "--host", "0.0.0.0", "--port", "0") as (process, said):
        match = re.fullmatch(r"MCP at http://0\.0\.0\.0:(\d+)/mcp\n", said.readline())
        assert match is not None
        assert "the toolsets schedules: what is in them has no owner" in said.readline()
        url = f"http://127.0.0.1:{match[1]}/mcp"
        assert httpx2.post(url, json={}).status_code == 401
        assert asyncio.run(use(url, entries["mara"], "x")) == 1
        assert asyncio.run(use(url, entries["jo"], None)) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0
        assert process.stdout is not None
        rest = process.stdout.read() + said.read()
        assert not any(token in rest for token in entries.values())


def test_serve_stops_in_time_though_a_stream_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM with a listener: uvicorn alone would wait for it for ever."""
    monkeypatch.setenv("MEMORY_SCHEDULE_ACTION", "notify")
    headers, body = modern(
        "subscriptions/listen", notifications={"resourceSubscriptions": ["memory://schedules/s"]}
    )

    async def listen(url: str, process: subprocess.Popen[str]) -> bytes:
        async with site_at(url) as site:
            stream = await site.connect()
            await stream.send(request("POST", "/mcp", *headers, body=body))
            await stream.reader.readuntil(b"acknowledged")
            process.send_signal(signal.SIGTERM)
            return await stream.end()

    with running("serve", "--port", "0") as (process, said):
        found = re.search(r"http://127\.0\.0\.1:\d+", said.readline())
        assert found is not None
        began = time.monotonic()
        last = asyncio.run(listen(found[0], process))
        assert process.wait(STOP_TIMEOUT_S) == 0
        assert time.monotonic() - began < 10
        assert b'"result"' in last


def test_the_deployment_says_where_its_key_is_and_keeps_it_private(tmp_path: Path) -> None:
    with running("deployment", "--port", "0") as (process, said):
        address, where = said.readline(), said.readline()
        match = re.fullmatch(r"deployment at (http://127\.0\.0\.1:\d+)\n", address)
        assert match is not None, address
        path = Path(where.removeprefix("admin key in ").strip())
        assert path == tmp_path / FOLDER / "admin.key"
        assert path.stat().st_mode & 0o777 == 0o600
        key = path.read_text().strip()
        question = {"path": "memory/meta:version", "args": {}, "format": "json"}
        for authorization, status in ((f"Convex {key}", 200), ("Convex wrong", 403)):
            answer = httpx2.post(
                f"{match[1]}/api/query", json=question, headers={"Authorization": authorization}
            )
            assert answer.status_code == status
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) in (0, 130)
        assert key not in said.read()
