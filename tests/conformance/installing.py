"""What judges the server from outside: npm packages, and the Node.js they need, pinned.

They go into a cache folder of the user, once for each package-lock.json: they are large, and no
part of this project.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from platformdirs import user_cache_path

HERE: Final = Path(__file__).parent
NODE_MINIMUM: Final = (22, 19)
INSTALL_TIMEOUT_S: Final = 600
_SPECIFICATION: Final = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Judges:
    """The installed packages.

    Attributes:
        node: A Node.js that is new enough for them.
        packages: Their `node_modules`.
    """

    node: Path
    packages: Path

    def run(
        self, script: Path, *arguments: str, timeout_s: float, environment: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end, with nothing of the developer's in its environment."""
        path = f"{self.node.parent}{os.pathsep}{os.defpath}"
        return subprocess.run(
            [str(self.node), str(script), *arguments],
            cwd=self.packages.parent,
            env={"PATH": path, "HOME": str(self.packages.parent / "home"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
        )


def judges() -> Judges:
    """Return the packages, installed now if they are not; a test failure if they cannot be."""
    specification = b"".join((HERE / name).read_bytes() for name in _SPECIFICATION)
    version = hashlib.sha256(specification).hexdigest()[:16]
    folder = user_cache_path("convex-memory") / "conformance" / version
    folder.mkdir(parents=True, exist_ok=True)
    packages = folder / "node_modules"
    # One of the processes that run tests installs; the others wait for it.
    with (folder / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        # npm writes this file last, so a broken installation does not have it.
        if not (packages / ".package-lock.json").is_file():
            _install(folder)
    return Judges(_node(packages), packages)


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("These tests need npm on the PATH, to install what judges us.", pytrace=False)
    for name in _SPECIFICATION:
        shutil.copyfile(HERE / name, folder / name)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"npm ci ended with {done.returncode}.\n{done.stderr}", pytrace=False)


def _node(packages: Path) -> Path:
    """Return the Node.js that was installed, or that of this machine where npm has none for it."""
    for installed in packages.glob("node-*/bin/node"):
        return installed
    found = shutil.which("node")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        version = tuple(int(part) for part in said.stdout.strip().removeprefix("v").split(".")[:2])
        if version >= NODE_MINIMUM:
            return Path(found)
    pytest.fail(
        f"These tests need Node.js {'.'.join(map(str, NODE_MINIMUM))} or later.", pytrace=False
    )
