"""The media stream protocol of Twilio and of those who copied it: a dialect for each, one state machine for all."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Action, CloseSocket, EndReason, Frame, SetTimer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, CallOptions
from voiceagent.channels.telephone.caller_input import EarlyInput, Reorder
from voiceagent.channels.telephone.handler import CallHandler
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    StreamStopped,
    read,
)
from voiceagent.errors import Refused
from voiceagent.session.events import Event

START_SECONDS = 10.0
"""How long a client may be connected without a call."""
MAX_SECONDS = 30
"""Of audio in one message: the longest that any vendor documents."""
MAX_MALFORMED = 20
"""Bad messages in a row that are passed over during a call: one lost packet is better than a lost call."""

_ENCODER = msgspec.json.Encoder()

Message = dict[str, object]
ULAW = LineFormat("ulaw")
LINEAR = LineFormat("l16")


@dataclass(frozen=True)
class StreamDialect:
    """Twilio's own messages, with the differences that can be told in a word; a vendor with others overrides methods.

    `id` is how the stream's id is spelled. `default` is the audio format where `start` names none. `played` is the
    event by which a mark comes back. Messages of less than `message_ms` are not sent, nor such that are no multiple of
    `grain_ms`. Where the order of packets is not kept, `reorders`. With `binary` audio comes and goes as it is, not as
    base64 in JSON."""

    vendor: str
    id: str = "streamSid"
    default: LineFormat = ULAW
    played: str = "mark"
    message_ms: int = 50
    grain_ms: int = 0
    reorders: bool = False
    binary: bool = False

    def read(self, frame: str, *, begun: bool) -> Incoming | None:
        """A text message; None for one that tells nothing to us. `begun`: whether the call has. Raises
        MalformedMessage."""
        incoming = read(frame, self.vendor, self.default, self.played)
        return self.started(incoming) if isinstance(incoming, StreamStarted) else incoming

    def started(self, start: StreamStarted) -> StreamStarted:
        """The beginning of a call, with what only this vendor tells."""
        return start

    def media(self, stream: str, audio: bytes, line: LineFormat) -> Message:
        return {"event": "media", self.id: stream, "media": {"payload": audio}}

    def mark(self, stream: str, name: str) -> Message:
        return {"event": "mark", self.id: stream, "mark": {"name": name}}

    def clear(self, stream: str) -> Message:
        return {"event": "clear", self.id: stream}

    def digits(self, stream: str, digits: str) -> Message | None:
        """None: digits cannot be sent on the stream."""
        return None


class StreamLine:
    """A dialect's messages on one stream, a `TelephoneLine`."""

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
    message, 1008 when no call comes in START_SECONDS; audio and keys that come too early are kept until it does. During
    a call a bad message is passed over, a flood of more than MAX_MALFORMED of them is not. What is unknown is ignored,
    as vendors add events without notice."""

    name = "telephone"

    def __init__(self, dialect: StreamDialect, options: CallOptions) -> None:
        self._dialect = dialect
        self._options = options
        self._handler: CallHandler | None = None
        self._format = dialect.default
        self._early = EarlyInput()
        self._order: Reorder[AudioReceived] = Reorder()
        self._flowing = False
        """Audio came since the last tick."""
        self._malformed = 0
        """Bad messages in a row."""
        self.call: Call | None = None
        """Known once the call has begun."""

    def start(self) -> list[Action]:
        return [SetTimer("start", START_SECONDS)]

    def receive(self, frame: Frame) -> list[Action]:
        try:
            incoming = self._read(frame)
            actions = [] if incoming is None else self._take(incoming)
        except MalformedMessage as bad:
            self._malformed += 1
            if self._handler is None or self._malformed > MAX_MALFORMED:
                return [CloseSocket(bad.code, bad.reason)]
            return []
        self._malformed = 0
        return actions

    def _read(self, frame: Frame) -> Incoming | None:
        if isinstance(frame, str):
            return self._dialect.read(frame, begun=self._handler is not None)
        if not self._dialect.binary:
            raise MalformedMessage(1003, "messages are JSON in text frames")
        return AudioReceived(frame)

    def _take(self, incoming: Incoming) -> list[Action]:
        handler = self._handler
        match incoming:
            case StreamStarted():
                return self._begin(incoming)
            case StreamStopped():
                return [CloseSocket(1000, "")]
            case AudioReceived() | DigitPressed() if handler is None:
                self._early.add(incoming)
                return []
            case AudioReceived() if handler is not None:
                return self._hear(handler, incoming)
            case DigitPressed(key) if handler is not None:
                return handler.press(key)
            case MarkPlayed(mark) if handler is not None:
                return handler.played(mark)
            case _:
                return []

    def _begin(self, started: StreamStarted) -> list[Action]:
        if self._handler is not None:
            raise MalformedMessage(1002, "the call has begun already")
        dialect, self._format, self.call = self._dialect, started.format, started.call
        send_format = started.send_format or started.format
        self._handler = CallHandler(
            self._options,
            StreamLine(dialect, started.stream, send_format),
            started.call,
            send_format.rate,
            caller_rate=started.format.rate,
            message_ms=dialect.message_ms,
            grain_ms=dialect.grain_ms,
        )
        actions = [SetTimer("start", None), *self._handler.begin()]
        if started.one_way:
            actions += self._handler.warn_one_way()
        for early in self._early.take():
            with suppress(MalformedMessage):
                actions += self._take(early)
        return actions

    def _hear(self, handler: CallHandler, heard: AudioReceived) -> list[Action]:
        if len(heard.audio) > MAX_SECONDS * self._format.rate * self._format.sample_bytes:
            raise MalformedMessage(1009, "too much audio in one message")
        if len(heard.audio) % self._format.sample_bytes:
            raise MalformedMessage(1007, "half a sample of audio")
        self._flowing = True
        if not self._dialect.reorders or heard.number is None:
            return handler.hear(self._format.decode(heard.audio), heard.at_ms)
        return self._hear_all(handler, self._order.push(heard.number, heard))

    def _hear_all(self, handler: CallHandler, packets: list[AudioReceived]) -> list[Action]:
        return [action for heard in packets for action in handler.hear(self._format.decode(heard.audio), heard.at_ms)]

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        return [] if self._handler is None else self._handler.encode(event)

    def on_timer(self, name: str) -> list[Action]:
        if self._handler is None:
            return [CloseSocket(1008, "no call has begun")]
        late: list[Action] = []
        if name == "tick":
            if not self._flowing:
                late = self._hear_all(self._handler, self._order.flush())
            self._flowing = False
        return [*late, *self._handler.on_timer(name)]

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return [] if self._handler is None else self._handler.on_call_control(ref, failure)

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """No telephone protocol has errors."""
        return []

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        return CallHandler.end(reason)
