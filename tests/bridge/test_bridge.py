"""The bridge, where tests rely on more of it than a deployment does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.bridge.serving import ADMIN_KEY, BRIDGE, START_TIMEOUT_S, Bridge, bridge, node

CACHE = "mastra/cache:handle"
NOON = 1_767_268_800_000
HEADERS = {"Authorization": f"Convex {ADMIN_KEY}"}


@pytest.fixture(scope="module")
def running() -> Iterator[Bridge]:
    with bridge(BRIDGE / "mastra_reference") as running:
        yield running


def cached(running: Bridge, op: str, **fields: object) -> object:
    request = {"path": CACHE, "args": {"op": op, "key": "p:k", "keyPrefix": "p:", **fields}}
    answer = httpx2.post(f"{running.url}/api/mutation", json=request, headers=HEADERS)
    return answer.json()["value"].get("result")


def test_a_reset_forgets_every_row_and_stops_the_clock(running: Bridge) -> None:
    running.reset(NOON)
    cached(running, "set", value="tea", expiresAt=NOON + 1)
    assert [row["key"] for row in running.rows("mastra_cache")] == ["p:k"]
    assert cached(running, "get") == "tea"
    running.set_clock(NOON + 1)
    assert cached(running, "get") is None
    cached(running, "set", value="tea", expiresAt=None)
    running.reset(NOON)
    assert running.rows("mastra_cache") == []


def test_a_reset_that_says_no_time_lets_the_clock_run(running: Bridge) -> None:
    running.reset(NOON)
    answer = httpx2.post(f"{running.url}/api/reset", headers=HEADERS)
    assert answer.status_code == 200
    cached(running, "set", value="tea", expiresAt=NOON + 1)
    assert cached(running, "get") is None


def test_rows_are_stored_as_they_are(running: Bridge) -> None:
    running.reset(NOON)
    row = {"table": "t", "primaryKey": "a", "record": {"id": "b"}}
    (stored,) = running.rows("mastra_documents", [row])
    assert {name: stored[name] for name in row} == row


@pytest.mark.parametrize("route", ["reset", "clock", "rows"])
def test_only_the_admin_key_opens_what_is_for_tests(running: Bridge, route: str) -> None:
    body = {"now_ms": NOON, "table": "mastra_cache"}
    assert httpx2.post(f"{running.url}/api/{route}", json=body).status_code == 403


def test_a_time_that_is_none_is_refused(running: Bridge) -> None:
    for route in ("reset", "clock"):
        answer = httpx2.post(f"{running.url}/api/{route}", json={"now_ms": 0.5}, headers=HEADERS)
        assert answer.status_code == 400
        assert "whole number of milliseconds" in answer.json()["message"]


def test_the_bridge_ends_with_whoever_holds_its_standard_input() -> None:
    command = [node(), str(BRIDGE / "bridge.mjs"), "--dir", str(BRIDGE / "mastra_reference")]
    command += ["--port", "0", "--admin-key", ADMIN_KEY, "--until-stdin-ends"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            assert "http://127.0.0.1:" in process.stderr.readline()
            process.stdin.close()
            assert process.wait(START_TIMEOUT_S) == 0
        finally:
            process.kill()
