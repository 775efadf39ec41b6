"""`voiceagent tools`: look at what agents may call, and call it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voiceagent.errors import VoiceagentError
from voiceagent.llm.base import Caller
from voiceagent.settings import load
from voiceagent.tools.base import Tool, ToolSource
from voiceagent.tools.build import make_sources
from voiceagent.tools.mcp.source import McpSource
from voiceagent.tools.toolbox import Failed, Toolbox

T = TypeVar("T")

app = typer.Typer(help="What agents may call.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", "-c", help=r"The TOML file with \[tools].")]
Opened = tuple[tuple[ToolSource, ...], Toolbox]


@app.command("list")
def list_tools(config: Config = None) -> None:
    """Every tool with its source and how it is run."""
    table = Table("tool", "source", "deadline", "on interruption", "filler", "confirm", "description", box=None)

    async def fill(opened: Opened) -> list[str]:
        sources, _ = opened
        for source in sources:
            for tool in source.tools():
                table.add_row(*map(escape, _row(tool, source.label)))
        return [source.label for source in sources if isinstance(source, McpSource) and not source.connected]

    away = _run(config, fill)
    if table.row_count:
        Console().print(table)
    elif not away:
        typer.echo("There are no tools: [tools] configures none.")
    for label in away:
        typer.echo(f"The MCP server {label} is not connected.", err=True)
    if away:
        raise typer.Exit(1)


@app.command()
def call(
    name: Annotated[str, typer.Argument(help="A tool's name, as `list` shows it.")],
    arguments: Annotated[str, typer.Argument(metavar="JSON", help="An object.")] = "{}",
    config: Config = None,
) -> None:
    """Call a tool and print what a model would be told. Nobody is asked first."""

    async def run(opened: Opened) -> str | Failed | None:
        _, toolbox = opened
        tool = toolbox.find(name)
        return await toolbox.run(tool, arguments, Caller(session="cli")) if tool is not None else None

    result = _run(config, run)
    if result is None:
        typer.echo(f"Error: there is no tool {name}; see: voiceagent tools list", err=True)
    else:
        typer.echo(str(result))
    if not isinstance(result, str):
        raise typer.Exit(1)


def _row(tool: Tool, label: str) -> tuple[str, ...]:
    policy = tool.policy
    filler = f"after {policy.filler_ms} ms" if policy.filler_ms else "none"
    description = (tool.spec.description.splitlines() or [""])[0]
    confirm = "yes" if policy.confirm else "no"
    return tool.spec.name, label, f"{policy.deadline_seconds:g} s", policy.on_interrupt, filler, confirm, description


def _run(config: Path | None, work: Callable[[Opened], Awaitable[T]]) -> T:
    """Do something with the tools; an error goes to stderr and ends the command with status 2."""

    async def opened() -> T:
        async with _opened(config) as tools:
            return await work(tools)

    for noisy in ("mcp", "client"):  # their lines may hold what the tools are asked
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        return asyncio.run(opened())
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


@asynccontextmanager
async def _opened(config: Path | None) -> AsyncIterator[Opened]:
    section = load(config).tools
    longest = max((server.connect_seconds for server in section.mcp), default=0.0)
    sources = make_sources(section, wait_seconds=longest + 1)
    toolbox = Toolbox(sources)
    try:
        await toolbox.open()
        yield sources, toolbox
    finally:
        await toolbox.close()
