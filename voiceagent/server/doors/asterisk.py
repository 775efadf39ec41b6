"""Asterisk's `chan_websocket`, both ways: at `/asterisk` it connects to us, and by `POST /asterisk/dial` we to it."""

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from voiceagent.protocols.asterisk import SUBPROTOCOL, AsteriskPeer
from voiceagent.protocols.base import Frame
from voiceagent.protocols.telephone_call import parameters_of
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.server.admission import Denied
from voiceagent.server.calls_settings import TelephoneSection
from voiceagent.server.calls_systems import asterisk_control
from voiceagent.server.doors.telephone_guests import body_of, call_options, guest_of
from voiceagent.server.host import Door, Host, Visitor, answering
from voiceagent.server.transport import Gone, Taker

log = logging.getLogger(__name__)

DIAL_SECONDS = 5.0
"""How long Asterisk may take to accept a connection of ours."""
MOST_BYTES = 1024 * 1024
"""Of one message: Asterisk's hold 20 ms of audio."""
CONNECTION_ID = 200


class _Dial(Struct, forbid_unknown_fields=True):
    """`channel` is the caller's, in Stasis or in the dialplan; `parameters` are the call's data."""

    connection_id: str
    channel: str = ""
    parameters: dict[str, object] = {}


class DialledTransport:
    """A WebSocket that we have opened."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> Frame:
        try:
            return await self._connection.recv()
        except ConnectionClosed:
            raise Gone from None

    async def send(self, frame: Frame) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            raise Gone from None

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    def give_to(self, taker: Taker | None) -> None: ...


class AsteriskDoor:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._settings: TelephoneSection = host.settings.telephone
        self._section = self._settings.asterisk
        self._tasks: asyncio.TaskGroup | None = None
        """Owns the calls that we dialled into."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    def _visitor(self, told: Mapping[str, str], tenant: str, subprotocol: str | None = None) -> Visitor:
        control = asterisk_control(self._section, self._settings.control_seconds, lambda: protocol.call)
        protocol = PeerCall(AsteriskPeer(told), call_options(self._host, controlled=control is not None))
        return Visitor(protocol, self._host.new_id("sess"), tenant, subprotocol=subprotocol, control=control)

    # -- Asterisk connects ------------------------------------------------------------------------------------------

    async def stream(self, websocket: WebSocket) -> None:
        await self._host.welcome(websocket, lambda: self._knock(websocket))

    def _knock(self, websocket: WebSocket) -> Visitor:
        self._host.admission.check_origin(websocket.headers.get("origin"))
        guest = guest_of(self._host, "asterisk", self._section, websocket, None)
        told = {name: value for name, value in websocket.query_params.items() if name != "key"}
        offered: list[str] = websocket.scope["subprotocols"]
        return self._visitor(told, guest.tenant, SUBPROTOCOL if SUBPROTOCOL in offered else None)

    # -- we connect -------------------------------------------------------------------------------------------------

    async def dial(self, request: Request) -> Response:
        """Answered once we are connected."""
        body = await body_of(request)
        guest = guest_of(self._host, "asterisk", self._section, request, None)
        if self._section.http is None or self._tasks is None:
            raise Denied(503, "asterisk_not_configured", "[telephone.asterisk] http is not configured")
        try:
            wanted = msgspec.json.decode(body, type=_Dial)
        except (ValueError, RecursionError):
            raise Denied(400, "invalid_request", "the body names no connection_id, or is no JSON") from None
        if not 0 < len(wanted.connection_id) <= CONNECTION_ID:
            raise Denied(400, "invalid_request", "the connection_id is empty or too long")
        told = parameters_of(wanted.parameters) | ({"channel": wanted.channel} if wanted.channel else {})
        visitor = self._visitor(told, guest.tenant)
        address = f"{self._section.http.replace('http', 'ws', 1)}/media/{quote(wanted.connection_id, safe='')}"
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(self._talk(address, visitor, connected), name="dialled call")
        await asyncio.shield(connected)
        return JSONResponse({"session_id": visitor.session_id}, 202)

    async def _talk(self, address: str, visitor: Visitor, connected: "asyncio.Future[None]") -> None:
        """One call; whatever becomes of it, the others go on."""
        try:
            with self._host.place(visitor.tenant):
                async with connect(
                    address,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    open_timeout=DIAL_SECONDS,
                    close_timeout=1.0,
                    compression=None,
                    max_size=MOST_BYTES,
                    ping_interval=None,
                    proxy=None,
                ) as connection:
                    connected.set_result(None)
                    await self._host.hold(DialledTransport(connection), visitor)
        except Denied as denied:
            _fail(connected, denied)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI):
            _fail(connected, Denied(502, "asterisk_unreachable", "Asterisk did not take the connection"))
        except Exception:
            log.exception("session %s: internal error", visitor.session_id)
        finally:
            connected.cancel()


def _fail(connected: "asyncio.Future[None]", denied: Denied) -> None:
    if not connected.done():
        connected.set_exception(denied)
        connected.exception()  # looked at: the request may be gone


def door(host: Host) -> Door:
    asterisk = AsteriskDoor(host)
    return Door(
        routes=[
            Route("/asterisk/dial", answering(asterisk.dial), methods=["POST"]),
            *(WebSocketRoute(path, asterisk.stream) for path in ("/asterisk", "/asterisk/{key}")),
        ],
        run=asterisk.run,
    )
