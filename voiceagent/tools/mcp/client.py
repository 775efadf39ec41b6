"""MCP servers that a client names for its session. Whoever may connect could have this server call any address of its
network: so they are off by default, and only public or listed hosts are reached."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from voiceagent.section import header_name, header_value
from voiceagent.tools.base import Tool, ToolError, ToolPolicy
from voiceagent.tools.mcp.names import offered
from voiceagent.tools.mcp.source import need_mcp
from voiceagent.tools.settings import ToolsSection

if TYPE_CHECKING:
    import mcp_types

    from voiceagent.tools.mcp.connection import McpConnection
    from voiceagent.tools.mcp.http import Resolve
    from voiceagent.tools.mcp.tools import McpTool

MOST_HEADERS = 32
MOST_HEADER_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Approval:
    """Which calls the client wants to be asked about. Tools of neither set are as `otherwise` says."""

    otherwise: Literal["always", "never"] = "always"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def needed(self, name: str) -> bool:
        return name in self.always or (name not in self.never and self.otherwise == "always")


@dataclass(frozen=True, slots=True)
class ClientServer:
    """What a client says of a server (`{"type": "mcp", …}` of the Realtime protocol). `allowed` None allows all tools.
    `authorization` is a token, sent as a bearer's."""

    label: str
    url: str
    authorization: SecretStr | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    allowed: frozenset[str] | None = None
    approval: Approval = Approval()


class ClientMcp:
    """A ToolSource: one such server, for one session. `taken` are names that its tools may not have: those that clash
    are offered as `<label>_<name>`."""

    def __init__(
        self,
        settings: ToolsSection,
        server: ClientServer,
        *,
        taken: Collection[str] = (),
        resolve: "Resolve | None" = None,
    ) -> None:
        self.server = server
        self._label = next(iter(offered([server.label])))[:31]
        """Of letters that names and logs can have."""
        self._settings = settings
        self._taken = frozenset(taken)
        self._resolve = resolve
        self._connection: McpConnection | None = None
        self._tools: tuple[McpTool, ...] = ()

    async def open(self) -> None:
        """Connect and list the tools, within `client_mcp_seconds`. Raises ToolError; the message is for the client."""
        if not self._settings.client_mcp:
            raise ToolError("MCP servers of clients are not allowed here")
        try:
            async with asyncio.timeout(self._settings.client_mcp_seconds):
                await self._connect()
        except TimeoutError:
            await self.close()
            raise ToolError("the MCP server does not answer") from None
        except BaseException:
            await self.close()
            raise

    def tools(self) -> "tuple[McpTool, ...]":
        return self._tools

    def needs_approval(self, tool: Tool) -> bool:
        """Whether the client wants to be asked before this tool of the server is called."""
        return any(tool is mine and self.server.approval.needed(mine.name) for mine in self._tools)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.stop()

    async def _connect(self) -> None:
        await need_mcp("[tools] client_mcp")
        from voiceagent.tools.mcp.connection import McpConnection
        from voiceagent.tools.mcp.http import Allow, streams

        allow = Allow(self._settings.client_mcp_hosts, self._resolve)
        allow.check(self.server.url)
        seconds = self._settings.client_mcp_seconds
        transport = partial(streams, self._label, self.server.url, _headers(self.server), seconds, allow)
        self._connection = McpConnection(self._label, transport, self._take, connect_seconds=seconds)
        self._connection.start()
        await self._connection.tried.wait()
        if not self._connection.connected:
            raise ToolError("the MCP server cannot be reached")

    def _take(self, listed: "Sequence[mcp_types.Tool]") -> None:
        from voiceagent.tools.mcp.tools import tools_of

        assert self._connection is not None
        clash = any(name in self._taken for name in offered(tool.name for tool in listed))
        self._tools = tools_of(
            self._connection,
            listed,
            prefix=f"{self._label}_" if clash else "",
            allowed=self.server.allowed,
            policy_of=_policy,
            taken=self._taken,
        )


class McpPackage:
    """A ToolSource without tools: has the package at hand before a client needs it in the middle of others' talks."""

    label = "client_mcp"

    async def open(self) -> None:
        await need_mcp("[tools] client_mcp")

    def tools(self) -> tuple[Tool, ...]:
        return ()

    async def close(self) -> None: ...


def _policy(name: str, own: ToolPolicy) -> ToolPolicy:
    """Whether to ask is the client's to say, by `Approval`."""
    return ToolPolicy()


def _headers(server: ClientServer) -> dict[str, str]:
    """Raises ToolError for what cannot be sent, without its words."""
    if len(server.headers) > MOST_HEADERS:
        raise ToolError("too many headers")
    try:
        headers = {header_name(name): header_value(value).get_secret_value() for name, value in server.headers.items()}
        if server.authorization is not None:
            headers["Authorization"] = f"Bearer {header_value(server.authorization).get_secret_value()}"
    except ValueError:
        raise ToolError("a header cannot be sent") from None
    if any(len(value) > MOST_HEADER_CHARS for value in headers.values()):
        raise ToolError("a header is too long")
    return headers
