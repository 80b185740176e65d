"""`convex-memory doctor`: each thing that must be right, whether it is, and what to do if not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from convex_memory.errors import ConfigurationError
from server import convex_checks, folder_checks
from server.app import application_version
from server.auth import checks as auth_checks
from server.daemon import command as daemon
from server.finding import Finding
from server.settings import APPLICATION, Settings
from server.shared import embedder_of, open_deployment
from tools import select


async def run(show: Callable[[str], None]) -> int:
    """Show every finding and a client config; return 0 when all is well, 1 otherwise."""
    findings, settings = await _examine()
    for finding in findings:
        show(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject:12} {finding.told}")
    show("\nTo connect an assistant, put this in its MCP configuration:\n")
    show(json.dumps(client_config(settings), indent=2))
    return 0 if all(finding.ok for finding in findings) else 1


def client_config(settings: Settings | None = None) -> dict[str, Any]:
    """Return the configuration that starts this installation.

    Args:
        settings: Where the memory is; a place on Convex goes into it, its key only by name.
    """
    installed = shutil.which(APPLICATION)
    entry: dict[str, Any] = (
        {"command": installed}
        if installed
        else {"command": sys.executable, "args": ["-m", "convex_memory"]}
    )
    if settings is not None and not settings.embedded:
        entry["env"] = {"CONVEX_URL": settings.convex_url, "CONVEX_ADMIN_KEY": "<the deploy key>"}
    return {"mcpServers": {"memory": entry}}


async def _examine() -> tuple[list[Finding], Settings | None]:
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding("version", True, f"{APPLICATION} {application_version()}, Python {python}"),
        _sqlite(),
    ]
    try:
        settings = Settings.from_environment()
    except ConfigurationError as error:
        return [*findings, Finding("settings", False, error.message)], None
    tools = select(settings.toolsets, read_only=settings.read_only)
    findings.append(
        Finding("settings", True, f"{len(tools)} tools of {', '.join(settings.toolsets)}")
    )
    findings += [_embedder(settings), daemon.finding(settings)]
    findings += await auth_checks.examine(settings)
    try:
        deployment = open_deployment(_hurried(settings))
    except ConfigurationError as error:
        return [*findings, Finding("settings", False, error.message)], None
    try:
        if settings.embedded:
            findings += await folder_checks.examine(deployment, settings)
        else:
            findings += await convex_checks.examine(deployment, settings)
    finally:
        await deployment.aclose()
    return findings, settings


def _embedder(settings: Settings) -> Finding:
    embedder = embedder_of(settings)
    if embedder is None:
        return Finding("embedder", True, "off: search is by words")
    unavailable = embedder.why_unavailable()
    if unavailable is not None:
        return Finding("embedder", False, unavailable)
    return Finding("embedder", True, embedder.id)


def _hurried(settings: Settings) -> Settings:
    """The settings with a deadline that somebody can wait for."""
    given = settings.request_timeout_ms or convex_checks.CALL_MS_MAX
    return settings.model_copy(update={"request_timeout_ms": min(given, convex_checks.CALL_MS_MAX)})


def _sqlite() -> Finding:
    with sqlite3.connect(":memory:") as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    has_search = "ENABLE_FTS5" in options
    told = f"SQLite {sqlite3.sqlite_version}"
    if not has_search:
        told += " without full-text search (FTS5): use another Python"
    return Finding("sqlite", has_search, told)
