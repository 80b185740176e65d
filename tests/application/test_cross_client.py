"""Clients that others wrote, against the deployment that `convex-memory deployment` serves.

npm `@mastra/convex` through the checks of `tests/bridge/mastra_clients.mjs`, and the HTTP client of
PyPI `convex`. The same checks are run against Mastra's own functions too: what they ask for is what
those do.
"""

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "tests" / "bridge"
KEY = "cross-client-key"
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
INSTALL_TIMEOUT_S = 600
CLIENT_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, with the packages of package-lock.json installed."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.fail("These tests need Node.js 20 or later and npm on the PATH.")
    # npm writes this file last, so a broken installation does not have it.
    if not (ROOT / "node_modules" / ".package-lock.json").is_file():
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(install, timeout_s=INSTALL_TIMEOUT_S)
    return found


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an embedded deployment on a folder of its own."""
    command = [sys.executable, "-m", "convex_memory", "deployment"]
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path_factory.mktemp("deployment")),
        "MEMORY_DEPLOYMENT_KEY": KEY,
    }
    with serving([*command, "--host", "127.0.0.1", "--port", "0"], settings) as url:
        yield url


@pytest.fixture(scope="module")
def mastra_functions(node: str) -> Iterator[str]:
    """URL under which Mastra's own functions run."""
    command = [node, str(BRIDGE / "bridge.mjs"), "--dir", str(BRIDGE / "mastra_reference")]
    with serving([*command, "--port", "0", "--admin-key", KEY], {}) as url:
        yield url


def test_the_checks_ask_for_what_mastras_own_functions_do(node: str, mastra_functions: str) -> None:
    assert_checks_pass(node, mastra_functions)


def test_mastras_adapters_work_against_the_embedded_deployment(node: str, deployment: str) -> None:
    assert_checks_pass(node, deployment)


@pytest.fixture(scope="module")
def answers(deployment: str) -> dict[str, Any]:
    """What `pypi_client.py` got from the deployment."""
    script = str(BRIDGE / "pypi_client.py")
    output = run([sys.executable, script, deployment, KEY], environment={})
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


def assert_checks_pass(node: str, url: str) -> None:
    """Run the checks of Mastra's adapters; none may fail, and some must run."""
    output = run([node, str(BRIDGE / "mastra_clients.mjs"), url, KEY])
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed", output.splitlines()[-1])


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = CLIENT_TIMEOUT_S,
) -> str:
    """The standard output of a command; a test failure with all it printed when it fails.

    Args:
        command: Program and arguments.
        environment: Its whole environment; None for that of the tests.
        timeout_s: How long it may take.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        program = Path(command[0]).name
        pytest.fail(f"{program} ended with {done.returncode}.\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextmanager
def serving(command: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server, give the URL that it names on stderr, and stop it with SIGTERM.

    Its environment holds nothing but `settings` and a plain PATH, so that what a developer has
    set does not reach it.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.defpath, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stderr is not None
        reader = StderrReader(process.stderr)
        try:
            yield reader.url()
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"The server did not stop within {STOP_TIMEOUT_S} s of SIGTERM.")
            finally:
                reader.join()


class StderrReader:
    """Reads a server's stderr to its end, so that the server never waits for a reader."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._url: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def url(self) -> str:
        """The URL in the first line that has one; a test failure when there is none in time."""
        try:
            url = self._url.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            url = None
        if url is None:
            pytest.fail("The server named no URL on stderr:\n" + "".join(self._lines))
        return url

    def join(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                self._url.put(found.group())
        self._url.put(None)
