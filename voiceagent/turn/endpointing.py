"""Endpointing: how long the user must be silent before their turn counts as finished.

`Endpointer` follows one speaker's pauses through a session. What is known of a pause is a `Pause`; rules weigh it as
evidence for or against the end, and an `EndpointingPolicy` turns the evidence into the silence to wait for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Protocol

import numpy as np

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.turn.options import Eagerness, TurnOptions
from voiceagent.turn.words import SentenceEnding, ending

FRAME = EAR_RATE // 50
"""Samples of one measurement of level: 20 ms."""

LAST = 15
"""Frames at the end of the voice: 300 ms, about a syllable. Measured: 500 ms tell as much, 100 ms little."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One silence after a voice, as far as it is known at this moment; `dataclasses.replace` it when more is known.

    `text` is what was understood of the turn, "" while nothing is. `finished` is a model's probability that the speaker
    has finished, None without one. `fade_db` is the function's below. `speech_ms` and `pauses` are this speaker's: how
    long they have spoken, this turn included, and how often they paused and went on (see SpeakerPauses).
    """

    text: str = field(default="", repr=False)
    finished: float | None = None
    fade_db: float | None = None
    speech_ms: float = 0.0
    pauses: float = 0.0


def fade_db(voice: Pcm) -> float | None:
    """How much softer a voice was in its last 300 ms than where it was loud (the 90th percentile), in dB, 0 or below.

    `voice` is the turn's audio at 16 kHz up to the last window of voice, without the silence after it; its last 8 s are
    as good as all of it. None for less than 600 ms, where there is nothing to compare. Takes 1 ms for 8 s.
    """
    frames = len(voice) // FRAME
    if frames < 2 * LAST:
        return None
    samples = voice[len(voice) - frames * FRAME :].astype(np.float32).reshape(frames, FRAME)
    power = np.mean(samples**2, axis=1) + 1.0
    return min(0.0, 10.0 * float(np.log10(np.mean(power[-LAST:]) / np.percentile(power, 90))))


MEMORY = 0.9
"""What a finished turn leaves of all before it, so that the last ten or so count. Fits are as good from 0.8 to 1."""


class SpeakerPauses:
    """How often one speaker pauses and goes on, learned through a session. Both numbers fade with the turns, so they
    are weights rather than counts."""

    def __init__(self) -> None:
        self._speech_ms = 0.0
        self._pauses = 0.0

    @property
    def pauses(self) -> float:
        """Silences (of 160 ms or more) within turns, the present one's included, after which the speaker went on."""
        return self._pauses

    def speech_ms(self, this_turn: float) -> float:
        """Voice in the session, with so much in the turn that goes on."""
        return self._speech_ms + this_turn

    def went_on(self) -> None:
        """A silence is over and the turn is not. To be called, too, when a turn was taken for finished, but the speaker
        came back before anything was heard of the answer."""
        self._pauses += 1.0

    def turn_ended(self, speech_ms: float) -> None:
        """A turn with so much voice is over."""
        self._speech_ms = MEMORY * (self._speech_ms + speech_ms)
        self._pauses *= MEMORY


class EndpointingRule(Protocol):
    """A small rule that looks at one side of a pause, and what speaks there for or against the end of the turn.

    It gives evidence in log-odds: positive when the speaker has finished, negative when they will go on, 0 when it
    cannot tell. The evidence of all rules is added up, as in a logistic regression, where most of the weights come
    from.

    Measured on the pauses of 160 ms and more of recorded turns (388 within, 469 at the end; English, half of the
    speakers learners), area under the curve, speakers left out of the fit: words 0.61, words and fade 0.71, words, fade
    and habit 0.80; Smart Turn alone 0.79, with all three 0.86. What did not help beyond these: pitch (0.60 alone,
    nothing beside the fade), the level of the pause itself (it measures the room), the detector's probabilities, the
    longest pause so far, and asking Smart Turn again later in the pause or about less audio.
    """

    @property
    def name(self) -> str:
        """The name of this rule's share in the evidence that is shown."""
        ...

    def evidence(self, pause: Pause) -> float:
        """Log-odds that the speaker has finished. Quick (below a millisecond), and the same for the same pause."""
        ...


