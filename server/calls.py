"""One call of a tool, as it is handed from layer to layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mcp.types import CallToolResult

from tools.adapters import Adapters, ids_of
from tools.toolset import MemoryTool, Progress


@dataclass(frozen=True, slots=True)
class Call:
    """A tool, what it is called with, and for whom.

    Attributes:
        tool: The tool.
        arguments: As the client sent them.
        adapters: Those of the caller.
        key: What the client calls this very call by; None when it does not.
    """

    tool: MemoryTool
    arguments: Mapping[str, Any]
    adapters: Adapters
    key: str | None = None

    async def perform(self, progress: Progress, seed: str | None = None) -> CallToolResult:
        """Run the tool.

        Args:
            progress: Told how far it has come.
            seed: Where given, ids the caller left out are the same whenever it is.
        """
        adapters = self.adapters
        if seed is not None:
            adapters = replace(adapters, new_id=ids_of(seed))
        return await self.tool.call(self.arguments, adapters, progress)

    def arguments_text(self) -> str:
        """Return the arguments as JSON text, the same for the same arguments."""
        return json.dumps(self.arguments, sort_keys=True, separators=(",", ":"))


def refusal_code(result: CallToolResult) -> str | None:
    """Return the code of a failed call; None when it did not fail."""
    if not result.is_error:
        return None
    error = (result.meta or {}).get("convex-memory/error")
    return str(error["code"]) if isinstance(error, Mapping) else "internal"
