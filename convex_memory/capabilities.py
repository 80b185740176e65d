"""Which of our own functions a deployment has beside Mastra's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.deployment import Deployment
from convex_memory.errors import FunctionError, FunctionNotDeployed, InvalidResponse

VERSION_FUNCTION: Final = "memory/meta:version"


class Capabilities:
    """The functions of one deployment, asked for once and then remembered.

    Args:
        deployment: Where the functions run.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._functions: frozenset[str] | None = None

    async def has(self, path: str) -> bool:
        """Whether the deployment has this function of ours, for instance `memory/vectors:search`.

        A deployment without `memory/meta:version` has none. What a deployment answered holds
        for the life of this object; no answer is not remembered and is asked for again.

        Raises:
            DeploymentError: The deployment gave no usable answer.
        """
        if self._functions is None:
            self._functions = await self._ask()
        return path in self._functions

    async def _ask(self) -> frozenset[str]:
        try:
            answer = await self._deployment.call("query", VERSION_FUNCTION, {})
        except FunctionNotDeployed:
            return frozenset()
        except FunctionError as error:
            # A production deployment may say no more of a missing function than that the call
            # failed; this one takes no arguments and refuses nobody.
            if type(error) is FunctionError:
                return frozenset()
            raise
        functions = answer.get("functions") if isinstance(answer, Mapping) else None
        if not isinstance(functions, list | tuple):
            raise InvalidResponse(f"{VERSION_FUNCTION} did not answer with a list of functions.")
        return frozenset(path for path in functions if isinstance(path, str))
