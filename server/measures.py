"""What is measured, by OpenTelemetry's names: times, sizes and counts, never content or names.

Attributes have few values each: methods, tools that exist, paths of functions, codes. Nothing
is recorded before `telemetry` is switched on; until then each of these calls does nothing.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics

from server.telemetry import SCOPE

_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    120,
)
_BYTES: Final = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)

_meter = metrics.get_meter(SCOPE)


def _seconds(name: str, description: str) -> metrics.Histogram:
    return _meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
    )


def _bytes(name: str, description: str) -> metrics.Histogram:
    return _meter.create_histogram(
        name, "By", description, explicit_bucket_boundaries_advisory=_BYTES
    )


class RequestMeasures:
    """Requests over HTTP."""

    def __init__(self) -> None:
        self._seconds = _seconds("http.server.request.duration", "Time to answer a request.")
        self._in = _bytes("http.server.request.body.size", "Size of requests.")
        self._out = _bytes("http.server.response.body.size", "Size of answers.")
        self._refused = _meter.create_counter(
            "convex_memory.requests.refused", "{request}", "Requests refused to keep others served."
        )

    def finished(
        self, verb: str, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request that was answered."""
        named: dict[str, str | int] = {
            "http.request.method": verb,
            "http.route": route,
            "http.response.status_code": status,
        }
        self._seconds.record(seconds, named)
        self._in.record(received, {"http.route": route})
        self._out.record(sent, {"http.route": route})

    def refused(self, reason: str) -> None:
        """Count a request that was refused for a limit: such as `rate`."""
        self._refused.add(1, {"reason": reason})


class CallMeasures:
    """Calls of tools and other MCP methods, and what they call."""

    def __init__(self) -> None:
        self._operations = _seconds(
            "mcp.server.operation.duration", "Time to answer one message of a client."
        )
        self._calls = _seconds(
            "convex_memory.deployment.call.duration", "Time of one call of the deployment."
        )
        self._waited = _seconds(
            "convex_memory.transaction.wait", "Time a function waited for its transaction."
        )
        self._ran = _seconds(
            "convex_memory.transaction.duration", "Time a function ran in its transaction."
        )
        self._settled = _seconds(
            "convex_memory.transaction.commit", "Time from its end to the answer: the commit."
        )

    def answered(self, method: str, target: str, outcome: str, seconds: float) -> None:
        """Count a message that was answered."""
        named = {"mcp.method.name": method}
        if target:
            named["gen_ai.tool.name"] = target
        if outcome != "ok":
            named["error.type"] = outcome
        self._operations.record(seconds, named)

    def called(self, path: str, outcome: str, seconds: float) -> None:
        """Count a call of the deployment."""
        named = {"convex_memory.function": path}
        if outcome != "ok":
            named["error.type"] = outcome
        self._calls.record(seconds, named)

    def transacted(self, writes: bool, waited: float, ran: float, settled: float) -> None:
        """Count a function that ran on the embedded database; all in seconds."""
        named = {"convex_memory.writes": writes}
        self._waited.record(waited, named)
        self._ran.record(ran, named)
        if writes:
            self._settled.record(settled, named)


request_measures: Final = RequestMeasures()
call_measures: Final = CallMeasures()
