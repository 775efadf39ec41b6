"""Those telephone systems that have a protocol of their own, message by message, and readers of what they are sent."""

import base64
import json
import uuid
from dataclasses import dataclass
from typing import cast

import numpy as np

from voiceagent.audio.pcm import Pcm, to_bytes
from voiceagent.channels.base import Frame
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.vendors.asterisk import AsteriskProtocol
from voiceagent.channels.telephone.vendors.audiosocket import RATES, AudioSocketProtocol, message
from voiceagent.channels.telephone.vendors.freeswitch import FreeSwitchProtocol
from voiceagent.channels.telephone.vendors.genesys import GenesysProtocol
from voiceagent.channels.telephone.vendors.vonage import VonageProtocol
from voiceagent.channels.telephone.wire import VendorCall, VendorProtocol

Json = dict[str, object]

PEERS = ("vonage", "genesys", "freeswitch", "asterisk", "asterisk-json", "audiosocket")
CALL_ID = "01234567-89ab-cdef-0123-456789abcdef"
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
QUERY = {"tenant": "acme", "from": "+15551234", "to": "+15559999", "uuid": CALL_ID, "call_id": "1700000000.1"}
LINEAR, ULAW = LineFormat("l16"), LineFormat("ulaw")
FORMATS = {name: ULAW if name in ("genesys", "asterisk", "asterisk-json") else LINEAR for name in PEERS}


@dataclass(frozen=True)
class Mark:
    name: str


@dataclass(frozen=True)
class Word:
    """`clear`, `leave`, or what an answer is called."""

    name: str


Understood = Pcm | Mark | Word


def peer(name: str) -> VendorProtocol:
    match name:
        case "vonage":
            return VonageProtocol()
        case "genesys":
            return GenesysProtocol(ORGANIZATION)
        case "freeswitch":
            return FreeSwitchProtocol(QUERY)
        case "audiosocket":
            return AudioSocketProtocol(lambda _: {name: QUERY[name] for name in ("tenant", "from", "to")})
        case _:
            return AsteriskProtocol(QUERY)


