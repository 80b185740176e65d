"""The least an MCP server can be on the bare SDK, over streamable HTTP: one tool, doing nothing.

What ours is held against. Run by path, so that it imports nothing of this project. Its one argument
is the port.
"""

from __future__ import annotations

import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("bare", log_level="WARNING")


@server.tool()
async def noop() -> str:
    """Do nothing."""
    return "ok"


if __name__ == "__main__":
    app = server.streamable_http_app(stateless_http=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
