"""How MCP travels: stdio and streamable HTTP."""
