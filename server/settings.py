"""Settings: what the environment says, checked.

Every setting fits in the `env` of an `mcp.json`, and every default works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    STORAGE_FUNCTION,
)
from convex_memory.embedders.opening import (
    CHOICES,
    DEFAULT_EMBEDDER,
    ENDPOINT_RULE,
    endpoint,
    named,
)
from convex_memory.errors import ConfigurationError
from convex_memory.limits import (
    CACHE_PREFIX_DEFAULT,
    CACHE_TTL_MS_DEFAULT,
    MESSAGE_ID_CHARS_MAX,
    REQUEST_TIMEOUT_MS_DEFAULT,
    RESTORABLE_MS_DEFAULT,
    SCHEDULE_POLL_MS_DEFAULT,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
)
from server import environment as variables
from server.environment import APPLICATION as APPLICATION
from server.environment import is_off
from tools import DEFAULT_TOOLSETS, TOOLSETS

NOTIFY: Final = "notify"
"""The schedule action that tells subscribed clients."""
TASK_GRACE_MS_DEFAULT: Final = 1000
"""How long a call is waited for before it becomes a task."""
TASK_LEASE_MS_DEFAULT: Final = 10_000
"""How long a server may be silent before others take over what it was doing."""
DAEMON_IDLE_MS_DEFAULT: Final = 600_000
"""How long a daemon that nobody uses stays: ten minutes."""
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
HTTP_RATE_DEFAULT: Final = 50
"""Calls a second that one principal may make."""
HTTP_CONCURRENCY_DEFAULT: Final = 16
"""Calls of one principal at a time."""
HTTP_REQUESTS_DEFAULT: Final = 256
"""Requests answered at a time, whoever makes them."""
HTTP_CONNECTIONS_DEFAULT: Final = 2000
HTTP_CALL_TIMEOUT_MS_DEFAULT: Final = 120_000
"""How long one call over HTTP may take."""


class NativeIndexSettings(BaseModel):
    """One entry of `CONVEX_NATIVE_VECTOR_INDEXES`, in the protocol's spelling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tableName: str
    dimension: Annotated[int, Field(ge=VECTOR_DIMENSION_MIN, le=VECTOR_DIMENSION_MAX)]
    vectorIndexName: str = "by_embedding"
    idField: str = "id"
    idIndexName: str = "by_record_id"
    vectorField: str = "embedding"
    metadataField: str = "metadata"
    filterFields: tuple[str, ...] = ()


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


# --- Readers: text → value, or ValueError with how the sentence goes on


def _text(value: str) -> str:
    return value


