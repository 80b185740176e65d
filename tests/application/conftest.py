"""One caller for every test of the tools."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.settings import Settings
from tests.application.connections import Caller, connected, settings_in
from tests.application.daemons import daemons_in

LEAVING_SECONDS_MAX = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="write tests/application/snapshots/ anew instead of comparing with it",
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture(params=["memory/2026", "http/2025"])
async def caller(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Caller]:
    """An assistant over each transport and each era, paired to keep the suite short."""
    async with connected(str(request.param), settings) as caller:
        yield caller


@pytest.fixture(scope="session", autouse=True)
def no_daemon_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End with no daemon in any folder of a test."""
    yield
    folders = str(tmp_path_factory.getbasetemp())
    until = time.monotonic() + LEAVING_SECONDS_MAX
    while (left := daemons_in(folders)) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
