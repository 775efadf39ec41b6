"""Wire protocol of vendors whose messages are all their own: what is the same for all of these."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import (
    Action,
    CallControl,
    CloseSocket,
    EndReason,
    Frame,
    HangUp,
    Send,
    SetTimer,
    Transfer,
)
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, CallOptions
from voiceagent.channels.telephone.caller_input import EarlyInput
from voiceagent.channels.telephone.handler import CallHandler
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    StreamStopped,
)
from voiceagent.channels.telephone.media_stream.protocol import MAX_MALFORMED, MAX_SECONDS, START_SECONDS
from voiceagent.channels.telephone.playout import TelephoneLine
from voiceagent.errors import Refused
from voiceagent.session.events import Event

MAX_HELD = 2000
"""Messages that wait while the other side's queue is full: more than a minute of speech."""


@dataclass(frozen=True, slots=True)
class SendBufferFull:
    """The other side's queue takes no more for now, or (`full` False) does again."""

    full: bool


Read = Sequence[Incoming | SendBufferFull | Frame]
"""What a message says; a Frame among it is the answer to it, sent at once."""


class VendorProtocol(TelephoneLine, Protocol):
    """The messages of one vendor, read and written. `message_ms` and `grain_ms`: see `CallPlayout`; they are read once
    the call has begun. `lead_ms` is the most audio it should have ahead: where the way is short, little is enough, and
    a barge-in is heard the sooner. `leave_seconds` is how long the other side may take to end the connection when it
    was told to; 0 where it need not be. With `moves_calls` it hangs up and transfers by itself when we leave. What is
    not `reachable` cannot be moved by any interface. Where it reports `SendBufferFull`, `clear` is always the same
    message."""

    name: str
    message_ms: int
    grain_ms: int
    lead_ms: int
    leave_seconds: float
    moves_calls: bool

    @property
    def reachable(self) -> bool: ...

    def read(self, frame: Frame) -> Read:
        """Raises MalformedMessage."""
        ...

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        """Last words, and what is to become of the caller, where something was decided."""
        ...

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        """Why the connection is closed, where there are words for that."""
        ...