class Other:
    """The other side of a call: what it says, and how it understands what it is told. Everything is at 8 kHz."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.chunk = 0
        self.at_ms = 0
        self._seq = self._server_seq = 0

    # -- what it sends ----------------------------------------------------------------------------------------------

    def start(self) -> list[Frame]:
        match self.name:
            case "vonage":
                told = {"content-type": "audio/l16;rate=8000", "call_uuid": CALL_ID, "tenant": "acme"}
                numbers = {"from": "+15551234", "to": "+15559999"}
                return [json.dumps({"event": "websocket:connected", **told, **numbers})]
            case "genesys":
                return [self.genesys("open", OPEN)]
            case "freeswitch":
                return [json.dumps({"tenant": "acme"})]
            case "asterisk":
                return [
                    "MEDIA_START connection_id:media_connection1 channel:WebSocket/media_connection1/0x7f1 "
                    "channel_id:1700000000.2 format:ulaw optimal_frame_size:160 ptime:20"
                ]
            case "asterisk-json":
                return [json.dumps(MEDIA_START)]
            case _:
                return [message(0x01, uuid.UUID(CALL_ID).bytes), self.media(np.zeros(160, np.int16))]

    def genesys(self, kind: str, parameters: Json | None = None, **fields: object) -> str:
        self._seq += 1
        told = {"version": "2", "id": CALL_ID, "type": kind, "seq": self._seq, "serverseq": self._server_seq}
        return json.dumps({**told, "position": "PT0S", "parameters": parameters or {}, **fields})

    def media(self, pcm: Pcm) -> Frame:
        data = FORMATS[self.name].encode(pcm)
        return message(0x10, data) if self.name == "audiosocket" else data

    def dtmf(self, key: str) -> Frame:
        match self.name:
            case "vonage":
                return json.dumps({"event": "websocket:dtmf", "digit": key, "duration": 260})
            case "genesys":
                return self.genesys("dtmf", {"digit": key})
            case "freeswitch":
                return json.dumps({"event": "dtmf", "digit": key})
            case "asterisk":
                return f"DTMF_END digit:{key} channel_id:1700000000.2"
            case "asterisk-json":
                return json.dumps({"event": "DTMF_END", "digit": key, "channel_id": "1700000000.2"})
            case _:
                return message(0x03, key.encode())

    def played(self, mark: str) -> Frame | None:
        """None where there are no marks."""
        match self.name:
            case "vonage":
                return json.dumps({"event": "websocket:notify", "payload": {"mark": mark}})
            case "asterisk":
                return f"MEDIA_MARK_PROCESSED {mark}"
            case "asterisk-json":
                return json.dumps({"event": "MEDIA_MARK_PROCESSED", "correlation_id": mark})
            case _:
                return None

    def stop(self) -> Frame | None:
        """None where it simply closes."""
        match self.name:
            case "genesys":
                return self.genesys("close", {"reason": "end"})
            case "audiosocket":
                return message(0x00)
            case _:
                return None

    # -- what it is sent --------------------------------------------------------------------------------------------

    def understand(self, frame: Frame) -> Understood:
        """As strictly as it can be: fails for what it would not understand."""
        if isinstance(frame, bytes):
            return self._hear(frame)
        match self.name:
            case "asterisk":
                assert len(frame) <= 128
                return _command(*frame.partition(" ")[::2])
            case "asterisk-json":
                assert len(frame) <= 128
                told = json.loads(frame)
                assert set(told) <= {"command", "correlation_id"}
                return _command(told["command"], told.get("correlation_id", ""))
            case "vonage":
                return _vonage(json.loads(frame))
            case "freeswitch":
                data = json.loads(frame)["data"]
                assert json.loads(frame)["type"] == "streamAudio"
                assert (data["audioDataType"], data["sampleRate"]) == ("raw", 8000)
                return LINEAR.decode(base64.b64decode(data["audioData"], validate=True))
            case "genesys":
                return self._genesys(json.loads(frame))
            case _:
                raise AssertionError(f"{self.name} would not understand {frame}")

    def _hear(self, frame: bytes) -> Understood:
        match self.name:
            case "freeswitch":
                raise AssertionError("binary")
            case "audiosocket":
                kind, length = frame[0], int.from_bytes(frame[1:3], "big")
                assert length == len(frame) - 3
                if kind in (0x00, 0xFF):
                    return Word("leave" if kind == 0x00 else "error")
                assert (kind, length) == (0x10, 320)
                return LINEAR.decode(frame[3:])
            case "vonage":
                assert len(frame) == 320
            case "asterisk" | "asterisk-json":
                assert len(frame) % 160 == 0, "Asterisk throws the rest away"
        return FORMATS[self.name].decode(frame)

    def _genesys(self, told: Json) -> Understood:
        assert set(told) == {"version", "id", "type", "seq", "clientseq", "parameters"}
        assert (told["version"], told["id"]) == ("2", CALL_ID)
        self._server_seq += 1
        assert told["seq"] == self._server_seq
        assert cast(int, told["clientseq"]) <= self._seq
        match told:
            case {"type": "event", "parameters": {"entities": [{"type": "barge_in", "data": {}}]}}:
                return Word("clear")
            case {"type": "disconnect", "parameters": {"reason": "completed"}}:
                return Word("leave")
            case {"type": "opened", "parameters": {"media": [media], "startPaused": False}}:
                assert media in cast(list[Json], OPEN["media"])
        return Word(str(told["type"]))


def _command(name: str, correlation_id: str) -> Understood:
    match name:
        case "MARK_MEDIA":
            return Mark(correlation_id)
        case "FLUSH_MEDIA":
            return Word("clear")
        case "HANGUP":
            return Word("leave")
        case "ANSWER":
            return Word("answer")
    raise AssertionError(f"WebSocket {name} command unknown")


def _vonage(told: Json) -> Understood:
    match told:
        case {"action": "notify", "payload": {"mark": str(name)}}:
            return Mark(name)
        case {"action": "clear"}:
            return Word("clear")
    raise AssertionError(f"vonage would not understand {told}")


OPEN: Json = {
    "organizationId": ORGANIZATION,
    "conversationId": "c0ffee00-0000-4000-8000-000000000001",
    "participant": {"id": "p1", "ani": "tel:+15551234", "aniName": "Ann", "dnis": "tel:+15559999"},
    "media": [
        {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000},
        {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000},
    ],
    "language": "en-US",
    "inputVariables": {"tenant": "acme"},
}
MEDIA_START: Json = {
    "event": "MEDIA_START",
    "connection_id": "media_connection1",
    "channel": "WebSocket/media_connection1/0x7f1",
    "channel_id": "1700000000.2",
    "format": "ulaw",
    "optimal_frame_size": 160,
    "ptime": 20,
    "channel_variables": {"MEDIA_WEBSOCKET_CONNECTION_ID": "media_connection1", "order": "7"},
}
AUDIO_KINDS = {rate: kind for kind, rate in RATES.items()}


def silence_of(ms: int) -> bytes:
    return to_bytes(np.zeros(8 * ms, np.int16))


def begun(name: str, options: CallOptions | None = None) -> tuple[VendorCall, Other]:
    """A protocol whose call has begun."""
    call, other = VendorCall(peer(name), options or CallOptions()), Other(name)
    call.start()
    for frame in other.start():
        for action in call.receive(frame):
            answer = getattr(action, "frame", None)
            if answer is not None:
                other.understand(answer)
    return call, other
