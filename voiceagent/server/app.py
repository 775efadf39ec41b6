"""The server's ASGI app: every channel and page on one port. Mount it in an app of your own, or run it with `serve`."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket

from voiceagent.admin import routes as admin
from voiceagent.admin.board import Board
from voiceagent.channels.channel import CHANNELS, Channel, Client, Denied, error_response
from voiceagent.channels.realtime import routes as realtime
from voiceagent.channels.telephone import registry as telephone
from voiceagent.channels.transport import Transport, WebSocketTransport
from voiceagent.channels.web import routes as page
from voiceagent.channels.xiaozhi import routes as xiaozhi
from voiceagent.engines import Engines
from voiceagent.llm.base import INSTRUCTIONS
from voiceagent.llm.layers import layers
from voiceagent.memory.base import MemoryStore
from voiceagent.server.admission import Admission
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.llm.pages import llm_pages
from voiceagent.server.metrics import Metrics, watch_lag
from voiceagent.server.observer import (
    LearnsOutcomes,
    ObservedMemoryRecorder,
    ResponseOutcomeObserver,
    SessionObserver,
)
from voiceagent.server.recorder import RecorderFactory
from voiceagent.server.resources import open_shared
from voiceagent.session.context import SessionResources
from voiceagent.session.events import Event
from voiceagent.session.memory_recorder import memory_key
from voiceagent.session.options import SessionOptions
from voiceagent.session.session import Session
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tracing.options import tracing_in
from voiceagent.tts.checked import KnowsVoices
from voiceagent.tts.languages import only_in
from voiceagent.tts.wrapper import innermost

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 8.0
"""How long sessions that were told to end may take, which includes saving what the memory is to keep."""


def new_id(kind: str) -> str:
    """A fresh id such as `item_5f0c…`: unguessable, so that one client cannot name another's."""
    return f"{kind}_{secrets.token_hex(12)}"