class VendorCall:
    """One call's connection, a `WireProtocol`. What is wrong is treated as in `MediaStreamProtocol`."""

    def __init__(self, peer: VendorProtocol, options: CallOptions) -> None:
        self._peer = peer
        self._options = replace(
            options,
            lead_ms=min(options.lead_ms, peer.lead_ms),
            controlled=options.controlled or peer.moves_calls,
        )
        self._handler: CallHandler | None = None
        self._format = LineFormat("l16")
        self._early = EarlyInput()
        self._malformed = 0
        """Bad messages in a row."""
        self._held: list[Frame] | None = None
        """What waits until the other side's queue has room; None while it has."""
        self._decided: HangUp | Transfer | None = None
        self._leaving = False
        self.call: Call | None = None
        """Known once the call has begun."""

    @property
    def name(self) -> str:
        return self._peer.name

    def start(self) -> list[Action]:
        return [SetTimer("start", START_SECONDS)]

    def receive(self, frame: Frame) -> list[Action]:
        actions: list[Action] = []
        try:
            for one in self._peer.read(frame):
                actions += self._take(one)
        except MalformedMessage as bad:
            self._malformed += 1
            if self._handler is None or self._malformed > MAX_MALFORMED:
                actions += [*map(Send, self._peer.refuse(bad)), CloseSocket(bad.code, bad.reason)]
        else:
            self._malformed = 0
        return actions

    def _take(self, incoming: Incoming | SendBufferFull | Frame) -> list[Action]:
        handler = self._handler
        match incoming:
            case str() | bytes():
                return [Send(incoming)]
            case StreamStarted():
                return self._begin(incoming)
            case StreamStopped():
                return [CloseSocket(1000, "")]
            case SendBufferFull(full):
                return self._hold() if full else self._release()
            case AudioReceived() | DigitPressed() if handler is None:
                self._early.add(incoming)
                return []
        if handler is None or self._leaving:
            return []
        match incoming:
            case AudioReceived(audio, at_ms):
                return handler.hear(self._decode(audio), at_ms)
            case DigitPressed(key):
                return self._adapted(handler.press(key))
            case MarkPlayed(mark):
                return self._adapted(handler.played(mark))

    def _begin(self, started: StreamStarted) -> list[Action]:
        if self._handler is not None:
            raise MalformedMessage(1002, "the call has begun already")
        peer, self._format, self.call = self._peer, started.format, started.call
        self._handler = CallHandler(
            self._options,
            peer,
            started.call,
            started.format.rate,
            message_ms=peer.message_ms,
            grain_ms=peer.grain_ms,
        )
        actions = [SetTimer("start", None), *self._handler.begin()]
        for early in self._early.take():
            with suppress(MalformedMessage):
                actions += self._take(early)
        return actions

    def _decode(self, audio: bytes) -> Pcm:
        if len(audio) > MAX_SECONDS * self._format.rate * self._format.sample_bytes:
            raise MalformedMessage(1009, "too much audio in one message")
        if len(audio) % self._format.sample_bytes:
            raise MalformedMessage(1007, "half a sample of audio")
        return self._format.decode(audio)

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        if self._handler is None or self._leaving:
            return []
        encoded: list[Frame | Action] = []
        for one in self._handler.encode(event):
            if isinstance(one, str | bytes):
                encoded += self._send(one)
            else:
                encoded += self._adapted([one])
        return encoded

    def on_timer(self, name: str) -> list[Action]:
        if self._handler is None:
            return [CloseSocket(1008, "no call has begun")]
        if name == "leave":
            return [CloseSocket(1000, "")]
        return [] if self._leaving else self._adapted(self._handler.on_timer(name))

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return [] if self._handler is None else self._adapted(self._handler.on_call_control(ref, failure))

    # -- the end ----------------------------------------------------------------------------------------------------

    def _adapted(self, actions: Iterable[Action]) -> list[Action]:
        """What the handler wants done, as this vendor does it."""
        return [adapted for action in actions for adapted in self._adapted_one(action)]

    def _adapted_one(self, action: Action) -> Sequence[Action]:
        match action:
            case Send(frame):
                return [Send(sent) for sent in self._send(frame)]
            case CallControl(HangUp() | Transfer() as operation, ref) if self._by_leaving(operation):
                self._decided = operation
                return self.on_call_control(ref, None)
            case CloseSocket(1000, _):
                return self._leave(action)
            case _:
                return [action]

    def _by_leaving(self, operation: HangUp | Transfer) -> bool:
        """Whether it is done when we end the connection."""
        peer, options = self._peer, self._options
        return peer.moves_calls or (isinstance(operation, HangUp) and not peer.reachable and not options.closes_to)

    def _leave(self, close: CloseSocket) -> list[Action]:
        if self._leaving:
            return []
        self._leaving = True
        said = map(Send, self._peer.leave(self._decided))
        return [*said, SetTimer("leave", self._peer.leave_seconds) if self._peer.leave_seconds else close]

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        frames, code = CallHandler.end(reason)
        leaving = [] if self._handler is None or self._leaving else self._peer.leave(None)
        return [*frames, *leaving], code

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """No telephone protocol has errors."""
        return []

    # -- the other side's queue -------------------------------------------------------------------------------------

    def _send(self, frame: Frame) -> list[Frame]:
        """Send it, or hold it until there is room. Once the queue is cleared there is, and what was held is void."""
        if self._held is None:
            return [frame]
        if frame == self._peer.clear():
            self._held = None
            return [frame]
        if len(self._held) < MAX_HELD:
            self._held.append(frame)
        return []

    def _hold(self) -> list[Action]:
        if self._held is None:
            self._held = []
        return []

    def _release(self) -> list[Action]:
        held, self._held = self._held or [], None
        return [Send(frame) for frame in held]