def _url(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError(
            "must be the address of a deployment, such as https://happy-animal-123.convex.cloud"
        )
    return value.rstrip("/")


def _issuer(value: str) -> str:
    address = urlsplit(value)
    secure = address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")
    if address.scheme not in ("https", "http") or not address.hostname or not secure:
        raise ValueError(
            "must be the https address of the authorization server, exactly as it names itself "
            "(http on loopback only)"
        )
    if address.query or address.fragment:
        raise ValueError("must be an address without ? and #")
    return value


def _audience(value: str) -> str:
    address = urlsplit(value)
    if address.scheme not in ("https", "http") or not address.hostname or address.fragment:
        raise ValueError(
            "must be the public address of this server, such as https://memory.example.com/mcp"
        )
    return value


def _whole(least: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not value.isdecimal() or int(value) < least:
            raise ValueError(f"must be a whole number of at least {least}, not {value[:40]!r}")
        return int(value)

    return read


def _flag(value: str) -> bool:
    lowered = value.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if is_off(value):
        return False
    raise ValueError(f"must be true or false, not {value[:40]!r}")


def _function(value: str) -> str:
    module, separator, name = value.partition(":")
    if not module or not separator or not name:
        raise ValueError(f"must be a function path such as {STORAGE_FUNCTION}, not {value[:80]!r}")
    return value


def _toolsets(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower() for name in value.split(",") if name.strip()))
    if names == ("all",):
        return tuple(TOOLSETS)
    unknown = [name for name in names if name not in TOOLSETS]
    if unknown or not names:
        raise ValueError(
            f"names no toolset {', '.join(unknown) or value[:40]!r}; choose from "
            f"{', '.join(TOOLSETS)}, or all"
        )
    return names


def _embedder(value: str) -> str:
    if named(value) is None:
        raise ValueError(f"must be {CHOICES}; not {value[:80]!a}")
    return value


def _folder(value: str) -> Path:
    return Path(value).expanduser()


def _resource(value: str) -> str:
    if len(value) > MESSAGE_ID_CHARS_MAX:
        raise ValueError(f"has more than {MESSAGE_ID_CHARS_MAX} characters")
    return value


def _schedule_action(value: str) -> str | None:
    if value.lower() == "off":
        return None
    if value.lower() == NOTIFY or value.startswith(("https://", "http://")):
        return value.lower() if value.lower() == NOTIFY else value
    raise ValueError("must be off, notify, or the address of a webhook")


def _level(value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, not {value[:40]!r}")
    return value.upper()


def _listed(each: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Read what is separated by commas."""

    def read(value: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each(part.strip()) for part in value.split(",") if part.strip()))

    return read


def _host(value: str) -> str:
    try:
        address = urlsplit(f"//{value}")
        usable = address.netloc == value and address.hostname and "@" not in value
        # Raises for what is no port.
        usable = bool(usable) and (address.port is None or address.port > 0)
    except ValueError:
        usable = False
    if not usable or "*" in value:
        raise ValueError(
            "must be names that clients use in the address of this server, such as "
            f"memory.example.com, or with a port; not {value[:80]!r}"
        )
    return value.lower()


def _origin(value: str) -> str:
    address = urlsplit(value)
    plain = value == f"{address.scheme}://{address.netloc}"
    if value != "*" and (address.scheme not in ("https", "http") or not plain):
        raise ValueError(
            "must be origins of web pages, such as https://app.example.com without a path, or *; "
            f"not {value[:80]!r}"
        )
    return value.lower()


def _network(value: str) -> str:
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError(
            f"must be addresses or networks such as 10.0.0.0/8, not {value[:80]!r}"
        ) from None


def _exporter(value: str) -> str:
    if value not in ("otlp", "console", "none"):
        raise ValueError(f"must be otlp, console or none, not {value[:40]!r}")
    return value


def _native_indexes(value: str) -> dict[str, NativeIndexSettings]:
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError(
            'must be a JSON object such as {"articles": {"tableName": "articles", '
            '"dimension": 1536}}'
        )
    indexes = {}
    for name, entry in parsed.items():
        try:
            indexes[name] = NativeIndexSettings.model_validate(entry)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ValueError(f"is wrong at {name}.{where}: {problem['msg']}") from error
    return indexes


VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "CONVEX_URL": ("convex_url", _url),
    "CONVEX_ADMIN_KEY": ("convex_admin_key", SecretStr),
    "CONVEX_STORAGE_FUNCTION": ("storage_function", _function),
    "CONVEX_CACHE_FUNCTION": ("cache_function", _function),
    "CONVEX_NATIVE_VECTOR_ACTION": ("native_vector_action", _function),
    "CONVEX_NATIVE_VECTOR_QUERY": ("native_vector_query", _function),
    "CONVEX_NATIVE_VECTOR_MUTATION": ("native_vector_mutation", _function),
    "CONVEX_NATIVE_VECTOR_INDEXES": ("native_indexes", _native_indexes),
    "CONVEX_CACHE_PREFIX": ("cache_prefix", _text),
    "CONVEX_CACHE_TTL_MS": ("cache_ttl_ms", _whole(0)),
    "CONVEX_REQUEST_TIMEOUT_MS": ("request_timeout_ms", _whole(0)),
    "MEMORY_DATA_DIR": ("data_dir", _folder),
    "MEMORY_RESOURCE_ID": ("resource_id", _resource),
    "MEMORY_TOOLSETS": ("toolsets", _toolsets),
    "MEMORY_READ_ONLY": ("read_only", _flag),
    "MEMORY_RESTORABLE_MS": ("restorable_ms", _whole(0)),
    "MEMORY_EMBEDDER": ("embedder", _embedder),
    "OPENAI_API_KEY": ("openai_api_key", SecretStr),
    "OPENAI_BASE_URL": ("openai_base_url", _text),
    "MEMORY_DEPLOYMENT_KEY": ("deployment_key", SecretStr),
    "MEMORY_HTTP_TOKENS": ("http_tokens", SecretStr),
    "MEMORY_OAUTH_ISSUER": ("oauth_issuer", _issuer),
    "MEMORY_OAUTH_AUDIENCE": ("oauth_audience", _audience),
    "MEMORY_SCHEDULE_ACTION": ("schedule_action", _schedule_action),
    "MEMORY_SCHEDULE_POLL_MS": ("schedule_poll_ms", _whole(10)),
    "MEMORY_TASK_GRACE_MS": ("task_grace_ms", _whole(0)),
    "MEMORY_TASK_LEASE_MS": ("task_lease_ms", _whole(500)),
    "MEMORY_LOG_LEVEL": ("log_level", _level),
    variables.DAEMON: ("daemon", _flag),
    variables.DAEMON_IDLE_MS: ("daemon_idle_ms", _whole(0)),
    "MEMORY_HTTP_HOSTS": ("http_hosts", _listed(_host)),
    "MEMORY_HTTP_ORIGINS": ("http_origins", _listed(_origin)),
    "MEMORY_HTTP_PROXIES": ("http_proxies", _listed(_network)),
    "MEMORY_HTTP_RATE": ("http_rate", _whole(0)),
    "MEMORY_HTTP_CONCURRENCY": ("http_concurrency", _whole(0)),
    "MEMORY_HTTP_REQUESTS": ("http_requests", _whole(1)),
    "MEMORY_HTTP_CONNECTIONS": ("http_connections", _whole(16)),
    "MEMORY_HTTP_CALL_TIMEOUT_MS": ("http_call_timeout_ms", _whole(1)),
    "OTEL_SDK_DISABLED": ("otel_disabled", _flag),
    "OTEL_TRACES_EXPORTER": ("otel_traces", _exporter),
    "OTEL_METRICS_EXPORTER": ("otel_metrics", _exporter),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otel_endpoint", _text),
}
"""Variable → field and how its text is read."""
