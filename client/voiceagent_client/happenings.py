"""What a conversation tells whoever holds it, in the order in which it happened."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The server has opened a session; after a drop it is a new one, which has been told what was said in the last."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection dropped, or an attempt to bring it back failed; the next one comes in `retry_in` seconds."""

    reason: str
    attempt: int
    retry_in: float


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The server hears the user; playback has been flushed by now, if users may interrupt. `at_ms` counts from the
    session's first audio."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class UserText:
    """What the user said: `delta` is new, `text` is all of it so far. A final one has it whole and an empty
    delta, and so does a guess that replaces the one before."""

    item_id: str
    delta: str
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class AgentText:
    """What the agent says; as `UserText`."""

    item_id: str
    delta: str
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    response_id: str


@dataclass(frozen=True, slots=True)
class ResponseMeasured:
    """How fast the agent answered a recording, in milliseconds from the sending of its last frame with speech.

    `response_ms` is the arrival of the first audio with an audible sample (more than 1 % of full scale), None
    if there was none; `first_sample_ms` the arrival of the first audio at all. `leading_silence_ms` of what
    arrived is inaudible before that sample: a listener waits for it too.
    """

    response_id: str
    response_ms: int | None
    first_sample_ms: int
    leading_silence_ms: int


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """The server has sent all of a response; `status` is completed, cancelled, failed or incomplete. `error` is
    the server's code of a failure."""

    response_id: str
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class ResponsePlayed:
    """A response that was not cancelled is over and nothing is left to be played. A response of tool calls
    alone does not count, since another follows."""

    response_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The agent was stopped in an item after `played_ms` of it; the server has been told, unless it is the connection
    that broke."""

    item_id: str
    played_ms: int


@dataclass(frozen=True, slots=True)
class TurnTimings:
    """The server's own account of a turn (`voiceagent.timeline`): milliseconds of each part, and of all."""

    item_id: str
    response_id: str
    parts: Mapping[str, int]
    response_ms: int | None


@dataclass(frozen=True, slots=True)
class SessionError:
    """The server could not do something; the session goes on."""

    code: str
    message: str


Happening = (
    SessionStarted
    | Disconnected
    | UserSpeechStarted
    | UserSpeechStopped
    | UserText
    | AgentText
    | ResponseStarted
    | ResponseMeasured
    | ResponseDone
    | ResponsePlayed
    | Interrupted
    | TurnTimings
    | SessionError
)
