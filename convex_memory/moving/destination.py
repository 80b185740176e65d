"""Where a file is written: under another name until it is whole."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from convex_memory.errors import StorageFailed
from convex_memory.moving.export_file import STANDARD
from convex_memory.placing import placed

_GZIP_SUFFIX: Final = ".gz"
_GZIP_LEVEL: Final = 4
"""Twice as fast as the default, for files a tenth larger."""


@contextmanager
def opened_for_writing(target: str, *, force: bool) -> Iterator[BinaryIO]:
    """Open a file, or standard output for `-`; one that ends in `.gz` is compressed.

    The file is readable by its owner only. Until the block ends without an error it has another
    name, ending in `.part`, and then all of it is on the disk.

    Args:
        target: The file.
        force: Whether a file that is there already is replaced.

    Raises:
        ConfigurationError: The folder cannot be written to, or the file is there already.
        StorageFailed: The disk is full or failed, or nobody reads the output any more.
    """
    try:
        with _opened(target, force) as stream:
            yield stream
    except OSError as error:
        raise StorageFailed(
            f"{'The output' if target == STANDARD else target} could not be written "
            f"({error.strerror or type(error).__name__}); there is no complete export."
        ) from error


@contextmanager
def _opened(target: str, force: bool) -> Iterator[BinaryIO]:
    if target == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.exists() and not path.is_file() and not path.is_dir():
        # A pipe or a device: there is nothing to replace, and nothing to keep.
        with path.open("wb") as device, _compressed(device, path) as packed:
            yield packed
        return
    with placed(path, force=force) as partial, partial.open("wb") as stream:
        with _compressed(stream, path) as packed:
            yield packed
        stream.flush()


@contextmanager
def _compressed(stream: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix != _GZIP_SUFFIX:
        yield stream
        return
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream) as packed:
        yield cast(BinaryIO, packed)
