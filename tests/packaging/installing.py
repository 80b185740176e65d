"""Building the wheel and making environments that have it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def built(folder: Path) -> Path:
    """Build the wheel of this checkout into a folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def unpacked(wheel: Path, environment: Path) -> Path:
    """Make an environment with the wheel beside the dependencies of this run; return its Python.

    Nothing is downloaded.
    """
    venv.create(environment, with_pip=False)
    packages = packages_of(environment)
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return python_of(environment)


def installed(wheel: Path, environment: Path) -> Path:
    """Make an environment, have pip install the wheel with dependencies, and return its Python."""
    venv.create(environment, with_pip=True)
    python = python_of(environment)
    subprocess.run([python, "-m", "pip", "install", "-qq", str(wheel)], check=True)
    return python


def packages_of(environment: Path) -> Path:
    """Where the packages of an environment are."""
    if os.name == "nt":
        return environment / "Lib" / "site-packages"
    return next((environment / "lib").glob("python*")) / "site-packages"


def python_of(environment: Path) -> Path:
    """The Python of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
