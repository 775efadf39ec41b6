"""Genesys Cloud's Audio Connector: `/genesys`."""

import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec import Struct
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Frame, HangUp, Transfer
from voiceagent.channels.channel import Channel, ChannelHost, Client
from voiceagent.channels.telephone.admission import call_options, identify_caller
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import addresses, genesys_signed
from voiceagent.channels.telephone.call import Call, parameters_of, text_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    StreamStarted,
    StreamStopped,
)
from voiceagent.channels.telephone.settings import TelephoneSection
from voiceagent.channels.telephone.vendor_protocol import Read, VendorCall

# Genesys' AudioHook, as the Audio Connector speaks it: audio in binary messages, numbered ones in JSON to control.

VERSION = "2"
FORMATS = {"PCMU": LineFormat("ulaw"), "L16": LineFormat("l16")}
MESSAGE_MS = 100
"""Genesys limits how many messages it takes in a second."""
LEAVE_SECONDS = 5.0
"""How long Genesys may take to close what it was told to."""
LONGEST_DISCARD = timedelta(hours=12)
NOTHING: dict[str, object] = {}


class _GenesysMessage(Struct):
    version: str
    id: str
    type: str
    seq: int
    serverseq: int = 0
    parameters: dict[str, object] = {}


_MESSAGE = msgspec.json.Decoder(_GenesysMessage)
_ENCODER = msgspec.json.Encoder()
_DURATION = re.compile(r"PT(\d{1,9}(?:\.\d{1,9})?)S")


class GenesysProtocol:
    """Genesys plays what it is sent by itself and knows no marks. Who leaves tells by `outputVariables` what is to
    become of the caller: the Architect flow goes on with these."""

    name = "genesys"
    has_marks = False
    message_ms = MESSAGE_MS
    grain_ms = 20
    lead_ms = 100
    leave_seconds = LEAVE_SECONDS
    moves_calls = True
    reachable = True

    def __init__(self, organization: str = "") -> None:
        """`organization` is that of the handshake's header, which the call must belong to."""
        self._organization = organization
        self._id = ""
        self._seq = self._client_seq = 0
        self._format: LineFormat | None = None
        self._heard = 0
        """Bytes of audio that came."""
        self._discarded = 0.0
        """Milliseconds of audio that Genesys says it did not send."""

    # -- from Genesys -----------------------------------------------------------------------------------------------

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, bytes):
            return self._hear(frame)
        try:
            message = _MESSAGE.decode(frame)
        except (ValueError, RecursionError):
            raise MalformedMessage(1007, "the message is not valid") from None
        self._count(message)
        match message.type:
            case "open":
                return self._open(message)
            case "ping":
                return [self._say("pong")]
            case "close":
                return [self._say("closed"), StreamStopped()]
            case "update":
                return [self._say("updated")]
            case "dtmf":
                return [DigitPressed((text_of(message.parameters.get("digit")) or "").upper())]
            case "discarded" | "resumed":
                self._discarded += _milliseconds(message.parameters.get("discarded"))
                return []
            case _:
                return []

    def _count(self, message: _GenesysMessage) -> None:
        """Numbers rise by one. A message out of turn is none; those after it may be right again."""
        if message.version != VERSION:
            raise MalformedMessage(1002, "this version of the protocol is not spoken")
        if self._id and message.id != self._id:
            raise MalformedMessage(1002, "the message is of another session")
        before, self._client_seq = self._client_seq, max(self._client_seq, min(message.seq, 2**53))
        if message.seq != before + 1 or not 0 <= message.serverseq <= self._seq:
            raise MalformedMessage(1002, "the message is out of turn")

    def _hear(self, audio: bytes) -> Read:
        line = self._format
        if line is None:
            raise MalformedMessage(1002, "the call has not begun")
        at_ms = int(self._heard_ms + self._discarded)
        self._heard += len(audio)
        return [AudioReceived(audio, at_ms)]

    @property
    def _heard_ms(self) -> float:
        assert self._format is not None
        return 1000 * self._heard / self._format.rate / self._format.sample_bytes

    def _open(self, message: _GenesysMessage) -> Read:
        if self._format is not None:
            raise MalformedMessage(1002, "the call has begun already")
        told, self._id = message.parameters, message.id
        if self._organization and told.get("organizationId") != self._organization:
            raise MalformedMessage(1008, "the organization is not that of the handshake")
        media, line = _chosen(told.get("media"))
        self._format = line
        someone = told.get("participant")
        participant = someone if isinstance(someone, dict) else NOTHING
        call = Call(
            "genesys",
            text_of(told.get("conversationId")) or "",
            text_of(told.get("organizationId")) or "",
            _number(participant.get("ani")),
            _number(participant.get("dnis")),
            {**parameters_of(told.get("customConfig")), **parameters_of(told.get("inputVariables"))},
        )
        return [self._say("opened", {"startPaused": False, "media": [media]}), StreamStarted(call, message.id, line)]

    # -- to Genesys -------------------------------------------------------------------------------------------------

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        assert self._format is not None
        return [self._format.encode(pcm)]

    def mark(self, name: str) -> Frame:
        raise NotImplementedError

    def clear(self) -> Frame | None:
        return self._say("event", {"entities": [{"type": "barge_in", "data": {}}]})

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        """`voiceagent_action` is `end` or `transfer`, and then `voiceagent_destination` says to whom."""
        variables = {"voiceagent_action": "end"}
        if isinstance(operation, Transfer):
            variables = {"voiceagent_action": "transfer", "voiceagent_destination": operation.destination}
        return [self._say("disconnect", {"reason": "completed", "outputVariables": variables})]

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        if not self._id:
            return []
        reason = "unauthorized" if bad.code == 1008 else "error"
        return [self._say("disconnect", {"reason": reason, "info": bad.reason})]

    def _say(self, kind: str, parameters: dict[str, object] = NOTHING) -> Frame:
        self._seq += 1
        return _ENCODER.encode(
            {
                "version": VERSION,
                "id": self._id,
                "type": kind,
                "seq": self._seq,
                "clientseq": self._client_seq,
                "parameters": parameters,
            }
        ).decode()


