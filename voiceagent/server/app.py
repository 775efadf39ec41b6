"""The ASGI app: every protocol and page on one port. Mount it in an app of your own, or run it with `serve`."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket

from voiceagent.admin import routes as admin
from voiceagent.admin.board import Board
from voiceagent.channels.channel import Client, error_response
from voiceagent.channels.realtime import routes as realtime
from voiceagent.channels.telephone import registry as telephone
from voiceagent.channels.transport import Transport, WebSocketTransport
from voiceagent.channels.web import routes as page
from voiceagent.channels.xiaozhi import routes as xiaozhi
from voiceagent.engines import Engines
from voiceagent.gateway.observe.responses import LearnsOutcomes, ResponseOutcomeObserver
from voiceagent.gateway.observe.routes import llm_pages
from voiceagent.memory.base import MemoryStore
from voiceagent.server.admission import Admission, Denied
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.metrics import Metrics, watch_lag
from voiceagent.server.observer import ObservedMemoryRecorder, SessionObserver
from voiceagent.server.recorder import RecorderFactory
from voiceagent.server.resources import open_shared
from voiceagent.session.context import SessionResources
from voiceagent.session.events import Event
from voiceagent.session.memory_recorder import memory_key
from voiceagent.session.options import SessionOptions
from voiceagent.session.session import Session
from voiceagent.settings import Settings

log = logging.getLogger(__name__)

DOORS = (
    realtime.channel,
    page.channel,
    admin.channel,
    telephone.channel,
    xiaozhi.channel,
)
"""Every world of clients that is served."""
LAST_WORDS_SECONDS = 8.0
"""How long talks that were told to end may take: what is noted is saved to memory in that time."""


def new_id(kind: str) -> str:
    """A fresh id such as `item_5f0c…`: unguessable, so that one client cannot name another's."""
    return f"{kind}_{secrets.token_hex(12)}"


class VoiceServer:
    """One process's server. `app` is the ASGI application; its lifespan loads and closes the engines."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.metrics = Metrics()
        for engine in (engines.vad, engines.asr, engines.llm, engines.tts):
            self.metrics.add(engine)
        self.admission = Admission(settings.limits)
        self._recorders = RecorderFactory(settings.recordings)
        self.recordings = self._recorders.store
        watched = settings.admin.key is not None
        self.board = Board(self.metrics, engines.llm, lambda: self.admission.draining) if watched else None
        self.loaded = asyncio.Event()
        """Set when the engines are loaded, or have failed to."""
        self.failure: Exception | None = None
        self._engines = engines
        self._shared: SessionResources | None = None
        self._memory: MemoryStore | None = None
        self._connections: set[ConnectionHandler] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._doors = [door(self) for door in DOORS]
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
                *llm_pages(engines.llm, settings, self.admission),
                *(route for door in self._doors for route in door.routes),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        holding = asyncio.create_task(self._hold_shared(stop), name="engines")
        helpers = [asyncio.create_task(watch_lag(self.metrics.loop_lag), name="loop lag")]
        helpers += [asyncio.create_task(self._keep(door.run), name="door") for door in self._doors if door.run]
        try:
            yield
        finally:
            stop.set()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(holding, *helpers, return_exceptions=True)

    async def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """A door's own work. A door that cannot do it (its port is taken) keeps the server from being ready."""
        try:
            await run()
        except Exception as error:
            self.failure = error
            self.loaded.set()

    async def _hold_shared(self, stop: asyncio.Event) -> None:
        """Load the engines while the port is already open, so that /healthz can tell; close them at the end."""
        try:
            async with (
                self._recorders.running(),
                open_shared(self.settings, self._engines) as (self._shared, self._memory),
            ):
                self.loaded.set()
                await stop.wait()
        except Exception as error:
            self.failure = error
        finally:
            self._shared = None
            self.loaded.set()

    async def drain(self) -> None:
        """Refuse new talks, let those in progress finish until the deadline, then end them."""
        self.admission.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.server.drain_seconds):
                await self._empty.wait()
        for connection in self._connections:
            connection.stop("draining")
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._empty.wait()
        if self.board is not None:
            self.board.feed.close()

    # -- pages ------------------------------------------------------------------------------------------------------

    async def _healthz(self, request: Request) -> Response:
        """200 only when a talk could begin now."""
        if self._shared is None:
            return JSONResponse({"status": "loading" if self.failure is None else "failed"}, 503)
        if self.admission.draining:
            return JSONResponse({"status": "draining", "sessions": self.admission.sessions}, 503)
        return JSONResponse({"status": "ok", "sessions": self.admission.sessions})

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self.metrics.text()
        return Response(body, headers={"content-type": content_type})

    # -- conversations ----------------------------------------------------------------------------------------------

    def new_id(self, kind: str) -> str:
        return new_id(kind)

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        if self.failure is not None:
            raise Denied(503, "server_failed", "the engines could not be loaded")
        if self._shared is None:
            raise Denied(503, "server_loading", "the engines are still loading", retry_after=2)
        with self.admission.seat(tenant), self.metrics.sessions.track_inprogress():
            yield

    async def welcome(self, websocket: WebSocket, knock: Callable[[], Client]) -> None:
        try:
            visitor = knock()
            with self.place(visitor.tenant):
                await websocket.accept(visitor.subprotocol)
                await self.hold(WebSocketTransport(websocket), visitor)
        except Denied as denied:
            self.metrics.refused.labels(denied.code).inc()
            await websocket.send_denial_response(error_response(denied))

    async def hold(self, transport: Transport, visitor: Client) -> None:
        shared = self._shared
        assert shared is not None
        log.info("session %s: begins, key %s", visitor.session_id, visitor.tenant)
        observers = self._observers(visitor)
        memory_recorder = ObservedMemoryRecorder(
            observers,
            self._memory,
            memory_key(visitor.tenant, visitor.user) if visitor.user else None,
            limit=2 * self.settings.memory.turns,
        )

        def make_session(emit: Callable[[Event], None]) -> Session:
            return Session(
                visitor.session_id,
                shared,
                self.defaults(),
                emit=emit,
                new_id=new_id,
                memory_recorder=memory_recorder,
                tenant=visitor.tenant,
                user=visitor.user or "",
            )

        connection = ConnectionHandler(
            transport, visitor.protocol, make_session, self.metrics, visitor.control, observers
        )
        if self.board is not None:
            stop = partial(connection.stop, "ended")
            observers.append(self.board.enter(visitor.session_id, visitor.kind, visitor.tenant, stop))
        self._connections.add(connection)
        self._empty.clear()
        try:
            await connection.run()
        finally:
            if self.board is not None:
                self.board.leave(visitor.session_id)
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()
            log.info("session %s: over", visitor.session_id)

    def _observers(self, visitor: Client) -> list[SessionObserver]:
        recorder = self._recorders.recorder(
            visitor.session_id,
            protocol=visitor.kind,
            tenant=visitor.tenant,
            user=visitor.user or "",
            options=self.defaults(),
        )
        observers: list[SessionObserver] = [recorder] if recorder is not None else []
        if isinstance(llm := self._engines.llm, LearnsOutcomes):
            observers.append(ResponseOutcomeObserver(llm, visitor.session_id, visitor.user or ""))
        return observers

    def defaults(self) -> SessionOptions:
        agent = self.settings.agent
        return SessionOptions(
            instructions=agent.instructions,
            voice=agent.voice,
            language=agent.language,
            servers=() if self.settings.tools.client_mcp else None,
        )
