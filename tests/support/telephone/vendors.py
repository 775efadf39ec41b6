"""What the six vendors send, message by message, and a reader of what they are sent."""

import base64
import json
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Action, Execute, Frame, Send
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol, StreamDialect
from voiceagent.channels.telephone.vendors import exotel, jambonz, plivo, signalwire, twilio
from voiceagent.channels.telephone.vendors.telnyx import TelnyxDialect
from voiceagent.session import events as ev
from voiceagent.session.commands import AppendAudio, Command
from voiceagent.session.conversation import FunctionCall
from voiceagent.session.options import Modality

Json = dict[str, object]

DIALECTS: dict[str, StreamDialect] = {
    "twilio": twilio.DIALECT,
    "signalwire": signalwire.DIALECT,
    "telnyx": TelnyxDialect(),
    "plivo": plivo.DIALECT,
    "exotel": exotel.DIALECT,
    "jambonz": jambonz.DIALECT,
}
VENDORS = tuple(DIALECTS)
STREAM = {
    "twilio": "MZ1",
    "signalwire": "MZ1",
    "telnyx": "32DE0DEA-53CB",
    "plivo": "20170ada-f610",
    "exotel": "MZ1",
    "jambonz": "CA1",
}
CALL = {
    "twilio": "CA1",
    "signalwire": "CA1",
    "telnyx": "v3:1",
    "plivo": "12345678-1234",
    "exotel": "CA1",
    "jambonz": "CA1",
}
FORMATS = {name: dialect.default for name, dialect in DIALECTS.items()}

