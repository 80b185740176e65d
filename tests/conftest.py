"""No test leaves anything behind in the process that the next one shares."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Final

import pytest
from sse_starlette.sse import AppStatus

from convex_memory.embedded import database_file

LONG: Final = (
    "packaging/",
    "library/test_vector_",
    "application/test_cross_client.py",
    "application/test_durability.py",
    "application/test_meaning.py",
    "application/test_cli.py",
    "application/test_backup.py",
    "application/test_folder_faults.py",
)
"""Where files begin that take long with few tests, as those do that start processes."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have one worker more than there are cores: many tests wait for processes they started."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that one worker does not end long after the others."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0].partition("tests/")[2]
        return next((at for at, name in enumerate(LONG) if file.startswith(name)), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def disks_are_not_waited_for(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have memories in this process leave to the system when a commit reaches the disk.

    Half the time of most tests would be that of the disk. What a commit promises is tested where
    `synced` stands, and in processes of their own, which know nothing of this.
    """
    if request.node.get_closest_marker("synced") is None:
        monkeypatch.setattr(database_file, "SYNCHRONOUS", "OFF")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Put back what commands run in this process set for the whole of it."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    # A server that ended in this process ends every later event stream in it.
    AppStatus.should_exit = False
    yield
    root.setLevel(level)
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
