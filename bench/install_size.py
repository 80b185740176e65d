"""How much disk the default installation takes: the wheel and everything pip brings with it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from bench.report import Report
from tests.packaging.installing import built, installed, packages_of

MEGABYTE: Final = 1_000_000
TOTAL_MB_MOST: Final = 300
NOT_OURS: Final = frozenset({"pip", "setuptools"})
"""What a new environment has anyway."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    asked = parser.parse_args()
    report = Report("install_size", asked)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = built(folder / "wheel")
        wheel_mb = wheel.stat().st_size / MEGABYTE
        installed(wheel, folder / "environment")
        packages = packages_of(folder / "environment")
        found = [each for each in distributions(path=[str(packages)]) if each.name not in NOT_OURS]
        sizes = [(each.name, each.version, size_of(each) / MEGABYTE) for each in found]
    total = sum(size for _, _, size in sizes)
    report.table("our wheel", ("file", "MB"), [(wheel.name, wheel_mb)])
    report.table(
        "installed, with bytecode",
        ("package", "version", "MB"),
        [
            *sorted(sizes, key=lambda row: -row[2]),
            (f"total of {len(sizes)}", "", total),
        ],
    )
    report.require("installed MB,", total, at_most=TOTAL_MB_MOST)
    return report.finish()


def size_of(distribution: Distribution) -> int:
    """Return the bytes of every file that pip lists for a package."""
    files = (Path(str(distribution.locate_file(each))) for each in distribution.files or ())
    return sum(path.stat().st_size for path in files if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
