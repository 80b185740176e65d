"""Traces and metrics to where the standard OTEL_* variables say, and metrics for Prometheus.

What is measured is in `measures` and `observing`. Without this nothing of it is kept. The
OpenTelemetry SDK and its exporters come with the extra `convex-memory[telemetry]`; it reads the
other OTEL_* variables itself.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from convex_memory.errors import ConfigurationError
from server.settings import APPLICATION, Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

SCOPE: Final = APPLICATION
"""Whose spans and measures these are."""
INSTALL: Final = "pip install 'convex-memory[telemetry]'"
CONSOLE: Final = "console"
_NONE: Final = "none"
_OTLP: Final = "otlp"

logger = logging.getLogger(__name__)
_on = False


def is_on() -> bool:
    """Whether anybody will see what is measured."""
    return _on


def measured() -> ModuleType | None:
    """Return `server.measures` where anybody will see what it takes, and do not load it before."""
    if not _on:
        return None
    from server import measures

    return measures


@contextmanager
def switched_on(settings: Settings, *, prometheus: str | None = None) -> Iterator[None]:
    """Export what is measured, as far as settings and flag ask for it, until the end.

    Args:
        settings: Where traces and metrics go.
        prometheus: `[HOST:]PORT` to serve metrics at, for Prometheus.

    Raises:
        ConfigurationError: The address cannot be used, or the extra is not installed.
    """
    global _on
    traces, metrics = wanted(settings)
    if not (traces or metrics or prometheus):
        yield
        return
    with ExitStack() as stack:
        try:
            _open(stack, traces, metrics, prometheus)
        except ImportError as error:
            if prometheus:
                raise ConfigurationError(f"--metrics needs OpenTelemetry: {INSTALL}.") from error
            # Hosts pass these on to every program they start.
            logger.warning("OTEL_* variables ask for telemetry, which needs: %s", INSTALL)
            yield
            return
        _on = True
        stack.callback(_off)
        yield


def _off() -> None:
    global _on
    _on = False


def wanted(settings: Settings) -> tuple[str | None, str | None]:
    """Return which exporters the settings ask for, of traces and of metrics."""
    if settings.otel_disabled:
        return None, None
    implied = _OTLP if settings.otel_endpoint else _NONE
    traces, metrics = (
        None if (asked or implied) == _NONE else asked or implied
        for asked in (settings.otel_traces, settings.otel_metrics)
    )
    return traces, metrics


def _open(
    stack: ExitStack, traces: str | None, metrics: str | None, prometheus: str | None
) -> None:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    resource = Resource({SERVICE_NAME: APPLICATION}).merge(
        Resource.create({}) if _names_service() else Resource.get_empty()
    )
    if traces:
        stack.callback(_open_traces(resource, traces))
    readers: list[MetricReader] = []
    if metrics:
        readers.append(_metric_reader(metrics))
    if prometheus:
        readers.append(_prometheus(stack, prometheus))
    if readers:
        stack.callback(_open_metrics(resource, readers))


def _names_service() -> bool:
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector

    return SERVICE_NAME in OTELResourceDetector().detect().attributes


def _open_traces(resource: Resource, exporter: str) -> Callable[[], None]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    out: SpanExporter
    if exporter == CONSOLE:
        # Not stdout, which on stdio is the protocol's.
        out = ConsoleSpanExporter(out=sys.stderr)
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        out = OTLPSpanExporter()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(out))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _metric_reader(exporter: str) -> MetricReader:
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        MetricExporter,
        PeriodicExportingMetricReader,
    )

    out: MetricExporter
    if exporter == CONSOLE:
        out = ConsoleMetricExporter(out=sys.stderr)
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        out = OTLPMetricExporter()
    return PeriodicExportingMetricReader(out)


def _open_metrics(resource: Resource, readers: list[MetricReader]) -> Callable[[], None]:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider.shutdown


def _prometheus(stack: ExitStack, address: str) -> MetricReader:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    host, port = _address(address)
    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as error:
        raise ConfigurationError(
            f"--metrics cannot listen on {host}, port {port}: {error.strerror}. Choose another one."
        ) from error
    stack.callback(_stopped, server, thread)
    return PrometheusMetricReader()


def _stopped(server: Any, thread: Any) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ConfigurationError(
            f"--metrics takes [HOST:]PORT, such as 9464 or 10.0.0.5:9464, not {text[:80]!r}."
        )
    return host.strip("[]") or "127.0.0.1", int(port)
