"""The MCP client: servers of tools and resources, over the official `mcp` package."""
