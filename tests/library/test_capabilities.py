"""What a deployment is asked, how often, and what is remembered."""

from __future__ import annotations

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
