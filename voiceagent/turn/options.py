"""The options of turn-taking: what a client asks for, and how hard the agent is to interrupt in each phase."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

Eagerness = Literal["low", "medium", "high", "auto"]


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """Turn-taking by voice. Times in milliseconds.

    `threshold` is the speech probability above which a window counts as voice. `silence_ms` is the silence that ends a
    turn; None lets the endpointer choose by `eagerness` and by what was said.
    """

    threshold: float = 0.5
    prefix_ms: int = 300
    silence_ms: int | None = None
    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Phase(Enum):
    """What the agent is doing while the window is heard."""

    SILENT = auto()
    """The floor is the user's. Nothing is decided; how this user sounds is learned."""
    THINKING = auto()
    """The turn is over, the reply is being prepared, nothing of it has been heard."""
    FIRST_WORDS = auto()
    """The reply has just begun."""
    SPEAKING = auto()
    LAST_WORDS = auto()
    """Less than a second of the whole reply is left: whoever speaks now, answers it."""
    PROTECTED = auto()
    """A reply that is not to be interrupted: nothing pauses it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How hard the agent is to interrupt in one phase: milliseconds that a voice must go on to be confirmed."""

    words_ms: int = 704
    """For a clear voice that says something."""
    voice_ms: int = 1216
    """For a clear voice of which no words are known."""
    listening_ms: int = 2016
    """For a clear voice with nothing but backchannels."""
    doubtful_ms: int = 2016
    """For what may be noise or a loudspeaker, if there are words in it."""
    short_ms: int = 448
    """Below it a voice that has ended counts only if it was a command."""
    answers: bool = False
    """Whether backchannels count as words."""


@dataclass(frozen=True, slots=True)
class BargeInSettings:
    """Barge-in: what stops the agent, in each phase of its response.

    Chosen by `python -m benchmarks.barge_in` for the phase SPEAKING; the other phases are set by judgement. With one of
    `clear` 0.4 to 0.9, `thin_db` -18 to -14, `words_ms` 704 to 896 or `doubtful_ms` 1984 to 2496 changed, no kind of
    clip changed by more than one or two. `words_ms` 512 lost a tenth of the backchannels, `short_ms` 608 a tenth of the
    short commands.
    """

    thinking: Thresholds = field(default_factory=lambda: Thresholds(256, 384, 1216, 1504, 192))
    """While the response is being prepared and nothing of it was heard."""
    first_words: Thresholds = field(default_factory=lambda: Thresholds(608, 1024, 1600, 3008, 384))
    """While it has just begun."""
    speaking: Thresholds = field(default_factory=Thresholds)
    """While it is spoken."""
    last_words: Thresholds = field(default_factory=lambda: Thresholds(384, 704, 704, 1504, 192, answers=True))
    """While less than a second of it is left."""
    hint: float = 0.3
    """The detector's probability that is reason enough to pause."""
    threshold: float = 0.5
    """The probability that counts as voice."""
    clear: float = 0.7
    """Share of sure windows that a clear voice has."""
    thin_db: float = -14.0
    """Body (low against middle frequencies) below which a voice may be a loudspeaker; less where the user has less."""
    hum_db: float = -18.0
    """Brightness below which a voice that has ended was only hummed, as a backchannel is."""
    echo_db: float = 7.0
    """How much louder than the echo explains somebody else must be."""

    def manner(self, phase: Phase) -> Thresholds:
        match phase:
            case Phase.THINKING:
                return self.thinking
            case Phase.FIRST_WORDS:
                return self.first_words
            case Phase.SPEAKING | Phase.PROTECTED:
                return self.speaking
            case Phase.LAST_WORDS | Phase.SILENT:
                return self.last_words
