"""One suite over every deployment that can run here."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.http import create_app
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.remote import RemoteDeployment
from convex_memory.store import ConvexStore
from convex_memory.vector import ConvexVector
from tests.contract.requirements import Requirement

LEGS = ("embedded", "embedded-http")


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self._now = 1_767_225_600_000.0  # 2026-01-01T00:00:00Z

    def now_ms(self) -> float:
        return self._now

    def advance_ms(self, milliseconds: float) -> None:
        self._now += milliseconds


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deployments",
        default=",".join(LEGS),
        help="the legs of the contract suite to run, separated by commas",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "leg" in metafunc.fixturenames:
        chosen = str(metafunc.config.getoption("--deployments", ",".join(LEGS))).split(",")
        metafunc.parametrize("leg", chosen, indirect=True)


@pytest.fixture
def leg(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name not in LEGS:
        pytest.fail(f"unknown leg {name}; there are {', '.join(LEGS)}")
    return name


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namespace() -> str:
    return f"n{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def deployment(leg: str, clock: Clock, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(
            EmbeddedDeployment(tmp_path / "memory", now_ms=clock.now_ms)
        )
        if leg == "embedded":
            yield embedded
            return
        app = create_app(embedded, admin_key="contract-key")
        yield await stack.enter_async_context(
            RemoteDeployment(
                "http://embedded.test",
                "contract-key",
                transport=httpx2.ASGITransport(app=app),
            )
        )


@pytest.fixture
def store(deployment: Deployment, clock: Clock) -> ConvexStore:
    return ConvexStore(deployment, now_ms=clock.now_ms)


@pytest.fixture
def vector(deployment: Deployment) -> ConvexVector:
    return ConvexVector(deployment)


@pytest.fixture
def native_indexes(namespace: str) -> Mapping[str, NativeIndex]:
    return {
        "articles": NativeIndex(
            table_name=f"{namespace}_articles",
            dimension=3,
            filter_fields=("lang", "topic"),
        )
    }


@pytest.fixture
def native_vector(
    deployment: Deployment, native_indexes: Mapping[str, NativeIndex]
) -> ConvexNativeVector:
    return ConvexNativeVector(deployment, native_indexes)


@pytest.fixture
def cache(deployment: Deployment, clock: Clock, namespace: str) -> ConvexServerCache:
    return ConvexServerCache(deployment, key_prefix=f"{namespace}:", now_ms=clock.now_ms)


def all_requirements() -> dict[str, Requirement]:
    """Collect the manifest."""
    from tests.contract import (
        requirements_cache,
        requirements_domains_a,
        requirements_domains_b,
        requirements_scheduling,
        requirements_store,
        requirements_vector,
        requirements_wire,
    )

    return {
        **requirements_store.REQUIREMENTS,
        **requirements_vector.REQUIREMENTS,
        **requirements_cache.REQUIREMENTS,
        **requirements_domains_a.REQUIREMENTS,
        **requirements_domains_b.REQUIREMENTS,
        **requirements_wire.REQUIREMENTS,
        **requirements_scheduling.REQUIREMENTS,
    }
