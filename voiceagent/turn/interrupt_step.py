"""What the judge of interruptions tells its caller to do."""

from dataclasses import dataclass
from enum import Enum, auto


class Action(Enum):
    NOTHING = auto()
    PAUSE = auto()
    """Send nothing more of the reply, for now."""
    CONFIRM = auto()
    """The user has the floor: end the reply, tell the client to flush."""
    RESUME = auto()
    """It was no interruption: go on from the sample where the reply stopped, and forget what was heard."""


class Ask(Enum):
    """What the caller is to get from the recogniser, for the audio since the voice's onset, and hand to `words`."""

    NOTHING = auto()
    PARTIAL = auto()
    """The words so far."""
    FINAL = auto()
    """The words of the voice that has just ended, all of them."""


class Reason(Enum):
    """Why, for logs and counters."""

    VOICE = "voice"
    COMMAND = "command"
    WORDS = "words"
    LENGTH = "length"
    BLIP = "blip"
    NOISE = "noise"
    ECHO = "echo"
    BACKCHANNEL = "backchannel"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after a window or after words came. `reason` is there with every action."""

    action: Action = Action.NOTHING
    reason: Reason | None = None
    ask: Ask = Ask.NOTHING


GO_ON = Step()
