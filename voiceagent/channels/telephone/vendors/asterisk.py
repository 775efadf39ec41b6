"""Asterisk: `chan_websocket`, both ways (at `/asterisk` it connects to us, by `POST /asterisk/dial` we to it), and call
control by its manager or by its REST interface."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
from msgspec import Struct
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import CallController, ControlError, Frame, HangUp, SendDigits, Transfer
from voiceagent.channels.channel import Channel, Client, Denied, answering
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, CallOptions, parameters_of, text_of
from voiceagent.channels.telephone.control import (
    Console,
    ControlContext,
    CurrentCall,
    Operation,
    Rest,
    console,
    dialable,
    plain,
)
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    decode_object,
    whole_number,
)
from voiceagent.channels.telephone.pages import body_of
from voiceagent.channels.telephone.settings import PlainName, Port, VendorSection
from voiceagent.channels.telephone.vendor import Vendor, VendorRoutes
from voiceagent.channels.telephone.wire import Read, SendBufferFull, VendorCall
from voiceagent.channels.transport import ClientDisconnected, MessageHandler, without_pings
from voiceagent.section import WebAddress

log = logging.getLogger(__name__)


class AsteriskSection(VendorSection):
    """Asterisk."""

    http: WebAddress | None = None
    """Asterisk's own HTTP server, for its REST interface and for the media of calls that we dial into."""
    ari_user: str = ""
    """User of the REST interface (ARI)."""
    ari_password: SecretStr | None = None
    """Its password."""
    ami_host: str = "127.0.0.1"
    """Host of the manager interface (AMI)."""
    ami_port: Port = 5038
    """Port of the manager interface."""
    ami_user: str = ""
    """User of the manager interface."""
    ami_password: SecretStr | None = None
    """Its password."""
    context: PlainName = "default"
    """Calls are transferred to an extension of this dialplan context."""


# -- the protocol -----------------------------------------------------------------------------------------------------

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
MAX_FRAME_BYTES = 100_000
FRAME_MS = range(10, 121)
"""How long a frame of Asterisk's can be."""


class AsteriskProtocol:
    """`chan_websocket`: audio in binary messages, commands and events as plain text or as JSON.

    `query` is that of the URL: what the dialplan passed with `v(…)`. Its `from`, `to` and `call_id` are the call's
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
        fields = self._fields(frame)
        match text_of(fields.get("event")):
            case "MEDIA_START":
                return [self._started(fields), self._command("ANSWER")]
            case "MEDIA_XOFF":
                return [SendBufferFull(True)]
            case "MEDIA_XON":
                return [SendBufferFull(False)]
            case "MEDIA_MARK_PROCESSED":
                return [MarkPlayed(text_of(fields.get("correlation_id")) or "")]
            case "DTMF_END":
                return [DigitPressed((text_of(fields.get("digit")) or "").upper())]
            case _:
                return []

    def _fields(self, frame: str) -> Mapping[str, object]:
        if not self._json:
            event, _, rest = frame.strip().partition(" ")
            if event == "MEDIA_MARK_PROCESSED":
                return {"event": event, "correlation_id": rest}
            pairs = (pair.partition(":") for pair in rest.split())
            return {**{name: value for name, _, value in pairs}, "event": event}
        return decode_object(frame)

    def _started(self, fields: Mapping[str, object]) -> StreamStarted:
        if self._format is not None:
            raise MalformedMessage(1002, "the call has begun already")
        line = FORMATS.get((text_of(fields.get("format")) or "").lower())
        if line is None:
            raise MalformedMessage(1003, "this format is not supported")
        self.message_ms = self.grain_ms = _frame_ms(fields.get("optimal_frame_size"), line)
        self._format = line
        variables = {**parameters_of(fields.get("channel_variables")), **self._query}
        own = text_of(fields.get("channel_id")) or ""
        call = Call(
            "asterisk",
            variables.get("call_id") or own,
            "",
            variables.get("from", ""),
            variables.get("to", ""),
            {**variables, "connection_id": text_of(fields.get("connection_id")) or ""},
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
    """`optimal_frame_size`, in bytes, as milliseconds. Raises MalformedMessage."""
    fields = text_of(size)
    if not fields:
        return 20
    length = whole_number(fields)
    if length is None or length > MAX_FRAME_BYTES:
        raise MalformedMessage(1007, "the frame size is not valid")
    ms, rest = divmod(1000 * length, line.rate * line.sample_bytes)
    if rest or ms not in FRAME_MS:
        raise MalformedMessage(1003, "this frame size is not supported")
    return ms


# -- call control -----------------------------------------------------------------------------------------------------


class AsteriskManagerControl:
    """Asterisk's manager interface. The caller's channel, by its name or its unique id, is a parameter of the call."""

    def __init__(
        self, host: str, port: int, login: tuple[str, SecretStr], context: str, seconds: float, call: CurrentCall
    ) -> None:
        self._where = (host, port, seconds)
        self._login = login
        self._context = context
        self._call = call

    async def carry_out(self, operation: Operation) -> None:
        action = self._action(f"Channel: {channel_of(self._call())}", operation)
        user, password = self._login
        async with console("asterisk", *self._where) as ami:
            await ami.line()  # its version
            await ami.send(
                "Action: Login", f"Username: {user}", f"Secret: {password.get_secret_value()}", "Events: off"
            )
            await self._answered(ami, "the password")
            await ami.send(*action)
            await self._answered(ami, "it")
            await ami.send("Action: Logoff")

    def _action(self, channel: str, operation: Operation) -> tuple[str, ...]:
        match operation:
            case HangUp():
                return ("Action: Hangup", channel, "Cause: 16")
            case Transfer(destination):
                exten = f"Exten: {dialable(destination)}"
                return ("Action: Redirect", channel, f"Context: {self._context}", exten, "Priority: 1")
            case SendDigits():
                raise ControlError("digits go as tones")

    @staticmethod
    async def _answered(ami: Console, what: str) -> None:
        answer = await ami.message()
        while "response" not in answer:  # an event
            answer = await ami.message()
        if answer["response"] != "Success":
            raise ControlError(f"asterisk refused {what}")


def channel_of(call: Call | None) -> str:
    """Raises ControlError."""
    return plain(call.parameters.get("channel", "") if call else "", "channel")


class AriControl:
    """Asterisk's REST interface, for callers whose channel is in a Stasis application."""

    def __init__(self, rest: Rest, login: tuple[str, SecretStr], context: str, call: CurrentCall) -> None:
        self._rest, self._login, self._context, self._call = rest, login, context, call

    async def carry_out(self, operation: Operation) -> None:
        path = f"/ari/channels/{quote(channel_of(self._call()), safe='')}"
        match operation:
            case HangUp():
                await self._rest.request("DELETE", path, basic=self._login)
            case Transfer(destination):
                exten = dialable(destination)
                query = urlencode({"context": self._context, "extension": exten, "priority": 1})
                await self._rest.request("POST", f"{path}/continue?{query}", basic=self._login)
            case SendDigits():
                raise ControlError("digits go as tones")


