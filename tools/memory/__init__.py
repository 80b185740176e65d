"""The `memory` toolset: conversations, search and working memory."""

from __future__ import annotations

from tools.memory import recalling, removing, saving, searching, threads, working
from tools.memory.toolset import memory

__all__ = ["memory", "recalling", "removing", "saving", "searching", "threads", "working"]
