"""Settings: every variable, and what is said about a wrong one."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from convex_memory.errors import ConfigurationError
from server.settings import VARIABLES, NativeIndexSettings, Settings, default_data_dir
from tests.application.connections import ROOT, connected
from tools import TOOLSETS

KEY = "prod:secret-key-never-shown"
URL = "https://happy-animal-123.convex.cloud"


def read(**environment: str) -> Settings:
    return Settings.from_environment(environment)


def refusal(**environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environment)
    return caught.value.message


def test_nothing_set_means_a_local_folder_and_the_three_default_toolsets() -> None:
    settings = read()
    assert settings == Settings(data_dir=default_data_dir())
    assert settings.embedded
    assert settings.toolsets == ("memory", "vectors", "cache")
    assert settings.resource_id == "default"
    assert settings.read_only is False
    assert settings.log_level == "WARNING"
    assert default_data_dir().name == "convex-memory"


HOSTS = ("a.example", "b:8443", "[::1]")


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("CONVEX_STORAGE_FUNCTION", "a/b:c", "storage_function", "a/b:c"),
        ("CONVEX_CACHE_FUNCTION", "a/b:c", "cache_function", "a/b:c"),
        ("CONVEX_NATIVE_VECTOR_ACTION", "a:b", "native_vector_action", "a:b"),
        ("CONVEX_NATIVE_VECTOR_QUERY", "a:b", "native_vector_query", "a:b"),
        ("CONVEX_NATIVE_VECTOR_MUTATION", "a:b", "native_vector_mutation", "a:b"),
        (
            "CONVEX_NATIVE_VECTOR_INDEXES",
            '{"docs": {"tableName": "t", "dimension": 3, "filterFields": ["lang"]}}',
            "native_indexes",
            {"docs": NativeIndexSettings(tableName="t", dimension=3, filterFields=("lang",))},
        ),
        ("CONVEX_CACHE_PREFIX", "mine:", "cache_prefix", "mine:"),
        ("MEMORY_HTTP_HOSTS", "A.example, b:8443,[::1]", "http_hosts", HOSTS),
        ("MEMORY_HTTP_ORIGINS", "https://App.example", "http_origins", ("https://app.example",)),
        ("MEMORY_HTTP_PROXIES", "10.1.0.0/8,::1", "http_proxies", ("10.0.0.0/8", "::1/128")),
        ("MEMORY_HTTP_RATE", "0", "http_rate", 0),
        ("MEMORY_HTTP_CONCURRENCY", "3", "http_concurrency", 3),
        ("MEMORY_HTTP_REQUESTS", "9", "http_requests", 9),
        ("MEMORY_HTTP_CONNECTIONS", "99", "http_connections", 99),
        ("MEMORY_HTTP_CALL_TIMEOUT_MS", "5000", "http_call_timeout_ms", 5000),
        ("OTEL_SDK_DISABLED", "true", "otel_disabled", True),
        ("OTEL_TRACES_EXPORTER", "console", "otel_traces", "console"),
        ("OTEL_METRICS_EXPORTER", "none", "otel_metrics", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318", "otel_endpoint", "http://c:4318"),
        ("CONVEX_CACHE_TTL_MS", "0", "cache_ttl_ms", 0),
        ("CONVEX_REQUEST_TIMEOUT_MS", "1500", "request_timeout_ms", 1500),
        ("MEMORY_DATA_DIR", "/some/folder", "data_dir", Path("/some/folder")),
        ("MEMORY_DATA_DIR", "~/memory", "data_dir", Path.home() / "memory"),
        ("MEMORY_RESOURCE_ID", "me@work", "resource_id", "me@work"),
        ("MEMORY_TOOLSETS", "cache", "toolsets", ("cache",)),
        ("MEMORY_TOOLSETS", " Vectors, memory ,vectors,", "toolsets", ("vectors", "memory")),
        ("MEMORY_TOOLSETS", "all", "toolsets", tuple(TOOLSETS)),
        ("MEMORY_READ_ONLY", "true", "read_only", True),
        ("MEMORY_READ_ONLY", "ON", "read_only", True),
        ("MEMORY_READ_ONLY", "1", "read_only", True),
        ("MEMORY_READ_ONLY", "no", "read_only", False),
        ("MEMORY_EMBEDDER", "off", "embedder", "off"),
        ("OPENAI_BASE_URL", "of other programs", "openai_base_url", "of other programs"),
        ("MEMORY_LOG_LEVEL", "debug", "log_level", "DEBUG"),
    ],
)
def test_each_variable_sets_its_field(variable: str, text: str, field: str, value: Any) -> None:
    assert getattr(read(**{variable: text}), field) == value


def test_a_url_and_a_key_name_a_convex_deployment() -> None:
    settings = read(CONVEX_URL=f"{URL}/", CONVEX_ADMIN_KEY=KEY)
    assert not settings.embedded
    assert settings.convex_url == URL
    assert settings.convex_admin_key is not None
    assert settings.convex_admin_key.get_secret_value() == KEY


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_counts_as_absent(variable: str) -> None:
    assert read(**{variable: "  "}) == read()


def test_secrets_never_show() -> None:
    settings = read(
        CONVEX_URL=URL,
        CONVEX_ADMIN_KEY=KEY,
        MEMORY_DEPLOYMENT_KEY=KEY,
        MEMORY_HTTP_TOKENS=f"alice={KEY}",
    )
    assert KEY not in repr(settings)
    assert KEY not in str(settings)
    assert KEY not in settings.model_dump_json()
    assert KEY not in refusal(CONVEX_ADMIN_KEY=KEY)
    assert KEY not in refusal(CONVEX_ADMIN_KEY=KEY, CONVEX_URL="ftp://x", MEMORY_READ_ONLY="?")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"CONVEX_URL": URL}, ("CONVEX_URL is set", "CONVEX_ADMIN_KEY is not", "neither")),
        ({"CONVEX_ADMIN_KEY": KEY}, ("CONVEX_ADMIN_KEY is set", "CONVEX_URL is not", "neither")),
        ({"CONVEX_URL": URL, "CONVEX_ADMIN_KEY": " "}, ("CONVEX_ADMIN_KEY is not",)),
        ({"CONVEX_URL": "happy.cloud", "CONVEX_ADMIN_KEY": KEY}, ("CONVEX_URL", "https://")),
        ({"CONVEX_STORAGE_FUNCTION": "storage"}, ("CONVEX_STORAGE_FUNCTION", "storage:handle")),
        ({"MEMORY_HTTP_HOSTS": "https://a.example"}, ("MEMORY_HTTP_HOSTS", "memory.example.com")),
        ({"MEMORY_HTTP_HOSTS": "*"}, ("MEMORY_HTTP_HOSTS", "'*'")),
        ({"MEMORY_HTTP_HOSTS": "a:b"}, ("MEMORY_HTTP_HOSTS", "'a:b'")),
        ({"MEMORY_HTTP_ORIGINS": "app.example"}, ("MEMORY_HTTP_ORIGINS", "https://")),
        ({"MEMORY_HTTP_ORIGINS": "https://a.example/app"}, ("MEMORY_HTTP_ORIGINS", "path")),
        ({"MEMORY_HTTP_PROXIES": "proxy"}, ("MEMORY_HTTP_PROXIES", "10.0.0.0/8")),
        ({"MEMORY_HTTP_REQUESTS": "0"}, ("MEMORY_HTTP_REQUESTS", "at least 1")),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, ("OTEL_TRACES_EXPORTER", "otlp, console or none")),
        ({"CONVEX_CACHE_FUNCTION": ":handle"}, ("CONVEX_CACHE_FUNCTION",)),
        ({"CONVEX_NATIVE_VECTOR_ACTION": "x:"}, ("CONVEX_NATIVE_VECTOR_ACTION",)),
        ({"CONVEX_NATIVE_VECTOR_INDEXES": "{"}, ("JSON object", "tableName")),
        ({"CONVEX_NATIVE_VECTOR_INDEXES": "[]"}, ("JSON object",)),
        ({"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": {"dimension": 3}}'}, ("a.tableName",)),
        (
            {"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": {"tableName": "t", "dimension": "x"}}'},
            ("a.dimension",),
        ),
        (
            {"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": {"tableName": "t", "dimension": 3, "no": 1}}'},
            ("a.no",),
        ),
        (
            {"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": {"tableName": "t", "dimension": 1}}'},
            ("a.dimension", "2"),
        ),
        (
            {"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": {"tableName": "t", "dimension": 4097}}'},
            ("a.dimension", "4096"),
        ),
        ({"CONVEX_NATIVE_VECTOR_INDEXES": '{"a": 5}'}, ("CONVEX_NATIVE_VECTOR_INDEXES", "a")),
        ({"CONVEX_CACHE_TTL_MS": "-1"}, ("CONVEX_CACHE_TTL_MS", "at least 0", "'-1'")),
        ({"CONVEX_CACHE_TTL_MS": "five"}, ("whole number", "'five'")),
        ({"CONVEX_REQUEST_TIMEOUT_MS": "1.5"}, ("CONVEX_REQUEST_TIMEOUT_MS", "whole number")),
        ({"MEMORY_RESOURCE_ID": "x" * 513}, ("MEMORY_RESOURCE_ID", "512")),
        ({"MEMORY_TOOLSETS": "memroy"}, ("memroy", "memory, vectors, cache", "all")),
        ({"MEMORY_TOOLSETS": "memory,all"}, ("all",)),
        ({"MEMORY_TOOLSETS": ","}, ("MEMORY_TOOLSETS", "memory, vectors, cache")),
        ({"MEMORY_READ_ONLY": "maybe"}, ("MEMORY_READ_ONLY", "true or false", "'maybe'")),
        ({"MEMORY_EMBEDDER": "minilm-l6"}, ("MEMORY_EMBEDDER", "minilm (offline), off", "openai:")),
        ({"MEMORY_EMBEDDER": "openai:"}, ("MEMORY_EMBEDDER", "openai:MODEL")),
        ({"MEMORY_EMBEDDER": "openai:m:4097"}, ("MEMORY_EMBEDDER", "2 to 4096")),
        ({"MEMORY_EMBEDDER": "openai:m"}, ("OPENAI_API_KEY is not set", "OPENAI_BASE_URL")),
        (
            {"MEMORY_EMBEDDER": "openai:m", "OPENAI_BASE_URL": "localhost:11434"},
            ("OPENAI_BASE_URL must be http://",),
        ),
        (
            {"MEMORY_OAUTH_ISSUER": "https://as.example"},
            ("MEMORY_OAUTH_ISSUER is set", "MEMORY_OAUTH_AUDIENCE is not", "/mcp"),
        ),
        (
            {"MEMORY_OAUTH_ISSUER": "http://as.example", "MEMORY_OAUTH_AUDIENCE": "https://m/mcp"},
            ("MEMORY_OAUTH_ISSUER must be the https address",),
        ),
        (
            {"MEMORY_OAUTH_ISSUER": "https://as/?x", "MEMORY_OAUTH_AUDIENCE": "https://m/mcp"},
            ("MEMORY_OAUTH_ISSUER", "without ?"),
        ),
        (
            {"MEMORY_OAUTH_ISSUER": "https://as", "MEMORY_OAUTH_AUDIENCE": "memory"},
            ("MEMORY_OAUTH_AUDIENCE must be the public address",),
        ),
        ({"MEMORY_LOG_LEVEL": "LOUD"}, ("MEMORY_LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR")),
    ],
)
def test_a_wrong_setting_is_refused_with_the_choices(
    environment: dict[str, str], told: tuple[str, ...]
) -> None:
    message = refusal(**environment)
    for part in told:
        assert part in message
    assert message.endswith(".")


def test_an_embedder_of_openai_needs_a_key_or_an_endpoint_of_its_own() -> None:
    named = read(MEMORY_EMBEDDER="openai:text-embedding-3-small:512", OPENAI_API_KEY=KEY)
    assert named.embedder == "openai:text-embedding-3-small:512"
    assert named.openai_api_key is not None
    assert named.openai_api_key.get_secret_value() == KEY
    assert KEY not in repr(named)
    local = read(MEMORY_EMBEDDER="openai:all-minilm", OPENAI_BASE_URL="http://127.0.0.1:11434/v1")
    assert local.openai_base_url == "http://127.0.0.1:11434/v1"
    assert local.openai_api_key is None
    assert read().embedder == "minilm"


def test_every_wrong_setting_is_named_at_once() -> None:
    message = refusal(MEMORY_READ_ONLY="?", CONVEX_CACHE_TTL_MS="?", CONVEX_URL=URL)
    for variable in ("MEMORY_READ_ONLY", "CONVEX_CACHE_TTL_MS", "CONVEX_ADMIN_KEY"):
        assert variable in message


def test_only_one_module_reads_the_environment() -> None:
    for path in sorted(ROOT.glob("[cst]*/**/*.py")):
        package = path.relative_to(ROOT).parts[0]
        if package in ("convex_memory", "server", "tools") and path.name != "environment.py":
            names = {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if type(node) is ast.Attribute
            }
            assert not names & {"environ", "environb", "getenv"}, path


# --- Toolsets and read-only

READING = [
    "recall_thread",
    "search_memory",
    "list_threads",
    "get_working_memory",
    "list_indexes",
    "describe_index",
    "vector_query",
    "cache_get",
    "cache_replay",
]


async def listed(settings: Settings) -> list[str]:
    async with connected("memory/2026", settings) as caller:
        return [tool.name for tool in (await caller.client.list_tools()).tools]


@pytest.mark.anyio
async def test_only_the_chosen_toolsets_are_published(tmp_path: Path) -> None:
    settings = read(MEMORY_DATA_DIR=str(tmp_path), MEMORY_TOOLSETS="cache,vectors")
    assert await listed(settings) == [*TOOLSETS["cache"].tools, *TOOLSETS["vectors"].tools]
    async with connected("http/2025", settings) as caller:
        refused = await caller.refused("save_message", role="user", content="x")
        assert refused.code == "unknown_tool"
        assert "the toolset memory" in refused.message
        assert "cache_get" in refused.message


@pytest.mark.anyio
async def test_read_only_publishes_and_runs_only_what_reads(tmp_path: Path) -> None:
    writing = read(MEMORY_DATA_DIR=str(tmp_path))
    settings = read(MEMORY_DATA_DIR=str(tmp_path), MEMORY_READ_ONLY="true")
    assert await listed(settings) == READING
    async with (
        connected("memory/2026", writing) as writer,
        connected("http/2026", settings) as caller,
    ):
        await writer.save("t", "needle")
        everything = [name for toolset in TOOLSETS.values() for name in toolset.tools]
        for name in everything:
            if name not in READING:
                refused = await caller.refused(name)
                assert refused.code == "unknown_tool"
                assert "only reading tools" in refused.message
        assert len((await caller.call("search_memory", query="needle"))["hits"]) == 1


def test_an_address_that_cannot_be_read_is_not_called_missing_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({"CONVEX_URL": "nonsense", "CONVEX_ADMIN_KEY": "key"})
    assert "must be the address" in caught.value.message
    assert "is not" not in caught.value.message
