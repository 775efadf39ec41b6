"""Pauses followed through a talk: by hand, and on a real recording cut in any way."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from voiceagent.audio import wav
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.models.store import ModelStore
from voiceagent.turn.endpointing import PATIENCE, AdaptiveSilence, Endpointer, FixedSilence
from voiceagent.turn.options import TurnOptions
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import Segmenter, VoiceStarted
from voiceagent.vad.silero import SileroVad

QUIET = silence(EAR_RATE)


def adaptive() -> Endpointer:
    return Endpointer(AdaptiveSilence(PATIENCE["auto"]))


def test_the_wait_is_refined_while_the_silence_lasts() -> None:
    watch = adaptive()
    watch.paused(QUIET, 2000)
    unknown = watch.wait_ms
    watch.know(text="I would like a")
    unfinished = watch.wait_ms
    watch.know(finished=0.01)
    surely_unfinished = watch.wait_ms
    watch.know(text="I would like a coffee.", finished=0.99)
    assert watch.wait_ms < unknown < unfinished < surely_unfinished


def test_an_answer_may_end_the_turn_at_once() -> None:
    watch = adaptive()
    watch.paused(QUIET, 2000, "I would like a")
    assert not watch.is_over(600)
    watch.know(text="I would like a coffee.", finished=0.99)
    assert watch.is_over(600)


def test_answers_that_come_too_late_are_dropped() -> None:
    watch = adaptive()
    watch.paused(QUIET, 2000)
    watch.went_on()
    before = watch.wait_ms
    watch.know(text="and", finished=0.0)
    assert watch.wait_ms == before


def test_a_speaker_of_many_pauses_is_waited_for_also_in_the_next_turn() -> None:
    hesitant, fluent = adaptive(), adaptive()
    for _ in range(4):
        hesitant.paused(QUIET, 1500)
        hesitant.went_on()
    for watch in (hesitant, fluent):
        watch.paused(QUIET, 3000)
        watch.ended(3000)
        watch.paused(QUIET, 1000, "Yes it is.")
    assert hesitant.wait_ms > fluent.wait_ms + 200


def test_coming_back_after_the_end_counts_as_a_pause() -> None:
    watch, other = adaptive(), adaptive()
    for each in (watch, other):
        each.paused(QUIET, 1000)
        each.ended(1000)
    watch.came_back()
    for each in (watch, other):
        each.paused(QUIET, 1000)
    assert watch.wait_ms > other.wait_ms


def test_going_on_without_a_pause_is_none() -> None:
    watch, other = adaptive(), adaptive()
    watch.went_on()
    for each in (watch, other):
        each.paused(QUIET, 1000)
    assert watch.wait_ms == other.wait_ms


def test_a_named_silence_needs_no_pause_and_may_change_under_way() -> None:
    watch = Endpointer(FixedSilence(TurnOptions(silence_ms=100)))
    assert not watch.is_over(99)
    assert watch.is_over(100)
    watch.policy = FixedSilence(TurnOptions(silence_ms=300))
    assert not watch.is_over(299)


@dataclass(frozen=True)
class Decision:
    sample: int
    wait_ms: int


def decisions(pcm: Pcm, probabilities: list[float], pieces: int) -> list[Decision]:
    """Play a recording to a segmenter and a watch, as a session does; its audio arrives in pieces of this size."""
    segmenter, watch, found = Segmenter(), adaptive(), []
    heard: list[Pcm] = []
    in_turn = paused = False
    speech = 0
    for index, probability in enumerate(probabilities):
        window = pcm[index * WINDOW : (index + 1) * WINDOW]
        heard += [window[start : start + pieces] for start in range(0, WINDOW, pieces)]
        event = segmenter.push(probability)
        in_turn |= isinstance(event, VoiceStarted)
        silent = segmenter.silence_samples
        if not in_turn:
            continue
        if silent == 0:
            speech += WINDOW
            if paused:
                watch.went_on()
            paused = False
            continue
        silence_ms = silent * 1000 // EAR_RATE
        speech_ms = speech * 1000 / EAR_RATE
        if silence_ms >= 160 and not paused:
            paused = True
            watch.paused(np.concatenate(heard)[:-silent][-8 * EAR_RATE :], speech_ms)
        if watch.is_over(silence_ms):
            found.append(Decision(segmenter.sample, watch.wait_ms))
            watch.ended(speech_ms)
            in_turn, paused, speech, heard = False, False, 0, []
            segmenter.reset(segmenter.sample)
    return found


@pytest.mark.real
def test_the_same_recording_gives_the_same_turns_however_it_arrives(models: ModelStore) -> None:
    pcm, rate = wav.read(models.path("speech-samples") / "beckett.wav")
    assert rate == EAR_RATE
    pcm = np.concatenate((pcm, silence(3 * EAR_RATE)))

    async def judge() -> list[float]:
        vad = SileroVad(SileroVad.Options(), models)
        await vad.open()
        try:
            return await vad.stream().push(pcm)
        finally:
            await vad.close()

    probabilities = asyncio.run(judge())
    whole = decisions(pcm, probabilities, WINDOW)
    assert whole
    assert all(PATIENCE["auto"].least_ms <= decision.wait_ms <= PATIENCE["auto"].most_ms for decision in whole)
    assert decisions(pcm, probabilities, 100) == decisions(pcm, probabilities, 7) == whole
