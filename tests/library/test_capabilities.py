"""What a deployment is asked, how often, and what is remembered."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from convex_memory.capabilities import VERSION_FUNCTION, Capabilities
from convex_memory.deployment import Kind
from convex_memory.errors import (
    DeploymentError,
    FunctionNotDeployed,
    InvalidResponse,
    Unauthorized,
    Unreachable,
)
from convex_memory.values import Value

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Answering:
    """A deployment that gives these answers one after the other."""

    def __init__(self, *answers: Value | DeploymentError) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Kind, str]] = []

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.calls.append((kind, path))
        answer = self.answers.pop(0)
        if isinstance(answer, DeploymentError):
            raise answer
        return answer

    async def aclose(self) -> None:
        return


async def test_the_deployment_is_asked_once() -> None:
    deployment = Answering({"version": "1", "functions": ["memory/a:b"]})
    capabilities = Capabilities(deployment)
    assert await capabilities.has("memory/a:b") is True
    assert await capabilities.has("memory/a:c") is False
    assert deployment.calls == [("query", VERSION_FUNCTION)]


async def test_a_deployment_without_our_functions_has_none_and_is_asked_once() -> None:
    deployment = Answering(FunctionNotDeployed("no such function"))
    capabilities = Capabilities(deployment)
    assert await capabilities.has("memory/a:b") is False
    assert await capabilities.has("memory/a:b") is False
    assert len(deployment.calls) == 1


@pytest.mark.parametrize("error", [Unreachable("gone"), Unauthorized("no")])
async def test_no_answer_is_raised_and_not_remembered(error: DeploymentError) -> None:
    deployment = Answering(error, {"functions": ["memory/a:b"]})
    capabilities = Capabilities(deployment)
    with pytest.raises(type(error)):
        await capabilities.has("memory/a:b")
    assert await capabilities.has("memory/a:b") is True


@pytest.mark.parametrize("answer", [None, [], {"version": "1"}, {"functions": "all"}])
async def test_an_answer_that_is_no_list_of_functions_is_reported(answer: Value) -> None:
    with pytest.raises(InvalidResponse, match=VERSION_FUNCTION):
        await Capabilities(Answering(answer)).has("memory/a:b")


# --- What the log says


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_what_is_slower_without_our_functions_is_said_once_a_deployment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = Answering(FunctionNotDeployed("none"), FunctionNotDeployed("none"))
    for _ in range(2):
        capabilities = Capabilities(deployment)
        await capabilities.has("memory/messages:page")
        await capabilities.has("memory/vectors:search")
    [told] = warnings_in(caplog)
    assert told.startswith("This deployment has only Mastra's functions.")
    assert "slower" in told
    assert "`convex-memory functions DIR`" in told
    assert "`npx convex deploy`" in told
    await Capabilities(Answering(FunctionNotDeployed("none"))).has("memory/messages:page")
    assert warnings_in(caplog) == [told, told]
    assert {record.name.partition(".")[0] for record in caplog.records} == {"convex_memory"}


async def test_functions_of_an_older_version_are_said_to_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capabilities = Capabilities(Answering({"functions": ["memory/a:b"]}))
    await capabilities.has("memory/a:c")
    await capabilities.has("memory/a:d")
    [told] = warnings_in(caplog)
    assert told.startswith("This deployment has our functions in an older version, without ")
    assert "memory/a:c" in told


async def test_nothing_is_said_of_a_deployment_that_lacks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capabilities = Capabilities(Answering({"functions": ["memory/a:b"]}))
    assert await capabilities.has("memory/a:b") is True
    assert warnings_in(caplog) == []


class Unhashable(Answering):
    """A deployment that can be put into no set."""

    __hash__ = None  # type: ignore[assignment]


async def test_a_deployment_of_any_make_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    capabilities = Capabilities(Unhashable(FunctionNotDeployed("none")))
    assert await capabilities.has("memory/a:b") is False
    assert await capabilities.has("memory/a:c") is False
    assert len(warnings_in(caplog)) == 1
