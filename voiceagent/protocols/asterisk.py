"""Asterisk's `chan_websocket`: audio in binary messages, commands and events as plain text or as JSON."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.protocols.base import Frame, HangUp, Transfer
from voiceagent.protocols.telephone_audio import LineFormat
from voiceagent.protocols.telephone_call import Call, parameters_of, text_of
from voiceagent.protocols.telephone_peer import Full, Read
from voiceagent.protocols.telephone_wire import Heard, Malformed, Played, Pressed, Started

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


class AsteriskPeer:
    """`query` is that of the URL: what the dialplan passed with `v(…)`. Its `from`, `to` and `call_id` are the call's
    own; `channel` names the caller's channel, where that is to be moved.

    Commands longer than 128 bytes would be ignored without an error; ours are half of that. Audio is played frame by
    frame, so that every message must be a multiple of one, and at most 64 kB, or Asterisk closes (1009). It is not sent
    ahead in bulk, as there is no use in it. Calls are answered; those that are already do not mind."""

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
            return [Heard(frame)]
        if self._format is None:
            self._json = frame.lstrip().startswith("{")
        told = self._fields(frame)
        match text_of(told.get("event")):
            case "MEDIA_START":
                return [self._started(told), self._command("ANSWER")]
            case "MEDIA_XOFF":
                return [Full(True)]
            case "MEDIA_XON":
                return [Full(False)]
            case "MEDIA_MARK_PROCESSED":
                return [Played(text_of(told.get("correlation_id")) or "")]
            case "DTMF_END":
                return [Pressed((text_of(told.get("digit")) or "").upper())]
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
            raise Malformed(1007, "the message is not valid") from None

    def _started(self, told: Mapping[str, object]) -> Started:
        if self._format is not None:
            raise Malformed(1002, "the call has begun already")
        line = FORMATS.get((text_of(told.get("format")) or "").lower())
        if line is None:
            raise Malformed(1003, "this format is not supported")
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
        return Started(call, own, line)

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

    def refuse(self, bad: Malformed) -> Sequence[Frame]:
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
        raise Malformed(1007, "the frame size is not valid")
    ms, rest = divmod(1000 * int(told), second)
    if rest or ms not in FRAME_MS:
        raise Malformed(1003, "this frame size is not supported")
    return ms
