"""Files that have their name only once they are whole and on the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convex_memory.errors import ConfigurationError


@contextmanager
def placed(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a hidden, empty file beside `path`; when the block ends without an error, it is `path`.

    The file is readable by its owner only, ends in `.part`, and is gone after an error. Whoever
    writes it closes it before the block ends; here it is brought to the disk.

    Args:
        path: The file to be.
        force: Whether a file that is there already is replaced.

    Raises:
        ConfigurationError: The folder cannot be written to, or the file is there already.
        OSError: The disk failed.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; give the name of a file in it.")
    _refuse_existing(path, force)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    _create(partial)
    try:
        yield partial
        _bring_to_disk(partial, os.O_RDWR)
        _put_in_place(partial, path, force)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _create(partial: Path) -> None:
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"{partial.parent} cannot be written to ({error.strerror}). Give a file in a folder "
            "that exists and is yours."
        ) from error


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigurationError(
            f"{path} is there already; nothing was written. Give another name, or --force to "
            "replace it."
        )


def _put_in_place(partial: Path, path: Path, force: bool) -> None:
    if force:
        partial.replace(path)
    else:
        try:
            # Unlike renaming, this fails where somebody has made the file meanwhile.
            os.link(partial, path)
        except FileExistsError:
            _refuse_existing(path, force)
        except OSError:
            _refuse_existing(path, force)
            partial.replace(path)
    with contextlib.suppress(OSError):
        _bring_to_disk(path.parent, os.O_RDONLY)


def _bring_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
