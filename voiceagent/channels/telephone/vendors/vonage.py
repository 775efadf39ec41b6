"""Vonage: the Voice API's WebSocket at `/vonage`, NCCO pages, signed tokens, the interface for calls in progress."""

import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct
from pydantic import JsonValue, SecretStr
from starlette.responses import JSONResponse, Response

from voiceagent import extras
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import CallController, ControlError, Frame, HangUp, SendDigits, Transfer
from voiceagent.channels.channel import Channel
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import VendorRequest, same
from voiceagent.channels.telephone.call import Call, parameters_of
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation, Rest, id_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    decode,
    decode_object,
)
from voiceagent.channels.telephone.pages import IncomingCall, Pages
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor, VendorRoutes
from voiceagent.channels.telephone.wire import Read, VendorCall
from voiceagent.section import WebAddress

if TYPE_CHECKING:
    import jwt
    from jwt.types import Options
else:
    jwt = extras.optional("jwt", "[telephone.vonage] signature_secret or private_key")


class VonageSection(VendorSection):
    """Vonage."""

    signature_secret: SecretStr | None = None
    """Checks the signed tokens of webhooks and streams."""
    application_id: str = ""
    """The application, for the REST interface."""
    private_key: SecretStr | None = None
    """The application's private key, as PEM."""
    api_base: WebAddress = "https://api.nexmo.com"
    """Address of the REST interface."""
    rate: Literal[8000, 16_000, 24_000] = 16_000
    """Sample rate that our own answer page asks for, in Hz."""


# -- the protocol -----------------------------------------------------------------------------------------------------

FRAME_MS = 20
"""Of audio in a message, both ways."""
RATES = (8000, 16_000, 24_000)
OWN = ("event", "content-type")
"""What Vonage adds to the headers of the NCCO."""

_CLEAR = '{"action":"clear"}'


class _VonagePayload(Struct):
    mark: int | str = ""


class _VonageEvent(Struct):
    event: str = ""
    digit: int | str = ""
    payload: _VonagePayload | None = None


_EVENT = msgspec.json.Decoder(_VonageEvent)


class VonageProtocol:
    """The Voice WebSocket: linear audio in binary messages, events and actions in JSON."""

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
        if self._format is None:
            told = decode_object(frame)
            if told.get("event") == "websocket:connected":
                return self._connected(told)
            if not str(told.get("event")).startswith("websocket:"):
                raise MalformedMessage(1002, "the first message does not name the call")
            if told["event"] != "websocket:dtmf":
                return []
        event = decode(_EVENT, frame)
        match event.event:
            case "websocket:dtmf":
                return [DigitPressed(str(event.digit).upper())]
            case "websocket:notify" if event.payload is not None:
                return [MarkPlayed(str(event.payload.mark))]
            case _:
                return []

    def _connected(self, told: dict[str, object]) -> Read:
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
    """`audio/l16;rate=16000`. Raises MalformedMessage."""
    kind, _, parameters = str(content_type).lower().replace(" ", "").partition(";")
    rate = dict(pair.split("=", 1) for pair in parameters.split(";") if "=" in pair).get("rate", "16000")
    if kind != "audio/l16" or rate not in map(str, RATES):
        raise MalformedMessage(1003, "this content type is not supported")
    return LineFormat("l16", int(rate))


# -- tokens -----------------------------------------------------------------------------------------------------------

TOKEN_AGE_SECONDS = 300
"""How old a token of Vonage's may be."""
CHECKED: "Options" = {"require": ["iat"], "verify_iat": False, "verify_aud": False, "verify_iss": False}
"""Of a token. We look at the time ourselves: clocks differ."""


def vonage_signed(authorization: str, body: bytes, secret: SecretStr | None) -> bool | None:
    """A bearer token, signed by the account's secret and fresh; where it tells the body's digest, of this body. None
    where no secret is configured."""
    if secret is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return False
    try:
        claims = jwt.decode(token.strip(), secret.get_secret_value(), algorithms=["HS256"], options=CHECKED)
    except (jwt.PyJWTError, ValueError):
        return False
    issued, digest = claims["iat"], claims.get("payload_hash")
    if not isinstance(issued, int | float) or abs(time.time() - issued) > TOKEN_AGE_SECONDS:
        return False
    return digest is None or not body or same(str(digest).lower(), hashlib.sha256(body).hexdigest())


