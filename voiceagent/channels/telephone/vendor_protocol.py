"""A telephone call with whoever has a protocol all of his own: what is the same for all of these."""

from collections.abc import Iterable, Sequence
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
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    StreamStopped,
)
from voiceagent.channels.telephone.media_stream.protocol import LONGEST_SECONDS, MOST_MALFORMED, START_SECONDS
from voiceagent.channels.telephone.playout import TelephoneLine
from voiceagent.channels.telephone.protocol import TelephoneProtocol
from voiceagent.errors import Refused
from voiceagent.session.events import Event

MOST_HELD = 2000
"""Messages that wait while the other side's queue is full: more than a minute of speech."""


@dataclass(frozen=True, slots=True)
class SendBufferFull:
    """The other side's queue takes no more for now, or (`full` False) does again."""

    full: bool


Read = Sequence[Incoming | SendBufferFull | Frame]
"""What a message tells; a Frame among it is the answer to it, sent at once."""


class VendorProtocol(TelephoneLine, Protocol):
    """The other side of one call, in its own words. `message_ms` and `grain_ms`: see `Speech`; they are asked for once
    the call has begun. `lead_ms` is the most audio it should have ahead: where the way is short, little is enough, and
    a barge-in is heard the sooner. `leave_seconds` is how long the other side may take to end the connection when it
    was told to; 0 where it need not be. With `moves_calls` it hangs up and transfers by itself when we leave. What is
    not `reachable` cannot be moved by any interface. Where it tells `SendBufferFull`, `clear` is always the same
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
        """Raises Malformed."""
        ...

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        """Last words, and what is to become of the caller, where something was decided."""
        ...

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        """Why the connection is closed, where there are words for that."""
        ...


class VendorCall:
    """One call's connection, a `WireProtocol`. What is wrong is treated as in `TelephoneStream`."""

    def __init__(self, peer: VendorProtocol, options: CallOptions) -> None:
        self._peer = peer
        self._options = replace(options, lead_ms=min(options.lead_ms, peer.lead_ms))
        self._talk: TelephoneProtocol | None = None
        self._format = LineFormat("l16")
        self._malformed = 0
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
            if self._talk is None or self._malformed > MOST_MALFORMED:
                actions += [*map(Send, self._peer.refuse(bad)), CloseSocket(bad.code, bad.reason)]
        return actions

    def _take(self, incoming: Incoming | SendBufferFull | Frame) -> list[Action]:
        talk = self._talk
        match incoming:
            case str() | bytes():
                return [Send(incoming)]
            case StreamStarted():
                return self._begin(incoming)
            case StreamStopped():
                return [CloseSocket(1000, "")]
            case SendBufferFull(full):
                return self._fill() if full else self._drain()
        if talk is None:
            raise MalformedMessage(1002, "the call has not begun")
        if self._leaving:
            return []
        match incoming:
            case AudioReceived(audio, at_ms):
                return talk.hear(self._decode(audio), at_ms)
            case DigitPressed(key):
                return self._sort(talk.key(key))
            case MarkPlayed(mark):
                return self._sort(talk.played(mark))

    def _begin(self, started: StreamStarted) -> list[Action]:
        if self._talk is not None:
            raise MalformedMessage(1002, "the call has begun already")
        peer, self._format, self.call = self._peer, started.format, started.call
        self._talk = TelephoneProtocol(
            self._options,
            peer,
            started.call,
            started.format.rate,
            message_ms=peer.message_ms,
            grain_ms=peer.grain_ms,
        )
        return [SetTimer("start", None), *self._talk.begin()]

    def _decode(self, audio: bytes) -> Pcm:
        if len(audio) > LONGEST_SECONDS * self._format.rate * self._format.sample_bytes:
            raise MalformedMessage(1009, "too much audio in one message")
        if len(audio) % self._format.sample_bytes:
            raise MalformedMessage(1007, "half a sample of audio")
        return self._format.decode(audio)

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        if self._talk is None or self._leaving:
            return []
        passed: list[Frame | Action] = []
        for told in self._talk.tell(event):
            if isinstance(told, str | bytes):
                passed += self._pass(told)
            else:
                passed += self._sort([told])
        return passed

    def on_timer(self, name: str) -> list[Action]:
        if self._talk is None:
            return [CloseSocket(1008, "no call has begun")]
        if name == "leave":
            return [CloseSocket(1000, "")]
        return [] if self._leaving else self._sort(self._talk.on_timer(name))

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return [] if self._talk is None else self._sort(self._talk.on_call_control(ref, failure))

    # -- the end ----------------------------------------------------------------------------------------------------

    def _sort(self, actions: Iterable[Action]) -> list[Action]:
        """What the call wants done, in the other side's way."""
        return [sorted_out for action in actions for sorted_out in self._in_its_way(action)]

    def _in_its_way(self, action: Action) -> Sequence[Action]:
        match action:
            case Send(frame):
                return [Send(passed) for passed in self._pass(frame)]
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
        frames, code = TelephoneProtocol.end(reason)
        leaving = [] if self._talk is None or self._leaving else self._peer.leave(None)
        return [*frames, *leaving], code

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """No telephone protocol has errors."""
        return []

    # -- the other side's queue -------------------------------------------------------------------------------------

    def _pass(self, frame: Frame) -> list[Frame]:
        """Send it, or hold it until there is room. Once the queue is cleared there is, and what was held is void."""
        if self._held is None:
            return [frame]
        if frame == self._peer.clear():
            self._held = None
            return [frame]
        if len(self._held) < MOST_HELD:
            self._held.append(frame)
        return []

    def _fill(self) -> list[Action]:
        if self._held is None:
            self._held = []
        return []

    def _drain(self) -> list[Action]:
        held, self._held = self._held or [], None
        return [Send(frame) for frame in held]
