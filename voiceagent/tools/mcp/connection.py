"""The connection to one MCP server, by the official package: made in the background, mended when it breaks."""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Literal

import anyio
from mcp import Client, MCPError
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    ServerNotification,
    Tool,
    ToolListChangedNotification,
)
from pydantic import JsonValue

from voiceagent import __version__
from voiceagent.tools.base import ToolError

log = logging.getLogger(__name__)

Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]
MakeTransport = Callable[[Callable[[], None]], AbstractAsyncContextManager[Streams]]
"""What it is given is to be called when the server has forgotten the connection."""

MOST_TOOLS = 256
MOST_PAGES = 50
"""Of a server's list."""
REFRESH_SECONDS = 300.0
"""The list is asked for so often even if nothing is told of a change: that also shows a server that hangs."""
SETTLE_SECONDS = 0.2
"""Waited after a change is told: they come in swarms."""
LISTEN_AGAIN_SECONDS = 10.0
MOST_RETRY_SECONDS = 60.0
POLITE_SECONDS = 2.0
"""How long saying goodbye to a server may take."""
END_SECONDS = 10.0
"""How long ending it may take after that; a process that ignores the end of its input is killed within 5 s."""
ERROR_CHARS = 500


class McpConnection:
    """One task holds the connection: the package's task groups must be left by the task that entered them. Calls may
    come from any task. `on_tools` is told the server's tools whenever they are known anew."""

    def __init__(
        self,
        label: str,
        transport: MakeTransport,
        on_tools: Callable[[Sequence[Tool]], None],
        *,
        mode: Literal["auto", "legacy"] = "auto",
        connect_seconds: float = 15.0,
        retry_seconds: float = 1.0,
    ) -> None:
        self.label = label
        self.tried = asyncio.Event()
        """Set when the first attempt to connect is over."""
        self._transport = transport
        self._on_tools = on_tools
        self._mode = mode
        self._connect_seconds = connect_seconds
        self._retry_seconds = retry_seconds
        self._client: Client | None = None
        self._wake = asyncio.Event()
        """Set when the list has changed, or the end has come."""
        self._ending = False
        self._attempt: anyio.CancelScope | None = None
        self._all = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._current is not None

    @property
    def _current(self) -> Client | None:
        """None also once the connection is lost and only winds up."""
        lost = self._attempt is None or self._attempt.cancel_called
        return None if lost else self._client

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"mcp {self.label}")

    async def stop(self) -> None:
        """Say goodbye and end it. May be called twice."""
        task, self._task = self._task, None
        if task is None:
            return
        self._ending = True
        self._wake.set()
        if self._client is not None:
            await asyncio.wait((task,), timeout=POLITE_SECONDS)
        self._all.cancel()
        await asyncio.wait((task,), timeout=END_SECONDS)
        if not task.done():
            task.cancel()
            log.error("MCP server %s does not end", self.label)

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> CallToolResult:
        """The server's own answer. Cancelling the call cancels it at the server. Raises ToolError."""
        client = self._current
        if client is None:
            raise ToolError(f"the server {self.label} is not connected")
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments)))
        try:
            # Not Client.call_tool: it checks results against the server's schema on the loop, which no model needs.
            return await client.session.send_request(request, CallToolResult)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED and self._client is client:
                self._lost()
            if self._current is not client:
                raise ToolError(f"the connection to the server {self.label} was lost") from None
            raise ToolError(error.message[:ERROR_CHARS] or "the server refused it") from None
        except Exception as error:
            log.warning("MCP server %s: a call failed: %s", self.label, type(error).__name__)
            raise ToolError(f"the server {self.label} gave no sound answer") from None

    # -- the task ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        with self._all:
            wait = self._retry_seconds
            while not self._ending:
                if await self._hold():
                    wait = self._retry_seconds
                self.tried.set()
                if not self._ending:
                    await anyio.sleep(wait * random.uniform(0.8, 1.2))
                    wait = min(2 * wait, MOST_RETRY_SECONDS)

    async def _hold(self) -> bool:
        """One connection, from its beginning to its end; whether there was one."""
        was_connected = False
        with anyio.CancelScope(deadline=anyio.current_time() + self._connect_seconds) as self._attempt:
            try:
                async with self._connecting() as client:
                    self._on_tools(await _listed(client, self.label))
                    self._attempt.deadline = math.inf
                    self._client, was_connected = client, True
                    self.tried.set()
                    log.info("MCP server %s: connected", self.label)
                    await self._keep(client)
            except Exception as error:  # whatever a broken server makes the package raise
                log.warning("MCP server %s: %s", self.label, _kinds(error))
            finally:
                self._client = None
        if self._attempt.cancelled_caught and not self._ending:
            problem = "the connection was lost" if was_connected else f"no answer within {self._connect_seconds:g} s"
            log.warning("MCP server %s: %s", self.label, problem)
        return was_connected

    def _connecting(self) -> Client:
        return Client(
            self._watched(),
            mode=self._mode,
            cache=None,
            message_handler=self._heard,
            client_info=Implementation(name="voiceagent", version=__version__),
        )

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[Streams]:
        """The transport; where it ends by itself, so does the attempt."""
        async with self._transport(self._lost) as (read, write):
            yield _Watched(read, self._lost), write

    def _lost(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    async def _keep(self, client: Client) -> None:
        """Follow the changes of the list until the end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow, client)
            while not self._ending:
                with anyio.move_on_after(REFRESH_SECONDS):
                    await self._wake.wait()
                if self._ending:
                    break
                await anyio.sleep(SETTLE_SECONDS)
                self._wake.clear()
                with anyio.fail_after(self._connect_seconds):
                    self._on_tools(await _listed(client, self.label))
            tasks.cancel_scope.cancel()

    async def _follow(self, client: Client) -> None:
        """Servers of the newest protocol tell of changes only whoever asks."""
        offered = client.server_capabilities.tools
        while offered is not None and offered.list_changed:
            with suppress(SubscriptionLost, TimeoutError):
                try:
                    async with client.listen(tools_list_changed=True) as changes:
                        async for _ in changes:
                            self._wake.set()
                except (ListenNotSupportedError, MCPError):
                    return
            await anyio.sleep(LISTEN_AGAIN_SECONDS)
            self._wake.set()  # what was told meanwhile was missed

    async def _heard(self, message: ServerNotification | Exception) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._wake.set()


class _Watched:
    """A stream of messages that tells its end."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._on_end()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> "_Watched":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


async def _listed(client: Client, label: str) -> list[Tool]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None or len(tools) > MOST_TOOLS:
            break
    if len(tools) > MOST_TOOLS or cursor is not None:
        log.warning("MCP server %s: only its first %d tools are taken", label, min(len(tools), MOST_TOOLS))
    return tools[:MOST_TOOLS]


def _kinds(error: BaseException) -> str:
    """What it is made of. The words are left out: they may be the user's, or hold a secret."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(dict.fromkeys(map(_kinds, error.exceptions)))
    return f"{type(error).__name__} {error.code}" if isinstance(error, MCPError) else type(error).__name__
