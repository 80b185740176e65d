"""The least an MCP server can be on the bare SDK: one tool that does nothing, over stdio.

What ours is held against. Run by path, so that it imports nothing of this project.
"""

from __future__ import annotations

from mcp.server import MCPServer

# The SDK's default logs a line for every request; ours does not either.
server = MCPServer("bare", log_level="WARNING")


@server.tool()
async def noop() -> str:
    """Do nothing."""
    return "ok"


if __name__ == "__main__":
    server.run()
