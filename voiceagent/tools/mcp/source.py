"""MCP servers of the configuration. This module does not need the package `mcp`, what it loads does."""

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from voiceagent import extras
from voiceagent.tools.base import Tool
from voiceagent.tools.settings import McpSection, from_environment, headers_of
from voiceagent.tools.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    import mcp_types

    from voiceagent.tools.mcp.connection import MakeTransport, McpConnection, Streams

log = logging.getLogger(__name__)

IMPORT_SECONDS = 60.0
"""How long loading the package may take: a second, on a slow disk many."""
WAIT_SECONDS = 5.0
"""How long the start waits for servers, so that the first talk finds their tools."""


async def need_mcp(where: str) -> None:
    """Load the package, off the loop. Raises ConfigError when it is not installed."""
    extras.need("mcp", where)
    await off_loop(_load, "tools", IMPORT_SECONDS)


def _load() -> None:
    for name in ("connection", "tools", "http"):
        importlib.import_module(f"voiceagent.tools.mcp.{name}")


class McpSource:
    """The tools of one server. They stay on offer while the server is away: calls then fail at once."""

    def __init__(self, section: McpSection, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.label = section.name
        self._section = section
        self._wait_seconds = wait_seconds
        self._connection: McpConnection | None = None
        self._tools: tuple[Tool, ...] = ()
        self._unknown: set[str] = set()

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.connected

    async def open(self) -> None:
        section = self._section
        where = f"[tools] mcp {section.name}"
        await need_mcp(where)
        from voiceagent.tools.mcp.connection import McpConnection

        self._connection = McpConnection(
            section.name,
            self._transport(where),
            self._take,
            mode=section.mode,
            connect_seconds=section.connect_seconds,
            retry_seconds=section.retry_seconds,
        )
        self._connection.start()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._connection.tried.wait()
        except TimeoutError:
            log.warning("MCP server %s: not connected yet", section.name)

    def tools(self) -> tuple[Tool, ...]:
        return self._tools

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.stop()

    def _transport(self, where: str) -> "MakeTransport":
        """Raises ConfigError for variables that are not set."""
        section = self._section
        if section.url:
            from voiceagent.tools.mcp.http import streams

            headers = headers_of(where, section.headers, section.headers_env)
            return partial(streams, section.name, section.url, headers, section.connect_seconds, None)
        variables = {name: from_environment(f"{where} inherit", name) for name in section.inherit}
        variables |= {name: value.get_secret_value() for name, value in section.env.items()}
        return partial(_process, section, variables)

    def _take(self, listed: "Sequence[mcp_types.Tool]") -> None:
        from voiceagent.tools.mcp.tools import tools_of

        assert self._connection is not None
        section = self._section
        self._tools = tools_of(
            self._connection,
            listed,
            prefix=f"{section.name}_" if section.prefix is None else section.prefix,
            allowed=section.allowed,
            policy_of=section.policy_of,
        )
        unknown = {*section.policies, *(section.allowed or ())} - {tool.name for tool in listed}
        for name in sorted(unknown - self._unknown):
            log.error("MCP server %s: it has no tool %r, which the configuration names", section.name, name)
        self._unknown |= unknown


@asynccontextmanager
async def _process(
    section: McpSection, variables: dict[str, str], on_lost: Callable[[], None]
) -> "AsyncIterator[Streams]":
    """The server as a process of ours. What it writes to its standard error may be users' words: it is not logged."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(
        command=section.command,
        args=list(section.args),
        env=variables,
        cwd=section.cwd,
        encoding_error_handler="replace",
    )
    with open(section.log_file or os.devnull, "a", encoding="utf-8") as errors:  # noqa: ASYNC230 - opened at once
        async with stdio_client(parameters, errors) as (read, write):
            yield read, write
