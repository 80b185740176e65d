"""An OpenAI-compatible embeddings endpoint on the loopback interface, with faults on demand."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIMENSION = 8


@dataclass
class Answer:
    """What to answer with instead of embeddings; `None` as status breaks the connection."""

    status: int | None = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    waits_for: threading.Event | None = None


@dataclass
class Asked:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Fault = Answer | Callable[[dict[str, Any]], Answer]


class Endpoint:
    """The endpoint: answers with the faults given, one a request, then with embeddings.

    The embedding of a text counts its characters by their code modulo the dimension.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.reverses = False
        self.writes_base64 = False

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [asked.body["input"] for asked in self.asked]

    def answer(self, body: dict[str, Any]) -> Answer:
        """What the next request is answered with."""
        if self.faults:
            fault = self.faults.pop(0)
            return fault if isinstance(fault, Answer) else fault(body)
        dimension = body.get("dimensions", DIMENSION)
        data = [
            {"object": "embedding", "index": index, "embedding": self._coded(text, dimension)}
            for index, text in enumerate(body["input"])
        ]
        return Answer(body={"object": "list", "data": data[::-1] if self.reverses else data})

    def _coded(self, text: str, dimension: int) -> Any:
        counts = counted(text, dimension)
        if self.writes_base64:
            return base64.b64encode(struct.pack(f"<{dimension}f", *counts)).decode()
        return counts


def counted(text: str, dimension: int = DIMENSION) -> list[float]:
    """The embedding of a text, not normalised."""
    counts = [0.0] * dimension
    for character in text:
        counts[ord(character) % dimension] += 1
    return counts


@contextmanager
def serving() -> Iterator[Endpoint]:
    """Serve an endpoint during the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(content)
            endpoint.asked.append(Asked(self.path, dict(self.headers.items()), body))
            answer = endpoint.answer(body)
            if answer.waits_for is not None:
                answer.waits_for.wait(timeout=60)
            if answer.status is None:
                # Reset, not closed: what a crashed server's kernel does.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            raw = answer.body
            sent = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that went away is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
