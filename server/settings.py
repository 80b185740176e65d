"""Settings: what the environment says, checked.

Every setting fits in the `env` of an `mcp.json`, and every default works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    STORAGE_FUNCTION,
)
from convex_memory.embedders.opening import (
    DEFAULT_EMBEDDER,
    ENDPOINT_RULE,
    endpoint,
    named,
)
from convex_memory.errors import ConfigurationError
from convex_memory.limits import (
    CACHE_PREFIX_DEFAULT,
    CACHE_TTL_MS_DEFAULT,
    REQUEST_TIMEOUT_MS_DEFAULT,
    RESTORABLE_MS_DEFAULT,
    SCHEDULE_POLL_MS_DEFAULT,
)
from server import environment as variables
from server import setting_texts as texts
from server.environment import APPLICATION as APPLICATION
from server.setting_texts import NOTIFY as NOTIFY
from server.setting_texts import NativeIndexSettings as NativeIndexSettings
from tools import DEFAULT_TOOLSETS

TASK_GRACE_MS_DEFAULT: Final = 1000
"""How long a call is waited for before it becomes a task."""
TASK_LEASE_MS_DEFAULT: Final = 10_000
"""How long a server may be silent before others take over what it was doing."""
DAEMON_IDLE_MS_DEFAULT: Final = 600_000
"""How long a daemon that nobody uses stays: ten minutes."""
HTTP_RATE_DEFAULT: Final = 50
"""Calls a second that one principal may make."""
HTTP_CONCURRENCY_DEFAULT: Final = 16
"""Calls of one principal at a time."""
HTTP_REQUESTS_DEFAULT: Final = 256
"""Requests answered at a time, whoever makes them."""
HTTP_CONNECTIONS_DEFAULT: Final = 2000
HTTP_CALL_TIMEOUT_MS_DEFAULT: Final = 120_000
"""How long one call over HTTP may take."""


class Settings(BaseModel):
    """What the environment says, checked. Secrets never show in a repr."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    convex_url: str | None = None
    convex_admin_key: SecretStr | None = None
    storage_function: str = STORAGE_FUNCTION
    cache_function: str = CACHE_FUNCTION
    native_vector_action: str = NATIVE_VECTOR_ACTION
    native_vector_query: str = NATIVE_VECTOR_QUERY
    native_vector_mutation: str = NATIVE_VECTOR_MUTATION
    native_indexes: Mapping[str, NativeIndexSettings] = {}
    cache_prefix: str = CACHE_PREFIX_DEFAULT
    cache_ttl_ms: int = CACHE_TTL_MS_DEFAULT
    request_timeout_ms: int = REQUEST_TIMEOUT_MS_DEFAULT
    data_dir: Path
    resource_id: str = "default"
    toolsets: tuple[str, ...] = DEFAULT_TOOLSETS
    read_only: bool = False
    restorable_ms: int = RESTORABLE_MS_DEFAULT
    embedder: str = DEFAULT_EMBEDDER
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    deployment_key: SecretStr | None = None
    http_tokens: SecretStr | None = None
    oauth_issuer: str | None = None
    oauth_audience: str | None = None
    schedule_action: str | None = None
    schedule_poll_ms: int = SCHEDULE_POLL_MS_DEFAULT
    task_grace_ms: int = TASK_GRACE_MS_DEFAULT
    task_lease_ms: int = TASK_LEASE_MS_DEFAULT
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    daemon: bool = True
    daemon_idle_ms: int = DAEMON_IDLE_MS_DEFAULT
    http_hosts: tuple[str, ...] = ()
    http_origins: tuple[str, ...] = ()
    http_proxies: tuple[str, ...] = ()
    http_rate: int | None = None
    http_concurrency: int | None = None
    http_requests: int = HTTP_REQUESTS_DEFAULT
    http_connections: int = HTTP_CONNECTIONS_DEFAULT
    http_call_timeout_ms: int = HTTP_CALL_TIMEOUT_MS_DEFAULT
    otel_disabled: bool = False
    otel_traces: Literal["otlp", "console", "none"] | None = None
    otel_metrics: Literal["otlp", "console", "none"] | None = None
    otel_endpoint: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether the memory is the local folder rather than a Convex deployment."""
        return self.convex_url is None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check every setting.

        Args:
            environment: The variables; those of this process when left out. Empty ones count
                as absent, as hosts pass them for settings a user left blank.

        Raises:
            ConfigurationError: One or more settings are wrong; the message names each.
        """
        given = variables.given(environment)
        problems: list[str] = []
        values: dict[str, Any] = {}
        for variable, (field, read) in VARIABLES.items():
            if variable in given:
                try:
                    values[field] = read(given[variable])
                except ValueError as error:
                    problems.append(f"{variable} {error}")
        problems += _half_configured(given)
        problems += _embedder_half_configured(values)
        if problems:
            raise ConfigurationError(" ".join(f"{problem}." for problem in problems))
        values.setdefault("data_dir", default_data_dir())
        return cls(**values)


def default_data_dir() -> Path:
    """Return this platform's folder for an application's data."""
    return Path(variables.default_data_dir())


