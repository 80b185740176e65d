"""The environment: which variables are ours, what they hold, where the memory is by default.

Nothing but the standard library is loaded here: what starts in an instant reads it too.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

APPLICATION: Final = "convex-memory"
DATA_DIR: Final = "MEMORY_DATA_DIR"
DAEMON: Final = "MEMORY_DAEMON"
DAEMON_IDLE_MS: Final = "MEMORY_DAEMON_IDLE_MS"
NAMES: Final = (
    "CONVEX_URL",
    "CONVEX_ADMIN_KEY",
    "CONVEX_STORAGE_FUNCTION",
    "CONVEX_CACHE_FUNCTION",
    "CONVEX_NATIVE_VECTOR_ACTION",
    "CONVEX_NATIVE_VECTOR_QUERY",
    "CONVEX_NATIVE_VECTOR_MUTATION",
    "CONVEX_NATIVE_VECTOR_INDEXES",
    "CONVEX_CACHE_PREFIX",
    "CONVEX_CACHE_TTL_MS",
    "CONVEX_REQUEST_TIMEOUT_MS",
    DATA_DIR,
    "MEMORY_RESOURCE_ID",
    "MEMORY_TOOLSETS",
    "MEMORY_READ_ONLY",
    "MEMORY_RESTORABLE_MS",
    "MEMORY_EMBEDDER",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "MEMORY_DEPLOYMENT_KEY",
    "MEMORY_HTTP_TOKENS",
    "MEMORY_OAUTH_ISSUER",
    "MEMORY_OAUTH_AUDIENCE",
    "MEMORY_SCHEDULE_ACTION",
    "MEMORY_SCHEDULE_POLL_MS",
    "MEMORY_TASK_GRACE_MS",
    "MEMORY_TASK_LEASE_MS",
    "MEMORY_LOG_LEVEL",
    DAEMON,
    DAEMON_IDLE_MS,
    "MEMORY_HTTP_HOSTS",
    "MEMORY_HTTP_ORIGINS",
    "MEMORY_HTTP_PROXIES",
    "MEMORY_HTTP_RATE",
    "MEMORY_HTTP_CONCURRENCY",
    "MEMORY_HTTP_REQUESTS",
    "MEMORY_HTTP_CONNECTIONS",
    "MEMORY_HTTP_CALL_TIMEOUT_MS",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
"""The variables that are settings; `settings.VARIABLES` says how each is read."""


def given(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the settings that have a value: name → text without blanks around it.

    Args:
        environment: The variables; those of this process when left out. Empty ones count as
            absent, as hosts pass them for settings a user left blank.
    """
    everything = os.environ if environment is None else environment
    found = {name: everything.get(name, "").strip() for name in NAMES}
    return {name: value for name, value in found.items() if value}


def without_settings() -> dict[str, str]:
    """Return the environment of this process without our settings, for a process of our own."""
    return {name: value for name, value in os.environ.items() if name not in NAMES}


def is_off(value: str) -> bool:
    """Whether the text of a setting that is on or off means off."""
    return value.lower() in ("0", "false", "no", "off")


def default_data_dir() -> str:
    """Return this platform's folder for an application's data.

    Raises:
        ImportError: Nothing is installed yet that knows this platform's folders.
    """
    base = os.environ.get("XDG_DATA_HOME", "").strip()
    if sys.platform == "linux" and (not base or base.startswith("/")):
        # What platformdirs returns there, without the time that it takes to load.
        return os.path.join(base or os.path.expanduser("~/.local/share"), APPLICATION)
    from platformdirs import user_data_dir

    return user_data_dir(APPLICATION, appauthor=False)
