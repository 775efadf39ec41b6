"""What every wire protocol is: a state machine without I/O between a client's messages and a session."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from voiceagent.errors import Refused, VoiceagentError
from voiceagent.session.commands import Command
from voiceagent.session.events import Event

Frame = str | bytes
"""One WebSocket message: text or binary."""

EndReason = Literal["finished", "draining", "idle", "expired", "too_slow", "ended", "internal_error"]
"""Why the server ends a conversation: the talk is over, the server stops, nobody spoke, the talk was too long, the
client does not read, somebody (an operator, a tool) ended it, a bug."""


@dataclass(frozen=True, slots=True)
class Send:
    """Answer with this message at once."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Delay:
    """Whatever is sent after this waits so many seconds first."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Execute:
    """Carry out a command; `ref` is the client's own id of the message, which a refusal must name."""

    command: Command
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `wake(name)` in so many seconds, or never when `seconds` is None; replaces an earlier Wake of that name."""

    name: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call by the vendor's own means."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Give the caller to somebody else (E.164, `sip:` or a queue's name) and leave."""

    destination: str


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Send these DTMF digits (`0-9*#A-D`, `w` waits half a second) into the call."""

    digits: str


@dataclass(frozen=True, slots=True)
class CallControl:
    """Something of the call that needs the vendor's own interface: an HTTP request, mostly. What comes of it is told by
    `controlled`; `ref` tells calls apart."""

    operation: HangUp | Transfer | SendDigits
    ref: str = ""


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """End the connection with this WebSocket close code."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the operator that something about this connection is set up wrong, on whichever side: it is logged and
    counted by `code`. The message is for the log and has no personal data in it."""

    code: str
    message: str


Action = Send | Delay | Execute | SetTimer | CallControl | CloseSocket | Warn


class WireProtocol(Protocol):
    """One connection's protocol state. No method blocks, waits or raises for anything a client sent."""

    @property
    def name(self) -> str:
        """The protocol's name in logs, metrics and recordings, such as `realtime`."""
        ...

    def start(self) -> list[Action]:
        """What to do as soon as the connection is open."""
        ...

    def receive(self, frame: Frame) -> list[Action]:
        """What a client's message asks for, in order. Malformed input becomes the protocol's own error or a Close."""
        ...

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        """What to tell the client of a session's event, and what else is to be done about it; often nothing. A Frame is
        sent like a Send. The audio of a reply must be bare frames, so that it can be dropped when that is cancelled.
        What is asked of the session is asked after all of the event was told."""
        ...

    def wake(self, name: str) -> list[Action]:
        """The time of a Wake has come."""
        ...

    def controlled(self, ref: str, failure: str | None) -> list[Action]:
        """A Control is done, or has failed for this reason."""
        ...

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """What to tell the client when its command was refused."""
        ...

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        """Last words and the close code when the server ends the conversation."""
        ...


# What needs a vendor's own interface during a call: hanging up, transferring, sending digits.


class ControlError(VoiceagentError):
    """The vendor refused, or could not be reached. The message is for the log and the model: no secret is in it."""


class CallController(Protocol):
    async def carry_out(self, operation: HangUp | Transfer | SendDigits) -> None:
        """Within a deadline of its own. Raises ControlError."""
        ...
