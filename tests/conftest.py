"""No test leaves anything behind in the process that the next one shares."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from sse_starlette.sse import AppStatus


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
