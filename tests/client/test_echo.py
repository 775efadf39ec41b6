"""Echo: the resampler before it, the canceller in a room, and half duplex where there is none."""

import sys

import numpy as np
import numpy.typing as npt
import pytest
from voiceagent_client.echo import (
    HELD_FRAMES,
    SETTLING_FRAMES,
    SPARE_FRAMES,
    TAIL_FRAMES,
    FarEnd,
    HalfDuplex,
    WebRtcEcho,
    echo_control,
)
from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import FRAME, RATE, Pcm, silence
from voiceagent_client.resample import CARD_FRAME, CARD_RATE, SIDE_LOBES, Resampler

from tests.support.speech import Speak

ECHO_DB = -15.0
Samples = npt.NDArray[np.float64]


def sine(hertz: float, rate: int, seconds: float = 1.0) -> Pcm:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def in_blocks(resampler: Resampler, pcm: Pcm, block: int) -> Pcm:
    return np.concatenate([resampler(pcm[start : start + block]) for start in range(0, len(pcm), block)])


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2), (2, 3)])
def test_a_tone_passes_the_resampler_without_a_seam(up: int, down: int) -> None:
    rate = CARD_RATE if down == 2 and up == 1 else RATE
    out = in_blocks(Resampler(up, down), sine(1000, rate), rate // 50)
    assert len(out) == rate * up // down
    delay = SIDE_LOBES * max(up, down) / up / rate  # seconds
    times = np.arange(len(out)) / (rate * up / down) - delay
    expected = 8000 * np.sin(2 * np.pi * 1000 * times)
    assert np.abs(out - expected)[len(out) // 10 :].max() < 8000 * 0.01


def test_what_the_lower_rate_cannot_hold_is_cut_off() -> None:
    out = in_blocks(Resampler(1, 2), sine(15_000, CARD_RATE), CARD_FRAME)
    assert np.abs(out[FRAME:]).max() < 80, "40 dB below"
    assert np.abs(Resampler(2, 1)(np.full(FRAME, 32767, np.int16))).max() <= 32767


class TestFarEnd:
    def test_a_line_that_stays_too_long_is_shortened(self) -> None:
        far = FarEnd()
        for _ in range(10):  # the sound card fills its buffers
            far.put(silence(CARD_FRAME))
        last = silence(CARD_FRAME)
        for number in range(3 * SETTLING_FRAMES):
            far.put(np.full(CARD_FRAME, number, np.int16))
            last = far.take()
        assert last[0] == 3 * SETTLING_FRAMES - 1 - SPARE_FRAMES

    def test_bursts_lose_nothing(self) -> None:
        far, taken = FarEnd(), []
        for burst in range(60):
            for number in range(5):
                far.put(np.full(CARD_FRAME, burst * 5 + number, np.int16))
            taken += [int(far.take()[0]) for _ in range(5)]
        assert taken == list(range(300))

    def test_a_loudspeaker_that_stalls_is_silent_and_one_that_runs_away_is_bounded(self) -> None:
        far = FarEnd()
        assert not far.take().any()
        for number in range(HELD_FRAMES + 3):
            far.put(np.full(CARD_FRAME, number, np.int16))
        assert far.take()[0] == 3


def to_card(pcm: Pcm, peak: float) -> Samples:
    """At 48 kHz, with its loudest sample at this share of full scale."""
    samples = in_blocks(Resampler(2, 1), pcm[: len(pcm) // FRAME * FRAME], FRAME).astype(np.float64)
    samples *= peak / np.abs(samples).max()
    return samples


def room() -> Samples:
    """60 ms on the way, then a room that rings for a quarter of a second; -15 dB in all."""
    rng = np.random.default_rng(1)
    tail = rng.standard_normal(CARD_RATE // 4) * np.exp(-6.9 * np.linspace(0, 1, CARD_RATE // 4))
    tail[0] += 6
    return np.concatenate((np.zeros(CARD_RATE * 60 // 1000), tail * 10 ** (ECHO_DB / 20) / np.linalg.norm(tail)))


def convolved(signal: Samples, response: Samples) -> Samples:
    size = 1 << (len(signal) + len(response)).bit_length()
    result: Samples = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return result[: len(signal)]


def level_db(samples: Samples) -> float:
    return 10 * float(np.log10(np.mean(samples**2) + 1e-12))


def test_the_canceller_removes_a_rooms_echo_and_keeps_the_user(speak: Speak) -> None:
    pytest.importorskip("pywebrtc_audio", reason="no echo canceller is installed")
    sentence = speak("It lies on the river Seine, and it has been the seat of the government for a very long time.")
    far = to_card(np.tile(sentence, 2), peak=0.6)
    echo = convolved(far, room()) + np.random.default_rng(2).normal(0, 3e-4, len(far))
    user = np.zeros(len(far))
    words = to_card(speak("Excuse me, please stop."), peak=0.3)
    start = len(far) - len(words) - CARD_RATE // 2
    user[start : start + len(words)] = words
    control = WebRtcEcho()
    near, played = (np.clip(each * 32767, -32768, 32767).astype(np.int16) for each in (echo + user, far))
    frames = range(0, len(far) - CARD_FRAME + 1, CARD_FRAME)
    clean = np.concatenate([control.clean(near[at : at + CARD_FRAME], played[at : at + CARD_FRAME]) for at in frames])
    clean_share = clean / 32767
    alone = slice(CARD_RATE, start - CARD_RATE // 4)
    erle = level_db(echo[alone]) - level_db(clean_share[alone])
    lost = level_db(words) - level_db(clean_share[start : start + len(words)])
    assert erle > 20, f"{erle:.1f} dB"
    assert lost < 6, f"{lost:.1f} dB of the user's voice"


def test_half_duplex_closes_the_microphone_while_the_loudspeaker_sounds_and_a_little_longer() -> None:
    control, near = HalfDuplex(), sine(300, CARD_RATE, 0.02)
    loud, quiet = sine(500, CARD_RATE, 0.02), silence(CARD_FRAME)
    assert np.array_equal(control.clean(near, quiet), near)
    assert not control.clean(near, loud).any()
    for _ in range(TAIL_FRAMES - 1):
        assert not control.clean(near, quiet).any()
    assert np.array_equal(control.clean(near, quiet), near)


def test_the_choice_of_echo_control(monkeypatch: pytest.MonkeyPatch) -> None:
    assert echo_control("off") is None
    assert isinstance(echo_control("half-duplex"), HalfDuplex)
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    fallback = echo_control("auto")
    assert isinstance(fallback, HalfDuplex)
    assert fallback.note is not None
    assert "pip install pywebrtc-audio" in fallback.note
    with pytest.raises(AudioError, match="no echo canceller"):
        echo_control("aec")
