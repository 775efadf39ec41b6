"""Agent's application: the ASGI application of an agent, by itself or mounted in another one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from voiceagent.errors import VoiceagentError
from voiceagent.server.app import VoiceServer

log = logging.getLogger(__name__)

LOAD_SECONDS = 300.0
"""How long the first WebSocket waits for engines that only its coming made load."""


class AgentApp:
    """Serves every channel and page below wherever it is mounted.

    The engines belong to the application's lifespan: that of this application where a server runs it by itself, else
    `running()`, which the application around it holds. Where that one holds nothing, as frameworks do not tell what is
    mounted in them of their start, the first request starts the engines, and the end of the event loop closes them.
    """

    def __init__(self, make_server: Callable[[], VoiceServer]) -> None:
        """`make_server` makes a new server for each lifespan; it is called here too, so that what is wrong shows
        early. Raises ConfigError."""
        self._make_server = make_server
        self._next: VoiceServer | None = make_server()
        self._server: VoiceServer | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._server is None:
            await self._start_unasked()
        server = self._server
        if server is None:
            await JSONResponse({"status": "failed"}, 503)(scope, receive, send)
            return
        if scope["type"] == "websocket" and self._keeper is not None:
            async with asyncio.timeout(LOAD_SECONDS):
                await server.loaded.wait()
        await server.app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The lifespan: entered once the engines are loaded, and over when they are closed, after the sessions in
        progress have finished or the drain's deadline has passed. Raises what keeps them from being loaded."""
        async with self._started() as server:
            await server.loaded.wait()
            if server.failure is not None:
                raise server.failure
            yield

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[VoiceServer]:
        server = self._next or self._make_server()
        self._next = None
        async with server.app.router.lifespan_context(server.app):
            self._server = server
            try:
                yield server
                await server.drain()
            finally:
                self._server = None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """The ASGI server's own account of the application's life."""
        await receive()
        phase = "startup"
        try:
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            log.error("the agent's %s failed: %s", phase, _message(error))
            await send({"type": f"lifespan.{phase}.failed", "message": _message(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _start_unasked(self) -> None:
        """Start the engines for an application that did not."""
        log.info("the application holds no lifespan for the agent: its engines are loaded now, at the first request")
        started = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(started), name="agent")
        await started.wait()

    async def _keep(self, started: asyncio.Event) -> None:
        """Until the event loop ends, which cancels what still runs."""
        try:
            async with self._started():
                started.set()
                await asyncio.Event().wait()
        finally:
            self._keeper = None
            started.set()


def _message(error: BaseException) -> str:
    """The first error of a group, which alone may be shown where it is one of ours."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, VoiceagentError) else type(error).__name__
