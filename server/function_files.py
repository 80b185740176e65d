"""Our functions for Convex, written into a Convex project without touching what is not ours.

Everything is looked at before anything is written, so one file in the way changes nothing. What was
written is recorded in `memory/.files.json` by hash; a later version tells by it which files are as
they were left and which somebody edited. Convex's bundler takes neither that file nor the copies
(`.bak`) for modules.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, TypeGuard

from convex_memory.errors import ConfigurationError
from server.convex_project import Project

HEADER: Final = b"""\
/* eslint-disable */
// @ts-nocheck
// Written by `convex-memory functions`, which updates it too. Checked where it comes from: the
// compiler options and lint rules of this project are for the project's own code.
"""
"""What every written module begins with."""
RECORD: Final = "memory/.files.json"
"""Where the hashes are, below the functions folder."""
STARTERS: Final = ("schema.ts", "crons.ts", "tsconfig.json")
"""Files that belong to the project once they are there."""

_ABOUT: Final = "Files of Convex Memory and their SHA-256. Commit this with them."
_GENERATED: Final = "_generated"
_OTHER_SUFFIXES: Final = (".js", ".mjs", ".cjs", ".tsx", ".mts", ".cts", ".jsx")
MASTRA_PACKAGE: Final = b"@mastra/convex"
"""What files that are Mastra's, or made with it, import."""
_WRITTEN: Final = b"// Written by `convex-memory functions`"
_OUR_IMPORT = re.compile(r'^import \{ (\w+) \} from "\./[^"]+";$', re.MULTILINE)
_VERSION = re.compile(r'FUNCTIONS_VERSION = "(\d+)"')
_FUNCTION = re.compile(r'^ +"(memory/\w+:\w+)",$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """The functions of this package.

    Args:
        modules: Path below the functions folder → what is written there.
        starters: The same, for files that a project may already have.
        version: The version of the functions, as a deployment tells it.
        functions: The paths that a deployment of them tells, those of `memory/`.
    """

    modules: Mapping[str, bytes]
    starters: Mapping[str, bytes]
    version: int
    functions: tuple[str, ...]

    def import_into(self, starter: str) -> tuple[str, str] | None:
        """Return what a starter imports of ours, and the line that does; None when nothing."""
        found = _OUR_IMPORT.search(self.starters[starter].decode())
        return (found[1], found[0]) if found else None


@dataclass(slots=True)
class Plan:
    """What is to be done in a project, and why it cannot be.

    Args:
        writes: File → its new content.
        updated: Those of `writes` that are there already, by path below the functions folder.
        removes: Files of an older version that this one does not have.
        copies: Files to keep a copy of before they are replaced or removed.
        kept: Starters that are the project's own.
        unchanged: How many files are as they should be.
        obstacles: A sentence for each file in the way.
    """

    writes: dict[Path, bytes] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    removes: list[Path] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unchanged: int = 0
    obstacles: list[str] = field(default_factory=list)


def load_source() -> Source:
    """Read the functions from the installed package, or from the checkout.

    Raises:
        ConfigurationError: The installation has no functions in it.
    """
    folder = _source_folder()
    texts = dict(_texts(folder, ""))
    meta = texts.get("memory/meta.ts", b"").decode()
    version, functions = _VERSION.search(meta), tuple(_FUNCTION.findall(meta))
    starters: dict[str, bytes] = {path: texts.pop(path) for path in STARTERS if path in texts}
    if version is None or not functions:
        raise ConfigurationError(
            "This installation of convex-memory is incomplete: its functions for Convex are "
            "missing. Install it again."
        )
    modules = {path: HEADER + text for path, text in texts.items() if path.endswith(".ts")}
    return Source(modules, starters, int(version[1]), functions)


def _source_folder() -> Traversable:
    packaged = files("convex_memory").joinpath("_functions")
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "convex"


def _texts(folder: Traversable, below: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = below + entry.name
        if entry.is_dir() and entry.name != _GENERATED:
            yield from _texts(entry, f"{path}/")
        elif re.fullmatch(r"[A-Za-z]\w*\.ts", entry.name) or path in STARTERS:
            yield path, _plain(entry.read_bytes())


def plan(project: Project, source: Source, *, force: bool = False) -> Plan:
    """Look at a project and say what is to be done. Nothing is written.

    Args:
        project: Where.
        source: What.
        force: Replace, after keeping a copy, files of ours that were edited and Mastra's own
            handlers at our paths.

    Raises:
        ConfigurationError: The project has the functions of a newer version, or its files cannot
            be read.
    """
    if project.functions == _source_folder():
        raise ConfigurationError(
            f"{project.functions} is where the functions come from. Name another Convex project."
        )
    try:
        version, recorded = _recorded(project)
        if version > source.version:
            raise ConfigurationError(
                f"{project.functions} has version {version} of the functions, and this "
                f"convex-memory only version {source.version}. Update convex-memory."
            )
        return _planned(project, source, recorded, force)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be read: {error.strerror}. Nothing was changed."
        ) from error


def _planned(project: Project, source: Source, recorded: Mapping[str, str], force: bool) -> Plan:
    made = Plan()
    look = _Look(project, recorded, force, made)
    for path, content in source.modules.items():
        look.at_module(path, content)
    for path, content in source.starters.items():
        look.at_starter(path, content)
    for path in recorded.keys() - source.modules.keys() - source.starters.keys():
        look.at_leftover(path)
    hashes = {path: _hash(content) for path, content in source.modules.items()}
    for path, content in source.starters.items():
        if path not in made.kept:
            hashes[path] = _hash(content)
    record = {"about": _ABOUT, "version": source.version, "files": dict(sorted(hashes.items()))}
    text = json.dumps(record, indent=2).encode() + b"\n"
    target = project.functions / RECORD
    if not target.is_file() or _plain(target.read_bytes()) != text:
        made.writes[target] = text
    if project.is_new:
        made.writes[project.root / "package.json"] = project.new_package()
    return made


def _recorded(project: Project) -> tuple[int, Mapping[str, str]]:
    """The version and the hashes of what was written before; none when that cannot be told."""
    target = project.functions / RECORD
    if not target.is_file():
        return 0, {}
    try:
        match json.loads(target.read_bytes()):
            case {"version": int(version), "files": {**hashes}}:
                return version, {
                    path: str(text) for path, text in hashes.items() if _is_below(path)
                }
    except ValueError:
        pass
    return 0, {}


def _is_below(path: object) -> TypeGuard[str]:
    return isinstance(path, str) and re.fullmatch(r"(\w+/)*\w+\.\w+", path) is not None


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a project, filling in a plan."""

    project: Project
    recorded: Mapping[str, str]
    force: bool
    made: Plan

    def at_module(self, path: str, content: bytes) -> None:
        target = self.project.functions / path
        if self._is_barred(path, target):
            return
        if not target.exists():
            self.made.writes[target] = content
            return
        found = _plain(target.read_bytes())
        if found == content:
            self.made.unchanged += 1
        elif self._is_as_left(path, found) or self._may_go(path, target, found):
            self.made.writes[target] = content
            self.made.updated.append(path)

    def at_starter(self, path: str, content: bytes) -> None:
        target = self.project.functions / path
        there = target if target.exists() else target.with_suffix(".js")
        if not there.exists():
            self.made.writes[target] = content
            return
        found = _plain(there.read_bytes())
        if there == target and found == content:
            self.made.unchanged += 1
        elif there == target and self._is_as_left(path, found):
            self.made.writes[target] = content
            self.made.updated.append(path)
        else:
            self.made.kept.append(there.name)

    def at_leftover(self, path: str) -> None:
        target = self.project.functions / path
        if not target.is_file():
            return
        found = _plain(target.read_bytes())
        if self._is_as_left(path, found) or self._may_go(path, target, found):
            self.made.removes.append(target)

    def _is_as_left(self, path: str, found: bytes) -> bool:
        return self.recorded.get(path) == _hash(found)

    def _is_barred(self, path: str, target: Path) -> bool:
        """Whether something other than a file of ours can never be replaced here."""
        others = [target.with_suffix(suffix) for suffix in _OTHER_SUFFIXES]
        # Convex takes both for one module, and does not follow linked folders.
        shadows = [other for other in others if other.exists()]
        if shadows:
            self.made.obstacles.append(
                f"{self._shown(shadows[0])} is yours, and the same module for Convex as "
                f"{target.name}, which is ours. Rename yours."
            )
        for folder in (*target.parents[: path.count("/")][::-1], target):
            is_right = folder.is_file() if folder == target else folder.is_dir()
            if (folder.exists() or folder.is_symlink()) and (folder.is_symlink() or not is_right):
                kind = "file" if folder == target else "folder"
                line = f"{self._shown(folder)} is not a plain {kind}. Rename it."
                if line not in self.made.obstacles:
                    self.made.obstacles.append(line)
                return True
        return bool(shadows)

    def _may_go(self, path: str, target: Path, found: bytes) -> bool:
        """Whether a file that is not as we left it gives way: a copy of it is kept then."""
        shown = self._shown(target)
        if path in self.recorded or _WRITTEN in found:
            why = f"{shown} is ours, and was edited. --force keeps a copy of it and goes on."
        elif path.startswith("mastra/") and MASTRA_PACKAGE in found:
            why = (
                f"{shown} is Mastra's own handler, which whoever has the URL may call. "
                "--force puts ours there, which asks for the key, and keeps a copy."
            )
        else:
            self.made.obstacles.append(f"{shown} is yours. Rename it: ours needs this path.")
            return False
        if self.force:
            self.made.copies.append(target)
        else:
            self.made.obstacles.append(why)
        return self.force

    def _shown(self, target: Path) -> str:
        below = target.relative_to(self.project.functions).as_posix()
        return f"{self.project.shown_functions}/{below}"


def carry_out(project: Project, made: Plan) -> list[Path]:
    """Do what a plan says: all of it, or, when a file cannot be written, nothing.

    Returns:
        The copies that were kept.

    Raises:
        ConfigurationError: There are obstacles, or a file cannot be written.
    """
    if made.obstacles:
        lines = "\n".join(f"- {obstacle}" for obstacle in made.obstacles)
        raise ConfigurationError(f"Nothing was written, because of what is in the way:\n{lines}")
    if not made.writes and not made.removes:
        return []
    undo = _Undo()
    try:
        return _replace(project, made, undo)
    except OSError as error:
        undo.put_back()
        raise ConfigurationError(
            f"{error.filename} cannot be written: {error.strerror}. Nothing was changed."
        ) from error


@dataclass(frozen=True, slots=True)
class _Undo:
    """What there was before: the content of files, None for those that were not there."""

    files: dict[Path, bytes | None] = field(default_factory=dict)
    new_folders: list[Path] = field(default_factory=list)

    def remember(self, target: Path) -> None:
        self.files[target] = target.read_bytes() if target.exists() else None

    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir()
            self.new_folders.append(folder)

    def put_back(self) -> None:
        for target, content in self.files.items():
            target.unlink(missing_ok=True)
            if content is not None:
                target.write_bytes(content)
        for folder in reversed(self.new_folders):
            folder.rmdir()


def _replace(project: Project, made: Plan, undo: _Undo) -> list[Path]:
    undo.make_folder(project.functions)
    copies = []
    # Beside the targets, so that moving a file there is one step; nothing in it ends in .ts.
    with tempfile.TemporaryDirectory(prefix=".convex-memory-", dir=project.functions) as name:
        staged = {target: Path(name, str(n)) for n, target in enumerate(made.writes)}
        for target, content in made.writes.items():
            staged[target].write_bytes(content)
        for target in made.copies:
            copy = _free_name(target)
            undo.remember(copy)
            copy.write_bytes(target.read_bytes())
            copies.append(copy)
        for target, file in staged.items():
            undo.make_folder(target.parent)
            undo.remember(target)
            file.replace(target)
        for target in made.removes:
            undo.remember(target)
            target.unlink()
    for folder in {target.parent for target in made.removes}:
        if folder != project.functions and not any(folder.iterdir()):
            folder.rmdir()
    return copies


def _free_name(target: Path) -> Path:
    copy, number = target.with_name(f"{target.name}.bak"), 1
    while copy.exists():
        number += 1
        copy = target.with_name(f"{target.name}.{number}.bak")
    return copy


def _plain(content: bytes) -> bytes:
    # Git may have changed the line ends on its way through a checkout on Windows.
    return content.replace(b"\r\n", b"\n")


def _hash(content: bytes) -> str:
    return hashlib.sha256(_plain(content)).hexdigest()
