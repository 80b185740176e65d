"""`convex-memory functions`: what was written into a Convex project, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from server.convex_project import Project, find_project
from server.function_files import (
    MASTRA_PACKAGE,
    RECORD,
    Plan,
    Source,
    carry_out,
    load_source,
    plan,
)

_JOINS: Final[Mapping[str, str]] = {
    "schema.ts": "export default defineSchema({ /* your tables */ ...memoryTables });",
    "crons.ts": "addUpkeep(crons);",
}
"""Starter → the line that takes in what it imports of ours."""


def run(folder: str, *, force: bool, show: Callable[[str], None]) -> int:
    """Write the functions into the project at `folder`, and say what was done and what comes next.

    Args:
        folder: A Convex project, its functions folder, or an empty or absent folder.
        force: As for `plan`.
        show: Takes one line.

    Returns:
        0. Where it cannot be done, nothing has changed.

    Raises:
        ConfigurationError: It cannot be done; the message says why.
    """
    project, source = find_project(Path(folder)), load_source()
    made = plan(project, source, force=force)
    was_mastras = any(MASTRA_PACKAGE in target.read_bytes() for target in made.copies)
    copies = carry_out(project, made)
    for line in _done(project, source, made, copies):
        show(line)
    has_mastras_tables = MASTRA_PACKAGE in _own(project, made, "schema.ts")[1]
    for starter in _JOINS:
        for line in _to_join(project, source, made, starter):
            show(line)
    if has_mastras_tables:
        show("\nOur tables are Mastra's too: take the tables of @mastra/convex out of the schema.")
    for line in _next_steps(project, adopt=was_mastras or has_mastras_tables):
        show(line)
    return 0


def _done(project: Project, source: Source, made: Plan, copies: list[Path]) -> Iterator[str]:
    where = f"{project.functions} (functions version {source.version})"
    changed = [target for target in made.writes if target != project.functions / RECORD]
    if not changed and not made.removes:
        yield f"{where}: nothing to change, all {made.unchanged} files are as they should be."
    else:
        added = len(changed) - len(made.updated)
        yield f"{where}: {added} files added, {made.unchanged} as they were."
        yield from _listed("updated", made.updated)
        yield from _listed("removed", [_shown(project, target) for target in made.removes])
    yield from _listed("copies of yours", [_shown(project, copy) for copy in copies])
    yield from _listed("left as yours", made.kept)


def _shown(project: Project, target: Path) -> str:
    return target.relative_to(project.functions).as_posix()


def _listed(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"  {what}: {', '.join(sorted(names))}"


def _own(project: Project, made: Plan, starter: str) -> tuple[str, bytes]:
    """The name and text of the project's own starter; empty when it has the one that we wrote."""
    for name in made.kept:
        if Path(name).stem == Path(starter).stem:
            return name, (project.functions / name).read_bytes()
    return "", b""


def _to_join(project: Project, source: Source, made: Plan, starter: str) -> Iterator[str]:
    """What to add to the project's own starter; nothing when it is there."""
    imported = source.import_into(starter) if starter in source.starters else None
    name, text = _own(project, made, starter)
    if imported is None or not name or imported[0].encode() in text:
        return
    yield ""
    yield f"{project.shown_functions}/{name} is yours, and needs these two lines of ours:"
    yield ""
    yield f"  {imported[1]}"
    yield f"  {_JOINS[starter]}"


def _next_steps(project: Project, *, adopt: bool) -> Iterator[str]:
    yield ""
    yield f"Next, in {project.root}:"
    yield ""
    install = project.install_command()
    if install is not None:
        yield f"  {install}"
    if project.is_new:
        yield "  npx convex dev --once     # the first time: log in and choose a project"
    yield "  npx convex deploy         # prints the URL of the deployment"
    if adopt:
        yield "  npx convex run --prod memory/upkeep:adopt    # once, for what Mastra has stored"
    yield ""
    yield "Then set, for convex-memory:"
    yield ""
    yield "  CONVEX_URL          that URL, such as https://happy-animal-123.convex.cloud"
    yield "  CONVEX_ADMIN_KEY    a deploy key; this prints one:"
    yield "    npx convex deployment token create convex-memory --prod"
    yield "    (or the dashboard: Settings, URL & Deploy Key; self-hosted: generate_admin_key.sh)"
    yield ""
    yield "`convex-memory doctor` checks it all."
