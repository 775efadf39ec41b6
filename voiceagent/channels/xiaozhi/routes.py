"""xiaozhi-esp32 devices: the WebSocket they talk over, and the place where they send their photos.

A device knows neither from itself: OTA tells it the one, and the WebSocket the other. See
`docs/guides/speaker/xiaozhi.md`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.channels.channel import Channel, ChannelHost, Client
from voiceagent.channels.xiaozhi.device_tools import ToolCache, Vision
from voiceagent.channels.xiaozhi.fleet.access import Fleet
from voiceagent.channels.xiaozhi.fleet.boot import ids
from voiceagent.channels.xiaozhi.fleet.ota import OtaRoutes, http_base
from voiceagent.channels.xiaozhi.fleet.routes import SpeakerRoutes
from voiceagent.channels.xiaozhi.fleet.tokens import Bearer
from voiceagent.channels.xiaozhi.messages import Version
from voiceagent.channels.xiaozhi.protocol import XiaozhiProtocol
from voiceagent.channels.xiaozhi.settings import XiaozhiSection

PATHS = ("/xiaozhi/v1/", "/xiaozhi/v1", "/xiaozhi/", "/xiaozhi")
VISION_PATH = "/xiaozhi/vision"
MAX_PHOTO = 4 * 1024 * 1024
"""Bytes of an upload; a device's JPEG has some 100 kB."""
UPLOAD_SECONDS = 15.0
"""How long an upload may take."""
NO_VISION = {"success": False, "message": "This server has no model that can look at pictures."}
VERSIONS: Mapping[str, Version] = {"1": 1, "2": 2, "3": 3}


class XiaozhiRoutes:
    def __init__(self, host: ChannelHost, section: XiaozhiSection) -> None:
        self._host = host
        self._section = section
        self._fleet = Fleet(host, section)
        self._cache = ToolCache()
        self._photographers: set[str] = set()
        """Tokens of the devices that are connected."""

    @property
    def channel(self) -> Channel:
        talks = [WebSocketRoute(path, self._talk) for path in PATHS]
        pages = [*OtaRoutes(self._host, self._section, self._fleet).routes(), *SpeakerRoutes(self._fleet).routes()]
        return Channel([Route(VISION_PATH, self._look, methods=["POST"]), *pages, *talks], self._fleet.run)

    async def _talk(self, websocket: WebSocket) -> None:
        await self._fleet.ready()
        with self._vision(websocket) as vision:
            await self._host.accept(websocket, lambda: self._authenticate(websocket, vision))

    def _authenticate(self, websocket: WebSocket, vision: Vision) -> Client:
        """Browsers cannot set headers: the query may say the same."""
        query = websocket.query_params
        self._host.check_origin(websocket.headers.get("origin"))
        device_id, client_id = ids(websocket.headers, query)
        tenant = self._fleet.identify(Bearer(device_id, client_id), bare(told(websocket, "authorization")))
        session_id = self._host.new_id("sess")
        protocol = XiaozhiProtocol(
            session_id=session_id,
            version=VERSIONS.get(told(websocket, "protocol-version")),
            defaults=self._host.defaults(),
            section=self._section,
            chip=query.get("chip", ""),
            tenant=tenant,
            cache=self._cache,
            vision=vision,
        )
        return Client(protocol, session_id, tenant, user=device_id or None)

    # -- photos -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _vision(self, websocket: WebSocket) -> Iterator[Vision]:
        """Where this device may send photos, as long as it is connected."""
        token = self._host.new_id("vision")
        self._photographers.add(token)
        try:
            yield Vision(http_base(self._host, self._section, websocket) + VISION_PATH, token)
        finally:
            self._photographers.discard(token)

    async def _look(self, request: Request) -> Response:
        """A photo and a question, as a form. What is answered is read to the model as it is."""
        if bare(request.headers.get("authorization", "")) not in self._photographers:
            return JSONResponse({"success": False, "message": "The token is wrong."}, 401)
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                size = await length(request.stream())
        except (ClientDisconnect, TimeoutError):
            return Response(status_code=408)
        if size > MAX_PHOTO:
            return JSONResponse({"success": False, "message": "The picture is too large."}, 413)
        return JSONResponse(NO_VISION)


def channel(host: ChannelHost, section: XiaozhiSection) -> Channel:
    return XiaozhiRoutes(host, section).channel


def told(websocket: WebSocket, name: str) -> str:
    """What a header says, or else the query."""
    return (websocket.headers.get(name) or websocket.query_params.get(name) or "").strip()


def bare(authorization: str) -> str:
    """The token, which the firmware sends after `Bearer ` unless there is a space in it."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else authorization.strip()


async def length(body: AsyncIterator[bytes]) -> int:
    """Bytes of a body, of which no more than MAX_PHOTO are read."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > MAX_PHOTO:
            break
    return size
