"""From probabilities to onsets and pauses."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vad.test_vad import load, opened, recorded_speech
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import Segmenter, SegmentEvent, VoicePaused, VoiceStarted

VOICE, QUIET = 0.9, 0.0


def run(segmenter: Segmenter, probabilities: Iterable[float]) -> list[SegmentEvent]:
    return [event for probability in probabilities if (event := segmenter.push(probability)) is not None]


def test_a_voice_begins_with_its_second_window_and_is_dated_to_its_first() -> None:
    segmenter = Segmenter()
    assert run(segmenter, [QUIET] * 10 + [VOICE]) == []
    assert segmenter.voiced
    assert not segmenter.speaking
    assert segmenter.push(VOICE) == VoiceStarted(10 * WINDOW)
    assert segmenter.speaking
    assert segmenter.onset_sample == 10 * WINDOW
    assert segmenter.last_speech_sample == segmenter.sample == 12 * WINDOW
    assert segmenter.speech_samples == 2 * WINDOW
    assert segmenter.silence_samples == 0


def test_two_of_three_windows_are_enough() -> None:
    segmenter = Segmenter()
    assert run(segmenter, [QUIET, VOICE, QUIET, VOICE]) == [VoiceStarted(WINDOW)]
    assert segmenter.speech_samples == 2 * WINDOW


def test_clicks_start_nothing_and_do_not_end_the_silence() -> None:
    segmenter = Segmenter()
    assert run(segmenter, [VOICE, QUIET, QUIET] * 20) == []
    assert segmenter.silence_samples == 60 * WINDOW
    assert segmenter.onset_sample is segmenter.last_speech_sample is None


def test_a_pause_is_dated_to_the_end_of_the_voice() -> None:
    segmenter = Segmenter()
    events = run(segmenter, [VOICE] * 5 + [QUIET] * 3)
    assert events == [VoiceStarted(0), VoicePaused(5 * WINDOW, speech=5 * WINDOW)]
    assert not segmenter.speaking
    assert segmenter.silence_samples == 3 * WINDOW
    run(segmenter, [QUIET] * 4 + [VOICE])
    assert segmenter.silence_samples == 8 * WINDOW
    assert segmenter.last_speech_sample == 5 * WINDOW


def test_short_gaps_within_speech_are_no_pause() -> None:
    segmenter = Segmenter()
    assert run(segmenter, [VOICE, VOICE, *[QUIET, QUIET, VOICE] * 10]) == [VoiceStarted(0)]
    assert segmenter.speech_samples == 12 * WINDOW


def test_speech_after_a_pause_is_a_new_onset() -> None:
    segmenter = Segmenter()
    events = run(segmenter, [VOICE] * 4 + [QUIET] * 5 + [VOICE] * 3)
    assert events == [VoiceStarted(0), VoicePaused(4 * WINDOW, speech=4 * WINDOW), VoiceStarted(9 * WINDOW)]
    assert segmenter.speech_samples == 3 * WINDOW


def test_a_voice_fades_below_the_threshold_by_some_way_before_it_is_gone() -> None:
    segmenter = Segmenter(0.5)
    assert run(segmenter, [0.45] * 10) == []
    assert run(segmenter, [VOICE, VOICE, *[0.45] * 10]) == [VoiceStarted(10 * WINDOW)]
    assert run(segmenter, [0.3] * 3) == [VoicePaused(22 * WINDOW, speech=12 * WINDOW)]


def test_the_threshold_may_change_while_running() -> None:
    segmenter = Segmenter(0.5)
    assert run(segmenter, [0.6, 0.6]) == [VoiceStarted(0)]
    segmenter.threshold = 0.9
    assert run(segmenter, [0.6] * 3) == [VoicePaused(2 * WINDOW, speech=2 * WINDOW)]
    segmenter.threshold = 0.05
    assert run(segmenter, [0.0] * 50) == []
    assert run(segmenter, [0.06, 0.06]) == [VoiceStarted(55 * WINDOW)]
    assert run(segmenter, [0.0] * 3) == [VoicePaused(57 * WINDOW, speech=2 * WINDOW)]


def test_a_threshold_of_zero_does_not_make_silence_a_voice() -> None:
    assert run(Segmenter(0.0), [0.0] * 20) == []


def test_reset_forgets_and_counts_from_where_it_is_told() -> None:
    segmenter = Segmenter(start=1_000)
    assert run(segmenter, [VOICE, VOICE]) == [VoiceStarted(1_000)]
    segmenter.reset(50_000)
    assert not segmenter.speaking
    assert segmenter.silence_samples == segmenter.speech_samples == 0
    assert run(segmenter, [VOICE, VOICE]) == [VoiceStarted(50_000)]


@given(st.lists(st.floats(0, 1)), st.floats(0.05, 0.95))
def test_whatever_comes_the_story_is_consistent(probabilities: list[float], threshold: float) -> None:
    segmenter, again = Segmenter(threshold), Segmenter(threshold)
    latest = 0
    for count, probability in enumerate(probabilities, 1):
        was_speaking = segmenter.speaking
        event = segmenter.push(probability)
        assert event == again.push(probability)
        assert segmenter.sample == count * WINDOW
        assert 0 <= segmenter.silence_samples <= segmenter.sample
        match event:
            case VoiceStarted(sample):
                assert not was_speaking
                assert segmenter.speaking
                assert latest <= sample < segmenter.sample
                latest = sample
            case VoicePaused(sample, speech):
                assert was_speaking
                assert not segmenter.speaking
                assert latest < sample < segmenter.sample
                assert 0 < speech <= sample - latest
                latest = sample
            case None:
                assert was_speaking == segmenter.speaking


@pytest.mark.real
async def test_real_turns_begin_and_end_where_the_speech_does(models: ModelStore) -> None:
    rows = [
        (row, path)
        for row, path in recorded_speech()
        if row["use"] == "turn" and {"speech_start", "speech_end"} <= row.keys()
    ][::16]
    begins: list[float] = []
    ends: list[float] = []
    async with opened(models) as vad:
        for row, path in rows:
            segmenter = Segmenter()
            events = run(segmenter, await vad.stream().push(load(path)))
            assert isinstance(events[0], VoiceStarted)
            assert segmenter.last_speech_sample is not None
            begins.append(events[0].sample / 16_000 - float(str(row["speech_start"])))
            ends.append(segmenter.last_speech_sample / 16_000 - float(str(row["speech_end"])))
    # In seconds; the collection's own marks are an energy detector's.
    assert len(begins) > 15
    assert abs(np.median(begins)) < 0.1
    assert abs(np.median(ends)) < 0.15
