"""The least an MCP client can be: JSON lines over the pipes of a process it starts.

It costs the same whatever server is at the other end, and next to nothing, so that two servers
can be compared by what they cost themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from bench.report import CHECKOUT

HANDSHAKE: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
ERAS: Final = (HANDSHAKE, MODERN)
"""Protocol revisions: with a handshake, and with an envelope in every request."""

BARE_SERVER: Final = (sys.executable, str(CHECKOUT / "bench" / "bare_server.py"))
OUR_SERVER: Final = (sys.executable, "-m", "convex_memory")
_CLIENT: Final = {"name": "bench", "version": "1"}
_ENVELOPE: Final = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": _CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


ALONE: Final = {"MEMORY_DAEMON": "off"}
"""Our server in the process that is started, as the others are."""


class Ended(NamedTuple):
    """What a process had used when it was ended.

    Attributes:
        resident_mib: At most, of its own; None where the system does not say.
    """

    cpu_seconds: float
    resident_mib: float | None


class StdioClient:
    """One server process, and one client of it.

    Args:
        command: Starts the server.
        era: The protocol revision to speak.
        folder: Where the server may keep its memory.
        settings: Of our server.
    """

    def __init__(
        self,
        command: Sequence[str],
        era: str,
        folder: Path,
        settings: Mapping[str, str] = MappingProxyType(ALONE),
    ) -> None:
        self._modern = era == MODERN
        self._last_id = 0
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=CHECKOUT,
            env={**_environment(folder), **settings},
        )

    def open(self) -> None:
        """Greet the server as a client of the era does."""
        if self._modern:
            self.request("server/discover")
            return
        self.request(
            "initialize",
            {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT},
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def request(
        self, method: str, params: Mapping[str, Any] | None = None
    ) -> tuple[Mapping[str, Any], float]:
        """Send a request and return its result, and the seconds until its line had come.

        Raises:
            RuntimeError: The server answered with an error, or went away.
        """
        self._last_id += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._last_id, "method": method}
        given = {**(params or {}), **(_ENVELOPE if self._modern else {})}
        if given:
            message["params"] = given
        answers = self._process.stdout
        if answers is None:
            raise RuntimeError("The server has no stdout.")
        sent = time.perf_counter()
        self._send(message)
        while True:
            line = answers.readline()
            seconds = time.perf_counter() - sent
            if not line:
                raise RuntimeError(f"The server went away while it was asked {method}.")
            answer = json.loads(line)
            if answer.get("id") == self._last_id:
                break
        if "result" not in answer or answer["result"].get("isError"):
            raise RuntimeError(f"{method} failed: {line.decode()[:500]}")
        return answer["result"], seconds

    def call_tool(self, name: str, arguments: Mapping[str, Any]) -> float:
        """Call a tool and return the seconds it took."""
        _, seconds = self.request("tools/call", {"name": name, "arguments": arguments})
        return seconds

    def end(self) -> Ended:
        """Kill the server where it stands and return what it had used."""
        resident = _resident_mib(self._process.pid)
        self._process.kill()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return Ended(usage.ru_utime + usage.ru_stime, resident)

    def _send(self, message: Mapping[str, Any]) -> None:
        requests = self._process.stdin
        if requests is None:
            raise RuntimeError("The server has no stdin.")
        requests.write(json.dumps(message).encode() + b"\n")
        requests.flush()


def _resident_mib(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with every setting of ours left to its default."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMORY_", "CONVEX_"))
    }
    return {**kept, "MEMORY_DATA_DIR": str(folder)}
