"""A real MCP server for tests, by the official package: as a process (`python -m tests.support.tools_mcp_server stdio
LOG`), or on loopback in the test's own loop. What happened to calls is written to LOG, a line each."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ImageContent, ToolAnnotations


def make(log: Path) -> MCPServer:
    server: MCPServer = MCPServer("test")

    def note(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes its time."""
        note("slow began")
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            note("slow cancelled")
            raise
        return "at last"

    @server.tool()
    def refuse() -> str:
        """Never does it."""
        raise ToolError("the shop is closed")

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def delete(what: str) -> str:
        """Deletes it for good."""
        return f"{what} is gone"

    @server.tool(name="weather.now")
    def weather(city: str) -> str:
        """Tells the weather."""
        return f"{city}: 晴"

    @server.tool(name="查询")
    def query() -> str:
        """Looks it up."""
        return "三"

    @server.tool()
    def picture() -> ImageContent:
        """Shows it."""
        return ImageContent(type="image", data="AAAA", mime_type="image/png")

    @server.tool()
    def words(count: int) -> str:
        """Says much."""
        return "word " * count

    @server.tool()
    def crash() -> str:
        """Ends the server."""
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    @server.tool()
    async def learn(name: str, ctx: Context) -> str:
        """Learns a tool."""
        server.add_tool(add, name=name)
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "learnt"

    return server


@asynccontextmanager
async def http_server(log: Path, *, port: int = 0) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """The same by streamable HTTP; yields the address, and the headers of all requests."""
    app = make(log).streamable_http_app(
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )
    seen: list[dict[str, str]] = []

    async def watched(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await app(scope, receive, send)

    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(
            watched, log_config=None, log_level="critical", lifespan="on", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", seen
        finally:
            server.should_exit = True
            await serving
            for task in asyncio.all_tasks():  # sse_starlette leaves one that looks out for the end of any server
                if getattr(task.get_coro(), "__name__", "") == "_shutdown_watcher":
                    task.cancel()
                    await asyncio.wait((task,))


if __name__ == "__main__":
    if sys.argv[1] == "stubborn":  # heeds neither the end of its input nor a polite signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    make(Path(sys.argv[2])).run("stdio")
