"""The quiet around speech."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.tts.trim import LEAD_SECONDS, Trimmer, pause_after, trim

RATE = 24_000


def tone(seconds: float) -> Pcm:
    pcm: Pcm = (np.sin(np.arange(int(seconds * RATE)) * 0.1) * 3000).astype(np.int16)
    return pcm


def quiet(seconds: float) -> Pcm:
    return silence(int(seconds * RATE))


def test_only_the_quiet_around_speech_goes() -> None:
    speech = np.concatenate([tone(0.3), quiet(0.4), tone(0.2)])
    out = trim(np.concatenate([quiet(0.3), speech, quiet(0.5)]), RATE, tail=0.16)
    lead = int(LEAD_SECONDS * RATE)
    assert abs(len(out) - (lead + len(speech) + int(0.16 * RATE))) <= RATE // 100
    assert not out[: lead - RATE // 200].any()


def test_speech_without_quiet_is_left_alone() -> None:
    assert np.array_equal(trim(tone(0.5), RATE, tail=0.16), tone(0.5))


@pytest.mark.parametrize(
    "pcm", [silence(0), quiet(10), (np.random.default_rng(0).normal(0, 20, RATE)).astype(np.int16)]
)
def test_what_has_no_sound_comes_to_nothing(pcm: Pcm) -> None:
    assert len(trim(pcm, RATE, tail=0.16)) == 0


def test_a_long_silence_inside_is_not_held_without_bound() -> None:
    trimmer = Trimmer(RATE, tail=0.1)
    trimmer.push(tone(0.1))
    passed = [len(trimmer.push(quiet(1.0))) for _ in range(5)]
    assert passed[0] == 0
    assert passed[-1] == RATE
    assert len(trimmer.finish()) == int(0.1 * RATE)


@given(st.lists(st.integers(0, 30_000), max_size=8))
def test_the_delivery_changes_nothing_that_can_be_heard(sizes: list[int]) -> None:
    pcm = np.concatenate([quiet(0.2), tone(0.3), quiet(0.3), tone(0.3), quiet(0.4)])
    places = np.cumsum([0, *sizes]).clip(0, len(pcm))
    trimmer = Trimmer(RATE, tail=0.1)
    parts = [pcm[start:end] for start, end in zip(places, [*places[1:], len(pcm)], strict=True)]
    out = np.concatenate([*map(trimmer.push, parts), trimmer.finish()])
    block = RATE // 200
    assert abs(len(out) - len(trim(pcm, RATE, tail=0.1))) <= 2 * block
    assert abs(np.count_nonzero(out) - np.count_nonzero(pcm)) <= block
    assert abs(trimmer.cut - int((0.2 - LEAD_SECONDS) * RATE)) <= 2 * block


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sure.", 0.16),
        ("好。”", 0.16),
        ("Well,", 0.07),
        ("好，", 0.07),
        ("and then", 0.03),
        ("**Yes!**", 0.16),
        ("", 0),
    ],
)
def test_the_pause_is_what_the_text_ends_in(text: str, seconds: float) -> None:
    assert pause_after(text) == seconds
