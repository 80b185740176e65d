"""Servers that tests start, and the bridge among them."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import pytest

ROOT: Final = Path(__file__).parents[2]
BRIDGE: Final = ROOT / "tests" / "bridge"
START_TIMEOUT_S: Final = 60
STOP_TIMEOUT_S: Final = 15
INSTALL_TIMEOUT_S: Final = 600
CALL_TIMEOUT_S: Final = 60
ADMIN_KEY: Final = "bridge|0123456789abcdef0123456789abcdef"
"""As long as a real one: it is taken out of every text that is shown, and must not be a word."""


class Bridge:
    """A running `bridge.mjs`, and what only tests may ask of it.

    Attributes:
        url: Where it serves Convex's HTTP function API.
        admin_key: The key that it takes.
    """

    def __init__(self, url: str, admin_key: str = ADMIN_KEY) -> None:
        self.url = url
        self.admin_key = admin_key
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=CALL_TIMEOUT_S)

    def reset(self, now_ms: float) -> None:
        """Forget every row, and stop the clock that functions see."""
        self._post("reset", now_ms=int(now_ms))

    def set_clock(self, now_ms: float) -> None:
        """Set the clock that functions see, to whole milliseconds as JavaScript has them."""
        self._post("clock", now_ms=int(now_ms))

    def rows(self, table: str, rows: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
        """Store rows that no function would, and return all that the table has."""
        value: list[dict[str, Any]] = self._post("rows", table=table, rows=list(rows))
        return value

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, route: str, **body: Any) -> Any:
        headers = {
            "Authorization": f"Convex {self.admin_key}",
            "Content-Type": "application/json",
        }
        self._connection.request("POST", f"/api/{route}", json.dumps(body), headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            pytest.fail(f"The bridge answered {response.status} to {route}: {content.decode()}")
        return json.loads(content)["value"]


@contextmanager
def bridge(folder: Path, *, schema: Path | None = None) -> Iterator[Bridge]:
    """Serve the functions of a folder by a Node.js process, which ends with this one.

    Args:
        folder: A Convex functions folder.
        schema: A module in the place of the folder's own `schema.ts`.
    """
    command = [node(), str(BRIDGE / "bridge.mjs"), "--dir", str(folder), "--port", "0"]
    command += ["--admin-key", ADMIN_KEY, "--until-stdin-ends"]
    if schema is not None:
        command += ["--schema", str(schema)]
    with serving(command, {}, stdin=subprocess.PIPE) as url:
        running = Bridge(url)
        try:
            yield running
        finally:
            running.close()


def node() -> str:
    """Node.js, with the packages of package-lock.json installed; a test failure without it."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.fail("These tests need Node.js 20 or later and npm on the PATH.", pytrace=False)
    # One of the processes that run tests installs; the others wait for it.
    with (ROOT / "package-lock.json").open() as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        # npm writes this file last, so a broken installation does not have it.
        if not (ROOT / "node_modules" / ".package-lock.json").is_file():
            install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run(install, timeout_s=INSTALL_TIMEOUT_S)
    return found


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float,
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
def serving(
    command: Sequence[str], settings: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
) -> Iterator[str]:
    """Start a server, give the URL that it names on stderr, and stop it with SIGTERM.

    Its environment holds nothing but `settings` and a plain PATH, so that what a developer has
    set does not reach it.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.defpath, **settings},
        stdin=stdin,
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
            lines = "".join(self._lines)
            pytest.fail(f"The server named no URL on stderr:\n{lines}", pytrace=False)
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
