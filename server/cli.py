"""The command `convex-memory`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from convex_memory.errors import ConvexMemoryError, DeploymentError

DESCRIPTION: Final = (
    "The memory that AI assistants share: an MCP server over one local folder, or over Convex. "
    "Without a command it serves MCP on stdin and stdout, which is what an assistant starts."
)
ENVIRONMENT: Final = """environment (every default works):
  CONVEX_URL, CONVEX_ADMIN_KEY   use this Convex deployment instead of a local folder
  MEMORY_DATA_DIR                the local folder
  MEMORY_RESOURCE_ID             whose memory this is (default: default)
  MEMORY_TOOLSETS                memory,vectors,cache, or all
  MEMORY_READ_ONLY               true: only tools that change nothing
  MEMORY_EMBEDDER                minilm (offline), off, or openai:MODEL
  MEMORY_LOG_LEVEL               DEBUG, INFO, WARNING or ERROR (default: WARNING)
  MEMORY_DAEMON                  off: a server of its own for every assistant
README.md lists the rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 2 cannot start so."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except (ConvexMemoryError, ExceptionGroup) as error:
        found = _inside(error)
        if not isinstance(found, ConvexMemoryError):
            raise
        _say(f"convex-memory: {found.message}")
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _inside(error: Exception) -> Exception:
    """Return what went wrong, out of the groups in which tasks that run together put it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convex-memory",
        description=DESCRIPTION,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_stdio)
    commands = parser.add_subparsers(metavar="command", title="commands")
    serve = _add_listener(commands, "serve", "MCP over streamable HTTP at /mcp", 8000, _serve)
    serve.add_argument("--conformance-fixtures", action="store_true", help=argparse.SUPPRESS)
    serve.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="also serve metrics for Prometheus, there (HOST: 127.0.0.1)",
    )
    _add_listener(
        commands,
        "deployment",
        "serve the local folder as a Convex deployment, for Mastra apps and other programs",
        3210,
        _deployment,
    )
    demo = commands.add_parser(
        "demo", help="watch a real client use the memory, on a scratch folder"
    )
    demo.set_defaults(run=_demo)
    doctor = commands.add_parser("doctor", help="check settings, folder and deployment")
    doctor.set_defaults(run=_doctor)
    _add_daemon(commands)
    _add_moving(commands)
    functions = commands.add_parser(
        "functions", help="write our functions into a Convex project, ready for npx convex deploy"
    )
    functions.add_argument(
        "folder", metavar="DIR", help="the project, its functions folder, or an empty folder"
    )
    functions.add_argument(
        "--force",
        action="store_true",
        help="replace files of ours that were edited, and Mastra's handlers; copies are kept",
    )
    functions.set_defaults(run=_functions)
    reembed = commands.add_parser(
        "reembed", help="have texts embedded anew by the embedder that MEMORY_EMBEDDER names"
    )
    reembed.add_argument(
        "index", metavar="INDEX", nargs="?", help="an index of texts (default: messages)"
    )
    reembed.set_defaults(run=_reembed)
    token = commands.add_parser(
        "token", help="make a bearer token for somebody, as a line for MEMORY_HTTP_TOKENS"
    )
    token.add_argument(
        "name", metavar="NAME", help="whose memory it opens; NAME:read may only read"
    )
    token.set_defaults(run=_token)
    stats = commands.add_parser("stats", help="say how much is stored")
    stats.add_argument("--json", action="store_true", help="for programs")
    stats.set_defaults(run=_stats)
    return parser


def _add_listener(
    commands: Any, name: str, help: str, port: int, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help)
    command.add_argument("--host", default="127.0.0.1", help="address to listen on")
    command.add_argument(
        "--port", type=int, default=port, help=f"0 takes a free one (default {port})"
    )
    command.set_defaults(run=run)
    return command


def _add_daemon(commands: Any) -> None:
    daemon = commands.add_parser(
        "daemon",
        help="what serves all assistants of the folder at once: say whether it runs, end it, be it",
        description="Without an option this process is the daemon, and stays until it is ended. "
        "Assistants start one by themselves.",
    )
    choice = daemon.add_mutually_exclusive_group()
    choice.add_argument("--status", action="store_true", help="say whether one runs")
    choice.add_argument(
        "--stop", action="store_true", help="end it; the next call of an assistant starts another"
    )
    daemon.set_defaults(run=_daemon)


def _add_moving(commands: Any) -> None:
    export = commands.add_parser(
        "export", help="write the whole memory to a file, to keep it or to move it"
    )
    export.add_argument("file", metavar="FILE", help="ends in .gz: compressed; -: standard output")
    export.add_argument(
        "--tables", help="only these, separated by commas, such as threads,messages,resources"
    )
    export.add_argument("--force", action="store_true", help="replace a file that is there")
    export.set_defaults(run=_export)
    into = commands.add_parser(
        "import", help="store what a file holds that export wrote, here or elsewhere"
    )
    into.add_argument("file", metavar="FILE", help="compressed or not; -: standard input")
    into.add_argument(
        "--replace",
        action="store_true",
        help="rows that are there with other content get that of the file (default: are kept)",
    )
    into.add_argument(
        "--dry-run", action="store_true", help="write nothing: say what the import would do"
    )
    into.add_argument(
        "--partial", action="store_true", help="take a file that was cut short or changed by hand"
    )
    into.set_defaults(run=_import)
    backup = commands.add_parser(
        "backup", help="copy the local folder's database while it is in use, or put a copy back"
    )
    backup.add_argument("file", metavar="FILE", help="the copy")
    backup.add_argument("--force", action="store_true", help="replace a file that is there")
    backup.add_argument(
        "--restore",
        action="store_true",
        help="put FILE back: the memory is as it was then; what it is now is kept beside it",
    )
    backup.set_defaults(run=_backup)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- Commands. Each imports what it needs: the others must not wait for it.


def _stdio(parsed: argparse.Namespace) -> int:
    import anyio

    from server.app import create_server
    from server.log import log_to_stderr
    from server.settings import Settings
    from server.transports import stdio

    settings = Settings.from_environment()
    log_to_stderr(settings.log_level)
    if sys.stdin.isatty():
        _say(
            "convex-memory speaks MCP on stdin and stdout; an assistant starts it. To connect one, "
            "see `convex-memory doctor`; to see it work, `convex-memory demo`. Ctrl-D ends it."
        )
    anyio.run(stdio.serve, create_server(settings))
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    import anyio

    from convex_memory.scoped import require_gate
    from server import telemetry
    from server.app import create_server
    from server.auth.access import HOW_TO_OPEN, for_principals, left_out, open_access
    from server.log import log_to_stderr
    from server.settings import Settings
    from server.shared import open_shared
    from server.transports import streamable_http

    settings = Settings.from_environment()
    log_to_stderr(settings.log_level)
    access = open_access(settings)
    if access is None:
        streamable_http.check_loopback(parsed.host)

    def started(url: str) -> None:
        _say(f"MCP at {url}{streamable_http.MCP_PATH}")
        if access is None:
            _say(f"Nobody is asked who they are, so this machine alone is served. {HOW_TO_OPEN}")
        elif (lacking := left_out(settings)) is not None:
            _say(lacking)

    async def run() -> None:
        async with open_shared(settings) as shared:
            if access is not None and not settings.embedded:
                try:
                    await require_gate(shared.capabilities)
                except DeploymentError as error:
                    # It may come: until then every call is refused, and so it is without a gate.
                    _say(f"convex-memory: {error.message}")
            server = create_server(settings if access is None else for_principals(settings), shared)
            if parsed.conformance_fixtures:
                from server.conformance.installing import install

                install(server)
            app = streamable_http.create_app(
                server,
                host=parsed.host,
                deployment=shared.deployment,
                settings=settings,
                on_stop=shared.close_streams,
                names=access.names if access else (),
                wrappers=access.wrappers if access else (),
                routes=access.routes if access else (),
            )
            await streamable_http.serve(
                app, host=parsed.host, port=parsed.port, on_started=started, settings=settings
            )

    with telemetry.switched_on(settings, prometheus=parsed.metrics):
        anyio.run(run)
    return 0


def _deployment(parsed: argparse.Namespace) -> int:
    from convex_memory.embedded import EmbeddedDeployment
    from convex_memory.embedded.admin_key import load_or_create
    from convex_memory.embedded.http import serve
    from convex_memory.errors import ConfigurationError
    from server.log import log_to_stderr
    from server.settings import Settings

    settings = Settings.from_environment()
    if not settings.embedded:
        raise ConfigurationError(
            "deployment serves the local folder, but CONVEX_URL names a Convex deployment, which "
            "serves itself. Unset CONVEX_URL and CONVEX_ADMIN_KEY."
        )
    log_to_stderr(settings.log_level)
    if settings.deployment_key is not None:
        key, where = settings.deployment_key.get_secret_value(), "MEMORY_DEPLOYMENT_KEY"
    else:
        key, path = load_or_create(settings.data_dir)
        where = str(path)

    async def run() -> None:
        async with EmbeddedDeployment(settings.data_dir) as deployment:
            await deployment.call("query", "memory/meta:version", {})
            await serve(
                deployment,
                host=parsed.host,
                port=parsed.port,
                admin_key=key,
                on_started=lambda url: _say(f"deployment at {url}\nadmin key in {where}"),
            )

    asyncio.run(run())
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from server.demo import run

    return asyncio.run(run(print))


def _doctor(parsed: argparse.Namespace) -> int:
    from server.doctor import run
    from server.log import log_to_stderr

    # What the log would say, the findings say better.
    log_to_stderr("ERROR")
    return asyncio.run(run(print))


def _daemon(parsed: argparse.Namespace) -> int:
    from server.daemon import command
    from server.daemon.folder import Unavailable
    from server.settings import Settings

    settings = Settings.from_environment()
    try:
        if parsed.status:
            return command.show_status(settings, print)
        if parsed.stop:
            return command.stop(settings, print)
        return command.stay(settings, print, _say)
    except Unavailable as error:
        _say(f"convex-memory: {error}")
        return 2


def _export(parsed: argparse.Namespace) -> int:
    from server.settings import Settings
    from server.transfer import Words, run_export

    names = [name.strip() for name in (parsed.tables or "").split(",") if name.strip()]
    return run_export(
        Settings.from_environment(),
        parsed.file,
        tables=None if parsed.tables is None else names,
        force=parsed.force,
        words=Words(print, _say),
    )


def _import(parsed: argparse.Namespace) -> int:
    from convex_memory.moving import ImportOptions
    from server.settings import Settings
    from server.transfer import Words, run_import

    options = ImportOptions(replace=parsed.replace, dry_run=parsed.dry_run, partial=parsed.partial)
    return run_import(Settings.from_environment(), parsed.file, options, Words(print, _say))


def _backup(parsed: argparse.Namespace) -> int:
    from server.backup_command import run_backup, run_restore
    from server.settings import Settings

    settings = Settings.from_environment()
    if parsed.restore:
        return run_restore(settings, parsed.file, show=print)
    return run_backup(settings, parsed.file, force=parsed.force, show=print)


def _functions(parsed: argparse.Namespace) -> int:
    from server.functions_command import run

    return run(parsed.folder, force=parsed.force, show=print)


def _reembed(parsed: argparse.Namespace) -> int:
    from server.log import log_to_stderr
    from server.reembedding import run
    from server.settings import Settings

    settings = Settings.from_environment()
    log_to_stderr(settings.log_level)
    return run(settings, parsed.index, print)


def _token(parsed: argparse.Namespace) -> int:
    from server.auth.tokens import line_for

    print(line_for(parsed.name))
    return 0


def _stats(parsed: argparse.Namespace) -> int:
    from convex_memory.store import ConvexStore
    from server.settings import Settings
    from server.shared import open_deployment

    settings = Settings.from_environment()

    async def run() -> dict[str, int | None]:
        deployment = open_deployment(settings)
        try:
            stats = await ConvexStore(
                deployment, storage_function=settings.storage_function
            ).memory.stats()
        finally:
            await deployment.aclose()
        return {
            "threads": stats.threads,
            "messages": stats.messages,
            "resources": stats.resources,
            "vector_indexes": stats.vector_indexes,
            "vectors": stats.vectors,
            "cache_keys": stats.cache_keys,
        }

    counts = asyncio.run(run())
    if parsed.json:
        print(json.dumps(counts))
    else:
        for name, count in counts.items():
            print(f"{name.replace('_', ' '):15} {count}")
    return 0
