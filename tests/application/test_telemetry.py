"""What is seen from outside: spans, metrics, log lines; no content and no secret is in them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from convex_memory.errors import NotFound, Unreachable
from convex_memory.remote import RemoteDeployment
from server import observing, telemetry
from server.log import JsonLines, RequestNote, current_request
from server.observing import observe_exchange
from server.settings import Settings
from tests.application.connections import ROOT, connected, settings_in

SECRETS = {
    "MEMORY_HTTP_TOKENS": "ada=ada-token-0123456789abcdef",
    "OPENAI_API_KEY": "openai-key-0123456789",
    "MEMORY_DEPLOYMENT_KEY": "deployment-key-0123456789",
}
TOKEN = "ada-token-0123456789abcdef"
WRONG = "a-token-that-was-guessed-0123"
CONTENT = "xylophone"
"""A word that is in everything stored and asked here, and in nothing of the program."""
WAIT_SECONDS = 30


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(observing, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(telemetry, "_on", True)
    yield exporter
    provider.shutdown()


def parent_of(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> ReadableSpan | None:
    by_id = {each.context.span_id: each for each in spans if each.context}
    return by_id.get(span.parent.span_id) if span.parent else None


@pytest.mark.anyio
@pytest.mark.parametrize("leg", ["http/2026", "http/2025", "memory/2026"])
async def test_a_call_is_a_tree_of_spans_down_to_the_transaction(
    leg: str, settings: Settings, spans: InMemorySpanExporter
) -> None:
    async with connected(leg, settings) as caller:
        await caller.call("cache_set", key=CONTENT, value=CONTENT)
        spans.clear()
        await caller.call("cache_get", key=CONTENT)
        seen = spans.get_finished_spans()
    [transaction] = [span for span in seen if span.name == "transaction read"]
    called = parent_of(transaction, seen)
    assert called is not None
    assert called.name == "call mastra/cache:handle"
    tool = parent_of(called, seen)
    assert tool is not None
    assert tool.name == "tools/call cache_get"
    assert tool.attributes is not None
    assert tool.attributes["gen_ai.tool.name"] == "cache_get"
    assert ("convex_memory.request_id" in tool.attributes) is leg.startswith("http")
    assert tool.start_time is not None
    assert transaction.start_time is not None
    assert tool.start_time <= transaction.start_time
    assert CONTENT not in "".join(span.to_json() for span in seen)


@pytest.mark.anyio
async def test_spans_of_failures_say_the_code_and_no_more(
    settings: Settings, spans: InMemorySpanExporter
) -> None:
    async with connected("http/2026", settings) as caller:
        await caller.refused("recall_thread", thread_id=CONTENT)
        await caller.refused(CONTENT)
        with pytest.raises(Exception, match=CONTENT):
            await caller.client.read_resource(f"memory://threads/{CONTENT}")
        seen = spans.get_finished_spans()
    told = {
        span.name: str(span.attributes["error.type"])
        for span in seen
        if span.attributes and "error.type" in span.attributes and "call" not in span.name[:5]
    }
    assert told["tools/call recall_thread"] == "not_found"
    assert told["tools/call"] == "unknown_tool"
    assert told["resources/read"].startswith("-32")
    assert all(not span.events and not span.status.description for span in seen)
    assert CONTENT not in "".join(span.to_json() for span in seen)


@pytest.mark.anyio
async def test_a_callers_trace_goes_on(settings: Settings, spans: InMemorySpanExporter) -> None:
    known = trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(known)):
        async with connected("memory/2026", settings) as caller:
            await caller.call("list_threads")
    [tool] = [span for span in spans.get_finished_spans() if span.name == "tools/call list_threads"]
    assert tool.context is not None
    assert tool.context.trace_id == 0xABC


@pytest.mark.anyio
async def test_a_request_to_convex_is_a_span_without_content(spans: InMemorySpanExporter) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"status": "success", "value": CONTENT})

    deployment = RemoteDeployment(
        "http://127.0.0.1:1",
        "secret-key",
        transport=httpx2.MockTransport(answer),
        observe=observe_exchange,
    )
    await deployment.call("query", "a:b", {"x": CONTENT})
    await deployment.aclose()
    with pytest.raises(Unreachable):
        await deployment.call("query", "a:b", {})
    [span] = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["http.request.body.size"]
    for hidden in (CONTENT, "secret-key"):
        assert hidden not in span.to_json()


# --- The log


def logged(error: BaseException | None = None, **extra: Any) -> dict[str, Any]:
    """What one record becomes."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("tests.json_lines")
    logger.propagate = False
    logger.addHandler(handler)
    logger.error("it failed", exc_info=error, extra=extra)
    logger.removeHandler(handler)
    line: dict[str, Any] = json.loads(out.getvalue())
    return line


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_line_says_which_request_it_belongs_to() -> None:
    restored = current_request.set(RequestNote("abc"))
    try:
        line = logged(fields={"ms": 3})
    finally:
        current_request.reset(restored)
    assert (line["request_id"], line["ms"], line["message"]) == ("abc", 3, "it failed")
    assert "request_id" not in logged()


