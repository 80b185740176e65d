"""A deployment seen by one principal: every function runs behind the deployment's own gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.capabilities import DEPLOY, Capabilities
from convex_memory.deployment import Deployment, Kind
from convex_memory.errors import ConfigurationError
from convex_memory.values import Value

GATES: Final[Mapping[Kind, str]] = {
    "query": "memory/principal:query",
    "mutation": "memory/principal:mutation",
    "action": "memory/principal:action",
}


class ScopedDeployment:
    """A `Deployment` in which there is nothing but what belongs to one principal.

    The functions run behind `memory/principal:*`, which keeps the call within the principal's own
    threads, messages, indexes and cache keys. Ids, names and errors are those of a deployment that
    the principal has alone. What principals may not call is `Forbidden`.

    Args:
        deployment: Where the functions run. It stays the caller's to close.
        principal: Whose memory it is.
    """

    def __init__(self, deployment: Deployment, principal: str) -> None:
        self._deployment = deployment
        self._principal = principal

    def __repr__(self) -> str:
        return f"ScopedDeployment({self._deployment!r}, {self._principal!r})"

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one function for the principal (see `Deployment.call`).

        Raises:
            Forbidden: Principals may not call it.
            FunctionNotDeployed: The deployment has no gate.
        """
        return await self._deployment.call(
            kind,
            GATES[kind],
            {"principal": self._principal, "path": path, "args": args},
            timeout_ms=timeout_ms,
            retry=retry,
        )

    async def aclose(self) -> None:
        """Close nothing: the deployment is shared."""


async def require_gate(capabilities: Capabilities) -> None:
    """Refuse to serve principals from a deployment that cannot keep them apart.

    Raises:
        ConfigurationError: The deployment has no `memory/principal:*`.
        DeploymentError: It gave no usable answer.
    """
    for path in GATES.values():
        if not await capabilities.has(path):
            raise ConfigurationError(
                f"This deployment cannot keep the memories of callers apart: it has no {path}. "
                f"{DEPLOY}"
            )
