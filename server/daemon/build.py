"""Which code runs here: the version, and whether a checkout has changed since."""

from __future__ import annotations

import os
import re
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_PACKAGES = ("convex_memory", "server", "tools")
_UNKNOWN = "0"


class Build:
    """One state of the code.

    Args:
        root: The checkout, or the folder that the application is installed in.
        version: Of the distribution.
        stamp: When its newest file was written, in nanoseconds.
        fingerprint: The same for the same files, and hardly for others.
    """

    def __init__(self, root: str, version: str, stamp: int, fingerprint: str) -> None:
        self.root = root
        self.version = version
        self.stamp = stamp
        self.fingerprint = fingerprint

    @classmethod
    def here(cls) -> Build:
        """Return the state of the code on the disk, as it is now."""
        application = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        package, name = os.path.split(application)
        if name == "_app":
            installed = _installed(os.path.dirname(package), application)
            if installed is not None:
                return installed
        return cls(application, _declared(application), *_written(application))

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Build:
        """Return the build that another process told of.

        Raises:
            KeyError, ValueError: It told something else.
        """
        return cls(
            str(told["root"]), str(told["version"]), int(told["stamp"]), str(told["fingerprint"])
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "root": self.root,
            "version": self.version,
            "stamp": self.stamp,
            "fingerprint": self.fingerprint,
        }

    def is_same(self, other: Build) -> bool:
        """Whether both run the same code."""
        return (self.version, self.fingerprint) == (other.version, other.fingerprint)

    def is_newer(self, other: Build) -> bool:
        """Whether this code takes the place of the other's, which started before."""
        if self.root == other.root:
            # Whoever looked at the files last knows what they are.
            return not self.is_same(other)
        return (_parts(self.version), self.stamp) > (_parts(other.version), other.stamp)


def _parts(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _installed(site: str, application: str) -> Build | None:
    """Return the build of an installed distribution, by the list of its files."""
    for name in os.listdir(site):
        if name.startswith("convex_memory-") and name.endswith(".dist-info"):
            try:
                record = os.stat(os.path.join(site, name, "RECORD"))
            except OSError:
                continue
            version = name.removeprefix("convex_memory-").removesuffix(".dist-info")
            fingerprint = f"{record.st_mtime_ns:x}-{record.st_size:x}"
            return Build(application, version, record.st_mtime_ns, fingerprint)
    return None


def _declared(checkout: str) -> str:
    try:
        with open(os.path.join(checkout, "pyproject.toml"), encoding="utf-8") as file:
            found = re.search(r'^version\s*=\s*"([^"]+)"', file.read(), re.MULTILINE)
    except OSError:
        return _UNKNOWN
    return found[1] if found else _UNKNOWN


def _written(root: str) -> tuple[int, str]:
    """Return when the newest module was written, and a checksum over all of them."""
    newest = checksum = 0
    for name in _PACKAGES:
        for path, written, size in _modules(os.path.join(root, name)):
            newest = max(newest, written)
            # A sum, since folders are read in any order.
            checksum += zlib.crc32(f"{path} {written} {size}".encode("utf-8", "surrogateescape"))
    return newest, f"{checksum:x}"


def _modules(folder: str) -> Iterator[tuple[str, int, int]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(".py"):
            status = entry.stat()
            yield entry.path, status.st_mtime_ns, status.st_size
        elif entry.is_dir(follow_symlinks=False) and entry.name[0] not in "._":
            yield from _modules(entry.path)
