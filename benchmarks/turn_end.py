"""When has the user finished? On every recorded turn: how many are cut off inside a pause, against the delay from the
true end of speech to the decision; for a plain timer, the rules, and the rules with the Smart Turn model.

Counted as the public eot-bench does: each silence that the annotation names is waited out or taken for the end, and at
each share of turns cut off stands the delay of the setting that is quickest, in the mean, with no more. "Through the
detector" plays the same recordings as a session hears them, with its detector's lag and errors. The halves are by
speaker; the weights were fitted on "tune" (benchmarks/turn_end_fit.py).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.barge_in_clips import speech_folder
from benchmarks.turn_end_pauses import HeardPause, Turn, turns
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.turn.endpointing import EVIDENCE_MS, PATIENCE, RULES, Patience, Pause, SpeakerPauses
from voiceagent.turn.options import Eagerness
from voiceagent.vad.base import WINDOW

Floats = npt.NDArray[np.float64]

SETTINGS = np.arange(100, 2400, 10)
"""The usual silences tried, in ms."""
SHARES = (0.025, 0.05, 0.10, 0.20)
LAG_MS = 64
"""The detector's: measured median from the annotated end of speech to the end of its last window of voice."""
RESAMPLES = 500
WINDOW_MS = WINDOW * 1000 // EAR_RATE

TARGETS = {0.05: (550, 700), 0.10: (350, 480)}
"""Median and mean delay with the model, at the share cut off; Smart Turn with two waits has (600, 790), (400, 540)."""
BETTER_THAN_TIMER = 0.85
"""Mean delay of the rules without a model, against the timer's."""


