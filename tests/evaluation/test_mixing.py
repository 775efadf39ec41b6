"""Levels, delays and the telephone line, exact to the sample."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceagent_client.pcm import FRAME, RATE, Pcm

from voiceagent.audio.wav import StereoWav
from voiceagent.errors import ConfigError
from voiceagent.evaluation import mixing
from voiceagent.evaluation.mixing import LINE_DELAY, Signal, SimulatedMicrophone, Telephone, at_snr, rms, speech_level
from voiceagent.evaluation.scenario import Echo, Noise, Scenario, ScenarioTurn, SpeechPiece
from voiceagent.evaluation.scenario import MicrophoneSettings as MicrophonePlan
from voiceagent.evaluation.stage import ScenarioVoice, stage, utterance

HERE = Path(__file__).parent


def tone(frequency: float, seconds: float, amplitude: float = 8000.0) -> Signal:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def speak(text: str, pitch: float) -> Pcm:
    """A tone a letter, with quiet around it."""
    return np.concatenate([np.zeros(4800), tone(300 * pitch, 0.1 * len(text)), np.zeros(4800)]).astype(np.int16)


def through(microphone: SimulatedMicrophone, user: Signal, played: Pcm) -> Pcm:
    """Frame by frame; as in the device, a frame played is heard in the microphone's frame of the same time."""
    frames = range(0, len(user), FRAME)
    return np.concatenate([microphone.hear(user[at : at + FRAME], played[at : at + FRAME]) for at in frames])


@settings(max_examples=20)
@given(st.sampled_from(["white", "pink"]), st.floats(-10, 40), st.floats(10, 10_000))
def test_noise_has_the_level_asked_for(kind: str, snr_db: float, speech: float) -> None:
    noise = at_snr(mixing.white() if kind == "white" else mixing.pink(), speech, snr_db)
    assert 20 * np.log10(speech / rms(noise)) == pytest.approx(snr_db, abs=1e-6)


def test_pink_noise_has_equal_power_in_every_octave() -> None:
    power = np.abs(np.fft.rfft(mixing.pink())) ** 2
    octaves = [power[low * 10 : 2 * low * 10].sum() for low in (50, 100, 200, 400, 800, 1600, 3200)]
    assert max(octaves) / min(octaves) < 1.2


def test_babble_is_many_voices_equally_loud() -> None:
    voices = [speak("a" * 9, 1.0), (speak("b" * 5, 3.0) // 8).astype(np.int16)]
    spectrum = np.abs(np.fft.rfft(mixing.babble(voices)))
    assert len(spectrum) == mixing.NOISE_SECONDS * RATE // 2 + 1
    assert spectrum[2990:3010].max() == pytest.approx(spectrum[8990:9010].max(), rel=0.5)
    assert rms(at_snr(mixing.babble([np.zeros(FRAME, np.int16)]), 100.0, 0.0)) == 0.0


def test_a_pause_does_not_count_for_the_level_of_speech() -> None:
    spoken = tone(400, 1.0).astype(np.int16)
    assert speech_level(spoken) == pytest.approx(8000 / np.sqrt(2), rel=0.01)
    assert speech_level(np.concatenate([spoken, np.zeros(3 * RATE, np.int16)])) == speech_level(spoken)


@given(st.integers(0, 3000), st.floats(-40, 0))
def test_an_echo_comes_at_its_level_after_its_delay(delay: int, level_db: float) -> None:
    played = np.random.default_rng(delay).integers(-20_000, 20_000, 10 * FRAME).astype(np.int16)
    user = tone(500, 0.2, 5000)
    heard = through(SimulatedMicrophone(None, mixing.gain(level_db), delay), user, played)
    echo = np.concatenate([np.zeros(delay), played])[: len(user)] * 10 ** (level_db / 20)
    assert np.array_equal(heard, mixing.to_pcm(user + echo))


def test_noise_goes_round_without_a_gap() -> None:
    noise = np.arange(1000.0)
    heard = through(SimulatedMicrophone(noise), np.zeros(5 * FRAME), np.zeros(5 * FRAME, np.int16))
    assert np.array_equal(heard, np.arange(5 * FRAME) % 1000)


@pytest.mark.parametrize(("frequency", "lowest", "highest"), [(1000, -0.3, 0.3), (100, -90, -35), (5000, -90, -35)])
def test_a_telephone_carries_its_band_alone(frequency: float, lowest: float, highest: float) -> None:
    line = Telephone()
    sent = tone(frequency, 1.0)
    came = np.concatenate([line.push(sent[at : at + FRAME]) for at in range(0, len(sent), FRAME)])
    level_db = 20 * np.log10(max(rms(came[LINE_DELAY:]), 0.3) / rms(sent))
    assert lowest <= level_db <= highest
    if frequency == 1000:  # late by just the delay that is stated
        error = came[2 * LINE_DELAY :] - sent[LINE_DELAY:-LINE_DELAY]
        assert rms(error) < 0.05 * rms(sent)


def test_a_pause_is_as_long_as_it_says() -> None:
    said = utterance(["one", SpeechPiece(pause_ms=500), "three"], HERE, speak)
    assert said.text == "one three"
    assert said.onset <= FRAME
    assert said.end == pytest.approx(len(said.pcm), abs=FRAME)
    quiet = np.flatnonzero(np.abs(said.pcm) > 100)
    longest = int(np.diff(quiet).max())
    assert longest == pytest.approx(RATE // 2, abs=2 * FRAME)


def test_a_scenario_is_staged_with_its_levels() -> None:
    plan = MicrophonePlan(noise=Noise(snr_db=10, kind="white"), echo=Echo(level_db=-20, delay_ms=150))
    staged = stage(Scenario("x", [ScenarioTurn("hello")], microphone=plan), HERE, speak)
    assert staged.noise is not None
    assert speech_level(staged.turns[0].speech.pcm) / rms(staged.noise) == pytest.approx(10**0.5)
    played = np.full(10 * FRAME, 10_000, np.int16)
    silent = through(staged.microphone(), np.zeros(10 * FRAME), played) - through(
        SimulatedMicrophone(staged.noise), np.zeros(10 * FRAME), played
    )
    assert np.all(np.abs(silent[: 150 * RATE // 1000]) == 0)
    assert np.all(np.abs(silent[150 * RATE // 1000 :] - 1000) <= 1)


def test_recordings_are_found_beside_the_scenario(tmp_path: Path) -> None:
    with StereoWav(tmp_path / "two.wav", 8000) as file:
        file.write(np.full(8000, 3000, np.int16), np.full(8000, 1000, np.int16))
    with StereoWav(tmp_path / "empty.wav", 8000):
        pass
    said = utterance(SpeechPiece(wav="two.wav", text="two"), tmp_path, speak, level_db=-20)
    assert (len(said.pcm), said.text) == (RATE, "two")
    assert rms(said.pcm) == pytest.approx(200, rel=0.05)
    for wrong, why in (("gone.wav", "cannot read"), ("empty.wav", "is empty")):
        with pytest.raises(ConfigError, match=why):
            utterance(SpeechPiece(wav=wrong), tmp_path, speak)
    with pytest.raises(ConfigError, match="it speaks English"):
        utterance("你好", tmp_path, lambda text, pitch: np.zeros(0, np.int16))


@pytest.mark.real
def test_the_voice_speaks_a_sentence_once(tmp_path: Path) -> None:
    first = ScenarioVoice(tmp_path / "kept")("Hello.", 1.15)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert np.array_equal(ScenarioVoice(tmp_path / "kept")("Hello.", 1.15), first)
    assert len(first) > RATE // 5
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == written
    assert len(written) == 1
