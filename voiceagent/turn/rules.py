"""What speaks for and against the end of a turn: small rules that each look at one side of a pause.

A rule gives evidence in log-odds: positive when the speaker has finished, negative when they will go on, 0 when it
cannot tell. The evidence of all rules is added up, as in a logistic regression, where most of the weights come from.

Measured on the pauses of 160 ms and more of recorded turns (388 within, 469 at the end; English, half of the speakers
learners), area under the curve, speakers left out of the fit: words 0.61, words and fade 0.71, words, fade and habit
0.80; Smart Turn alone 0.79, with all three 0.86. What did not help beyond these: pitch (0.60 alone, nothing beside the
fade), the level of the pause itself (it measures the room), the detector's probabilities, the longest pause so far, and
asking Smart Turn again later in the pause or about less audio.
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
"""Fitted -0.9 to -1.2; -1 is Bayes' rule: twice as many pauses a turn, half the odds that one is its end."""
USUAL_RATE = 0.25
"""Pauses that a speaker goes on from, per second of speech: measured 388 in 1,610 s."""
USUAL_SECONDS = 2.0
"""How much speech the usual rate weighs against what was heard of this speaker. 1 to 6 s do about as well."""

MODEL = 0.33
"""Per log-odds of the model's own. Fitted: taken at its word it would count 1; it is three times too sure."""
USUAL_MODEL = 1.5
"""Log-odds of the model that change nothing: so that the same patience cuts off as many with a model as without."""
MODEL_LIMIT = 0.005
"""Probabilities nearer to 0 or 1 count as this near."""


class Words:
    """What the words so far end with."""

    def evidence(self, pause: Pause) -> float:
        return WORDS[ending(pause.text)]


class Fade:
    """Whether the voice sank at its end."""

    def evidence(self, pause: Pause) -> float:
        return FADE * faded(pause)


class Habit:
    """How often this speaker pauses and goes on: many pauses make each of them less likely to be the end."""

    def evidence(self, pause: Pause) -> float:
        return HABIT * habit(pause)


class Heard:
    """What a model says that heard the voice, once it has answered."""

    def evidence(self, pause: Pause) -> float:
        return MODEL * assurance(pause)


RULES: tuple[Rule, ...] = (Words(), Fade(), Habit(), Heard())


def faded(pause: Pause) -> float:
    """The fade against the usual one, in dB; 0 when too little was heard."""
    return 0.0 if pause.fade_db is None else max(pause.fade_db, DEEPEST_FADE_DB) - USUAL_FADE_DB


def habit(pause: Pause) -> float:
    """The logarithm of this speaker's pauses per second of speech against the usual rate, which counts as heard for
    USUAL_SECONDS: the mean of a gamma prior's posterior."""
    rate = (USUAL_RATE * USUAL_SECONDS + pause.pauses) / (USUAL_SECONDS + pause.speech_ms / 1000)
    return log(rate / USUAL_RATE)


def assurance(pause: Pause) -> float:
    """The model's log-odds that the speaker has finished, against the usual; 0 while it has not answered."""
    if pause.finished is None:
        return 0.0
    probability = min(max(pause.finished, MODEL_LIMIT), 1.0 - MODEL_LIMIT)
    return log(probability / (1.0 - probability)) - USUAL_MODEL
