"""Deployments that are compared with each other: started, and given the same rows."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from bench.report import CHECKOUT
from convex_memory.deployment import STORAGE_FUNCTION

KEY: Final = "bench|0123456789abcdef0123456789abcdef"
"""The admin key of every deployment here."""
_STOP_TIMEOUT_S: Final = 15
_CALL_TIMEOUT_S: Final = 300
_ROWS_AT_ONCE: Final = 2500

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows by the table they belong to."""


@contextmanager
def bridge(folder: str, rows: Rows) -> Iterator[str]:
    """Serve TypeScript functions under convex-test, over these rows, and give the URL.

    The rows are put there as they are: saving them through functions takes convex-test, which
    looks through the whole table for every message, minutes.

    Args:
        folder: A Convex functions folder of the checkout.
        rows: What is stored before.
    """
    command = ["node", "tests/bridge/bridge.mjs", "--dir", folder, "--port", "0"]
    with _serving([*command, "--admin-key", KEY], {}) as url:
        for table, part in _parts(rows):
            _post(url, "rows", {"table": table, "rows": part})
        yield url


@contextmanager
def embedded(rows: Rows) -> Iterator[str]:
    """Serve the embedded deployment in a process of its own, over these rows; give the URL."""
    command = [sys.executable, "-m", "convex_memory", "deployment", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"MEMORY_DATA_DIR": folder, "MEMORY_DEPLOYMENT_KEY": KEY}
        with _serving(command, settings) as url:
            for table, part in _parts(rows):
                args = {"op": "batchInsert", "tableName": table, "records": part}
                _post(url, "mutation", {"path": STORAGE_FUNCTION, "args": args})
            yield url


def _parts(rows: Rows) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    for table, all_of_it in rows.items():
        for start in range(0, len(all_of_it), _ROWS_AT_ONCE):
            yield table, all_of_it[start : start + _ROWS_AT_ONCE]


def _post(url: str, route: str, body: Mapping[str, Any]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_CALL_TIMEOUT_S)
    headers = {"Authorization": f"Convex {KEY}", "Content-Type": "application/json"}
    connection.request("POST", f"/api/{route}", json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    value = answer.get("value")
    if answer.get("status") != "success" or (isinstance(value, dict) and not value.get("ok")):
        raise RuntimeError(f"Rows could not be stored: {answer}")


@contextmanager
def _serving(command: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server and give the URL that it names on stderr."""
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={"PATH": os.environ.get("PATH", os.defpath), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
                if found:
                    break
            else:
                raise RuntimeError(f"{command[0]} did not start: {''.join(said)}")
            # Nobody has to wait for somebody who reads the rest.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield found.group()
        finally:
            process.terminate()
            process.wait(_STOP_TIMEOUT_S)
