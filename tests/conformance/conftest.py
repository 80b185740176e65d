"""One server for all who judge it, and what they need."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.bridge.serving import serving
from tests.conformance.installing import Judges, judges


@pytest.fixture(scope="session")
def outside() -> Judges:
    """What judges the server."""
    return judges()


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`convex-memory serve` with the suite's fixtures; whoever asks is told of changes."""
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path_factory.mktemp("conformance") / "memory"),
        "MEMORY_EMBEDDER": "off",
        # Jobs of the suite take a second, and must be tasks by then.
        "MEMORY_TASK_GRACE_MS": "100",
    }
    command = [sys.executable, "-m", "convex_memory", "serve"]
    with serving([*command, "--port", "0", "--conformance-fixtures"], settings) as url:
        yield f"{url}/mcp"
