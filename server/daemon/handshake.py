"""The first frame of a connection to the daemon, and its answer: one line of JSON each.

What stands here every version understands. After a welcome the connection carries MCP, one
message a line. A line of the daemon that begins with `LOG_MARK` is for the host's log.
"""

from __future__ import annotations

import json
import socket

from server.daemon.build import Build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

PROTOCOL: Final = 1
LINE_BYTES_MAX: Final = 1 << 20
_LOOK_BYTES: Final = 4096
LOG_MARK: Final = b"\x1e"
SERVE: Final = "serve"
STATUS: Final = "status"
STOP: Final = "stop"
WELCOME: Final = "welcome"
YIELDED: Final = "yielded"
"""The daemon is older than who asks, and has made room."""
REFUSED: Final = "refused"


class Hello:
    """What the shim or a command says first.

    Args:
        ask: `serve`, `status` or `stop`.
        build: The code that asks.
        token: What the daemon's address told to show.
        environment: The settings of the host.
        protocol: What is spoken after the frame.
    """

    def __init__(
        self,
        ask: str,
        build: Build,
        token: str = "",
        environment: Mapping[str, str] | None = None,
        protocol: int = PROTOCOL,
    ) -> None:
        self.protocol = protocol
        self.ask = ask
        self.build = build
        self.token = token
        self.environment = dict(environment or {})

    def line(self) -> bytes:
        """Return the frame."""
        return _line(
            {
                "convex-memory": self.protocol,
                "ask": self.ask,
                "build": self.build.as_json(),
                "token": self.token,
                "environment": self.environment,
            }
        )

    @classmethod
    def read(cls, line: bytes) -> Hello:
        """Return what a frame says.

        Raises:
            ValueError: It is none.
        """
        told = _object(line)
        try:
            return cls(
                str(told["ask"]),
                Build.from_json(told["build"]),
                str(told["token"]),
                {str(name): str(value) for name, value in told["environment"].items()},
                int(told["convex-memory"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("no handshake") from error


def answer(verdict: str, **told: Any) -> bytes:
    """Return the answer to the first frame, as a line."""
    return _line({"convex-memory": PROTOCOL, "verdict": verdict, **told})


def ask(connection: socket.socket, hello: Hello) -> dict[str, Any] | None:
    """Say hello and return what was answered; None when nobody did.

    Args:
        connection: A blocking socket, with the timeout that is to hold.
        hello: What to say.

    Raises:
        TimeoutError: No answer came in time.
    """
    try:
        connection.sendall(hello.line())
        line = _read_line(connection)
    except TimeoutError:
        raise
    except OSError:
        return None
    try:
        return _object(line)
    except ValueError:
        return None


def _read_line(connection: socket.socket) -> bytes:
    """Read one line and nothing behind it: that belongs to somebody else."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
        waiting = connection.recv(_LOOK_BYTES, socket.MSG_PEEK)
        if not waiting:
            break
        line += connection.recv(waiting.find(b"\n") + 1 or len(waiting))
    return line


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    told = json.loads(line)
    if not isinstance(told, dict):
        raise ValueError("no object")
    return told
