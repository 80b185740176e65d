"""The one seam under every adapter: a deployment whose functions can be called.

`EmbeddedDeployment` runs the functions in this process over SQLite; `RemoteDeployment` calls
them on Convex over HTTP. Adapters are written against this protocol and cannot tell which of
the two they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

from convex_memory.values import Value

Kind = Literal["query", "mutation", "action"]
"""A query reads one snapshot, a mutation is one serializable transaction, an action may do
several of both and is not a transaction."""

STORAGE_FUNCTION: Final = "mastra/storage:handle"
CACHE_FUNCTION: Final = "mastra/cache:handle"
NATIVE_VECTOR_ACTION: Final = "mastra/nativeVector:query"
NATIVE_VECTOR_QUERY: Final = "mastra/nativeVector:read"
NATIVE_VECTOR_MUTATION: Final = "mastra/nativeVector:write"


class Deployment(Protocol):
    """Where functions run."""

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one function and return its value.

        A mutation that returned has been committed durably: it survives the death of this
        process and of the machine. One that raised a `FunctionError` changed nothing. A
        cancelled call has either happened whole or not at all.

        Args:
            kind: What the function was declared as.
            path: `module/path:function`; `module/path.js:function` names the same one.
            args: JSON values. Field names are ASCII, at most 1024 characters and do not
                start with `$`; numbers are finite; strings hold no lone surrogates.
            timeout_ms: How long to wait for the answer, in milliseconds; `0` waits for
                ever, `None` takes the deployment's own default.
            retry: Whether sending the call again after a lost answer is harmless (reads,
                upserts by id). `None` decides by kind: queries yes, others no.

        Returns:
            The function's value. Integral numbers may come as `int` or `float`.

        Raises:
            InvalidArgument: The arguments break the rules above or the function's own.
            FunctionError: The function ran and refused; the subclass and `code` say why.
            FunctionNotDeployed: There is no function at this path.
            DeploymentError: No usable answer; the subclass says whether it may have run.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and files. Calls after this are refused."""
        ...
