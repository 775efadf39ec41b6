"""Streaming sample-rate conversion of mono 16-bit audio.

Two filters, for two needs. For the microphone every millisecond counts, and soxr hands its output out in lumps:
measured with frames of 20 ms, its LQ holds back 33 ms on average (at most 61) from 8 to 16 kHz and 11 ms (at most 20)
from 24 or 48 kHz, its HQ twice as much. So between rates of a small ratio a short FIR filter does it, which holds back
2 ms or 1 ms. For the voice whole clauses come at once, and soxr HQ has the better sound.

soxr works in float32 here: given int16 it adds a dither that is different in each run.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from voiceagent.audio.pcm import Pcm, silence

Latency = Literal["low", "quality"]
Floats = npt.NDArray[np.float32]

ZEROS = 16
"""Zero crossings of the windowed sinc on each side; the filter holds back so many samples of the lower rate."""

KAISER_BETA = 7.0
"""Shape of the window: stops unwanted bands by 70 dB."""

CUTOFF = 0.92
"""Where the filter falls to a half, as a share of what the lower rate can carry."""

MAX_PHASES = 8
"""The FIR filter costs one small product a phase. 8, 12, 24, 32 and 48 kHz need 1 to 4 phases to reach 16 kHz;
rates such as 44.1 kHz need 160 and are left to soxr."""


class Resampler:
    """Converts one stream from `rate_in` to `rate_out` Hz. The output does not depend on how the input is cut."""

    def __init__(self, rate_in: int, rate_out: int, latency: Latency) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"sampling rates must be above 0, not {rate_in} and {rate_out} Hz")
        divisor = math.gcd(rate_in, rate_out)
        up, down = rate_out // divisor, rate_in // divisor
        self._filter: ShortFir | Soxr | None
        if up == down:
            self._filter = None
        elif latency == "low" and up <= MAX_PHASES:
            self._filter = ShortFir(up, down)
        else:
            self._filter = Soxr(rate_in, rate_out, "LQ" if latency == "low" else "HQ")

    def push(self, pcm: Pcm) -> Pcm:
        """Take more input; return the output that it completes, which may be none."""
        return pcm if self._filter is None else to_pcm(self._filter.push(pcm.astype(np.float32)))

    def flush(self) -> Pcm:
        """The input is over: return the rest, so that the output is as long as the input. A new stream may follow."""
        return silence(0) if self._filter is None else to_pcm(self._filter.flush())


class Soxr:
    def __init__(self, rate_in: int, rate_out: int, quality: Literal["LQ", "HQ"]) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality=quality)

    def push(self, samples: Floats) -> Floats:
        output: Floats = self._stream.resample_chunk(samples)
        return output

    def flush(self) -> Floats:
        rest: Floats = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream.clear()
        return rest


class ShortFir:
    """Polyphase FIR by the ratio `up` / `down`, without a common divisor.

    Output sample k lies at input time k * down / up. The sinc's arms reach `half` input samples to both sides, so that
    output is there as soon as `half` more samples of input are.
    """

    def __init__(self, up: int, down: int) -> None:
        self._up, self._down = up, down
        self._phases = phases(up, down)
        self._taps = self._phases.shape[1]
        self._restart()

    def _restart(self) -> None:
        self._input = np.zeros(self._taps // 2 - 1, np.float32)
        """What the next output may still need; before the stream there is silence."""
        self._next = 0
        """Where the next output lies, in 1 / up samples of `_input` from its first possible place."""
        self._taken = 0
        self._given = 0

    def push(self, samples: Floats) -> Floats:
        self._taken += len(samples)
        self._input = np.concatenate((self._input, samples))
        complete = len(self._input) - self._taps + 1
        count = max(0, -(-(complete * self._up - self._next) // self._down))
        output = np.empty(count, np.float32)
        for first in range(min(self._up, count)):
            start, phase = divmod(self._next + first * self._down, self._up)
            rows = -(-(count - first) // self._up)
            output[first :: self._up] = np.einsum("ij,j->i", self._spans(start, rows), self._phases[phase])
        used, self._next = divmod(self._next + count * self._down, self._up)
        self._input = self._input[used:].copy()
        self._given += count
        return output

    def flush(self) -> Floats:
        due = -(-self._taken * self._up // self._down) - self._given
        rest = self.push(np.zeros(self._taps // 2, np.float32))[:due]
        self._restart()
        return rest

    def _spans(self, start: int, rows: int) -> Floats:
        """A view of the `rows` spans of input that outputs of one phase look at, shape (rows, taps)."""
        size = self._input.itemsize
        shape, strides = (rows, self._taps), (self._down * size, size)
        return np.ndarray(shape, np.float32, self._input, start * size, strides)


@lru_cache(maxsize=32)
def phases(up: int, down: int) -> Floats:
    """The filter for each place an output can have between two inputs, shape (up, taps); gain 1 for a constant."""
    scale = min(1.0, up / down)
    half = math.ceil(ZEROS / scale)
    times = (np.arange(1 - half, half + 1) - np.arange(up)[:, np.newaxis] / up) * scale
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1.0 - (times / ZEROS) ** 2, 0.0, None)))
    taps = np.sinc(times * CUTOFF) * window
    filters: Floats = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return filters


def to_pcm(samples: Floats) -> Pcm:
    return np.rint(np.clip(samples, -32768.0, 32767.0)).astype(np.int16)
