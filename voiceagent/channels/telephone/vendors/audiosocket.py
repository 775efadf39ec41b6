"""Asterisk's AudioSocket: a TCP port of its own. As a call tells nothing but its id there, `/audiosocket/<id>`
announces one, with all that is to be known of it in the query."""

import asyncio
import logging
import struct
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import CallController, Frame, HangUp, Transfer
from voiceagent.channels.channel import Channel, Denied, answering
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, parameters_of
from voiceagent.channels.telephone.control import ControlContext
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    StreamStarted,
    StreamStopped,
)
from voiceagent.channels.telephone.settings import Port, VendorSection
from voiceagent.channels.telephone.vendor import Vendor, VendorRoutes
from voiceagent.channels.telephone.vendors.asterisk import AsteriskSection, asterisk_control
from voiceagent.channels.telephone.wire import Read, VendorCall
from voiceagent.channels.transport import ClientDisconnected, MessageHandler
from voiceagent.errors import ConfigError

log = logging.getLogger(__name__)


class AudioSocketSection(VendorSection):
    """Calls by Asterisk's AudioSocket."""

    host: str = "127.0.0.1"
    """The address to listen on for them."""
    port: Port | None = None
    """The port; without one there are no such calls."""
    announced_only: bool = False
    """Take only calls that were announced before."""


# -- the protocol -----------------------------------------------------------------------------------------------------

HEADER = struct.Struct(">BH")
"""Kind and length of the payload in bytes, big-endian."""
HANG_UP, ID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES = {0x10: 8000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000}
"""Of linear audio, by kind of message."""
FRAME_MS = 20

Lookup = Callable[[str], Mapping[str, str] | None]
"""What was announced of a call with this id; None for a call that may not come in."""


def message(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class AudioSocketProtocol:
    """Messages of a kind, a length and a payload on a TCP connection.

    A frame is one whole message. The call begins with its id and the first audio, whose kind tells the rate. There
    is no queue on the other side, and so nothing to clear: what was sent is heard."""

    name = "audiosocket"
    has_marks = False
    message_ms = FRAME_MS
    grain_ms = FRAME_MS
    lead_ms = 100
    leave_seconds = 0.0
    moves_calls = False

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._id = ""
        self._known: Mapping[str, str] = {}
        self._kind: int | None = None

    @property
    def reachable(self) -> bool:
        return "channel" in self._known

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, str) or len(frame) < HEADER.size:
            raise MalformedMessage(1007, "the message is not valid")
        kind, length = HEADER.unpack_from(frame)
        payload = frame[HEADER.size :]
        if len(payload) != length:
            raise MalformedMessage(1007, "the message is not valid")
        if kind in (HANG_UP, ERROR):
            return [StreamStopped()]
        if kind == ID:
            return self._identify(payload)
        if not self._id:
            raise MalformedMessage(1002, "the first message is not the call's id")
        if kind == DTMF:
            return [DigitPressed(payload.decode("latin-1").upper())]
        return self._hear(kind, payload) if kind in RATES else []

    def _identify(self, payload: bytes) -> Read:
        if self._id:
            raise MalformedMessage(1002, "the call has an id already")
        if len(payload) != 16:
            raise MalformedMessage(1007, "the id is no UUID")
        known = self._lookup(name := str(uuid.UUID(bytes=payload)))
        if known is None:
            raise MalformedMessage(1008, "nobody announced this call")
        self._id, self._known = name, known
        return []

    def _hear(self, kind: int, payload: bytes) -> Read:
        if self._kind is not None and kind != self._kind:
            raise MalformedMessage(1003, "the rate has changed")
        if len(payload) % 2:
            raise MalformedMessage(1007, "half a sample of audio")
        start: list[Incoming] = []
        if self._kind is None:
            known = self._known
            call = Call("audiosocket", self._id, "", known.get("from", ""), known.get("to", ""), known)
            start = [StreamStarted(call, "", LineFormat("l16", RATES[kind]))]
            self._kind = kind
        return [*start, AudioReceived(payload)]

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        assert self._kind is not None
        rate = RATES[self._kind]
        step, line = rate * FRAME_MS // 1000, LineFormat("l16", rate)
        return [message(self._kind, line.encode(pcm[start : start + step])) for start in range(0, len(pcm), step)]

    def mark(self, name: str) -> Frame:
        raise NotImplementedError

    def clear(self) -> Frame | None:
        return None

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        return [message(HANG_UP)]

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        return [message(ERROR, b"\x04"), message(HANG_UP)]


# -- the connection ---------------------------------------------------------------------------------------------------

BODY_SECONDS = 10.0
"""How long the rest of a message may take."""
LEAD_SECONDS = 0.04
"""Audio that Asterisk is given ahead: its channel holds next to none, and our clock is not its own."""


