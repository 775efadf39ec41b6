"""Sounds with the properties that the rules on voices look at, made by arithmetic."""

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.vad.base import WINDOW


def chatter(seconds: float, seed: int, level: float = 2000.0) -> Pcm:
    """Noise that rises and falls in syllables, each with a colour of its own, as speech does."""
    chance = np.random.default_rng(seed)
    pieces: list[npt.NDArray[np.float64]] = []
    while sum(len(piece) for piece in pieces) < seconds * EAR_RATE:
        length = int(chance.uniform(0.06, 0.25) * EAR_RATE)
        colour = chance.uniform(300, 3000)
        hertz = np.fft.rfftfreq(length, 1 / EAR_RATE)
        spectrum = np.fft.rfft(chance.normal(size=length)) * np.exp(-((np.log2((hertz + 1) / colour)) ** 2))
        syllable = np.fft.irfft(spectrum, length)
        loudness = 0.0 if chance.random() < 0.25 else chance.uniform(0.2, 1.0)
        pieces.append(syllable / syllable.std() * np.hanning(length) * loudness * level)
    return pcm(np.concatenate(pieces)[: int(seconds * EAR_RATE)])


def tone(windows: int, *, low: float = 3000.0, middle: float = 3000.0, high: float = 1000.0) -> Pcm:
    """Steady tones at 200, 600 and 2000 Hz of these amplitudes."""
    times = np.arange(windows * WINDOW) / EAR_RATE
    waves = sum(size * np.sin(2 * np.pi * hertz * times) for size, hertz in ((low, 200), (middle, 600), (high, 2000)))
    return pcm(waves)


def late(sound: Pcm, milliseconds: int, gain: float = 1.0) -> Pcm:
    """The same, later, softer, and as long."""
    moved = np.zeros(len(sound))
    samples = milliseconds * EAR_RATE // 1000
    moved[samples:] = sound[: len(sound) - samples] * np.float64(gain)
    return pcm(moved)


def pcm(samples: npt.ArrayLike) -> Pcm:
    return np.asarray(np.clip(samples, -32768, 32767), np.int16)


def windows(sound: Pcm) -> list[Pcm]:
    return [sound[start : start + WINDOW] for start in range(0, len(sound) - WINDOW + 1, WINDOW)]
