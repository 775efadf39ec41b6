"""Vonage: `/vonage` is the stream, `/vonage/voice` the page that answers a call with it."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct
from pydantic import JsonValue
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent import extras
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Frame, HangUp, Transfer
from voiceagent.channels.channel import Channel, ChannelHost, Client, Denied, answering
from voiceagent.channels.telephone.admission import IdentifiedCaller, body_of, call_options, identify_caller
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import vonage_signed
from voiceagent.channels.telephone.call import Call, parameters_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
)
from voiceagent.channels.telephone.settings import TelephoneSection, VonageSection
from voiceagent.channels.telephone.vendor_protocol import Read, VendorCall
from voiceagent.channels.telephone.vendors.systems import vonage_connect, vonage_control

# Vonage's Voice WebSocket: linear audio in binary messages, events and actions in JSON.

FRAME_MS = 20
"""Of audio in a message, both ways."""
RATES = (8000, 16_000, 24_000)
OWN = ("event", "content-type")
"""What Vonage adds to the headers of the NCCO."""

_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])
_CLEAR = '{"action":"clear"}'


class _VonagePayload(Struct):
    mark: str = ""


class _VonageEvent(Struct):
    event: str = ""
    digit: str = ""
    payload: _VonagePayload | None = None


_EVENT = msgspec.json.Decoder(_VonageEvent)


class VonageProtocol:
    name = "vonage"
    has_marks = True
    message_ms = FRAME_MS
    grain_ms = FRAME_MS
    lead_ms = 120
    leave_seconds = 0.0
    moves_calls = False
    reachable = True

    def __init__(self) -> None:
        self._format: LineFormat | None = None

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, bytes):
            return [AudioReceived(frame)]
        try:
            if self._format is None:
                return self._connected(_OBJECT.decode(frame))
            event = _EVENT.decode(frame)
        except (ValueError, RecursionError):
            raise MalformedMessage(1007, "the message is not valid") from None
        match event.event:
            case "websocket:dtmf":
                return [DigitPressed(event.digit.upper())]
            case "websocket:notify" if event.payload is not None:
                return [MarkPlayed(event.payload.mark)]
            case _:
                return []

    def _connected(self, told: dict[str, object]) -> Read:
        if told.get("event") != "websocket:connected":
            raise MalformedMessage(1002, "the first message does not name the call")
        self._format = line = _format(told.get("content-type"))
        headers = parameters_of({name: value for name, value in told.items() if name not in OWN})
        caller, called = headers.get("from", ""), headers.get("to", "")
        call = Call("vonage", headers.get("call_uuid", ""), "", caller, called, headers)
        return [StreamStarted(call, "", line)]

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        assert self._format is not None
        step = self._format.rate * FRAME_MS // 1000
        return [self._format.encode(pcm[start : start + step]) for start in range(0, len(pcm), step)]

    def mark(self, name: str) -> Frame:
        return '{"action":"notify","payload":{"mark":"' + name + '"}}'

    def clear(self) -> Frame | None:
        return _CLEAR

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        return []

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        return []


def _format(content_type: object) -> LineFormat:
    """`audio/l16;rate=16000`. Raises Malformed."""
    kind, _, parameters = str(content_type).lower().replace(" ", "").partition(";")
    rate = dict(pair.split("=", 1) for pair in parameters.split(";") if "=" in pair).get("rate", "16000")
    if kind != "audio/l16" or rate not in map(str, RATES):
        raise MalformedMessage(1003, "this content type is not supported")
    return LineFormat("l16", int(rate))


TOLD = {"from": "from", "to": "to", "uuid": "call_uuid", "conversation_uuid": "conversation_uuid"}
"""What Vonage tells of a call, and the stream's header that passes it on."""


def channel(host: ChannelHost, settings: TelephoneSection) -> Channel:
    section = settings.vonage
    if section.signature_secret or section.private_key:
        extras.need("jwt", "[telephone.vonage] signature_secret or private_key")

    def identify(connection: HTTPConnection, body: bytes = b"") -> IdentifiedCaller:
        authorization = connection.headers.get("authorization", "")
        return identify_caller(
            host, "vonage", section, connection, vonage_signed(authorization, body, section.signature_secret)
        )

    def authenticate(websocket: WebSocket) -> Client:
        host.check_origin(websocket.headers.get("origin"))
        guest = identify(websocket)
        control = vonage_control(section, settings.control_seconds, lambda: protocol.call)
        protocol = VendorCall(VonageProtocol(), call_options(host, settings, controlled=control is not None))
        return Client(protocol, host.new_id("sess"), guest.tenant, control=control)

    async def stream(websocket: WebSocket) -> None:
        await host.accept(websocket, lambda: authenticate(websocket))

    async def voice(request: Request) -> Response:
        """What to do with an incoming call: our stream, and whom to dial when it ends."""
        body = await body_of(request)
        guest = identify(request, body)
        told = _told(request, body)
        public = settings.public_url or f"https://{request.headers.get('host', '')}"
        url = f"{public.replace('http', 'ws', 1)}/vonage{f'/{quote(guest.key)}' if guest.key else ''}"
        headers = {TOLD[name]: value for name, value in told.items() if name in TOLD} | settings.parameters
        after = settings.destinations.get(settings.dial_after, "")
        actions: list[JsonValue] = [_stream(section, url, headers)]
        return JSONResponse([*actions, *([vonage_connect(after, told.get("to", ""))] if after else [])])

    return Channel(
        routes=[
            Route("/vonage/voice", answering(voice), methods=["GET", "POST"]),
            *(WebSocketRoute(path, stream) for path in ("/vonage", "/vonage/{key}")),
        ]
    )


def _told(request: Request, body: bytes) -> dict[str, str]:
    """What the webhook says of the call: in its query, or in its body. Raises Denied."""
    told: object = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            raise Denied(400, "invalid_json", "the body cannot be read") from None
    return parameters_of(told)


def _stream(section: VonageSection, url: str, headers: Mapping[str, str]) -> dict[str, JsonValue]:
    endpoint: dict[str, JsonValue] = {
        "type": "websocket",
        "uri": url,
        "content-type": f"audio/l16;rate={section.rate}",
        "headers": {**headers},
    }
    if section.signature_secret is not None:
        endpoint["authorization"] = {"type": "vonage"}
    return {"action": "connect", "endpoint": [endpoint]}
