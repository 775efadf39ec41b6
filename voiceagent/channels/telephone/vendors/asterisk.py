"""Asterisk's `chan_websocket`, both ways: at `/asterisk` it connects to us, and by `POST /asterisk/dial` we to it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
import numpy as np
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import Frame, HangUp, Transfer
from voiceagent.channels.channel import Channel, ChannelHost, Client, Denied, answering
from voiceagent.channels.telephone.admission import body_of, call_options, identify_caller
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, parameters_of, text_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
)
from voiceagent.channels.telephone.settings import TelephoneSection
from voiceagent.channels.telephone.vendor_protocol import Read, SendBufferFull, VendorCall
from voiceagent.channels.telephone.vendors.systems import asterisk_control
from voiceagent.channels.transport import ClientDisconnected, MessageHandler

log = logging.getLogger(__name__)


# Asterisk's `chan_websocket`: audio in binary messages, commands and events as plain text or as JSON.

SUBPROTOCOL = "media"
FORMATS = {
    "ulaw": LineFormat("ulaw"),
    "alaw": LineFormat("alaw"),
    "slin": LineFormat("l16"),
    "slin12": LineFormat("l16", 12_000),
    "slin16": LineFormat("l16", 16_000),
    "slin24": LineFormat("l16", 24_000),
    "slin32": LineFormat("l16", 32_000),
    "slin44": LineFormat("l16", 44_100),
    "slin48": LineFormat("l16", 48_000),
}
MESSAGE_MS = 200
"""Most audio in a message: 19 kB at the highest rate."""
FRAME_MS = range(10, 121)
"""How long a frame of Asterisk's can be."""

_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


