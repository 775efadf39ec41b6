"""When has the user finished? On every recorded turn: how many are cut off inside a pause, against the delay from the
true end of speech to the decision; for a plain timer, the rules, and the rules with the Smart Turn model.

Counted as the public eot-bench does: each silence that the annotation names is waited out or taken for the end, and at
each share of turns cut off stands the delay of the setting that is quickest with no more. "through the detector" plays
the same recordings as a session hears them, its detector's lag and errors included. The halves are by speaker; the
weights were fitted on "tune".
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.barge_in_clips import speech_folder
from benchmarks.turn_end_pauses import HeardPause, Turn, turns
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.turn.endpoint import EVIDENCE_MS, PATIENCE, Patience
from voiceagent.turn.habits import SpeakerPauses
from voiceagent.turn.pause import Pause
from voiceagent.turn.rules import RULES
from voiceagent.vad.base import WINDOW

Floats = npt.NDArray[np.float64]

SETTINGS = np.arange(100, 2400, 10)
"""The usual silences tried, in ms."""
SHARES = (0.025, 0.05, 0.10, 0.20)
LAG_MS = 64
"""The detector's: measured median from the annotated end of speech to the end of its last window of voice."""
ANSWERED_MS = 256
"""Silence at the detector by which the words and the model's answer are there, asked for at 160 ms: no earlier end."""
RESAMPLES = 400
WINDOW_MS = WINDOW * 1000 // EAR_RATE

TARGETS = {0.05: (550, 700), 0.10: (350, 480)}
"""Median and mean delay with the model, at the share cut off; Smart Turn with two waits has (600, 790), (400, 540)."""
BETTER_THAN_TIMER = 0.85
"""Mean delay of the rules without a model, against the timer's."""


@dataclass(frozen=True, slots=True)
class Silence:
    """From `start` to `end` in ms, beginning at 0 when the speech ends: negative starts are within the turn. `evidence`
    is what the rules have at hand once they could be asked, `floor` the soonest that they can end the turn."""

    start: float
    end: float
    evidence: float
    floor: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one way to decide, shape (settings, turns): was the turn cut off, and its delay in ms (NaN: never ended)."""

    cut: npt.NDArray[np.bool_]
    delay: Floats

    def of(self, chosen: Sequence[int]) -> "Outcomes":
        return Outcomes(self.cut[:, chosen], self.delay[:, chosen])


# -- deciding ---------------------------------------------------------------------------------------------------------


def pauses(found: Iterable[Turn], *, talks: bool) -> Iterator[tuple[Turn, list[tuple[HeardPause, Pause]]]]:
    """Each turn's pauses as a session would know them. With `talks` the turns of a speaker are one talk, in the order
    of their names; without, each turn is a talk of its own."""
    habits, speaker = SpeakerPauses(), ""
    for turn in found:
        if turn.speaker != speaker or not talks:
            habits, speaker = SpeakerPauses(), turn.speaker
        known = []
        for heard in turn.pauses:
            pause = Pause(heard.text, heard.finished, heard.fade_db, habits.speech_ms(heard.speech_ms), habits.pauses)
            known.append((heard, pause))
            if heard.end < turn.end:
                habits.went_on()
        if turn.pauses:
            habits.turn_ended(turn.pauses[-1].speech_ms)
        yield turn, known


def evidence(pause: Pause) -> float:
    return sum(rule.evidence(pause) for rule in RULES)


def as_annotated(turn: Turn, known: list[tuple[HeardPause, Pause]]) -> list[Silence]:
    """The silences of the annotation, each with what is known of the heard pause that shares most with it. Where the
    detector heard none there is no evidence."""
    silences = []
    for start, end in (*turn.silences, (turn.end, np.inf)):
        shared, at_hand = 0.05, 0.0
        for heard, pause in known:
            overlap = min(end, heard.end) - max(start, heard.start)
            if overlap > shared:
                shared, at_hand = overlap, evidence(pause)
        silences.append(Silence((start - turn.end) * 1000, (end - turn.end) * 1000, at_hand, ANSWERED_MS + LAG_MS))
    return silences


def through_detector(turn: Turn, known: list[tuple[HeardPause, Pause]]) -> list[Silence]:
    """The silences that the detector hears; the last goes on until the turn is over."""
    return [
        Silence(
            (heard.start - turn.end) * 1000,
            np.inf if index == len(known) - 1 else (heard.end - turn.end) * 1000,
            evidence(pause),
            ANSWERED_MS,
        )
        for index, (heard, pause) in enumerate(known)
    ]


def decide(silences: Sequence[list[Silence]], patience: Patience | None, *, step: int) -> Outcomes:
    """Play all turns at all SETTINGS; None is a plain timer. `step`: ms from one moment of decision to the next."""
    cut = np.zeros((len(SETTINGS), len(silences)), np.bool_)
    delay = np.full(cut.shape, np.nan)
    for index, row in enumerate(silences):
        for silence in row:
            wait = waits(patience, silence)
            wait = np.ceil(wait / step) * step
            ends = silence.start + wait
            committed = wait <= silence.end - silence.start
            cut[:, index] |= committed & (ends < 0)
            first = committed & (ends >= 0) & np.isnan(delay[:, index])
            delay[first, index] = ends[first]
    return Outcomes(cut, delay)


def waits(patience: Patience | None, silence: Silence) -> Floats:
    """The wait in this silence at each of SETTINGS."""
    if patience is None:
        return SETTINGS.astype(np.float64)
    asked = SETTINGS - EVIDENCE_MS * silence.evidence
    return np.maximum(np.clip(asked, patience.least_ms, patience.most_ms), silence.floor)


# -- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """At one setting: the share of turns cut off, and the delay in ms. Intervals are of 95 %, speakers resampled."""

    setting: float
    share: float
    median: float
    mean: float
    medians: tuple[float, float] = (np.nan, np.nan)
    means: tuple[float, float] = (np.nan, np.nan)
    shares: tuple[float, float] = (np.nan, np.nan)


def at_share(outcomes: Outcomes, limit: float) -> Point:
    """The quickest setting that cuts off no more than this share."""
    shares = outcomes.cut.mean(axis=1)
    means = np.nanmean(outcomes.delay, axis=1)
    return at_setting(outcomes, int(np.argmin(np.where(shares <= limit, means, np.inf))))


def at_setting(outcomes: Outcomes, index: int) -> Point:
    delay = outcomes.delay[index]
    share = float(outcomes.cut[index].mean())
    return Point(float(SETTINGS[index]), share, float(np.nanmedian(delay)), float(np.nanmean(delay)))


def resampled(outcomes: Outcomes, speakers: Sequence[str], limit: float | None, index: int = 0) -> Point:
    """The point with its intervals: at a share (`limit`), else at a setting (`index`)."""
    random = np.random.default_rng(1)
    groups = [np.flatnonzero(np.array(speakers) == speaker) for speaker in dict.fromkeys(speakers)]

    def point(some: Outcomes) -> Point:
        return at_setting(some, index) if limit is None else at_share(some, limit)

    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([groups[i] for i in random.integers(0, len(groups), len(groups))])
        drawn.append(point(outcomes.of(chosen.tolist())))
    found = point(outcomes)

    def interval(values: list[float]) -> tuple[float, float]:
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)

    return Point(
        found.setting,
        found.share,
        found.median,
        found.mean,
        interval([p.median for p in drawn]),
        interval([p.mean for p in drawn]),
        interval([p.share for p in drawn]),
    )
