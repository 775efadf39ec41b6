"""Asterisk's AudioSocket: messages of a kind, a length and a payload on a TCP connection."""

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence

from voiceagent.audio.pcm import Pcm
from voiceagent.protocols.base import Frame, HangUp, Transfer
from voiceagent.protocols.telephone_audio import LineFormat
from voiceagent.protocols.telephone_call import Call
from voiceagent.protocols.telephone_peer import Read
from voiceagent.protocols.telephone_wire import Heard, Incoming, Malformed, Pressed, Started, Stopped

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


class AudioSocketPeer:
    """A frame is one whole message. The call begins with its id and the first audio, whose kind tells the rate. There
    is no queue on the other side, and so nothing to clear: what was sent is heard."""

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
            raise Malformed(1007, "the message is not valid")
        kind, length = HEADER.unpack_from(frame)
        payload = frame[HEADER.size :]
        if len(payload) != length:
            raise Malformed(1007, "the message is not valid")
        if kind in (HANG_UP, ERROR):
            return [Stopped()]
        if kind == ID:
            return self._identify(payload)
        if not self._id:
            raise Malformed(1002, "the first message is not the call's id")
        if kind == DTMF:
            return [Pressed(payload.decode("latin-1").upper())] if self._kind is not None else []
        return self._hear(kind, payload) if kind in RATES else []

    def _identify(self, payload: bytes) -> Read:
        if self._id:
            raise Malformed(1002, "the call has an id already")
        if len(payload) != 16:
            raise Malformed(1007, "the id is no UUID")
        known = self._lookup(name := str(uuid.UUID(bytes=payload)))
        if known is None:
            raise Malformed(1008, "nobody announced this call")
        self._id, self._known = name, known
        return []

    def _hear(self, kind: int, payload: bytes) -> Read:
        if self._kind is not None and kind != self._kind:
            raise Malformed(1003, "the rate has changed")
        if len(payload) % 2:
            raise Malformed(1007, "half a sample of audio")
        start: list[Incoming] = []
        if self._kind is None:
            known = self._known
            call = Call("audiosocket", self._id, "", known.get("from", ""), known.get("to", ""), known)
            start = [Started(call, "", LineFormat("l16", RATES[kind]))]
            self._kind = kind
        return [*start, Heard(payload)]

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

    def refuse(self, bad: Malformed) -> Sequence[Frame]:
        return [message(ERROR, b"\x04"), message(HANG_UP)]
