"""Sound as Whisper's networks take it: the logarithm of the energy in 80 mel bands, 100 times a second."""

from functools import cache

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm, to_float

FRAME = 400
"""Samples under one window: 25 ms."""
HOP = 160
"""Samples from one window to the next: 10 ms."""
BANDS = 80

LogMel = npt.NDArray[np.float32]
"""Shape (BANDS, frames)."""


def log_mel(pcm: Pcm, seconds: int) -> LogMel:
    """The last `seconds` of 16 kHz audio, shorter ones with zeros in front, as an array of (80, 100 · seconds), about
    -1 to 1.5. The wave is first brought to mean 0 and variance 1, as Whisper's preprocessing does on request."""
    samples = np.zeros(seconds * EAR_RATE, np.float32)
    tail = to_float(pcm[-len(samples) :])
    samples[len(samples) - len(tail) :] = tail
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    window, filters = _tables()
    padded = np.pad(samples, FRAME // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[: len(samples) : HOP]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    bands = np.log10(np.maximum(filters @ power.T, 1e-10))
    bands = np.maximum(bands, bands.max() - 8.0)
    mel: LogMel = ((bands + 4.0) / 4.0).astype(np.float32)
    return mel


@cache
def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """The window (periodic Hann) and the filters: triangles of equal area on Slaney's mel scale, shape (80, 201)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    edges = _hertz(np.linspace(0.0, _mel(EAR_RATE / 2), BANDS + 2))
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.linspace(0.0, EAR_RATE / 2, FRAME // 2 + 1)
    triangles = np.maximum(0.0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)))
    return window.astype(np.float32), triangles * 2.0 / (high - low)


def _mel(hertz: float) -> float:
    """Linear to 1 kHz (mel 15), logarithmic above. Only asked for frequencies above it."""
    return 15.0 + 27.0 * float(np.log(hertz / 1000.0) / np.log(6.4))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))