_PAIRS: Final = (
    (
        ("CONVEX_URL", "CONVEX_ADMIN_KEY"),
        "set both to use a Convex deployment, or neither to keep the memory in a local folder",
    ),
    (
        ("MEMORY_OAUTH_ISSUER", "MEMORY_OAUTH_AUDIENCE"),
        "set both, the audience being the public address of this server's /mcp, to take tokens of "
        "an OAuth issuer, or neither",
    ),
)
"""Variables that go together, and why."""


def _half_configured(given: Mapping[str, str]) -> list[str]:
    problems = []
    for pair, why in _PAIRS:
        there = [name for name in pair if name in given]
        if len(there) == 1:
            [missing] = set(pair) - set(there)
            problems.append(f"{there[0]} is set but {missing} is not: {why}")
    return problems


def _embedder_half_configured(values: Mapping[str, Any]) -> list[str]:
    choice = named(values.get("embedder", DEFAULT_EMBEDDER))
    if choice is None or choice.embedder != "openai":
        # Other programs' settings, which may be in the environment for them.
        return []
    base_url = values.get("openai_base_url")
    if base_url is not None:
        return [] if endpoint(base_url) else [f"OPENAI_BASE_URL {ENDPOINT_RULE}"]
    if "openai_api_key" in values:
        return []
    return [
        "MEMORY_EMBEDDER names a model of OpenAI but OPENAI_API_KEY is not set: set it, or "
        "OPENAI_BASE_URL for an endpoint of your own that needs no key"
    ]


VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "CONVEX_URL": ("convex_url", texts.url),
    "CONVEX_ADMIN_KEY": ("convex_admin_key", SecretStr),
    "CONVEX_STORAGE_FUNCTION": ("storage_function", texts.function),
    "CONVEX_CACHE_FUNCTION": ("cache_function", texts.function),
    "CONVEX_NATIVE_VECTOR_ACTION": ("native_vector_action", texts.function),
    "CONVEX_NATIVE_VECTOR_QUERY": ("native_vector_query", texts.function),
    "CONVEX_NATIVE_VECTOR_MUTATION": ("native_vector_mutation", texts.function),
    "CONVEX_NATIVE_VECTOR_INDEXES": ("native_indexes", texts.native_indexes),
    "CONVEX_CACHE_PREFIX": ("cache_prefix", texts.text),
    "CONVEX_CACHE_TTL_MS": ("cache_ttl_ms", texts.whole(0)),
    "CONVEX_REQUEST_TIMEOUT_MS": ("request_timeout_ms", texts.whole(0)),
    "MEMORY_DATA_DIR": ("data_dir", texts.folder),
    "MEMORY_RESOURCE_ID": ("resource_id", texts.resource),
    "MEMORY_TOOLSETS": ("toolsets", texts.toolsets),
    "MEMORY_READ_ONLY": ("read_only", texts.flag),
    "MEMORY_RESTORABLE_MS": ("restorable_ms", texts.whole(0)),
    "MEMORY_EMBEDDER": ("embedder", texts.embedder),
    "OPENAI_API_KEY": ("openai_api_key", SecretStr),
    "OPENAI_BASE_URL": ("openai_base_url", texts.text),
    "MEMORY_DEPLOYMENT_KEY": ("deployment_key", SecretStr),
    "MEMORY_HTTP_TOKENS": ("http_tokens", SecretStr),
    "MEMORY_OAUTH_ISSUER": ("oauth_issuer", texts.issuer),
    "MEMORY_OAUTH_AUDIENCE": ("oauth_audience", texts.audience),
    "MEMORY_SCHEDULE_ACTION": ("schedule_action", texts.schedule_action),
    "MEMORY_SCHEDULE_POLL_MS": ("schedule_poll_ms", texts.whole(10)),
    "MEMORY_TASK_GRACE_MS": ("task_grace_ms", texts.whole(0)),
    "MEMORY_TASK_LEASE_MS": ("task_lease_ms", texts.whole(500)),
    "MEMORY_LOG_LEVEL": ("log_level", texts.level),
    variables.DAEMON: ("daemon", texts.flag),
    variables.DAEMON_IDLE_MS: ("daemon_idle_ms", texts.whole(0)),
    "MEMORY_HTTP_HOSTS": ("http_hosts", texts.listed(texts.host)),
    "MEMORY_HTTP_ORIGINS": ("http_origins", texts.listed(texts.origin)),
    "MEMORY_HTTP_PROXIES": ("http_proxies", texts.listed(texts.network)),
    "MEMORY_HTTP_RATE": ("http_rate", texts.whole(0)),
    "MEMORY_HTTP_CONCURRENCY": ("http_concurrency", texts.whole(0)),
    "MEMORY_HTTP_REQUESTS": ("http_requests", texts.whole(1)),
    "MEMORY_HTTP_CONNECTIONS": ("http_connections", texts.whole(16)),
    "MEMORY_HTTP_CALL_TIMEOUT_MS": ("http_call_timeout_ms", texts.whole(1)),
    "OTEL_SDK_DISABLED": ("otel_disabled", texts.flag),
    "OTEL_TRACES_EXPORTER": ("otel_traces", texts.exporter),
    "OTEL_METRICS_EXPORTER": ("otel_metrics", texts.exporter),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otel_endpoint", texts.text),
}
"""Variable → field and how its text is read."""
