"""Clients that others wrote, against the deployment that `convex-memory deployment` serves.

npm `@mastra/convex` through the checks of `tests/bridge/mastra_clients.mjs`, and the HTTP client of
PyPI `convex`. The same checks are run against Mastra's own functions too: what they ask for is what
those do.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bridge import serving
from tests.bridge.serving import BRIDGE, Bridge, bridge

KEY = "cross-client-key"
CLIENT_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, with the packages of package-lock.json installed."""
    return serving.node()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an embedded deployment on a folder of its own."""
    command = [sys.executable, "-m", "convex_memory", "deployment"]
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path_factory.mktemp("deployment")),
        "MEMORY_DEPLOYMENT_KEY": KEY,
    }
    command += ["--host", "127.0.0.1", "--port", "0"]
    with serving.serving(command, settings) as url:
        yield url


@pytest.fixture(scope="module")
def mastra_functions() -> Iterator[Bridge]:
    """Where Mastra's own functions run."""
    with bridge(BRIDGE / "mastra_reference") as running:
        yield running


def test_the_checks_ask_for_what_mastras_own_functions_do(
    node: str, mastra_functions: Bridge
) -> None:
    assert_checks_pass(node, mastra_functions.url, mastra_functions.admin_key)


def test_mastras_adapters_work_against_the_embedded_deployment(node: str, deployment: str) -> None:
    assert_checks_pass(node, deployment, KEY)


@pytest.fixture(scope="module")
def answers(deployment: str) -> dict[str, Any]:
    """What `pypi_client.py` got from the deployment."""
    script = str(BRIDGE / "pypi_client.py")
    command = [sys.executable, script, deployment, KEY]
    output = serving.run(command, environment={}, timeout_s=CLIENT_TIMEOUT_S)
    loaded: dict[str, Any] = json.loads(output)
    return loaded


def test_the_pypi_client_inserts_and_loads_a_thread(answers: dict[str, Any]) -> None:
    threads = answers["threads"]
    assert threads["insert"] == {"ok": True}
    assert threads["absent"] == {"ok": True, "result": None}
    assert threads["load"]["ok"] is True
    row = threads["load"]["result"]
    assert row.pop("_id") != ""
    assert row.pop("_creationTime") > 0
    assert row == {
        "id": "pypi-thread",
        "resourceId": "pypi-resource",
        "title": "Grüße 👋",
        "metadata": {"whole": 3, "half": 0.5, "none": None, "list": [True, {"deep": "ключ"}]},
        "createdAt": "2025-01-31T12:00:00.000Z",
        "updatedAt": "2025-01-31T12:00:00.000Z",
    }


def test_the_pypi_client_queries_the_version(answers: dict[str, Any]) -> None:
    assert answers["version"]["version"]
    named = set(answers["version"]["functions"])
    assert {"memory/meta:version", "memory/messages:save", "memory/search:messages"} <= named


def test_the_pypi_client_searches_vectors_with_an_action(answers: dict[str, Any]) -> None:
    vectors = answers["vectors"]
    assert vectors["write"] == {"ok": True}
    assert vectors["scores"] == pytest.approx([1.0, 0.5**0.5], abs=1e-6)
    documents = [
        {name: row[name] for name in row if not name.startswith("_")}
        for row in vectors["documents"]
    ]
    assert documents == [
        {"id": "x", "kind": "axis", "metadata": {"kind": "axis"}},
        {"id": "xy", "kind": "between", "metadata": {"kind": "between"}},
    ]
    assert vectors["filtered"] == ["x", "y"]


def test_the_pypi_client_is_told_why_a_call_is_refused(answers: dict[str, Any]) -> None:
    refusals = answers["refusals"]
    assert "Could not find" in refusals["absent_function"]
    assert "as Query, but it is defined as Mutation" in refusals["wrong_kind"]
    assert "Record is missing an id" in refusals["function_error"]


def test_nothing_runs_without_the_admin_key(answers: dict[str, Any]) -> None:
    refusals = answers["refusals"]
    assert refusals["wrong_key"].startswith("403")
    assert refusals["without_key"]


def assert_checks_pass(node: str, url: str, key: str) -> None:
    """Run the checks of Mastra's adapters; none may fail, and some must run."""
    command = [node, str(BRIDGE / "mastra_clients.mjs"), url, key]
    output = serving.run(command, timeout_s=CLIENT_TIMEOUT_S)
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed", output.splitlines()[-1])