def asterisk_control(section: AsteriskSection, context: ControlContext) -> CallController | None:
    """The manager where it is configured, as it can move any channel; else the REST interface, or None."""
    match section:
        case AsteriskSection(ami_user=user, ami_password=password) if user and password:
            return AsteriskManagerControl(
                section.ami_host, section.ami_port, (user, password), section.context, context.seconds, context.call
            )
        case AsteriskSection(http=http, ari_user=user, ari_password=password) if http and user and password:
            return AriControl(Rest("asterisk", http, context.seconds), (user, password), section.context, context.call)
        case _:
            return None


# -- calls that we dial into ------------------------------------------------------------------------------------------

DIAL_SECONDS = 5.0
"""How long Asterisk may take to accept a connection of ours."""
MAX_MESSAGE_BYTES = 1024 * 1024
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

    def set_message_handler(self, taker: MessageHandler | None) -> None: ...


class AsteriskDialler:
    """Calls that we dial into."""

    def __init__(self, routes: VendorRoutes[AsteriskSection]) -> None:
        self._routes = routes
        self._tasks: asyncio.TaskGroup | None = None
        """Owns the calls."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    async def dial(self, request: Request) -> Response:
        """Answered once we are connected."""
        body = await body_of(request)
        caller = self._routes.identify(request, request.method)
        section = self._routes.section
        if section.http is None or self._tasks is None:
            raise Denied(503, "asterisk_not_configured", "[telephone.asterisk] http is not configured")
        try:
            wanted = msgspec.json.decode(body, type=_Dial)
        except (ValueError, RecursionError):
            raise Denied(400, "invalid_request", "the body names no connection_id, or is no JSON") from None
        if not 0 < len(wanted.connection_id) <= CONNECTION_ID:
            raise Denied(400, "invalid_request", "the connection_id is empty or too long")
        fields = parameters_of(wanted.parameters) | ({"channel": wanted.channel} if wanted.channel else {})
        client = self._routes.client(lambda options: VendorCall(AsteriskProtocol(fields), options), caller.tenant)
        address = f"{section.http.replace('http', 'ws', 1)}/media/{quote(wanted.connection_id, safe='')}"
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(self._run_call(address, client, connected), name="dialled call")
        await asyncio.shield(connected)
        return JSONResponse({"session_id": client.session_id}, 202)

    async def _run_call(self, address: str, client: Client, connected: "asyncio.Future[None]") -> None:
        """One call; whatever becomes of it, the others go on."""
        try:
            with self._routes.host.slot(client.tenant):
                async with connect(
                    address,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    open_timeout=DIAL_SECONDS,
                    close_timeout=1.0,
                    compression=None,
                    max_size=MAX_MESSAGE_BYTES,
                    ping_interval=None,  # as in `_connect`
                    proxy=None,
                ) as connection:
                    connected.set_result(None)
                    await self._routes.host.serve(DialledTransport(connection), client)
        except Denied as denied:
            _fail(connected, denied)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI):
            _fail(connected, Denied(502, "asterisk_unreachable", "Asterisk did not take the connection"))
        except Exception:
            log.exception("session %s: internal error", client.session_id)
        finally:
            connected.cancel()


def _fail(connected: "asyncio.Future[None]", denied: Denied) -> None:
    if not connected.done():
        connected.set_exception(denied)
        connected.exception()  # looked at: the request may be gone


def _connect(section: AsteriskSection, websocket: WebSocket, options: CallOptions) -> VendorCall:
    """Asterisk 22.6, 22.7, 23.0 and 23.1 hang up on the first WebSocket ping, and none tells its version when it
    connects. None needs pings: audio comes every 20 ms."""
    without_pings(websocket)
    query = {name: value for name, value in websocket.query_params.items() if name != "key"}
    return VendorCall(AsteriskProtocol(query), options)


def _dialled(routes: VendorRoutes[AsteriskSection]) -> Channel:
    dialler = AsteriskDialler(routes)
    return Channel([Route("/asterisk/dial", answering(dialler.dial), methods=["POST"])], dialler.run)


VENDOR = Vendor(
    "asterisk",
    AsteriskSection,
    connect=_connect,
    control=asterisk_control,
    subprotocols=(SUBPROTOCOL,),
    extra=_dialled,
)
