"""The end-of-turn benchmark counts as it says, on turns made by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import turn_end, turn_end_fit
from benchmarks.turn_end import (
    SETTINGS,
    as_annotated,
    decide,
    draws,
    outcomes_of,
    pauses,
    points,
    quickest,
    through_detector,
)
from benchmarks.turn_end_pauses import HeardPause, Turn, with_hiss
from voiceagent.audio.pcm import EAR_RATE, silence
from voiceagent.turn.endpointing import PATIENCE


def heard(start: float, end: float, text: str = "", finished: float = 0.5) -> HeardPause:
    return HeardPause(start, end, 1000.0 * start, text, None, finished)


def turn(name: str, *found: HeardPause, end: float = 5.0, speaker: str = "") -> Turn:
    """A turn whose annotation agrees with what the detector heard."""
    silences = tuple((pause.start, pause.end) for pause in found if pause.end < end)
    return Turn(name, speaker or name, end, silences, found)


PLAIN = turn("plain", heard(5.0, 9.0, "That is all.", 0.98))
HESITANT = turn("hesitant", heard(2.0, 2.8, "I want a", 0.02), heard(5.0, 9.0, "I want a coffee.", 0.98))


def test_a_timer_cuts_off_who_pauses_longer_and_delays_everybody_alike() -> None:
    known = list(pauses([PLAIN, HESITANT], talks=False))
    outcomes = outcomes_of(known, as_annotated, "timer")
    for index, setting in enumerate(SETTINGS):
        assert outcomes.cut[index].tolist() == [False, setting <= 800]
        assert outcomes.delay[index].tolist() == [setting, setting]


def test_rules_and_model_wait_where_the_words_are_open() -> None:
    known = list(pauses([PLAIN, HESITANT], talks=False))
    found = {}
    for policy in turn_end.POLICIES:
        found[policy] = points(outcomes_of(known, as_annotated, policy), np.ones((1, 2)), quickest(0.0))[0]
    assert found["timer"].mean == 810
    assert found["rules + model"].mean < found["rules"].mean < 810
    assert all(point.share == 0.0 for point in found.values())


def test_the_detector_lags_and_decides_by_windows() -> None:
    late = turn("late", heard(5.1, 9.0))
    outcomes = outcomes_of(list(pauses([late], talks=False)), through_detector, "timer")
    at_500 = outcomes.delay[SETTINGS.tolist().index(500), 0]
    assert at_500 == pytest.approx(100 + 32 * math.ceil(500 / 32))


def test_a_detector_that_misses_the_end_cuts_off_and_never_ends_the_turn() -> None:
    deaf = turn("deaf", heard(3.0, 9.0), end=8.0)
    outcomes = outcomes_of(list(pauses([deaf], talks=False)), through_detector, "timer")
    assert outcomes.cut[0, 0]
    assert math.isnan(outcomes.delay[0, 0])


def test_in_a_talk_the_habits_of_a_speaker_stay() -> None:
    found = [turn(str(n), *HESITANT.pauses, speaker="one") for n in range(3)]
    alone = [row[-1][1] for _, row in pauses(found, talks=False)]
    together = [row[-1][1] for _, row in pauses(found, talks=True)]
    assert alone[0] == alone[1] == alone[2] == together[0]
    assert together[0].pauses < together[1].pauses < together[2].pauses


def test_a_silence_that_the_detector_did_not_hear_counts_without_evidence() -> None:
    unheard = Turn("unheard", "unheard", 5.0, ((2.0, 2.9),), PLAIN.pauses)
    (known,) = pauses([unheard], talks=False)
    first, last = as_annotated(*known)
    assert first.evidence == 0.0
    assert last.evidence > 0.0
    assert decide([[first, last]], PATIENCE["auto"], step=1).cut[:, 0].tolist() == [s <= 900 for s in SETTINGS]


def test_resampling_takes_whole_speakers() -> None:
    weights = draws(["a", "a", "b", "c"])
    assert weights[0].tolist() == [1, 1, 1, 1]
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[1:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_hiss_is_no_louder_than_the_recording() -> None:
    assert not with_hiss(silence(EAR_RATE)).any()
    noise = np.random.default_rng(0).normal(0, 100, EAR_RATE).astype(np.int16)
    assert float(np.std(with_hiss(noise)[EAR_RATE:])) == pytest.approx(100, rel=0.1)


def test_fitting_finds_what_tells() -> None:
    found = [turn(str(n), *HESITANT.pauses) for n in range(20)]
    weights = turn_end_fit.fit(list(pauses(found, talks=False)), model=True)
    assert weights["model"] > 0 > weights["open"]


def test_without_recordings_it_says_so_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEAGENT_SPEECH", str(tmp_path))
    assert turn_end.main([]) == 0
    assert "VOICEAGENT_SPEECH" in capsys.readouterr().out
    assert turn_end_fit.main() == 0
    assert "VOICEAGENT_SPEECH" in capsys.readouterr().out
