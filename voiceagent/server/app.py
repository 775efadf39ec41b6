"""The ASGI app: every protocol and page on one port. Mount it in an app of your own, or run it with `serve`."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.engines import Engines
from voiceagent.memory.base import MemoryStore
from voiceagent.protocols.openai_realtime import RealtimeProtocol
from voiceagent.server.admission import Admission, Denied
from voiceagent.server.driver import Connection
from voiceagent.server.metrics import Metrics
from voiceagent.server.runtime import open_shared
from voiceagent.session.events import Event
from voiceagent.session.options import SessionOptions
from voiceagent.session.remember import Remembrance
from voiceagent.session.session import Session
from voiceagent.session.talk import Shared
from voiceagent.settings import Settings

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 8.0
"""How long talks that were told to end may take: what is noted is saved to memory in that time."""
LAG_PERIOD = 1.0
"""Seconds between two readings of the loop's lag."""
LAG_STEP = 0.05
"""Seconds between two measurements within a period."""


def new_id(kind: str) -> str:
    """A fresh id such as `item_5f0c…`: unguessable, so that one client cannot name another's."""
    return f"{kind}_{secrets.token_hex(12)}"


class VoiceServer:
    """One process's server. `app` is the ASGI application; its lifespan loads and closes the engines."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.admission = Admission(settings.limits)
        self.loaded = asyncio.Event()
        """Set when the engines are loaded, or have failed to."""
        self.failure: Exception | None = None
        self._engines = engines
        self._shared: Shared | None = None
        self._memory: MemoryStore | None = None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
                WebSocketRoute("/v1/realtime", self._realtime),
                WebSocketRoute("/realtime", self._realtime),  # LiveKit given a bare host asks here
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        holding = asyncio.create_task(self._hold_shared(stop), name="engines")
        lag = asyncio.create_task(self._watch_lag(), name="loop lag")
        try:
            yield
        finally:
            stop.set()
            lag.cancel()
            await asyncio.gather(holding, lag, return_exceptions=True)

    async def _hold_shared(self, stop: asyncio.Event) -> None:
        """Load the engines while the port is already open, so that /healthz can tell; close them at the end."""
        try:
            async with open_shared(self.settings, self._engines) as (self._shared, self._memory):
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

    async def _realtime(self, websocket: WebSocket) -> None:
        """OpenAI Realtime clients."""
        query = websocket.query_params
        session_id = new_id("sess")
        limit = int(self.settings.limits.session_seconds)
        protocol = RealtimeProtocol(
            session_id=session_id,
            model=query.get("model") or "voiceagent",
            defaults=self._defaults(),
            expires_at=int(time.time()) + limit,
            new_id=new_id,
        )
        offered: list[str] = websocket.scope["subprotocols"]
        chosen = "realtime" if "realtime" in offered else None
        await self._converse(websocket, session_id, protocol, chosen, query.get("user"))

    async def _converse(
        self,
        websocket: WebSocket,
        session_id: str,
        protocol: RealtimeProtocol,
        subprotocol: str | None,
        user: str | None,
    ) -> None:
        """Let the client in, or refuse it with a clear answer, and hold the conversation."""
        headers = websocket.headers
        try:
            self.admission.check_origin(headers.get("origin"))
            key_name = self.admission.identify(headers.get("authorization"), websocket.scope["subprotocols"])
            shared = self._shared
            if self.failure is not None:
                raise Denied(503, "server_failed", "the engines could not be loaded")
            if shared is None:
                raise Denied(503, "server_loading", "the engines are still loading", retry_after=2)
            with self.admission.seat(key_name), self.metrics.sessions.track_inprogress():
                await websocket.accept(subprotocol)
                log.info("session %s: begins, key %s", session_id, key_name)
                remembrance = Remembrance(
                    self._memory,
                    f"{key_name}/{user}" if user else None,
                    limit=2 * self.settings.memory.turns,
                )

                def make_session(emit: Callable[[Event], None]) -> Session:
                    return Session(
                        session_id, shared, self._defaults(), emit=emit, new_id=new_id, remembrance=remembrance
                    )

                connection = Connection(websocket, protocol, make_session, self.metrics)
                self._connections.add(connection)
                self._empty.clear()
                try:
                    await connection.run()
                finally:
                    self._connections.discard(connection)
                    if not self._connections:
                        self._empty.set()
                    log.info("session %s: over", session_id)
        except Denied as denied:
            self.metrics.refused.labels(denied.code).inc()
            await refuse(websocket, denied)

    def _defaults(self) -> SessionOptions:
        agent = self.settings.agent
        return SessionOptions(instructions=agent.instructions, voice=agent.voice, language=agent.language)

    async def _watch_lag(self) -> None:
        """Keep the gauge of the loop's worst lag, which shows whatever blocks it."""
        loop = asyncio.get_running_loop()
        worst, until = 0.0, loop.time() + LAG_PERIOD
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_STEP)
            worst = max(worst, loop.time() - before - LAG_STEP)
            if loop.time() >= until:
                self.metrics.loop_lag.set(worst)
                worst, until = 0.0, loop.time() + LAG_PERIOD


async def refuse(websocket: WebSocket, denied: Denied) -> None:
    """Answer the upgrade with an HTTP error that says why, in the shape OpenAI's clients read."""
    kind = "invalid_request_error" if denied.status < 500 else "server_error"
    error = {"type": kind, "code": denied.code, "message": denied.message, "param": None}
    headers = {"retry-after": str(denied.retry_after)} if denied.retry_after else None
    await websocket.send_denial_response(JSONResponse({"error": error}, denied.status, headers))
