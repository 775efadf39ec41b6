"""What every wire protocol is: a state machine without I/O between a client's messages and a session."""

from dataclasses import dataclass
from typing import Literal, Protocol

from voiceagent.errors import Refused
from voiceagent.session.commands import Command
from voiceagent.session.events import Event

Frame = str | bytes
"""One WebSocket message: text or binary."""

EndReason = Literal["finished", "draining", "idle", "expired", "too_slow", "internal_error"]
"""Why the server ends a conversation: the talk is over, the server stops, nobody spoke, the talk was too long, the
client does not read, a bug."""


@dataclass(frozen=True, slots=True)
class Send:
    """Answer with this message at once."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Ask:
    """Carry out a command; `ref` is the client's own id of the message, which a refusal must name."""

    command: Command
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with this WebSocket close code."""

    code: int
    reason: str


Action = Send | Ask | Close


class WireProtocol(Protocol):
    """One connection's protocol state. No method blocks, waits or raises for anything a client sent."""

    def start(self) -> list[Action]:
        """What to do as soon as the connection is open."""
        ...

    def receive(self, frame: Frame) -> list[Action]:
        """What a client's message asks for, in order. Malformed input becomes the protocol's own error or a Close."""
        ...

    def encode(self, event: Event) -> list[Frame]:
        """What to tell the client of a session's event; often nothing."""
        ...

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """What to tell the client when its command was refused."""
        ...

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        """Last words and the close code when the server ends the conversation."""
        ...
