"""Vonage's Voice WebSocket: linear audio in binary messages, events and actions in JSON."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from voiceagent.audio.pcm import Pcm
from voiceagent.protocols.base import Frame, HangUp, Transfer
from voiceagent.protocols.telephone_audio import LineFormat
from voiceagent.protocols.telephone_call import Call, parameters_of
from voiceagent.protocols.telephone_peer import Read
from voiceagent.protocols.telephone_wire import Heard, Malformed, Played, Pressed, Started

FRAME_MS = 20
"""Of audio in a message, both ways."""
RATES = (8000, 16_000, 24_000)
OWN = ("event", "content-type")
"""What Vonage adds to the headers of the NCCO."""

_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])
_CLEAR = '{"action":"clear"}'


class _Payload(Struct):
    mark: str = ""


class _Event(Struct):
    event: str = ""
    digit: str = ""
    payload: _Payload | None = None


_EVENT = msgspec.json.Decoder(_Event)


class VonagePeer:
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
            return [Heard(frame)]
        try:
            if self._format is None:
                return self._connected(_OBJECT.decode(frame))
            event = _EVENT.decode(frame)
        except (ValueError, RecursionError):
            raise Malformed(1007, "the message is not valid") from None
        match event.event:
            case "websocket:dtmf":
                return [Pressed(event.digit.upper())]
            case "websocket:notify" if event.payload is not None:
                return [Played(event.payload.mark)]
            case _:
                return []

    def _connected(self, told: dict[str, object]) -> Read:
        if told.get("event") != "websocket:connected":
            raise Malformed(1002, "the first message does not name the call")
        self._format = line = _format(told.get("content-type"))
        headers = parameters_of({name: value for name, value in told.items() if name not in OWN})
        caller, called = headers.get("from", ""), headers.get("to", "")
        call = Call("vonage", headers.get("call_uuid", ""), "", caller, called, headers)
        return [Started(call, "", line)]

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

    def refuse(self, bad: Malformed) -> Sequence[Frame]:
        return []


def _format(content_type: object) -> LineFormat:
    """`audio/l16;rate=16000`. Raises Malformed."""
    kind, _, parameters = str(content_type).lower().replace(" ", "").partition(";")
    rate = dict(pair.split("=", 1) for pair in parameters.split(";") if "=" in pair).get("rate", "16000")
    if kind != "audio/l16" or rate not in map(str, RATES):
        raise Malformed(1003, "this content type is not supported")
    return LineFormat("l16", int(rate))
