"""`convex-memory doctor`: each thing that must be right, whether it is, and what to do if not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.deployment import CACHE_FUNCTION, Deployment
from convex_memory.errors import ConfigurationError, ConvexMemoryError, FunctionNotDeployed
from server.app import application_version, open_deployment
from server.settings import APPLICATION, Settings
from tools import select

_OUR_FUNCTIONS: Final = "memory/meta:version"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    ok: bool
    told: str


async def run(show: Callable[[str], None]) -> int:
    """Show every finding and a client config; return 0 when all is well, 1 otherwise."""
    findings = await _examine()
    for finding in findings:
        show(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject:12} {finding.told}")
    show("\nTo connect an assistant, put this in its MCP configuration:\n")
    show(json.dumps(client_config(), indent=2))
    return 0 if all(finding.ok for finding in findings) else 1


def client_config() -> dict[str, Any]:
    """Return the configuration that starts this installation."""
    installed = shutil.which(APPLICATION)
    entry: dict[str, Any] = (
        {"command": installed}
        if installed
        else {"command": sys.executable, "args": ["-m", "convex_memory"]}
    )
    return {"mcpServers": {"memory": entry}}


async def _examine() -> list[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding("version", True, f"{APPLICATION} {application_version()}, Python {python}"),
        _sqlite(),
    ]
    try:
        settings = Settings.from_environment()
    except ConfigurationError as error:
        return [*findings, Finding("settings", False, error.message)]
    tools = select(settings.toolsets, read_only=settings.read_only)
    findings.append(
        Finding("settings", True, f"{len(tools)} tools of {', '.join(settings.toolsets)}")
    )
    where = f"folder {settings.data_dir}" if settings.embedded else f"Convex {settings.convex_url}"
    deployment = open_deployment(settings)
    try:
        findings += [await _functions(deployment, where), await _cache(deployment, settings)]
        if settings.embedded and findings[-1].ok:
            findings.append(_integrity(settings))
    finally:
        await deployment.aclose()
    return findings


def _sqlite() -> Finding:
    with sqlite3.connect(":memory:") as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    has_search = "ENABLE_FTS5" in options
    told = f"SQLite {sqlite3.sqlite_version}"
    if not has_search:
        told += " without full-text search (FTS5): use another Python"
    return Finding("sqlite", has_search, told)


async def _functions(deployment: Deployment, where: str) -> Finding:
    try:
        answer: Any = await deployment.call("query", _OUR_FUNCTIONS, {})
    except FunctionNotDeployed:
        return Finding(
            "deployment",
            False,
            f"{where} answers, but has none of our functions. Deploy them: see "
            "README, Move to Convex.",
        )
    except ConvexMemoryError as error:
        return Finding("deployment", False, error.message)
    return Finding("deployment", True, f"{where}, functions version {answer['version']}")


async def _cache(deployment: Deployment, settings: Settings) -> Finding:
    request = {"op": "get", "key": f"{settings.cache_prefix}doctor"}
    path = settings.cache_function
    try:
        await deployment.call("mutation", path, request, retry=True)
    except ConvexMemoryError as error:
        hint = "" if path == CACHE_FUNCTION else " Check CONVEX_CACHE_FUNCTION."
        return Finding("cache", False, f"{error.message}{hint}")
    return Finding("cache", True, path)


def _integrity(settings: Settings) -> Finding:
    from convex_memory.embedded import DATABASE_NAME

    path = settings.data_dir / DATABASE_NAME
    connection = sqlite3.connect(path)
    try:
        told = str(connection.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        told = str(error)
    finally:
        connection.close()
    size = f"{path.stat().st_size / 2**20:.1f} MiB"
    if told == "ok":
        return Finding("database", True, f"{size}, structure sound")
    return Finding("database", False, f"{path} is damaged ({told}). Restore a backup.")
