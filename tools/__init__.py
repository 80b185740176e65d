"""The tools, by toolset. This is their table of contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tools.toolset import MemoryTool, Toolset

_NAMES: Final = (
    "memory",
    "vectors",
    "cache",
    "workflows",
    "scores",
    "schedules",
    "channels",
    "background_tasks",
    "observations",
)
"""Toolset → `tools/<name>`, whose variable of the same name is the toolset."""

DEFAULT_TOOLSETS: Final = ("memory", "vectors", "cache")


class _Toolsets(Mapping[str, "Toolset"]):
    """Every toolset by name; its module is loaded when it is first asked for."""

    def __getitem__(self, name: str) -> Toolset:
        if name not in _NAMES:
            raise KeyError(name)
        toolset: Toolset = getattr(import_module(f"{__name__}.{name}"), name)
        return toolset

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


TOOLSETS: Final[Mapping[str, Toolset]] = _Toolsets()


def select(names: Iterable[str], *, read_only: bool = False) -> dict[str, MemoryTool]:
    """Return the tools of these toolsets, or only those of them that change nothing."""
    return {
        name: tool
        for toolset in names
        for name, tool in TOOLSETS[toolset].tools.items()
        if tool.read_only or not read_only
    }