@dataclass(frozen=True, slots=True)
class Silence:
    """From `start` to `end` in ms after the end of speech, below 0 within the turn. `evidence` is what the rules make
    of it, `lag` by how much the detector is behind."""

    start: float
    end: float
    evidence: float
    lag: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one way to decide, shape (settings, turns): was the turn cut off, and its delay in ms (NaN: never ended)."""

    cut: npt.NDArray[np.bool_]
    delay: Floats


Known = tuple[Turn, list[tuple[HeardPause, Pause]]]
"""A turn, with what is known at each pause of it."""

Way = Callable[[Turn, list[tuple[HeardPause, Pause]]], list[Silence]]
"""Which silences count."""


# -- deciding ---------------------------------------------------------------------------------------------------------


def pauses(found: Iterable[Turn], *, talks: bool) -> Iterator[Known]:
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
        silences.append(Silence((start - turn.end) * 1000, (end - turn.end) * 1000, at_hand, LAG_MS))
    return silences


def through_detector(turn: Turn, known: list[tuple[HeardPause, Pause]]) -> list[Silence]:
    """The silences that the detector hears; the last goes on until the turn is over."""
    return [
        Silence(
            (heard.start - turn.end) * 1000,
            np.inf if index == len(known) - 1 else (heard.end - turn.end) * 1000,
            evidence(pause),
            0.0,
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
    return np.clip(asked, patience.least_ms + silence.lag, patience.most_ms)


# -- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """At one setting: the share of turns cut off, and the median and mean delay in ms."""

    setting: int
    share: float
    median: float
    mean: float


Setting = Callable[[Floats, Floats], npt.NDArray[np.intp]]
"""Picks the index of a setting for each resampling, by its shares and means at all: both of shape (settings, rows)."""


def points(outcomes: Outcomes, weights: Floats, setting: Setting) -> list[Point]:
    """One point for each row of `weights`, which say how often each turn counts."""
    ended = ~np.isnan(outcomes.delay)
    shares = outcomes.cut @ weights.T / weights.sum(axis=1)
    means = np.where(ended, outcomes.delay, 0.0) @ weights.T / (ended @ weights.T)
    found = []
    for row, index in enumerate(setting(shares, means)):
        delays = np.repeat(outcomes.delay[index], weights[row].astype(np.intp))
        found.append(Point(int(SETTINGS[index]), shares[index, row], float(np.nanmedian(delays)), means[index, row]))
    return found


def quickest(limit: float) -> Setting:
    """Picks the setting with the least mean delay that cuts off no more than this share."""
    return lambda shares, means: np.argmin(np.where(shares <= limit, means, np.inf), axis=0)


def fixed(usual_ms: float) -> Setting:
    index = int(np.argmin(np.abs(SETTINGS - usual_ms)))
    return lambda shares, means: np.full(shares.shape[1], index)


def draws(speakers: Sequence[str]) -> Floats:
    """Resamplings of whole speakers, after one row in which each turn counts once."""
    names, of = np.unique(speakers, return_inverse=True)
    counts = np.random.default_rng(1).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return np.concatenate((np.ones((1, len(of))), counts[:, of].astype(np.float64)))


# -- showing ----------------------------------------------------------------------------------------------------------

POLICIES = ("timer", "rules", "rules + model")
EAGERNESS: tuple[Eagerness, ...] = ("high", "auto", "low")


def outcomes_of(known: Sequence[Known], way: Way, policy: str, eagerness: Eagerness = "auto") -> Outcomes:
    if policy != "rules + model":
        known = [(turn, [(heard, replace(pause, finished=None)) for heard, pause in row]) for turn, row in known]
    step = 1 if way is as_annotated else WINDOW_MS
    return decide([way(*row) for row in known], None if policy == "timer" else PATIENCE[eagerness], step=step)


def show(title: str, known: Sequence[Known], way: Way) -> dict[tuple[str, float], Point]:
    """Print one table; returns its points by policy and share."""
    print(f"\n{title}, n = {len(known)}")
    print(f"{'delay in ms: median/mean at a share cut off':44}" + "".join(f"{share:>12.1%}" for share in SHARES))
    weights = draws([turn.speaker for turn, _ in known])
    shown: dict[tuple[str, float], Point] = {}
    for policy in POLICIES:
        outcomes = outcomes_of(known, way, policy)
        rows = {share: points(outcomes, weights, quickest(share)) for share in SHARES}
        shown |= {(policy, share): row[0] for share, row in rows.items()}
        print(f"  {policy:42}" + "".join(f"{f'{row[0].median:.0f}/{row[0].mean:.0f}':>12}" for row in rows.values()))
        print(f"  {'  95 % of the median':42}" + "".join(f"{interval(row, 'median'):>12}" for row in rows.values()))
        print(f"  {'  95 % of the mean':42}" + "".join(f"{interval(row, 'mean'):>12}" for row in rows.values()))
        if policy != "timer":
            for eagerness in EAGERNESS:
                outcomes = outcomes_of(known, way, policy, eagerness)
                now = points(outcomes, weights, fixed(PATIENCE[eagerness].usual_ms))
                print(
                    f"    eagerness {eagerness:5} cuts off {now[0].share:6.1%} ({interval(now, 'share')} %),"
                    f" delay {now[0].median:.0f}/{now[0].mean:.0f}"
                )
    return shown


def interval(found: Sequence[Point], name: str) -> str:
    """95 % of the resampled values; shares in per cent."""
    values = [getattr(point, name) * (100 if name == "share" else 1) for point in found[1:]]
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{low:.1f}-{high:.1f}" if name == "share" else f"{low:.0f}-{high:.0f}"


def judge(shown: dict[tuple[str, float], Point]) -> bool:
    """Print the targets and whether they are met."""
    met = True
    for share, (median, mean) in TARGETS.items():
        timer, rules, model = (shown[policy, share] for policy in POLICIES)
        lines = (
            (f"rules + model: median {model.median:.0f} <= {median}", model.median <= median),
            (f"rules + model: mean {model.mean:.0f} <= {mean}", model.mean <= mean),
            (
                f"rules: mean {rules.mean:.0f} <= {BETTER_THAN_TIMER:.0%} of the timer's {timer.mean:.0f}",
                rules.mean <= BETTER_THAN_TIMER * timer.mean,
            ),
        )
        for line, good in lines:
            print(f"  {share:4.0%} cut off, {line}: {'met' if good else 'MISSED'}")
            met &= good
    return met


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_end", description=__doc__)
    parser.add_argument("--tune", action="store_true", help="show the half on which the weights were fitted, too")
    options = parser.parse_args(argv)
    folder = speech_folder()
    if folder is None:
        print("skipped: no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
        return 0
    found = turns(folder)
    talks, alone = (list(pauses(found, talks=yes)) for yes in (True, False))
    met = True
    for half in ("report", "all", "tune") if options.tune else ("report", "all"):
        for title, known, way in (
            ("as annotated, the turns of a speaker in one talk", talks, as_annotated),
            ("as annotated, each turn by itself", alone, as_annotated),
            ("through the detector, the turns of a speaker in one talk", talks, through_detector),
            ("through the detector, each turn by itself", alone, through_detector),
        ):
            if chosen := [row for row in known if half in (row[0].half, "all")]:
                shown = show(f"{half}: {title}", chosen, way)
                if known is talks and way is as_annotated and half != "tune":
                    met &= judge(shown)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