class VoiceServer:
    """One process's server. `app` is the ASGI application; its lifespan loads and closes the engines."""

    def __init__(self, settings: Settings, engines: Engines, toolbox: Toolbox | None = None) -> None:
        """`toolbox`: the tools, where they are other than the configured ones. Raises ConfigError."""
        self.settings = settings
        self.metrics = Metrics()
        for engine in (engines.vad, engines.asr, *layers(engines.llm), engines.tts):
            self.metrics.add(engine)
        self.admission = Admission(settings.limits)
        self._recorders = RecorderFactory(settings.recordings)
        self.recordings = self._recorders.store
        admin_key = settings.admin.key
        self.board = (
            Board(self.metrics, engines.llm, lambda: self.admission.draining) if admin_key is not None else None
        )
        """What an operator sees; None where nobody may look."""
        self.loaded = asyncio.Event()
        """Set when the engines are loaded, or have failed to."""
        self.failure: Exception | None = None
        self._engines = engines
        self._tracing = tracing_in(engines.llm, settings.tracing)
        self._toolbox = toolbox
        self._resources: SessionResources | None = None
        self._memory: MemoryStore | None = None
        self._connections: set[ConnectionHandler] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._channels = self._make_channels()
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
                *llm_pages(engines.llm, settings, self.admission),
                *(route for channel in self._channels for route in channel.routes),
            ],
            lifespan=self._lifespan,
        )

    def _make_channels(self) -> list[Channel]:
        """Raises ConfigError."""
        settings = self.settings
        return [
            realtime.channel(self),
            page.channel(self, settings.page),
            admin.channel(settings.admin, self.board, self.recordings),
            telephone.channel(self, settings.telephone),
            xiaozhi.channel(self, settings.xiaozhi),
            *(
                CHANNELS.make(f"[channels.{name}]", section.with_options(name), self).channel()
                for name, section in settings.channels.items()
            ),
        ]

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        resources = asyncio.create_task(self._keep_resources(stop), name="engines")
        helpers = [asyncio.create_task(watch_lag(self.metrics.loop_lag), name="loop lag")]
        helpers += [
            asyncio.create_task(self._run_channel(channel.run), name="channel")
            for channel in self._channels
            if channel.run
        ]
        try:
            yield
        finally:
            stop.set()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(resources, *helpers, return_exceptions=True)

    async def _run_channel(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run a channel's own work. One that fails (its port is taken) keeps the server from being ready."""
        try:
            await run()
        except Exception as error:
            self.failure = error
            self.loaded.set()

    async def _keep_resources(self, stop: asyncio.Event) -> None:
        """Load the engines while the port is already open, so that /healthz can say so; close them at the end."""
        try:
            async with (
                self._recorders.running(),
                open_shared(self.settings, self._engines, self._toolbox) as (self._resources, self._memory),
            ):
                self.loaded.set()
                await stop.wait()
        except Exception as error:
            self.failure = error
        finally:
            self._resources = None
            self.loaded.set()

    async def drain(self) -> None:
        """Refuse new sessions, let those in progress finish until the deadline, then end them."""
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
        """200 only when a session could begin now."""
        if self._resources is None:
            return JSONResponse({"status": "loading" if self.failure is None else "failed"}, 503)
        if self.admission.draining:
            return JSONResponse({"status": "draining", "sessions": self.admission.sessions}, 503)
        return JSONResponse({"status": "ok", "sessions": self.admission.sessions})

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self.metrics.text()
        return Response(body, headers={"content-type": content_type})

    # -- as a ChannelHost -------------------------------------------------------------------------------------------

    @property
    def keys_required(self) -> bool:
        return self.admission.keys_required

    @property
    def session_seconds(self) -> float:
        return self.settings.limits.session_seconds

    @property
    def port(self) -> int:
        return self.settings.server.port

    def new_id(self, kind: str) -> str:
        return new_id(kind)

    def defaults(self) -> SessionOptions:
        agent = self.settings.agent
        voice = innermost(self._engines.tts)
        spoken = voice.languages if isinstance(voice, KnowsVoices) and agent.instructions == INSTRUCTIONS else ()
        return SessionOptions(
            instructions=only_in(agent.instructions, spoken),
            voice=agent.voice,
            language=agent.language,
            servers=() if self.settings.tools.client_mcp else None,
        )

    def check_origin(self, origin: str | None) -> None:
        self.admission.check_origin(origin)

    def check_key(self, authorization: str | None, subprotocols: Sequence[str] = ()) -> str:
        return self.admission.check_key(authorization, subprotocols)

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        if self.failure is not None:
            raise Denied(503, "server_failed", "the engines could not be loaded")
        if self._resources is None:
            raise Denied(503, "server_loading", "the engines are still loading", retry_after=2)
        with self.admission.slot(tenant), self.metrics.sessions.track_inprogress():
            yield

    async def accept(self, websocket: WebSocket, authenticate: Callable[[], Client]) -> None:
        try:
            client = authenticate()
            with self.slot(client.tenant):
                await websocket.accept(client.subprotocol)
                await self.serve(WebSocketTransport(websocket), client)
        except Denied as denied:
            self.metrics.refused.labels(denied.code).inc()
            await websocket.send_denial_response(error_response(denied))

    async def serve(self, transport: Transport, client: Client) -> None:
        resources = self._resources
        assert resources is not None
        log.info("session %s: begins, key %s", client.session_id, client.tenant)
        observers = self._observers(client)
        memory_recorder = ObservedMemoryRecorder(
            observers,
            self._memory,
            memory_key(client.tenant, client.user) if client.user else None,
            limit=2 * self.settings.memory.turns,
        )

        def make_session(emit: Callable[[Event], None]) -> Session:
            return Session(
                client.session_id,
                resources,
                self.defaults(),
                emit=emit,
                new_id=new_id,
                memory_recorder=memory_recorder,
                tenant=client.tenant,
                user=client.user or "",
            )

        connection = ConnectionHandler(
            transport, client.protocol, make_session, self.metrics, client.control, observers
        )
        if self.board is not None:
            stop = partial(connection.stop, "ended")
            observers.append(self.board.enter(client.session_id, client.kind, client.tenant, stop))
        self._connections.add(connection)
        self._empty.clear()
        try:
            await connection.run()
        finally:
            if self.board is not None:
                self.board.leave(client.session_id)
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()
            log.info("session %s: over", client.session_id)

    def _observers(self, client: Client) -> list[SessionObserver]:
        recorder = self._recorders.recorder(
            client.session_id,
            protocol=client.kind,
            tenant=client.tenant,
            user=client.user or "",
            options=self.defaults(),
        )
        observers: list[SessionObserver] = [recorder] if recorder is not None else []
        llm = next((layer for layer in layers(self._engines.llm) if isinstance(layer, LearnsOutcomes)), None)
        if llm is not None:
            observers.append(ResponseOutcomeObserver(llm, client.session_id, client.user or ""))
        if self._tracing is not None:
            observers.append(self._tracing.session(client.session_id, channel=client.kind, tenant=client.tenant))
        return observers
