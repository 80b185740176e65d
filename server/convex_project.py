"""A Convex project on disk: where its functions are, and which npm commands it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from convex_memory.errors import ConfigurationError

CONVEX_NPM_VERSION: Final = "1.48.0"
"""The version of npm `convex` that the functions are tested with."""
CONVEX_NPM_LEAST: Final = (1, 48)
"""The first version that has everything they use (`ctx.meta.getSnapshotTs`)."""
TYPESCRIPT_NPM_VERSION: Final = "5.9.3"

_PACKAGE: Final = "package.json"
_SETTINGS: Final = "convex.json"
_FUNCTIONS: Final = "convex"


@dataclass(frozen=True, slots=True)
class Project:
    """A Convex project.

    Args:
        root: The folder in which its commands are run.
        functions: The folder of its functions; it need not be there.
        is_new: Whether nothing of the project is there yet.
    """

    root: Path
    functions: Path
    is_new: bool = False

    @property
    def shown_functions(self) -> str:
        """The functions folder as seen from the root, or whole when it lies elsewhere."""
        if self.functions.is_relative_to(self.root):
            return self.functions.relative_to(self.root).as_posix()
        return str(self.functions)

    def new_package(self) -> bytes:
        """Return a `package.json` for a project that has nothing but our functions."""
        name = re.sub(r"[^a-z0-9-]+", "-", self.root.name.lower()).strip("-")
        package = {
            "name": name or "memory",
            "private": True,
            "type": "module",
            "dependencies": {"convex": f"^{CONVEX_NPM_VERSION}"},
            "devDependencies": {"typescript": f"^{TYPESCRIPT_NPM_VERSION}"},
        }
        return json.dumps(package, indent=2).encode() + b"\n"

    def install_command(self) -> str | None:
        """Return the npm command that is needed before a deploy; None when there is none.

        Raises:
            ConfigurationError: `package.json` cannot be read.
        """
        wanted = f"npm install convex@{CONVEX_NPM_VERSION}"
        package = _read_object(self.root / _PACKAGE)
        declared = {
            name for key in ("dependencies", "devDependencies") for name in package.get(key) or ()
        }
        if "convex" not in declared:
            return wanted
        version = self._installed_version()
        if version is None:
            return "npm install"
        return wanted if version < CONVEX_NPM_LEAST else None

    def _installed_version(self) -> tuple[int, ...] | None:
        # A workspace has its packages further up.
        for folder in (self.root, *self.root.parents):
            text = _read_object(folder / "node_modules" / "convex" / _PACKAGE).get("version")
            if isinstance(text, str):
                return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
        return None


def find_project(folder: Path) -> Project:
    """Return the project that a folder is, or whose functions folder it is.

    Args:
        folder: The root of a project, its functions folder, or a folder that is empty or absent,
            which becomes a new project.

    Raises:
        ConfigurationError: It is a file, or a folder with something else in it, or `convex.json`
            cannot be read.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file. Name the folder of a Convex project.")
    if (folder / _SETTINGS).is_file():
        return Project(folder, _functions_of(folder))
    around = next((above for above in folder.parents if _is_root(above)), None)
    if around is not None and _functions_of(around) == folder:
        return Project(around, folder)
    if _is_root(folder):
        return Project(folder, _functions_of(folder))
    if _holds_functions(folder):
        return Project(around or folder.parent, folder)
    if not folder.exists() or all(entry.name == ".git" for entry in folder.iterdir()):
        return Project(folder, folder / _FUNCTIONS, is_new=True)
    if (folder / _FUNCTIONS).is_dir():
        return Project(folder, folder / _FUNCTIONS)
    raise ConfigurationError(
        f"{folder} is no Convex project: it has neither {_PACKAGE} nor {_SETTINGS}. Name the "
        "folder that has, or its functions folder, or one that is empty."
    )


def _is_root(folder: Path) -> bool:
    return (folder / _PACKAGE).is_file() or (folder / _SETTINGS).is_file()


def _holds_functions(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("_generated", "schema.ts", "schema.js"))


def _functions_of(root: Path) -> Path:
    """The functions folder of a project, as Convex's command finds it."""
    if (root / _SETTINGS).is_file():
        named = _read_object(root / _SETTINGS).get("functions", _FUNCTIONS)
        if not isinstance(named, str) or not named:
            raise ConfigurationError(f'{root / _SETTINGS} has no folder under "functions".')
        return (root / named).resolve()
    dependencies = _read_object(root / _PACKAGE).get("dependencies") or {}
    in_source = "react-scripts" in dependencies
    return root / "src" / _FUNCTIONS if in_source else root / _FUNCTIONS


def _read_object(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty when there is no file."""
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file} must hold a JSON object.")
    return value
