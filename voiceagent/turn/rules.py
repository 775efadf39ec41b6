"""What speaks for and against the end of a turn: small rules that each look at one side of a pause.

A rule gives evidence in log-odds: positive when the speaker has finished, negative when they will go on, 0 when it
cannot tell. The evidence of all rules is added up, as in a logistic regression, where most of the weights come from.

Measured on 388 pauses within and 469 at the end of recorded turns of 160 ms and more (English, half of the speakers
learners of it), area under the curve with speakers left out: words 0.61, habit 0.72, words and fade 0.71, these three 0.80; Smart
Turn 0.79, all four 0.86. What did not help beyond these: pitch (0.60 alone, nothing beside the fade), the level of the
pause itself (it measures the room), the detector's probabilities, how long the turn or its longest pause was, and
asking Smart Turn again later in the pause.
"""

from collections.abc import Mapping
from math import log
from typing import Protocol

from voiceagent.turn.pause import Pause
from voiceagent.turn.words import Ending, ending


class Rule(Protocol):
    def evidence(self, pause: Pause) -> float:
        """Log-odds that the speaker has finished. Quick (below a millisecond), and the same for the same pause."""
        ...


WORDS: Mapping[Ending, float] = {
    Ending.STOP: 0.0,  # fitted: the reference
    Ending.QUESTION: 0.3,  # fitted
    Ending.COMMA: -1.4,  # fitted
    Ending.OPEN: -1.2,  # fitted
    Ending.BARE: -0.4,  # fitted -0.8, halved: many recognisers never punctuate
    Ending.FILLER: -2.5,  # judged, too rare in the recordings to be fitted (5); so are the next two
    Ending.DICTATED: -2.5,
    Ending.REPLY: 1.0,
    Ending.NOTHING: 0.0,  # by definition
}

FADE = -0.06
"""Per dB. Fitted: a voice that sinks at its end has finished."""
USUAL_FADE_DB = -10.0
"""Its mean over all pauses measured."""
DEEPEST_FADE_DB = -25.0
"""The hundredth part fades more; that tells nothing further."""

HABIT = -1.0
"""Fitted -0.9 to -1.2; -1 is what Bayes' rule says: twice as many pauses a turn, half the odds that one is its end."""
USUAL_RATE = 0.25
"""Pauses that a speaker goes on from, per second of speech: measured 388 in 1,610 s."""
USUAL_SECONDS = 3.0
"""How much speech that usual rate weighs against what was heard of this speaker. Fits are as good with 3 to 6 s."""

MODEL = 0.33
"""Per log-odds of the model's own. Fitted: taken at its word it would count 1; it is three times too sure."""
USUAL_MODEL = 0.0
MODEL_LIMIT = 0.005
"""Probabilities nearer to 0 or 1 count as this near."""


class Words:
    """What the words so far end with."""

    def evidence(self, pause: Pause) -> float:
        return WORDS[ending(pause.text)]


class Fade:
    """Whether the voice sank at its end. Usual when too little was heard."""

    def evidence(self, pause: Pause) -> float:
        if pause.fade_db is None:
            return 0.0
        return FADE * (max(pause.fade_db, DEEPEST_FADE_DB) - USUAL_FADE_DB)


class Habit:
    """How often this speaker pauses and goes on, against the usual: many pauses make each less likely to be the end."""

    def evidence(self, pause: Pause) -> float:
        rate = (USUAL_RATE * USUAL_SECONDS + pause.pauses) / (USUAL_SECONDS + pause.speech_ms / 1000)
        return HABIT * log(rate / USUAL_RATE)


class Heard:
    """What a model says that heard the voice, once it has answered."""

    def evidence(self, pause: Pause) -> float:
        if pause.finished is None:
            return 0.0
        probability = min(max(pause.finished, MODEL_LIMIT), 1.0 - MODEL_LIMIT)
        return MODEL * (log(probability / (1.0 - probability)) - USUAL_MODEL)


RULES: tuple[Rule, ...] = (Words(), Fade(), Habit(), Heard())
