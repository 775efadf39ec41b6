"""The tools that the session runs for one talk: the process's own, and those of servers that the client has named.

A server is asked for its tools as a task of the talk; it is let go when the client names it no more, at the latest with
the talk. A name that several have is the client's function's, then the process's, then the first server's.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from voiceagent.errors import Refused
from voiceagent.llm.base import ToolSpec
from voiceagent.session.conversation import Origin, ToolList
from voiceagent.session.events import ToolsAwaited, ToolsFailed, ToolsListed
from voiceagent.tools.base import Tool, ToolError
from voiceagent.tools.mcp.client import ClientMcp, ClientServer

if TYPE_CHECKING:
    from voiceagent.session.context import SessionContext

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
    """A server that a client has named, for one talk."""

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
class Named:
    """One server that the client has named. `open` is there once its tools are known."""

    server: ClientServer
    listed: ToolList
    open: ToolServer | None = None
    opening: "asyncio.Task[None] | None" = None


class SessionTools:
    def __init__(self, talk: "SessionContext") -> None:
        self._talk = talk
        self._named: dict[str, Named] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def specs(self, *, without: Collection[str] = ()) -> tuple[ToolSpec, ...]:
        """What can be called now, but for these names."""
        shared = self._talk.shared.toolbox.specs(without=without)
        served: dict[str, ToolSpec] = {}
        for _, opened in self._opened:
            for tool in opened.tools():
                served.setdefault(tool.spec.name, tool.spec)
        taken = {*without, *(spec.name for spec in shared)}
        return shared + tuple(spec for name, spec in served.items() if name not in taken)

    def find(self, name: str) -> FoundTool | None:
        shared = self._talk.shared.toolbox.find(name)
        if shared is not None:
            return FoundTool(shared)
        for server, opened in self._opened:
            for tool in opened.tools():
                if tool.spec.name == name:
                    return FoundTool(tool, Origin(server.label, tool.name), opened.needs_approval(tool))
        return None

    def use(self, servers: Sequence[ClientServer]) -> None:
        """These and no others: those that are new are asked for their tools, what is as it was stays. Raises Refused
        for too many, and then nothing has changed."""
        wanted = {server.label: server for server in servers}
        if len(wanted) > MOST_SERVERS:
            raise Refused("invalid_value", f"At most {MOST_SERVERS} MCP servers can be named.", "session.tools")
        for label, named in list(self._named.items()):
            if wanted.get(label) != named.server:
                del self._named[label]
                self._talk.conversation.set_tools(replace(named.listed, tools=()))
                self._part(named)
        for label, server in wanted.items():
            if label not in self._named:
                named = self._named[label] = Named(server, ToolList(self._talk.new_id("mcpl"), label))
                named.opening = self._talk.tasks.create_task(self._open(named), name="client's server")

    async def close(self) -> None:
        """Let go of all servers. Only when the talk's tasks are over."""
        for named in self._named.values():
            self._part(named)
        self._named.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    # -- one server -------------------------------------------------------------------------------------------------

    async def _open(self, named: Named) -> None:
        talk = self._talk
        previous = talk.conversation.add(named.listed)
        talk.emit(ToolsAwaited(named.listed, previous))
        try:
            named.open = await self._reach(named.server)
        except Exception as error:  # whatever a stranger's server brings about, the talk goes on
            why = str(error) if isinstance(error, ToolError) else UNREACHED
            log.warning("session %s: a server that the client named: %s: %s", talk.id, type(error).__name__, why)
            talk.emit(ToolsFailed(named.listed, why))
            return
        offered = tuple(replace(tool.spec, name=tool.name) for tool in named.open.tools())
        log.info("session %s: a server that the client named offers %d tools", talk.id, len(offered))
        named.listed = replace(named.listed, tools=offered)
        talk.conversation.set_tools(named.listed)
        talk.emit(ToolsListed(named.listed, previous))

    async def _reach(self, server: ClientServer) -> ToolServer:
        """It is asked once more where its tools have names that others got meanwhile. Raises ToolError."""
        talk = self._talk
        make: MakeServer = talk.shared.tool_server or partial(ClientMcp, talk.shared.settings.tools)
        taken = self._taken()
        opened = make(server, taken=taken)
        await opened.open()
        if (self._taken() - taken) & {tool.spec.name for tool in opened.tools()}:
            self._let_go(opened)
            opened = make(server, taken=self._taken())
            await opened.open()
        return opened

    def _taken(self) -> set[str]:
        talk = self._talk
        return {tool.name for tool in (*talk.options.tools, *self.specs())}

    @property
    def _opened(self) -> Iterator[tuple[ClientServer, ToolServer]]:
        return ((named.server, named.open) for named in self._named.values() if named.open is not None)

    def _part(self, named: Named) -> None:
        """Nothing of it is offered any more."""
        if named.opening is not None:
            named.opening.cancel()
        if named.open is not None:
            self._let_go(named.open)

    def _let_go(self, opened: ToolServer) -> None:
        """Saying goodbye takes a while, which nobody waits for but the talk's end."""
        closing = asyncio.create_task(self._goodbye(opened), name="goodbye to a client's server")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _goodbye(self, opened: ToolServer) -> None:
        try:
            await opened.close()
        except Exception as error:
            log.error("session %s: a client's server could not be let go: %s", self._talk.id, type(error).__name__)
