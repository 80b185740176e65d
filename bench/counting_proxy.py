"""An HTTP proxy in front of a deployment that counts what goes through it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 120
_NOT_PASSED_ON: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through: calls, and the bytes of their bodies each way."""

    calls: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class CountingProxy:
    """Counts until somebody takes the counts.

    Args:
        target: URL of the deployment.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._traffic = Traffic()
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port, and give the URL."""
        proxy, target = self, self._target

        class Handler(_Forwarder):
            counter = proxy
            netloc = target

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    def count(self, sent_bytes: int, received_bytes: int) -> None:
        """Add one call."""
        with self._lock:
            before = self._traffic
            self._traffic = Traffic(
                before.calls + 1,
                before.sent_bytes + sent_bytes,
                before.received_bytes + received_bytes,
            )

    def take(self) -> Traffic:
        """Return what was counted since the last time."""
        with self._lock:
            taken, self._traffic = self._traffic, Traffic()
        return taken


class _Forwarder(BaseHTTPRequestHandler):
    """One client's connection, and one to the deployment behind it."""

    counter: CountingProxy
    netloc: str
    protocol_version = "HTTP/1.1"
    # An answer is two writes, and the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._behind = http.client.HTTPConnection(self.netloc, timeout=TIMEOUT_S)

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        self._behind.request("POST", self.path, body, headers)
        answer = self._behind.getresponse()
        content = answer.read()
        self.counter.count(len(body), len(content))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
