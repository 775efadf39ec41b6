"""Media streams of Twilio and its kin, Telnyx, Plivo, Exotel, SignalWire and jambonz: one parser, one table."""

from collections.abc import Sequence

import msgspec

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Action, CloseSocket, EndReason, Frame, SetTimer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, CallOptions
from voiceagent.channels.telephone.caller_input import Reorder
from voiceagent.channels.telephone.media_stream.dialects import Message, StreamDialect
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    StreamStopped,
    read,
    read_jambonz,
)
from voiceagent.channels.telephone.protocol import TelephoneProtocol
from voiceagent.errors import Refused
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

    def __init__(self, dialect: StreamDialect, stream: str, line: LineFormat) -> None:
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


class MediaStreamProtocol:
    """One call's connection, a `WireProtocol`.

    A client that begins with anything but a call is closed: 1003 for audio we do not speak, 1007 for what is no
    message, 1002 for messages out of place, 1008 when no call comes in START_SECONDS. During a call a bad message is
    passed over, MOST_MALFORMED of them are not. What is unknown is ignored, as vendors add events without notice."""

    name = "telephone"

    def __init__(self, dialect: StreamDialect, options: CallOptions) -> None:
        self._dialect = dialect
        self._options = options
        self._talk: TelephoneProtocol | None = None
        self._format = dialect.default
        self._order: Reorder[AudioReceived] = Reorder()
        self._flowing = False
        """Audio came since the last tick."""
        self._malformed = 0
        self.call: Call | None = None
        """Known once the call has begun."""

    def start(self) -> list[Action]:
        return [SetTimer("start", START_SECONDS)]

    def receive(self, frame: Frame) -> list[Action]:
        try:
            incoming = self._read(frame)
            return [] if incoming is None else self._take(incoming)
        except MalformedMessage as bad:
            self._malformed += 1
            if self._talk is None or self._malformed > MOST_MALFORMED:
                return [CloseSocket(bad.code, bad.reason)]
            return []

    def _read(self, frame: Frame) -> Incoming | None:
        dialect, started = self._dialect, self._talk is not None
        if isinstance(frame, str):
            if dialect.binary:
                return read_jambonz(frame, dialect.vendor, started=started)
            return read(frame, dialect.vendor, dialect.default, dialect.played)
        if not dialect.binary:
            raise MalformedMessage(1003, "messages are JSON in text frames")
        return AudioReceived(frame)

    def _take(self, incoming: Incoming) -> list[Action]:
        talk = self._talk
        if isinstance(incoming, StreamStarted):
            return self._begin(incoming)
        if isinstance(incoming, StreamStopped):
            return [CloseSocket(1000, "")]
        if talk is None:
            raise MalformedMessage(1002, "the call has not begun")
        match incoming:
            case AudioReceived():
                return self._hear(talk, incoming)
            case DigitPressed(key):
                return talk.key(key)
            case MarkPlayed(mark):
                return talk.played(mark)

    def _begin(self, started: StreamStarted) -> list[Action]:
        if self._talk is not None:
            raise MalformedMessage(1002, "the call has begun already")
        dialect, self._format, self.call = self._dialect, started.format, started.call
        self._talk = TelephoneProtocol(
            self._options,
            StreamLine(dialect, started.stream, started.format),
            started.call,
            started.format.rate,
            message_ms=dialect.message_ms,
            grain_ms=dialect.grain_ms,
        )
        return [SetTimer("start", None), *self._talk.begin()]

    def _hear(self, talk: TelephoneProtocol, heard: AudioReceived) -> list[Action]:
        if len(heard.audio) > LONGEST_SECONDS * self._format.rate * self._format.sample_bytes:
            raise MalformedMessage(1009, "too much audio in one message")
        if len(heard.audio) % self._format.sample_bytes:
            raise MalformedMessage(1007, "half a sample of audio")
        self._flowing = True
        if not self._dialect.reorders or heard.number is None:
            return talk.hear(self._format.decode(heard.audio), heard.at_ms)
        return self._hear_all(talk, self._order.push(heard.number, heard))

    def _hear_all(self, talk: TelephoneProtocol, packets: list[AudioReceived]) -> list[Action]:
        return [action for heard in packets for action in talk.hear(self._format.decode(heard.audio), heard.at_ms)]

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        return [] if self._talk is None else self._talk.tell(event)

    def on_timer(self, name: str) -> list[Action]:
        if self._talk is None:
            return [CloseSocket(1008, "no call has begun")]
        late: list[Action] = []
        if name == "tick":
            if not self._flowing:
                late = self._hear_all(self._talk, self._order.flush())
            self._flowing = False
        return [*late, *self._talk.on_timer(name)]

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return [] if self._talk is None else self._talk.on_call_control(ref, failure)

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """No telephone protocol has errors."""
        return []

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        return TelephoneProtocol.end(reason)