class AudioPace:
    """Lets audio pass no faster than it is heard."""

    def __init__(self) -> None:
        self._played_at = 0.0
        """When all audio so far will have been played, on the loop's clock."""

    async def wait(self, seconds: float) -> None:
        """Until so much more may be sent."""
        now = asyncio.get_running_loop().time()
        self._played_at = max(self._played_at, now)
        await asyncio.sleep(max(0.0, self._played_at - LEAD_SECONDS - now))
        self._played_at += seconds


def seconds_of(frame: bytes) -> float:
    """Of audio in this message."""
    rate = RATES.get(frame[0])
    return (len(frame) - HEADER.size) / 2 / rate if rate else 0.0


class AudioSocketTransport:
    """Asterisk plays what it gets at once, so audio is sent at the pace at which it is to be heard."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._pace = AudioPace()

    async def receive(self) -> Frame:
        try:
            header = await self._reader.readexactly(HEADER.size)
            _, length = HEADER.unpack(header)
            async with asyncio.timeout(BODY_SECONDS):
                return header + await self._reader.readexactly(length)
        except (EOFError, OSError):  # TimeoutError is one of the latter
            raise ClientDisconnected from None

    async def send(self, frame: Frame) -> None:
        assert isinstance(frame, bytes)
        if seconds := seconds_of(frame):
            await self._pace.wait(seconds)
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError:
            raise ClientDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        """AudioSocket has no codes."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            raise ClientDisconnected from None

    def set_message_handler(self, taker: MessageHandler | None) -> None: ...


ANNOUNCED_SECONDS = 60.0
"""How long an announced call may take to come."""
MAX_ANNOUNCED = 1000
GOODBYE_SECONDS = 1.0
TENANT = "audiosocket"


class Announced:
    """The data of calls that are about to come, by their ids; each is good for one call."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, tuple[float, Mapping[str, str]]] = OrderedDict()

    def add(self, call: str, parameters: Mapping[str, str]) -> None:
        self._calls[call] = (asyncio.get_running_loop().time(), parameters)
        self._calls.move_to_end(call)
        while len(self._calls) > MAX_ANNOUNCED:
            self._calls.popitem(last=False)

    def take(self, call: str) -> Mapping[str, str] | None:
        at, parameters = self._calls.pop(call, (0.0, None))
        return parameters if asyncio.get_running_loop().time() - at < ANNOUNCED_SECONDS else None


class AudioSocketServer:
    """The port at which Asterisk connects, and the page that announces calls."""

    def __init__(self, routes: VendorRoutes[AudioSocketSection]) -> None:
        self._routes = routes
        self._section = routes.section
        self._announced = Announced()

    async def announce(self, request: Request) -> Response:
        self._routes.identify(request, request.method)
        try:
            call = str(uuid.UUID(request.path_params["call"]))
        except ValueError:
            raise Denied(404, "no_uuid", "a call's id is a UUID") from None
        told = {name: value for name, value in request.query_params.items() if name != "key"}
        self._announced.add(call, parameters_of(told))
        return Response(status_code=204)

    async def run(self) -> None:
        """Take calls. Raises ConfigError when the port is taken."""
        host, port, calls = self._section.host, self._section.port, asyncio.TaskGroup()

        def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.create_task(self._call(reader, writer), name="audiosocket call")

        try:
            server = await asyncio.start_server(come, host, port, start_serving=False)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"[telephone.audiosocket] cannot listen on port {port}: {reason}") from None
        async with calls:
            try:
                await server.start_serving()
                log.info("AudioSocket on port %d", port)
                await asyncio.Event().wait()
            finally:
                server.close()

    def _lookup(self, call: str) -> Mapping[str, str] | None:
        known = self._announced.take(call)
        return {} if known is None and not self._section.announced_only else known

    def _control(self, context: ControlContext) -> CallController | None:
        """Asterisk's: the caller's channel is its own."""
        section = self._routes.settings.section("asterisk")
        return asterisk_control(section, context) if isinstance(section, AsteriskSection) else None

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One call; whatever becomes of it, the others go on."""
        transport = AudioSocketTransport(reader, writer)
        client = self._routes.client(
            lambda options: VendorCall(AudioSocketProtocol(self._lookup), options), TENANT, control=self._control
        )
        try:
            with self._routes.host.slot(TENANT):
                await self._routes.host.serve(transport, client)
        except Denied as denied:
            log.warning("AudioSocket: %s", denied.code)
            await _turn_away(transport)
        except Exception:
            log.exception("session %s: internal error", client.session_id)
        finally:
            writer.close()


async def _turn_away(transport: AudioSocketTransport) -> None:
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await transport.send(message(ERROR, b"\x01") + message(HANG_UP))
            await transport.close(1013, "")
    except (ClientDisconnected, TimeoutError):
        pass


def _listening(routes: VendorRoutes[AudioSocketSection]) -> Channel:
    if routes.section.port is None:
        return Channel()
    server = AudioSocketServer(routes)
    page = Route("/audiosocket/{call}", answering(server.announce), methods=["GET", "POST"])
    return Channel([page], server.run)


VENDOR = Vendor("audiosocket", AudioSocketSection, extra=_listening)
