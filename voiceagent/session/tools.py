"""Tools of one session: the process's own, and those of servers that the client has named.

A server is asked for its tools in a task of the session; it is closed when the client names it no more, at the latest
with the session. A name that several have is the client's function's, then the process's, then the first server's.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from voiceagent.errors import Refused
from voiceagent.llm.base import ToolSpec
from voiceagent.session.conversation import Conversation, Origin, ToolList
from voiceagent.session.events import Event, ToolsAwaited, ToolsFailed, ToolsListed
from voiceagent.tools.base import Tool, ToolError
from voiceagent.tools.mcp.client import ClientServer
from voiceagent.tools.toolbox import Toolbox

log = logging.getLogger(__name__)

MOST_SERVERS = 8
"""Servers that one client may name."""
UNREACHED = "the MCP server cannot be reached"


class ServerTool(Tool, Protocol):
    @property
    def name(self) -> str:
        """The server's own name for it."""
        ...


class ToolServer(Protocol):
    """A server that a client has named, for one session."""

    async def open(self) -> None:
        """Connect and list the tools, within a deadline. Raises ToolError; the message is for the client."""
        ...

    def tools(self) -> Sequence[ServerTool]: ...

    def needs_approval(self, tool: Tool) -> bool: ...

    async def close(self) -> None:
        """Within a deadline."""
        ...


class MakeServer(Protocol):
    def __call__(self, server: ClientServer, *, taken: Collection[str]) -> ToolServer:
        """`taken` are names that its tools may not have."""
        ...


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool by its name. `origin` is where it comes from, None for the process's own; with `asks` the client has to
    agree to every call."""

    tool: Tool
    origin: Origin | None = None
    asks: bool = False


@dataclass(eq=False, slots=True)
class NamedServer:
    """One server that the client has named. `opened` is there once its tools are known."""

    server: ClientServer
    listed: ToolList
    opened: ToolServer | None = None
    opening: "asyncio.Task[None] | None" = None


class SessionTools:
    def __init__(
        self,
        session_id: str,
        toolbox: Toolbox,
        make_server: MakeServer,
        *,
        conversation: Conversation,
        tasks: asyncio.TaskGroup,
        emit: Callable[[Event], None],
        new_id: Callable[[str], str],
    ) -> None:
        self._session_id = session_id
        self._toolbox = toolbox
        self._make_server = make_server
        self._conversation = conversation
        self._tasks = tasks
        self._emit = emit
        self._new_id = new_id
        self._client_tools: tuple[ToolSpec, ...] = ()
        self._named: dict[str, NamedServer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def specs(self, *, without: Collection[str] = ()) -> tuple[ToolSpec, ...]:
        """What can be called now, but for these names."""
        shared = self._toolbox.specs(without=without)
        served: dict[str, ToolSpec] = {}
        for _, opened in self._opened:
            for tool in opened.tools():
                served.setdefault(tool.spec.name, tool.spec)
        taken = {*without, *(spec.name for spec in shared)}
        return shared + tuple(spec for name, spec in served.items() if name not in taken)

    def find(self, name: str) -> FoundTool | None:
        shared = self._toolbox.find(name)
        if shared is not None:
            return FoundTool(shared)
        for server, opened in self._opened:
            for tool in opened.tools():
                if tool.spec.name == name:
                    return FoundTool(tool, Origin(server.label, tool.name), opened.needs_approval(tool))
        return None

    def configure(self, client_tools: tuple[ToolSpec, ...], servers: Sequence[ClientServer]) -> None:
        """The client's own tools, and these servers and no others: those that are new are asked for their tools, what
        is as it was stays. Raises Refused for too many, and then nothing has changed."""
        wanted = {server.label: server for server in servers}
        if len(wanted) > MOST_SERVERS:
            raise Refused("invalid_value", f"At most {MOST_SERVERS} MCP servers can be named.", "session.tools")
        self._client_tools = client_tools
        for label, named in list(self._named.items()):
            if wanted.get(label) != named.server:
                del self._named[label]
                self._conversation.set_tools(replace(named.listed, tools=()))
                self._release(named)
        for label, server in wanted.items():
            if label not in self._named:
                named = self._named[label] = NamedServer(server, ToolList(self._new_id("mcpl"), label))
                named.opening = self._tasks.create_task(self._open(named), name="client's server")

    async def close(self) -> None:
        """Close all servers. Only when the session's tasks are over."""
        for named in self._named.values():
            self._release(named)
        self._named.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    # -- one server -------------------------------------------------------------------------------------------------

    async def _open(self, named: NamedServer) -> None:
        previous = self._conversation.add(named.listed)
        self._emit(ToolsAwaited(named.listed, previous))
        try:
            named.opened = await self._reach(named.server)
        except Exception as error:  # whatever a stranger's server brings about, the session goes on
            message = str(error) if isinstance(error, ToolError) else UNREACHED
            log.warning("session %s: client's MCP server: %s: %s", self._session_id, type(error).__name__, message)
            self._emit(ToolsFailed(named.listed, message))
            return
        offered = tuple(replace(tool.spec, name=tool.name) for tool in named.opened.tools())
        log.info("session %s: client's MCP server: offers %d tools", self._session_id, len(offered))
        named.listed = replace(named.listed, tools=offered)
        self._conversation.set_tools(named.listed)
        self._emit(ToolsListed(named.listed, previous))

    async def _reach(self, server: ClientServer) -> ToolServer:
        """It is asked once more where its tools have names that others got meanwhile. Raises ToolError."""
        taken = self._taken()
        opened = self._make_server(server, taken=taken)
        await opened.open()
        if (self._taken() - taken) & {tool.spec.name for tool in opened.tools()}:
            self._close_later(opened)
            opened = self._make_server(server, taken=self._taken())
            await opened.open()
        return opened

    def _taken(self) -> set[str]:
        return {tool.name for tool in (*self._client_tools, *self.specs())}

    @property
    def _opened(self) -> Iterator[tuple[ClientServer, ToolServer]]:
        return ((named.server, named.opened) for named in self._named.values() if named.opened is not None)

    def _release(self, named: NamedServer) -> None:
        """Nothing of it is offered any more."""
        if named.opening is not None:
            named.opening.cancel()
        if named.opened is not None:
            self._close_later(named.opened)

    def _close_later(self, opened: ToolServer) -> None:
        """Closing takes a while, which nobody waits for but the session's end."""
        closing = asyncio.create_task(self._close(opened), name="closing a client's server")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, opened: ToolServer) -> None:
        try:
            await opened.close()
        except Exception as error:
            log.error("session %s: client's MCP server: cannot be closed: %s", self._session_id, type(error).__name__)
