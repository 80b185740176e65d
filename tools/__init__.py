"""The tools, by toolset. This is their table of contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tools.cache import cache
from tools.memory import memory
from tools.toolset import MemoryTool, Toolset
from tools.vectors import vectors

TOOLSETS: Final[Mapping[str, Toolset]] = {
    toolset.name: toolset for toolset in (memory, vectors, cache)
}
"""Every toolset by name."""

DEFAULT_TOOLSETS: Final = ("memory", "vectors", "cache")


def select(names: Iterable[str], *, read_only: bool = False) -> dict[str, MemoryTool]:
    """Return the tools of these toolsets, or only those of them that change nothing."""
    return {
        name: tool
        for toolset in names
        for name, tool in TOOLSETS[toolset].tools.items()
        if tool.read_only or not read_only
    }