WORDS: Mapping[SentenceEnding, float] = {
    SentenceEnding.STOP: 0.0,  # fitted: the reference
    SentenceEnding.QUESTION: 0.3,  # fitted
    SentenceEnding.COMMA: -1.4,  # fitted
    SentenceEnding.OPEN: -1.2,  # fitted
    SentenceEnding.BARE: -0.4,  # fitted -0.8, halved: many recognisers never punctuate
    SentenceEnding.FILLER: -2.5,  # judged, too rare in the recordings to be fitted (5); so are the next two
    SentenceEnding.DICTATED: -2.5,
    SentenceEnding.REPLY: 1.0,
    SentenceEnding.NOTHING: 0.0,  # by definition
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


class WordsRule:
    """What the words so far end with."""

    name = "words"

    def evidence(self, pause: Pause) -> float:
        return WORDS[ending(pause.text)]


class FadeRule:
    """Whether the voice sank at its end."""

    name = "fade"

    def evidence(self, pause: Pause) -> float:
        return FADE * faded(pause)


class HabitRule:
    """How often this speaker pauses and goes on: many pauses make each of them less likely to be the end."""

    name = "habit"

    def evidence(self, pause: Pause) -> float:
        return HABIT * habit(pause)


class HeardRule:
    """What a model says that heard the voice, once it has answered."""

    name = "heard"

    def evidence(self, pause: Pause) -> float:
        return MODEL * assurance(pause)


RULES: tuple[EndpointingRule, ...] = (WordsRule(), FadeRule(), HabitRule(), HeardRule())


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


PATIENCE_MS: dict[Eagerness, int] = {"high": 350, "auto": 500, "medium": 500, "low": 900}
"""The silence that ends a turn when the client names none and nothing adapts it."""


class EndpointingPolicy(Protocol):
    """Says when a silence is the end of a turn. Without state and clock: the same pause, the same answer."""

    def wait_ms(self, pause: Pause) -> int:
        """How long the silence has to be in all, in milliseconds, for the turn to be over, by what is known of it now.
        Asked again when more is known (words, a model's answer): the newest answer holds, and when so much has already
        passed, the turn is over at once."""
        ...

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        """What speaks for (above 0) and against the end, in log-odds by rule, to be shown; empty where nothing is."""
        ...


class FixedSilence:
    """Ends a turn after a set silence: the client's own, the configuration's, or the one its eagerness stands for."""

    def __init__(self, options: TurnOptions, configured_ms: int = 0) -> None:
        if options.silence_ms is not None:
            self._silence_ms = options.silence_ms
        else:
            self._silence_ms = configured_ms or PATIENCE_MS[options.eagerness]

    def wait_ms(self, pause: Pause) -> int:
        return self._silence_ms

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        return {}


EVIDENCE_MS = 300
"""What one unit of log-odds is worth. Pauses that speakers go on from last, beyond the first 160 ms, another 327 ms in
the mean (measured on 388), about exponentially distributed: in each such stretch of silence the odds that it is the end
grow by a factor of e, which is one unit. So a unit of evidence saves one stretch."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`usual_ms` is the silence without evidence either way; none brings it below `least_ms` or above `most_ms`."""

    usual_ms: float
    least_ms: int
    most_ms: int

    def wait_ms(self, evidence: float) -> int:
        """The silence in milliseconds that ends a turn with these log-odds for its end."""
        return round(min(max(self.usual_ms - EVIDENCE_MS * evidence, self.least_ms), self.most_ms))


ANSWERED_MS = 256
"""Silence by which the words and a model's answer, asked for at 160 ms, are at hand. No adaptive end comes sooner, else
it would depend on how fast the machine is."""

PATIENCE: Mapping[Eagerness, Patience] = {
    "high": Patience(580, ANSWERED_MS, 1500),
    "auto": Patience(840, ANSWERED_MS, 2000),
    "medium": Patience(840, ANSWERED_MS, 2000),
    "low": Patience(1100, 320, 3000),
}
"""Measured (benchmarks/turn_end.py): of recorded turns they cut off about 10, 5 and 2.5 %."""


class AdaptiveSilence:
    """Ends a turn the sooner, the more speaks for its end."""

    def __init__(self, patience: Patience, rules: Sequence[EndpointingRule] = RULES) -> None:
        self._patience = patience
        self._rules = rules

    def wait_ms(self, pause: Pause) -> int:
        return self._patience.wait_ms(sum(rule.evidence(pause) for rule in self._rules))

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        return {rule.name: round(rule.evidence(pause), 2) for rule in self._rules}


def endpointing_policy(options: TurnOptions, configured_ms: int = 0) -> EndpointingPolicy:
    """The one that a client's options ask for. A silence that the client or the configuration names is obeyed to the
    millisecond; without one it adapts."""
    if options.silence_ms is not None or configured_ms:
        return FixedSilence(options, configured_ms)
    return AdaptiveSilence(PATIENCE[options.eagerness])


PAUSE_MS = 160
"""Silence that counts as a pause, after which recognition is finished ahead: longer than the gaps inside words."""
UNDECIDED_MS = 800
"""Silence after which a voice that was never confirmed is forgotten: longer than the decision on its last words."""


@dataclass(frozen=True, slots=True)
class EndpointDecision:
    """Why a silence was taken for the end of a turn: it lasted `silence_ms` where `wait_ms` were asked for by the
    `evidence`, log-odds by rule."""

    silence_ms: int
    wait_ms: int
    evidence: Mapping[str, float]


class SpokenTurn(Protocol):
    """What an endpointer must know of a turn."""

    text: str
    """Its words so far."""

    @property
    def confirmed(self) -> bool: ...

    @property
    def speech_ms(self) -> float:
        """How much of it was voice."""
        ...

    def latest(self, before: int) -> Pcm:
        """Its audio at 16 kHz up to `before` samples ago, the last eight seconds at most."""
        ...


class TurnModel(Protocol):
    """A model that hears whether a speaker has finished, such as Smart Turn."""

    async def finished(self, audio: Pcm) -> float | None:
        """Its probability, None when it has no answer. Never raises."""
        ...


class Endpointer:
    """Follows one speaker's pauses through a session and says when a turn is over.

    Silences are counted in samples by its caller, and whatever takes time (words, a model) is computed elsewhere and
    passed to `know` when it is there, so that the same calls give the same decisions. For each window of silence:
    `silence`, then `decide`; then either `went_on` or `ended`. A silence shorter than PAUSE_MS counts for nothing.
    """

    def __init__(
        self, policy: EndpointingPolicy, model: TurnModel | None = None, tasks: asyncio.TaskGroup | None = None
    ) -> None:
        """`model` is asked in every pause, in a task of `tasks`."""
        self.policy = policy
        """May be replaced between two calls, when the client changes its mind."""
        self._model = model
        self._tasks = tasks
        self._asking: asyncio.Task[None] | None = None
        self._habits = SpeakerPauses()
        self._pause: Pause | None = None

    # -- for a turn ---------------------------------------------------------------------------------------------------

    def silence(self, turn: SpokenTurn, samples: int) -> bool:
        """The turn has been silent for so many samples. True when that has just become a pause."""
        if self.pausing or samples * 1000 // EAR_RATE < PAUSE_MS:
            return False
        self.paused(turn.latest(samples), turn.speech_ms, turn.text)
        if self._model is not None and self._tasks is not None:
            self._asking = self._tasks.create_task(self._ask(self._model, turn.latest(0)), name="turn model")
        return True

    def decide(self, turn: SpokenTurn, samples: int) -> EndpointDecision | None:
        """Why a silence of so many samples ends the turn; None while it does not."""
        self.know(text=turn.text)
        silence_ms = samples * 1000 // EAR_RATE
        if (not turn.confirmed and silence_ms < UNDECIDED_MS) or not self.is_over(silence_ms):
            return None
        return EndpointDecision(silence_ms, self.wait_ms, self.evidence)

    # -- pauses -------------------------------------------------------------------------------------------------------

    @property
    def pausing(self) -> bool:
        """Whether the turn is in a pause."""
        return self._pause is not None

    def paused(self, voice: Pcm, speech_ms: float, text: str = "") -> None:
        """A pause begins to count. `voice`: the turn's audio at 16 kHz (its last 8 s do) up to where the voice ended;
        `speech_ms`: how much of the turn so far was voice; `text`: its words, as far as they are known already."""
        habits = self._habits
        self._pause = Pause(text, None, fade_db(voice), habits.speech_ms(speech_ms), habits.pauses)

    def know(self, *, text: str | None = None, finished: float | None = None) -> None:
        """More is known of the pause that lasts: the words up to it, or a model's probability that the speaker has
        finished. Without a pause it came too late and is dropped."""
        if self._pause is None:
            return
        if text is not None and text != self._pause.text:
            self._pause = replace(self._pause, text=text)
        if finished is not None:
            self._pause = replace(self._pause, finished=finished)

    @property
    def wait_ms(self) -> int:
        """The silence in all that ends the turn, as far as can be said now."""
        return self.policy.wait_ms(self._pause or Pause())

    @property
    def evidence(self) -> Mapping[str, float]:
        """What speaks for and against the end, by rule."""
        return self.policy.evidence(self._pause or Pause())

    def is_over(self, silence_ms: float) -> bool:
        """Whether a silence that has lasted so long ends the turn."""
        return silence_ms >= self.wait_ms

    def went_on(self) -> bool:
        """There is voice, and the turn goes on. True when a pause was before it."""
        if self._pause is None:
            return False
        self._habits.went_on()
        self._end_pause()
        return True

    def came_back(self) -> None:
        """The turn had ended, but its speaker came back before anything was heard of the answer: it was no end."""
        self._habits.went_on()

    def ended(self, speech_ms: float) -> None:
        """The turn is over, for whatever reason; `speech_ms` of it was voice."""
        self._habits.turn_ended(speech_ms)
        self._end_pause()

    def dropped(self) -> None:
        """The turn does not count."""
        self._end_pause()

    def _end_pause(self) -> None:
        self._pause = None
        if self._asking is not None:  # an answer that comes now would be taken for one on the next pause
            self._asking.cancel()
            self._asking = None

    async def _ask(self, model: TurnModel, audio: Pcm) -> None:
        """Let the model hear the turn: its answer makes the wait shorter or longer."""
        self.know(finished=await model.finished(audio))
