"""One suite over every deployment that there is."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.store import ConvexStore
from convex_memory.vector import ConvexVector
from tests.bridge.serving import Bridge
from tests.contract import legs
from tests.contract.legs import DECLARED, DEFAULT, EMBEDDED_FOLDER, LEGS, Clock, Live
from tests.contract.manifest import REQUIREMENTS
from tests.contract.requirements import LIVE

BRIDGED: Final = {"convex-test": "convex_test_bridge", "mastra": "mastra_bridge"}
"""The fixtures with the Node.js processes that serve some of the legs."""
CHOSEN: Final = pytest.StashKey[list[str]]()
DEPLOYED: Final = pytest.StashKey[Live | None]()
SEEN_EMPTY: Final = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deployments",
        help=f"the legs of the contract suite to run, separated by commas; of {', '.join(LEGS)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    deployed = live_deployment(os.environ)
    config.stash[DEPLOYED] = deployed
    config.stash[CHOSEN] = chosen_legs(config.getoption("--deployments", None), deployed)


def live_deployment(environment: Mapping[str, str]) -> Live | None:
    """What the environment says of a deployment on Convex; None when it names none."""
    url, key = environment.get("CONVEX_TEST_URL"), environment.get("CONVEX_TEST_ADMIN_KEY")
    if not url:
        return None
    if not key:
        raise pytest.UsageError("CONVEX_TEST_URL needs CONVEX_TEST_ADMIN_KEY beside it.")
    return Live(url, key, environment.get("CONVEX_TEST_STORAGE_FUNCTION") or STORAGE_FUNCTION)


def chosen_legs(named: str | None, deployed: Live | None) -> list[str]:
    """The legs to run: those named, or else all that there is a deployment for."""
    if named is None:
        return [*DEFAULT, *(["live"] if deployed is not None else [])]
    chosen = named.split(",")
    unknown = [name for name in chosen if name not in LEGS]
    if unknown:
        raise pytest.UsageError(f"No leg {', '.join(unknown)}; there are {', '.join(LEGS)}.")
    lacking = [name for name in chosen if name in LIVE and deployed is None]
    if lacking:
        raise pytest.UsageError(
            f"The leg {lacking[0]} needs CONVEX_TEST_URL and CONVEX_TEST_ADMIN_KEY; "
            "see docs/testing-live.md."
        )
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "leg" in metafunc.fixturenames:
        chosen = metafunc.config.stash[CHOSEN]
        metafunc.parametrize("leg", chosen, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    excluded = [item for item in items if is_excluded(item)]
    if excluded:
        config.hook.pytest_deselected(items=excluded)
        items[:] = [item for item in items if not is_excluded(item)]


def is_excluded(item: pytest.Item) -> bool:
    """Whether a test shows a requirement that its leg cannot show."""
    callspec = getattr(item, "callspec", None)
    leg = callspec.params.get("leg") if callspec is not None else None
    names = [mark.args[0] for mark in item.iter_markers("requirement")]
    return any(leg in REQUIREMENTS[name].excluded for name in names if name in REQUIREMENTS)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def leg(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namespace() -> str:
    return f"n{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def convex_test_bridge() -> Iterator[Bridge]:
    with legs.bridge_of("convex-test") as running:
        yield running


@pytest.fixture(scope="session")
def mastra_bridge() -> Iterator[Bridge]:
    with legs.bridge_of("mastra") as running:
        yield running


@pytest.fixture
def bridge(leg: str, clock: Clock, request: pytest.FixtureRequest) -> Bridge | None:
    """The bridge of a leg that has one, empty, its clock that of the test."""
    if leg not in BRIDGED:
        return None
    running: Bridge = request.getfixturevalue(BRIDGED[leg])
    running.reset(clock.now_ms())
    clock.follow(running.set_clock)
    return running


@pytest.fixture
async def deployment(
    leg: str,
    clock: Clock,
    bridge: Bridge | None,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> AsyncIterator[Deployment]:
    """The deployment of the leg; empty, unless others use it."""
    deployed = pytestconfig.stash[DEPLOYED]
    entered: AbstractAsyncContextManager[Deployment]
    if bridge is not None:
        entered = legs.bridged(bridge)
    elif leg in LIVE and deployed is not None:
        entered = legs.live(deployed, clock)
    elif leg == "embedded-http":
        entered = legs.embedded_http(tmp_path / EMBEDDED_FOLDER, clock)
    else:
        entered = legs.embedded(tmp_path / EMBEDDED_FOLDER, clock)
    async with entered as deployment:
        if leg == "live-empty" and not pytestconfig.stash.get(SEEN_EMPTY, False):
            await legs.require_empty(deployment)
            pytestconfig.stash[SEEN_EMPTY] = True
        yield deployment


@pytest.fixture
def store(deployment: Deployment, clock: Clock) -> ConvexStore:
    return ConvexStore(deployment, now_ms=clock.now_ms)


@pytest.fixture
def vector(deployment: Deployment) -> ConvexVector:
    return ConvexVector(deployment)


@pytest.fixture
def native_indexes(leg: str, namespace: str) -> Mapping[str, NativeIndex]:
    # Tables of tests/bridge/contract_tables.ts, where a schema has to declare them.
    table = "contract_articles" if leg in DECLARED else f"{namespace}_articles"
    return {"articles": NativeIndex(table, dimension=3, filter_fields=("lang", "topic"))}


@pytest.fixture
def native_vector(
    deployment: Deployment, native_indexes: Mapping[str, NativeIndex]
) -> ConvexNativeVector:
    return ConvexNativeVector(deployment, native_indexes)


@pytest.fixture
def cache(deployment: Deployment, clock: Clock, namespace: str) -> ConvexServerCache:
    return ConvexServerCache(deployment, key_prefix=f"{namespace}:", now_ms=clock.now_ms)