def _chosen(offered: object) -> tuple[dict[str, object], LineFormat]:
    """The first of the media offered that has the caller alone. Raises Malformed."""
    for media in offered if isinstance(offered, list) else []:
        if not isinstance(media, dict) or media.get("channels") != ["external"] or media.get("rate") != 8000:
            continue
        line = FORMATS.get(text_of(media.get("format")) or "")
        if media.get("type") == "audio" and line is not None:
            return {name: media[name] for name in ("type", "format", "channels", "rate")}, line
    raise MalformedMessage(1003, "no media with the caller alone is offered")


def _number(value: object) -> str:
    """`tel:+15551234` without its scheme."""
    return (text_of(value) or "").removeprefix("tel:")


def _milliseconds(value: object) -> float:
    """`PT1.5S` in milliseconds; 0 for what is no duration."""
    found = _DURATION.fullmatch(text_of(value) or "")
    seconds = float(found[1]) if found else 0.0
    return 1000 * min(seconds, LONGEST_DISCARD.total_seconds())


def channel(host: ChannelHost, settings: TelephoneSection) -> Channel:
    section = settings.genesys

    def authenticate(websocket: WebSocket) -> Client:
        headers = websocket.headers
        host.check_origin(headers.get("origin"))
        urls = addresses(websocket, settings.public_url)
        signed = genesys_signed(headers, urls, section.api_key, section.client_secret)
        guest = identify_caller(host, "genesys", section, websocket, signed)
        peer = GenesysProtocol(headers.get("audiohook-organization-id", ""))
        protocol = VendorCall(peer, call_options(host, settings, controlled=True))
        return Client(protocol, host.new_id("sess"), guest.tenant)

    async def stream(websocket: WebSocket) -> None:
        await host.accept(websocket, lambda: authenticate(websocket))

    return Channel(routes=[WebSocketRoute(path, stream) for path in ("/genesys", "/genesys/{key}")])