def test_of_foreign_errors_only_type_and_place_are_told() -> None:
    foreign = raised(ValueError(f"could not read {CONTENT}"))
    told = logged(foreign)["exception"]
    assert "builtins.ValueError" in told
    assert "in raised" in told
    assert CONTENT not in told
    both = raised(NotFound("There is no such thread."))
    both.__cause__ = foreign
    told = logged(both)["exception"]
    assert "There is no such thread." in told
    assert CONTENT not in told
    group = raised(ExceptionGroup("several", [ValueError(CONTENT), OSError(28, "full")]))
    told = logged(group)["exception"]
    assert "full" in told
    assert CONTENT not in told


# --- The command, with everything switched on


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def drive(url: str) -> None:
    """Use and misuse the endpoint."""
    head = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
        "Authorization": f"Bearer {TOKEN}",
    }
    with httpx2.Client(base_url=url, headers=head, timeout=WAIT_SECONDS, trust_env=False) as http:

        def post(body: Any, **headers: str) -> httpx2.Response:
            return http.post("/mcp", json=body, headers={**head, **headers})

        def call(tool: str, **arguments: Any) -> httpx2.Response:
            return post(message("tools/call", name=tool, arguments=arguments))

        for n in range(3):
            assert call("save_message", role="user", content=f"{CONTENT} {n}").status_code == 200
        call("search_memory", query=CONTENT)
        call("recall_thread", thread_id=CONTENT)
        call("create_index", index="i", dimension=2)
        call("vector_query", index="i", vector=[1, 2], filter={CONTENT: {"$nope": CONTENT}})
        call("cache_set", key=CONTENT, value={CONTENT: CONTENT})
        call("cache_push", key=CONTENT, value=CONTENT)
        call(CONTENT)
        call("update_working_memory", content=CONTENT)
        post(message("resources/read", uri=f"memory://threads/{CONTENT}"))
        post(message("prompts/get", name=CONTENT, arguments={CONTENT: CONTENT}))
        post(message(CONTENT, **{CONTENT: CONTENT}))
        post([CONTENT])
        post({CONTENT: CONTENT})
        http.post("/mcp", content=f'{{"{CONTENT}'.encode(), headers=head)
        assert post(message("ping"), Authorization=f"Bearer {WRONG}").status_code == 401
        post(message("ping"), Authorization=f"Basic {WRONG}")
        http.get(f"/mcp?token={WRONG}")
        assert http.get("/readyz").json() == {"ready": True}


def test_no_secret_and_no_content_is_in_any_log_span_or_metric(tmp_path: Path) -> None:
    metrics_port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *f"convex_memory serve --port 0 --metrics {metrics_port}".split()],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "MEMORY" not in name},
            **SECRETS,
            "MEMORY_DATA_DIR": str(tmp_path / "memory"),
            "MEMORY_EMBEDDER": "off",
            "MEMORY_LOG_LEVEL": "DEBUG",
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "console",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        while not (found := re.search(r"MCP at (http://[^/]+)", line := process.stderr.readline())):
            assert line, "".join(lines)
            lines.append(line)
        drive(found[1])
        metrics = httpx2.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False).text
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    log = "".join(lines) + rest
    assert out == ""
    for hidden in (TOKEN, WRONG, CONTENT, *(secret.split("=")[-1] for secret in SECRETS.values())):
        assert hidden not in log
        assert hidden not in metrics
    # Nobody's name is a label.
    assert "ada" not in re.findall(r'"([^"]*)"', metrics)
    assert 'gen_ai_tool_name="save_message"' in metrics
    assert 'convex_memory_function="memory/messages:save"' in metrics
    assert "convex_memory_transaction_commit" in metrics
    assert '"name": "tools/call save_message"' in log
    access = [json.loads(line) for line in log.splitlines() if '"answered"' in line]
    saved = [line for line in access if line.get("target") == "save_message"]
    assert len(saved) == 3
    first = saved[0]
    assert (first["status"], first["outcome"], first["principal"]) == (200, "ok", "ada")
    assert first["bytes_in"] > 0
    assert first["bytes_out"] > 0
    assert first["ms"] > 0
    assert re.fullmatch(r"[0-9a-f]{16}", first["request_id"])


def test_settings_show_no_secret() -> None:
    settings = Settings.from_environment(
        SECRETS | {"CONVEX_URL": "https://a.convex.cloud", "CONVEX_ADMIN_KEY": "convex-key-0123"}
    )
    deployment = RemoteDeployment("https://a.convex.cloud", "convex-key-0123")
    shown = f"{settings!r} {settings} {deployment!r} {settings.model_dump()}"
    for secret in ("convex-key-0123", *(value.split("=")[-1] for value in SECRETS.values())):
        assert secret not in shown


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, (None, None)),
        ({"otel_endpoint": "http://collector:4318"}, ("otlp", "otlp")),
        ({"otel_endpoint": "http://collector:4318", "otel_metrics": "none"}, ("otlp", None)),
        ({"otel_traces": "console"}, ("console", None)),
        ({"otel_endpoint": "http://collector:4318", "otel_disabled": True}, (None, None)),
    ],
)
def test_the_standard_variables_switch_telemetry_on(
    given: dict[str, Any], wanted: tuple[str | None, str | None], tmp_path: Path
) -> None:
    assert telemetry.wanted(settings_in(tmp_path, **given)) == wanted
