"""Wire protocol: a state machine without I/O between a client's messages and a session, and what it may ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from voiceagent.errors import Refused, VoiceagentError
from voiceagent.session.commands import Command
from voiceagent.session.events import Event

Frame = str | bytes
"""One WebSocket message: text or binary."""

EndReason = Literal["finished", "draining", "idle", "expired", "too_slow", "ended", "internal_error"]
"""Why the server ends a session: it is finished, the server stops, nobody spoke, it was too long, the client does not
read, somebody (an operator, a tool) ended it, a bug."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message to the client."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause of so many seconds before whatever is sent next."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a command of the session; `ref` is the client's own id of the message, which a refusal must name."""

    command: Command
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `on_timer(name)` in so many seconds; never if `seconds` is None. Replaces an earlier timer of that name."""

    name: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call by the vendor's own means."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Transfer the caller to somebody else (E.164, `sip:` or a queue's name) and leave the call."""

    destination: str


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Send these DTMF digits (`0-9*#A-D`, `w` waits half a second) into the call."""

    digits: str


@dataclass(frozen=True, slots=True)
class CallControl:
    """An operation on the call that needs the vendor's own interface: an HTTP request, mostly. `on_call_control` gets
    its outcome; `ref` tells operations apart."""

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
    """The protocol state of one connection. No method blocks, waits or raises for anything a client sent."""

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
        """The messages that a session's event is to the client, and what else is to be done about it; often nothing. A
        Frame is sent like a Send. The audio of a response must be bare frames, so that it can be dropped when that is
        cancelled. Commands are executed after all messages of the event were sent."""
        ...

    def on_timer(self, name: str) -> list[Action]:
        """A timer that SetTimer has set is due."""
        ...

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        """A CallControl is done, or has failed for this reason."""
        ...

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """The messages to the client whose command was refused."""
        ...

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        """The last messages and the close code when the server ends the session."""
        ...


class ControlError(VoiceagentError):
    """The vendor refused, or could not be reached. The message is for the log and the model: no secret is in it."""


class CallController(Protocol):
    """The vendor's own interface to a call in progress: hanging up, transferring, sending digits."""

    async def carry_out(self, operation: HangUp | Transfer | SendDigits) -> None:
        """Within a deadline of its own. Raises ControlError."""
        ...
