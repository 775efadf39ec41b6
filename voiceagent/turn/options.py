"""Options of turn-taking: what the configuration and a client ask for, and how hard the agent is to interrupt."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Literal

from pydantic import Field

from voiceagent.section import Milliseconds, Seconds, Section

Eagerness = Literal["low", "medium", "high", "auto"]


class TurnSection(Section):
    """Endpointing: when the user's turn has ended."""

    silence_ms: Milliseconds = 0
    """The silence that ends a turn when the client names none; 0 lets the endpointer choose."""
    prefix_ms: Milliseconds = 300
    """Audio kept from before the first voice."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The speech probability that counts as voice."""
    model: Literal["", "smart-turn-v3.2"] = ""
    """A model that helps the endpointer, at 65 ms of a core for every pause; fetched by `voiceagent models fetch
    smart-turn-v3.2`."""
    speculations: Annotated[int, Field(ge=0)] = 3
    """How many responses a turn may have prepared ahead and thrown away; 0 prepares none."""
    max_turn_seconds: Seconds = 60.0
    """A turn that lasts longer is answered anyway."""


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
    """What the agent is doing while a window of the microphone is heard."""

    SILENT = auto()
    """It is the user's turn to speak. Nothing is decided; how this user sounds is learned."""
    THINKING = auto()
    """The turn is over, the response is being prepared, nothing of it has been heard."""
    FIRST_WORDS = auto()
    """The response has just begun."""
    SPEAKING = auto()
    LAST_WORDS = auto()
    """Less than a second of the whole response is left: whoever speaks now, answers it."""
    PROTECTED = auto()
    """A response that is not to be interrupted: nothing pauses it."""


@dataclass(frozen=True, slots=True)
class BargeInThresholds:
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
    """The shortest voice that counts once it has ended, unless it was a command."""
    answers: bool = False
    """Whether backchannels count as words."""


THINKING = BargeInThresholds(words_ms=256, voice_ms=384, listening_ms=1216, doubtful_ms=1504, short_ms=192)
FIRST_WORDS = BargeInThresholds(words_ms=608, voice_ms=1024, listening_ms=1600, doubtful_ms=3008, short_ms=384)
SPEAKING = BargeInThresholds(words_ms=704, voice_ms=1216, listening_ms=2016, doubtful_ms=2016, short_ms=448)
LAST_WORDS = BargeInThresholds(
    words_ms=384, voice_ms=704, listening_ms=704, doubtful_ms=1504, short_ms=192, answers=True
)


@dataclass(frozen=True, slots=True)
class BargeInSettings:
    """Barge-in: what stops the agent, in each phase of its response.

    Chosen by `python -m benchmarks.barge_in` for the phase SPEAKING; the other phases are set by judgement. With one of
    `clear` 0.4 to 0.9, `thin_db` -18 to -14, `words_ms` 704 to 896 or `doubtful_ms` 1984 to 2496 changed, no kind of
    clip changed by more than one or two. `words_ms` 512 lost a tenth of the backchannels, `short_ms` 608 a tenth of the
    short commands. What counts as voice is the turn's own `threshold`.
    """

    thinking: BargeInThresholds = THINKING
    """While the response is being prepared and nothing of it was heard."""
    first_words: BargeInThresholds = FIRST_WORDS
    """While it has just begun."""
    speaking: BargeInThresholds = SPEAKING
    """While it is spoken."""
    last_words: BargeInThresholds = LAST_WORDS
    """While less than a second of it is left."""
    hint: float = 0.3
    """The detector's probability that is reason enough to pause."""
    clear: float = 0.7
    """Share of sure windows that a clear voice has."""
    thin_db: float = -14.0
    """Body (low against middle frequencies) below which a voice may be a loudspeaker; less where the user has less."""
    hum_db: float = -18.0
    """Brightness below which a voice that has ended was only hummed, as a backchannel is."""
    echo_db: float = 7.0
    """How much louder than the echo explains somebody else must be."""

    def thresholds(self, phase: Phase) -> BargeInThresholds:
        match phase:
            case Phase.THINKING:
                return self.thinking
            case Phase.FIRST_WORDS:
                return self.first_words
            case Phase.SPEAKING | Phase.PROTECTED:
                return self.speaking
            case Phase.LAST_WORDS | Phase.SILENT:
                return self.last_words