def _verify(section: VonageSection, request: VendorRequest) -> bool | None:
    return vonage_signed(request.headers.get("authorization", ""), request.body, section.signature_secret)


# -- call control -----------------------------------------------------------------------------------------------------

TOKEN_SECONDS = 60
"""How long a token of ours is good for."""


def vonage_connect(destination: str, caller: str = "") -> dict[str, JsonValue]:
    """The NCCO action that dials somebody; `caller` is the number that it is shown."""
    endpoint: dict[str, JsonValue] = {"type": "phone", "number": destination.removeprefix("+")}
    if destination.startswith("sip"):
        endpoint = {"type": "sip", "uri": destination}
    shown: dict[str, JsonValue] = {"from": caller} if caller else {}
    return {"action": "connect", **shown, "endpoint": [endpoint]}


class VonageControl:
    """Vonage's Voice API. Its tokens are signed by the application's private key."""

    def __init__(self, rest: Rest, application: str, private_key: SecretStr, call: CurrentCall) -> None:
        self._rest, self._application, self._key, self._call = rest, application, private_key, call

    async def carry_out(self, operation: Operation) -> None:
        body = self._body(operation)
        await self._rest.request("PUT", f"/v1/calls/{id_of(self._call)}", bearer=self._token(), json=body)

    def _body(self, operation: Operation) -> JsonValue:
        match operation:
            case HangUp():
                return {"action": "hangup"}
            case Transfer(destination):
                call = self._call()
                ncco: list[JsonValue] = [vonage_connect(destination, call.called if call else "")]
                return {"action": "transfer", "destination": {"type": "ncco", "ncco": ncco}}
            case SendDigits():
                raise ControlError("digits go as tones")

    def _token(self) -> SecretStr:
        now = int(time.time())
        claims = {
            "application_id": self._application,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(16),
        }
        try:
            return SecretStr(jwt.encode(claims, self._key.get_secret_value(), "RS256"))
        except (ValueError, TypeError, jwt.PyJWTError):
            raise ControlError("[telephone.vonage] private_key is not an RSA key in PEM") from None


def _control(section: VonageSection, context: ControlContext) -> CallController | None:
    if not (section.application_id and section.private_key):
        return None
    rest = Rest("vonage", section.api_base, context.seconds)
    return VonageControl(rest, section.application_id, section.private_key, context.call)


# -- pages ------------------------------------------------------------------------------------------------------------

TOLD = {"from": "from", "to": "to", "uuid": "call_uuid", "conversation_uuid": "conversation_uuid"}
"""What Vonage tells of a call, and the stream's header that passes it on."""


def _answer(section: VonageSection, call: IncomingCall) -> Response:
    """An NCCO: our stream, and whom to dial when it ends."""
    headers = {TOLD[name]: value for name, value in call.fields.items() if name in TOLD}
    endpoint: dict[str, JsonValue] = {
        "type": "websocket",
        "uri": call.stream_url,
        "content-type": f"audio/l16;rate={section.rate}",
        "headers": {**headers, **call.parameters},
    }
    if section.signature_secret is not None:
        endpoint["authorization"] = {"type": "vonage"}
    actions: list[JsonValue] = [{"action": "connect", "endpoint": [endpoint]}]
    if call.dial_after:
        actions.append(vonage_connect(call.dial_after, call.fields.get("to", "")))
    return JSONResponse(actions)


def _checked(routes: VendorRoutes[VonageSection]) -> Channel:
    """Nothing more is served, but what the configured keys need must be installed."""
    if routes.section.signature_secret is not None or routes.section.private_key is not None:
        extras.need("jwt", "[telephone.vonage] signature_secret or private_key")
    return Channel()


VENDOR = Vendor(
    "vonage",
    VonageSection,
    connect=lambda section, websocket, options: VendorCall(VonageProtocol(), options),
    verify=_verify,
    control=_control,
    pages=Pages(answer=_answer),
    extra=_checked,
)
