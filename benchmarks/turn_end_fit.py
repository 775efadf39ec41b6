"""Fits the weights of voiceagent/turn/endpointing.py to the "tune" half of the recordings of benchmarks.turn_end, with
and without a model; what stands there are the roundings of both."""

import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.barge_in_clips import speech_folder
from benchmarks.turn_end import Known, pauses
from benchmarks.turn_end_pauses import turns
from voiceagent.turn.endpointing import assurance, faded, habit
from voiceagent.turn.words import SentenceEnding, ending


def fit(known: Sequence[Known], *, model: bool) -> dict[str, float]:
    """The weights of a logistic regression (ridge 3) on the pauses of these turns: is it the last?"""
    kinds = (SentenceEnding.COMMA, SentenceEnding.OPEN, SentenceEnding.BARE, SentenceEnding.QUESTION)
    names = ["constant", *(kind.value for kind in kinds), "fade", "habit", *(["model"] if model else [])]
    signals, last = [], []
    for turn, row in known:
        for heard, pause in row:
            kind = ending(pause.text)
            kind = SentenceEnding.OPEN if kind in (SentenceEnding.FILLER, SentenceEnding.DICTATED) else kind
            values = [1.0, *(float(kind is k) for k in kinds), faded(pause), habit(pause)]
            signals.append([*values, assurance(pause)] if model else values)
            last.append(float(heard.end >= turn.end))
    x, y = np.array(signals), np.array(last)
    penalty = np.diag([1e-3, *[3.0] * (x.shape[1] - 1)])
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
        weights += np.linalg.solve(curvature, x.T @ (y - chance) - penalty @ weights)
    return dict(zip(names, weights.tolist(), strict=True))


def main() -> int:
    folder = speech_folder()
    if folder is None:
        print("skipped: no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
        return 0
    known = [row for row in pauses(turns(folder), talks=True) if row[0].half == "tune"]
    for model in (False, True):
        print(", ".join(f"{name} {weight:.2f}" for name, weight in fit(known, model=model).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
