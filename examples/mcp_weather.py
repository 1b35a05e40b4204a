"""Let a model use the tools of an MCP server: `python examples/mcp_weather.py [model id or folder]`.

The server is this very file, started again as a child process; any other MCP server works the same way.
"""

import sys

from mistralrs import (
    ChatCompletionRequest,
    McpClientConfigPy,
    McpServerConfigPy,
    McpServerSourcePy,
    Runner,
    Which,
    demo,
)


def serve() -> None:
    """An MCP server with one tool."""
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("weather", log_level="ERROR")

    @server.tool()
    def get_weather(city: str) -> str:
        """The weather of a city"""
        return "sunny, 14 degrees"

    server.run()


def chat(model: str) -> None:
    """Ask a model something that it needs the tool for."""
    source = McpServerSourcePy.Process(command=sys.executable, args=[__file__, "serve"])
    server = McpServerConfigPy(id="weather", name="Weather", source=source)
    with Runner(
        which=Which.Plain(model_id=model),
        mcp_client_config=McpClientConfigPy(servers=[server], tool_timeout_secs=20),
    ) as runner:
        print("tools:", [tool.name for tool in runner.mcp_client.tools()])
        request = ChatCompletionRequest(
            messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
            max_tokens=200,
            temperature=0.0,
        )
        response = runner.send_chat_completion_request(request)
        for call in response.agentic_tool_calls or ():
            print(f"{call.name}({call.arguments}) -> {call.result_content}")
        print(response.choices[0].message.content)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        chat(sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path()))
