"""Which of our own functions a deployment has beside Mastra's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from convex_memory.deployment import Deployment
from convex_memory.errors import FunctionError, FunctionNotDeployed, InvalidResponse

logger = logging.getLogger(__name__)

VERSION_FUNCTION: Final = "memory/meta:version"
DEPLOY: Final = (
    "To deploy ours: `convex-memory functions DIR` writes them into the Convex project in DIR, "
    "`npx convex deploy` there deploys them; then start this again."
)
"""What to do about a function that is missing, as a sentence."""

_TOLD: Final[WeakSet[Deployment]] = WeakSet()
"""Deployments of which the log has said already what they lack."""


class Capabilities:
    """The functions of one deployment, asked for once and then remembered.

    What a deployment lacks, and what is slower for it, is logged as a warning the first time that
    something is missed, once a deployment.

    Args:
        deployment: Where the functions run.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._functions: frozenset[str] | None = None
        self._told = False

    async def has(self, path: str) -> bool:
        """Whether the deployment has this function of ours, for instance `memory/vectors:search`.

        A deployment without `memory/meta:version` has none. What a deployment answered holds
        for the life of this object; no answer is not remembered and is asked for again.

        Raises:
            DeploymentError: The deployment gave no usable answer.
        """
        if self._functions is None:
            self._functions = await self._ask()
        if path in self._functions:
            return True
        self._tell(path, self._functions)
        return False

    def _tell(self, path: str, functions: frozenset[str]) -> None:
        if self._told:
            return
        self._told = True
        # A deployment of the caller's own making may be neither hashable nor weakly referable.
        with suppress(TypeError):
            if self._deployment in _TOLD:
                return
            _TOLD.add(self._deployment)
        logger.warning("%s %s", _without(path) if functions else _WITHOUT_ANY, DEPLOY)

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


_WITHOUT_ANY: Final = (
    "This deployment has only Mastra's functions. Everything works, but slower: recalling a page "
    "or a message's surroundings reads the whole thread, search_memory reads and ranks up to "
    "10,000 messages, list_threads reads all threads, vector_query reads the whole index; saving, "
    "cloning, deleting and updating take several calls that are not one transaction. Missing are "
    "the change feed, the counts of vectors and cached keys, expiry, superseding and restoring: "
    "what is deleted is gone."
)


def _without(path: str) -> str:
    return (
        f"This deployment has our functions in an older version, without {path}. What needs it "
        "goes over Mastra's functions, slower, or is refused where those cannot do it."
    )