STARTS: dict[str, Json] = {
    "twilio": {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZ1",
        "start": {
            "streamSid": "MZ1",
            "accountSid": "AC1",
            "callSid": "CA1",
            "tracks": ["inbound"],
            "customParameters": {"tenant": "acme", "from": "+15551234"},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    },
    "telnyx": {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "32DE0DEA-53CB",
        "start": {
            "user_id": "U1",
            "call_control_id": "v3:1",
            "call_session_id": "S1",
            "from": "+15551234",
            "to": "+15559999",
            "client_state": base64.b64encode(b'{"tenant":"acme"}').decode(),
            "custom_parameters": {"order": 7},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    },
    "plivo": {
        "event": "start",
        "sequenceNumber": 1,
        "start": {
            "callId": "12345678-1234",
            "streamId": "20170ada-f610",
            "accountId": "MA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        },
        "extra_headers": "tenant=acme;from=15551234",
    },
    "exotel": {
        "event": "start",
        "sequence_number": "1",
        "stream_sid": "MZ1",
        "start": {
            "stream_sid": "MZ1",
            "call_sid": "CA1",
            "account_sid": "AC1",
            "from": "+919876543210",
            "to": "+918047491899",
            "custom_parameters": {"tenant": "acme"},
            "media_format": {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
        },
    },
    "jambonz": {
        "callSid": "CA1",
        "accountSid": "AC1",
        "direction": "inbound",
        "from": "15551234",
        "to": "15559999",
        "callerName": "Ann",
        "sampleRate": 8000,
        "mixType": "mono",
        "tenant": "acme",
    },
}
STARTS["signalwire"] = STARTS["twilio"]


@dataclass
class Vendor:
    """One vendor's end of a stream; it numbers its packets as the real one does."""

    name: str
    chunk: int = 0
    at_ms: int = 0

    def connected(self) -> list[Frame]:
        """What comes before the call."""
        match self.name:
            case "plivo" | "jambonz":
                return []
            case "exotel":
                return ['{"event":"connected"}']
            case "telnyx":
                return ['{"event":"connected","version":"1.0.0"}']
            case _:
                return ['{"event":"connected","protocol":"Call","version":"1.0.0"}']

    def start(self) -> Frame:
        return json.dumps(STARTS[self.name])

    def media(self, pcm: Pcm, *, track: str = "inbound") -> Frame:
        data = FORMATS[self.name].encode(pcm)
        if self.name == "jambonz":
            return data
        self.chunk += 1
        media: Json = {
            "track": track,
            "chunk": str(self.chunk),
            "timestamp": str(self.at_ms),
            "payload": base64.b64encode(data).decode(),
        }
        self.at_ms += 1000 * len(pcm) // FORMATS[self.name].rate
        if self.name == "plivo":
            media["chunk"] = self.chunk
        return json.dumps({"event": "media", "sequenceNumber": str(self.chunk + 1), "media": media})

    def dtmf(self, key: str) -> Frame:
        if self.name == "jambonz":
            return json.dumps({"event": "dtmf", "dtmf": key, "duration": "1600"})
        return json.dumps({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": key}})

    def played(self, mark: str) -> Frame:
        match self.name:
            case "plivo":
                return json.dumps({"event": "playedStream", "streamId": STREAM["plivo"], "name": mark})
            case "jambonz":
                return json.dumps({"type": "mark", "data": {"name": mark, "event": "playout"}})
            case _:
                return json.dumps({"event": "mark", "mark": {"name": mark}})

    def stop(self) -> Frame:
        return json.dumps({"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}})


@dataclass
class Sent:
    """What a vendor was sent, understood."""

    audio: list[Pcm] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    clears: int = 0
    digits: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)


def understood(vendor: str, frames: list[Frame]) -> Sent:
    """Every frame, read as strictly as the vendor does; fails for one that it would not understand."""
    sent, stream, line = Sent(), STREAM[vendor], FORMATS[vendor]
    for frame in frames:
        if isinstance(frame, bytes):
            assert vendor == "jambonz"
            sent.audio.append(line.decode(frame))
            sent.order.append("audio")
            continue
        match vendor, json.loads(frame):
            case "twilio" | "signalwire", {"event": "media", "streamSid": named, "media": {"payload": payload}}:
                _take(sent, line, named == stream, payload)
            case "exotel", {"event": "media", "stream_sid": named, "media": {"payload": payload}}:
                assert len(base64.b64decode(payload)) % 320 == 0
                _take(sent, line, named == stream, payload)
            case "telnyx", {"event": "media", "stream_id": named, "media": {"payload": payload}}:
                _take(sent, line, named == stream, payload)
            case "plivo", {"event": "playAudio", "media": {"contentType": kind, "sampleRate": 8000, **media}}:
                _take(sent, line, kind == "audio/x-mulaw", str(media["payload"]))
            case "twilio" | "signalwire", {"event": "mark", "streamSid": "MZ1", "mark": {"name": name}}:
                sent.marks.append(name)
                sent.order.append("mark")
            case "exotel", {"event": "mark", "stream_sid": "MZ1", "mark": {"name": name}}:
                sent.marks.append(name)
                sent.order.append("mark")
            case "telnyx", {"event": "mark", "stream_id": _, "mark": {"name": name}}:
                sent.marks.append(name)
                sent.order.append("mark")
            case "plivo", {"event": "checkpoint", "streamId": named, "name": name}:
                assert named == stream
                sent.marks.append(name)
                sent.order.append("mark")
            case "jambonz", {"type": "mark", "data": {"name": name}}:
                sent.marks.append(name)
                sent.order.append("mark")
            case "plivo", {"event": "sendDTMF", "dtmf": digits}:
                sent.digits.append(digits)
            case _, {"event": "clear" | "clearAudio"} | {"type": "killAudio"}:
                sent.clears += 1
                sent.order.append("clear")
            case _, other:
                raise AssertionError(f"{vendor} would not understand {other}")
    return sent


def _take(sent: Sent, line: LineFormat, known: bool, payload: str) -> None:
    assert known
    sent.audio.append(line.decode(base64.b64decode(payload, validate=True)))
    sent.order.append("audio")


# -- a protocol by itself ---------------------------------------------------------------------------------------------


def begun(vendor: str = "twilio", options: CallOptions | None = None) -> tuple[MediaStreamProtocol, Vendor]:
    """A protocol whose call has begun."""
    stream, other = MediaStreamProtocol(DIALECTS[vendor], options or CallOptions()), Vendor(vendor)
    stream.start()
    for frame in [*other.connected(), other.start()]:
        stream.receive(frame)
    return stream, other


def asked(actions: list[Action]) -> list[Command]:
    return [action.command for action in actions if isinstance(action, Execute)]


def frames_of(told: list[Frame | Action] | list[Action]) -> list[Frame]:
    """What is sent of it all."""
    return [one.frame if isinstance(one, Send) else one for one in told if isinstance(one, str | bytes | Send)]


def tell(stream: MediaStreamProtocol, *happened: ev.Event) -> list[Frame | Action]:
    return [told for event in happened for told in stream.encode(event)]


def heard(actions: list[Action]) -> Pcm:
    """The caller's audio that the session is given."""
    pieces = [command.pcm for command in asked(actions) if isinstance(command, AppendAudio)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def reply_begins(response_id: str = "r1") -> ev.ResponseStarted:
    modality: Modality = "audio"
    return ev.ResponseStarted(response_id, modality, None, True, {})


def reply_ends(response_id: str = "r1", status: str = "completed") -> ev.ResponseDone:
    return ev.ResponseDone(response_id, None, None, cast(ev.ResponseStatus, status))


def audio(
    ms: int, *, item_id: str = "i1", response_id: str = "r1", rate: int = 8000, level: int = 1000
) -> ev.ResponseAudio:
    return ev.ResponseAudio(response_id, item_id, np.full(rate * ms // 1000, level, np.int16))


def tool_call(name: str, arguments: str = "{}", call_id: str = "call_1") -> ev.ToolCalled:
    return ev.ToolCalled("r1", FunctionCall("item_9", call_id, name, arguments), None, True)
