"""What a microphone hears besides the user: noise, the agent's echo, a telephone line. All at 24 kHz, in float64."""

from functools import cache

import numpy as np
import numpy.typing as npt
from voiceagent_client.pcm import FRAME, RATE, Pcm

from voiceagent.audio.g711 import decode_ulaw, encode_ulaw

Signal = npt.NDArray[np.float64]
"""Samples at 16-bit scale."""

NOISE_SECONDS = 10
"""A generated noise repeats after so long."""
QUIETER = 10.0
"""A frame this many times weaker than the loudest (20 dB) does not count for a recording's level."""
BAND = (300.0, 3400.0)
"""Hz that a telephone carries (ITU-T G.712)."""
TAPS = 481
"""Of the band's filter: its edges fall off within 250 Hz; it holds back half as many samples (10 ms)."""
LINE_DELAY = TAPS - 1
"""Samples by which the telephone line is late: a filter before the line and one after it."""


def gain(db: float) -> float:
    return float(10.0 ** (db / 20.0))


def rms(signal: npt.NDArray[np.generic]) -> float:
    """Root mean square; 0 for no samples."""
    samples = signal.astype(np.float64)
    return float(np.sqrt(np.mean(samples * samples))) if len(samples) else 0.0


def speech_level(pcm: Pcm) -> float:
    """Root mean square of the frames with speech in them: those within 20 dB of the loudest."""
    frames = len(pcm) // FRAME
    if frames == 0:
        return rms(pcm)
    blocks = pcm[: frames * FRAME].reshape(frames, FRAME).astype(np.float64)
    power = np.mean(blocks * blocks, axis=1)
    return float(np.sqrt(np.mean(power[power >= power.max() / QUIETER**2])))


def white(seed: int = 1) -> Signal:
    return np.random.default_rng(seed).standard_normal(NOISE_SECONDS * RATE)


def pink(seed: int = 1) -> Signal:
    """Noise of equal power in every octave above 20 Hz."""
    spectrum = np.fft.rfft(white(seed))
    frequency = np.fft.rfftfreq(NOISE_SECONDS * RATE, 1 / RATE)
    shaped = spectrum / np.sqrt(np.maximum(frequency, 20.0))
    noise: Signal = np.fft.irfft(shaped * (frequency >= 20.0), NOISE_SECONDS * RATE)
    return noise


def babble(voices: list[Pcm]) -> Signal:
    """These voices all at once, equally loud, over and over; one begins where another is in the middle."""
    length = NOISE_SECONDS * RATE
    mixed = np.zeros(length)
    for number, voice in enumerate(voices):
        level = speech_level(voice)
        if level > 0:
            looped = np.resize(voice.astype(np.float64), length) / level
            mixed += np.roll(looped, number * length // len(voices))
    return mixed


def at_snr(noise: Signal, speech: float, snr_db: float) -> Signal:
    """The noise so strong that speech of this level stands `snr_db` above it. Silence stays silence."""
    level = rms(noise)
    return noise * (speech / gain(snr_db) / level) if level > 0 else noise


class Filter:
    """A finite impulse response, fed piece by piece."""

    def __init__(self, taps: Signal) -> None:
        self._taps = taps
        self._past: Signal = np.zeros(len(taps) - 1)

    def push(self, samples: Signal) -> Signal:
        """As many samples as came in."""
        joined = np.concatenate((self._past, samples))
        self._past = joined[len(samples) :]
        output: Signal = np.convolve(joined, self._taps, "valid")
        return output


@cache
def telephone_band() -> Signal:
    """The band's filter, linear in phase, gain 1 in its middle; 80 dB down outside."""
    times = np.arange(TAPS) - (TAPS - 1) / 2
    low, high = (2 * edge / RATE for edge in BAND)
    ideal: Signal = high * np.sinc(high * times) - low * np.sinc(low * times)
    return ideal * np.kaiser(TAPS, 8.0)


class Telephone:
    """300 to 3400 Hz, 8 kHz, mu-law; back at 24 kHz `LINE_DELAY` samples later."""

    def __init__(self) -> None:
        self._into, self._out = Filter(telephone_band()), Filter(telephone_band() * 3)

    def push(self, samples: Signal) -> Signal:
        """A multiple of three samples."""
        narrow = self._into.push(samples)[::3]
        line = decode_ulaw(encode_ulaw(to_pcm(narrow)))
        spread = np.zeros(len(samples))
        spread[::3] = line
        return self._out.push(spread)


class SimulatedMicrophone:
    """Hears the user, a noise that goes round and round, and what the loudspeaker played `echo_delay` samples ago."""

    def __init__(
        self,
        noise: Signal | None = None,
        echo_gain: float = 0.0,
        echo_delay: int = 0,
        telephone: bool = False,
    ) -> None:
        self._noise = noise if noise is not None and len(noise) else None
        self._noise_at = 0
        self._echo_gain = echo_gain
        self._air: Signal = np.zeros(echo_delay)
        self._line = Telephone() if telephone else None

    @property
    def delay(self) -> int:
        """Samples by which the user's voice leaves the microphone late."""
        return 0 if self._line is None else LINE_DELAY

    def hear(self, user: Signal, played: Pcm) -> Pcm:
        """The next frame; `played` left the loudspeaker in the same time."""
        mixed = user.astype(np.float64)
        if self._noise is not None:
            ahead = np.arange(self._noise_at, self._noise_at + len(user)) % len(self._noise)
            mixed += self._noise[ahead]
            self._noise_at = (self._noise_at + len(user)) % len(self._noise)
        if self._echo_gain:
            air: Signal = np.concatenate((self._air, played))
            mixed += self._echo_gain * air[: len(user)]
            self._air = air[len(user) :]
        return to_pcm(mixed if self._line is None else self._line.push(mixed))


def to_pcm(signal: Signal) -> Pcm:
    """Rounded and clipped."""
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
