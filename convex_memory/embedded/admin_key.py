"""The key that callers of a served embedded deployment must present."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from convex_memory.embedded import ADMIN_KEY_NAME
from convex_memory.errors import ConfigurationError

_KEY_BYTES = 32


def load_or_create(folder: Path) -> tuple[str, Path]:
    """Return the folder's admin key and the file it is in, making both on first use.

    The file is readable by its owner only. Two processes that come first at the same time
    agree on one key.

    Raises:
        ConfigurationError: The file cannot be read or made, or is empty.
    """
    path = folder / ADMIN_KEY_NAME
    try:
        if not path.exists():
            _create(path)
        key = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"The admin key {path} cannot be read or made ({error.strerror}). Make the folder "
            "writable, or set MEMORY_DEPLOYMENT_KEY."
        ) from error
    if not key:
        raise ConfigurationError(f"The admin key {path} is empty. Delete it to have one made.")
    return key, path


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"embedded|{secrets.token_hex(_KEY_BYTES)}\n")
    try:
        # A link appears whole and only where none is: the first of two processes wins.
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