class AsteriskProtocol:
    """`query` is that of the URL: what the dialplan passed with `v(…)`. Its `from`, `to` and `call_id` are the call's
    own; `channel` names the caller's channel, where that is to be moved.

    Commands longer than 128 bytes would be ignored without an error; ours are half of that. Audio is played frame by
    frame, so that every message must be a multiple of one, and at most 64 kB, or Asterisk closes (1009). It is not sent
    ahead in bulk, as there is no use in it. Calls are answered; those that are already do not mind."""

    name = "asterisk"
    has_marks = True
    message_ms = 20
    grain_ms = 20
    lead_ms = 100
    leave_seconds = 0.0
    moves_calls = False

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = parameters_of(dict(query))
        self._json = False
        self._format: LineFormat | None = None

    @property
    def reachable(self) -> bool:
        return "channel" in self._query

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, bytes):
            return [AudioReceived(frame)]
        if self._format is None:
            self._json = frame.lstrip().startswith("{")
        told = self._fields(frame)
        match text_of(told.get("event")):
            case "MEDIA_START":
                return [self._started(told), self._command("ANSWER")]
            case "MEDIA_XOFF":
                return [SendBufferFull(True)]
            case "MEDIA_XON":
                return [SendBufferFull(False)]
            case "MEDIA_MARK_PROCESSED":
                return [MarkPlayed(text_of(told.get("correlation_id")) or "")]
            case "DTMF_END":
                return [DigitPressed((text_of(told.get("digit")) or "").upper())]
            case _:
                return []

    def _fields(self, frame: str) -> Mapping[str, object]:
        if not self._json:
            event, _, rest = frame.strip().partition(" ")
            if event == "MEDIA_MARK_PROCESSED":
                return {"event": event, "correlation_id": rest}
            pairs = (pair.partition(":") for pair in rest.split())
            return {**{name: value for name, _, value in pairs}, "event": event}
        try:
            return _OBJECT.decode(frame)
        except (ValueError, RecursionError):
            raise MalformedMessage(1007, "the message is not valid") from None

    def _started(self, told: Mapping[str, object]) -> StreamStarted:
        if self._format is not None:
            raise MalformedMessage(1002, "the call has begun already")
        line = FORMATS.get((text_of(told.get("format")) or "").lower())
        if line is None:
            raise MalformedMessage(1003, "this format is not supported")
        self.message_ms = self.grain_ms = _frame_ms(told.get("optimal_frame_size"), line)
        self._format = line
        variables = {**parameters_of(told.get("channel_variables")), **self._query}
        own = text_of(told.get("channel_id")) or ""
        call = Call(
            "asterisk",
            variables.get("call_id") or own,
            "",
            variables.get("from", ""),
            variables.get("to", ""),
            {**variables, "connection_id": text_of(told.get("connection_id")) or ""},
        )
        return StreamStarted(call, own, line)

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        assert self._format is not None
        frame = self._format.rate * self.grain_ms // 1000
        step = frame * max(1, MESSAGE_MS // self.grain_ms)
        whole = np.concatenate((pcm, silence(-len(pcm) % frame)))
        return [self._format.encode(whole[start : start + step]) for start in range(0, len(whole), step)]

    def mark(self, name: str) -> Frame:
        return self._command("MARK_MEDIA", name)

    def clear(self) -> Frame | None:
        """The marks in Asterisk's queue are gone with it, without a word."""
        return self._command("FLUSH_MEDIA")

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        return [self._command("HANGUP")]

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        return []

    def _command(self, command: str, correlation_id: str = "") -> Frame:
        if not self._json:
            return f"{command} {correlation_id}" if correlation_id else command
        more = f',"correlation_id":"{correlation_id}"' if correlation_id else ""
        return f'{{"command":"{command}"{more}}}'


def _frame_ms(size: object, line: LineFormat) -> int:
    """`optimal_frame_size`, in bytes, as milliseconds. Raises Malformed."""
    told = text_of(size) or ""
    second = line.rate * line.sample_bytes
    if not told:
        return 20
    if not told.isdecimal() or len(told) > 6:
        raise MalformedMessage(1007, "the frame size is not valid")
    ms, rest = divmod(1000 * int(told), second)
    if rest or ms not in FRAME_MS:
        raise MalformedMessage(1003, "this frame size is not supported")
    return ms


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
            raise ClientDisconnected from None

    async def send(self, frame: Frame) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            raise ClientDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    def set_message_handler(self, handler: MessageHandler | None) -> None: ...


class AsteriskChannel:
    def __init__(self, host: ChannelHost, settings: TelephoneSection) -> None:
        self._host = host
        self._settings = settings
        self._section = self._settings.asterisk
        self._tasks: asyncio.TaskGroup | None = None
        """Owns the calls that we dialled into."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    def _visitor(self, told: Mapping[str, str], tenant: str, subprotocol: str | None = None) -> Client:
        control = asterisk_control(self._section, self._settings.control_seconds, lambda: protocol.call)
        protocol = VendorCall(
            AsteriskProtocol(told), call_options(self._host, self._settings, controlled=control is not None)
        )
        return Client(protocol, self._host.new_id("sess"), tenant, subprotocol=subprotocol, control=control)

    # -- Asterisk connects ------------------------------------------------------------------------------------------

    async def stream(self, websocket: WebSocket) -> None:
        await self._host.accept(websocket, lambda: self._authenticate(websocket))

    def _authenticate(self, websocket: WebSocket) -> Client:
        self._host.check_origin(websocket.headers.get("origin"))
        guest = identify_caller(self._host, "asterisk", self._section, websocket, None)
        told = {name: value for name, value in websocket.query_params.items() if name != "key"}
        offered: list[str] = websocket.scope["subprotocols"]
        return self._visitor(told, guest.tenant, SUBPROTOCOL if SUBPROTOCOL in offered else None)

    # -- we connect -------------------------------------------------------------------------------------------------

    async def dial(self, request: Request) -> Response:
        """Answered once we are connected."""
        body = await body_of(request)
        guest = identify_caller(self._host, "asterisk", self._section, request, None)
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

    async def _talk(self, address: str, visitor: Client, connected: "asyncio.Future[None]") -> None:
        """One call; whatever becomes of it, the others go on."""
        try:
            with self._host.slot(visitor.tenant):
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
                    await self._host.serve(DialledTransport(connection), visitor)
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


def channel(host: ChannelHost, settings: TelephoneSection) -> Channel:
    asterisk = AsteriskChannel(host, settings)
    return Channel(
        routes=[
            Route("/asterisk/dial", answering(asterisk.dial), methods=["POST"]),
            *(WebSocketRoute(path, asterisk.stream) for path in ("/asterisk", "/asterisk/{key}")),
        ],
        run=asterisk.run,
    )
