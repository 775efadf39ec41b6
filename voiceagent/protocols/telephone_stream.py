"""Media streams of Twilio and its kin, Telnyx, Plivo, Exotel, SignalWire and jambonz: one parser, one table."""

from collections.abc import Sequence

import msgspec

from voiceagent.audio.pcm import Pcm
from voiceagent.errors import Refused
from voiceagent.protocols.base import Action, Close, EndReason, Frame, Wake
from voiceagent.protocols.telephone_audio import LineFormat
from voiceagent.protocols.telephone_call import Call, CallOptions
from voiceagent.protocols.telephone_dialects import Dialect, Message
from voiceagent.protocols.telephone_gaps import Reorder
from voiceagent.protocols.telephone_talk import TelephoneTalk
from voiceagent.protocols.telephone_wire import (
    Heard,
    Incoming,
    Malformed,
    Played,
    Pressed,
    Started,
    Stopped,
    read,
    read_jambonz,
)
from voiceagent.session.events import Event

START_SECONDS = 10.0
"""How long a client may be connected without a call."""
LONGEST_SECONDS = 30
"""Of audio in one message: the longest that any vendor documents."""
MOST_MALFORMED = 20
"""Bad messages during a call that are passed over: one lost packet is better than a lost call, a flood is not."""

_ENCODER = msgspec.json.Encoder()


class StreamLine:
    """A dialect's words for one stream; see `telephone_speech.Line`."""

    has_marks = True

    def __init__(self, dialect: Dialect, stream: str, line: LineFormat) -> None:
        self._dialect = dialect
        self._stream = stream
        self._format = line

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        data = self._format.encode(pcm)
        return [data] if self._dialect.binary else [_text(self._dialect.media(self._stream, data, self._format))]

    def mark(self, name: str) -> Frame:
        return _text(self._dialect.mark(self._stream, name))

    def clear(self) -> Frame | None:
        return _text(self._dialect.clear(self._stream))

    def digits(self, digits: str) -> Frame | None:
        message = self._dialect.digits(self._stream, digits)
        return None if message is None else _text(message)


def _text(message: Message) -> str:
    return _ENCODER.encode(message).decode()


class TelephoneStream:
    """One call's connection, a `WireProtocol`.

    A client that begins with anything but a call is closed: 1003 for audio we do not speak, 1007 for what is no
    message, 1002 for messages out of place, 1008 when no call comes in START_SECONDS. During a call a bad message is
    passed over, MOST_MALFORMED of them are not. What is unknown is ignored, as vendors add events without notice."""

    def __init__(self, dialect: Dialect, options: CallOptions) -> None:
        self._dialect = dialect
        self._options = options
        self._talk: TelephoneTalk | None = None
        self._format = dialect.default
        self._order: Reorder[Heard] = Reorder()
        self._flowing = False
        """Audio came since the last tick."""
        self._malformed = 0
        self.call: Call | None = None
        """Known once the call has begun."""

    def start(self) -> list[Action]:
        return [Wake("start", START_SECONDS)]

    def receive(self, frame: Frame) -> list[Action]:
        try:
            incoming = self._read(frame)
            return [] if incoming is None else self._take(incoming)
        except Malformed as bad:
            self._malformed += 1
            if self._talk is None or self._malformed > MOST_MALFORMED:
                return [Close(bad.code, bad.reason)]
            return []

    def _read(self, frame: Frame) -> Incoming | None:
        dialect, started = self._dialect, self._talk is not None
        if isinstance(frame, str):
            if dialect.binary:
                return read_jambonz(frame, dialect.vendor, started=started)
            return read(frame, dialect.vendor, dialect.default, dialect.played)
        if not dialect.binary:
            raise Malformed(1003, "messages are JSON in text frames")
        return Heard(frame)

    def _take(self, incoming: Incoming) -> list[Action]:
        talk = self._talk
        if isinstance(incoming, Started):
            return self._begin(incoming)
        if isinstance(incoming, Stopped):
            return [Close(1000, "")]
        if talk is None:
            raise Malformed(1002, "the call has not begun")
        match incoming:
            case Heard():
                return self._hear(talk, incoming)
            case Pressed(key):
                return talk.key(key)
            case Played(mark):
                return talk.played(mark)

    def _begin(self, started: Started) -> list[Action]:
        if self._talk is not None:
            raise Malformed(1002, "the call has begun already")
        dialect, self._format, self.call = self._dialect, started.format, started.call
        self._talk = TelephoneTalk(
            self._options,
            StreamLine(dialect, started.stream, started.format),
            started.call,
            started.format.rate,
            message_ms=dialect.message_ms,
            grain_ms=dialect.grain_ms,
        )
        return [Wake("start", None), *self._talk.begin()]

    def _hear(self, talk: TelephoneTalk, heard: Heard) -> list[Action]:
        if len(heard.audio) > LONGEST_SECONDS * self._format.rate * self._format.sample_bytes:
            raise Malformed(1009, "too much audio in one message")
        if len(heard.audio) % self._format.sample_bytes:
            raise Malformed(1007, "half a sample of audio")
        self._flowing = True
        if not self._dialect.reorders or heard.number is None:
            return talk.hear(self._format.decode(heard.audio), heard.at_ms)
        return self._hear_all(talk, self._order.push(heard.number, heard))

    def _hear_all(self, talk: TelephoneTalk, packets: list[Heard]) -> list[Action]:
        return [action for heard in packets for action in talk.hear(self._format.decode(heard.audio), heard.at_ms)]

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        return [] if self._talk is None else self._talk.tell(event)

    def wake(self, name: str) -> list[Action]:
        if self._talk is None:
            return [Close(1008, "no call has begun")]
        late: list[Action] = []
        if name == "tick":
            if not self._flowing:
                late = self._hear_all(self._talk, self._order.flush())
            self._flowing = False
        return [*late, *self._talk.wake(name)]

    def controlled(self, ref: str, failure: str | None) -> list[Action]:
        return [] if self._talk is None else self._talk.controlled(ref, failure)

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """No telephone protocol has errors."""
        return []

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        return TelephoneTalk.end(reason)
