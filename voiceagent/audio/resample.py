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
Doubles = npt.NDArray[np.float64]

ZEROS = 16
"""Zero crossings of the windowed sinc on each side; the filter holds back so many samples of the lower rate."""

KAISER_BETA = 7.0
"""Shape of the window: stops unwanted bands by 70 dB."""

CUTOFF = 0.92
"""Where the filter falls to a half, as a share of what the lower rate can carry."""

TAP_BITS = 24
"""The filter's taps are multiples of 2 ** -TAP_BITS: that alters the sound by less than -140 dB."""

BLOCK = 8
"""So many times `up` outputs are computed by one row of a matrix product. A frame of 20 ms at 24 kHz takes 5 µs then;
4 and 16 are no quicker."""

LONGEST = 48_000
"""Inputs taken at a time, to bound the memory that a long push needs."""

MAX_PHASES = 8
"""The FIR filter is as large as it has phases. 8, 12, 24, 32 and 48 kHz need 1 to 4 phases to reach 16 kHz;
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
        return pcm if self._filter is None else to_pcm(self._filter.push(pcm))

    def flush(self) -> Pcm:
        """The input is over: return the rest, so that the output is as long as the input. A new stream may follow."""
        return silence(0) if self._filter is None else to_pcm(self._filter.flush())


class Soxr:
    def __init__(self, rate_in: int, rate_out: int, quality: Literal["LQ", "HQ"]) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality=quality)

    def push(self, samples: Pcm) -> Floats:
        output: Floats = self._stream.resample_chunk(samples.astype(np.float32))
        return output

    def flush(self) -> Floats:
        rest: Floats = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream.clear()
        return rest


class ShortFir:
    """Polyphase FIR by the ratio `up` / `down`, without a common divisor.

    Output sample k lies at input time k * down / up. The sinc's arms reach `half` input samples to both sides, so that
    output is there as soon as `half` more samples of input are.

    BLOCK * up outputs are one row of a product of matrices. It is exact, and so does not depend on the order in which
    its terms are added: 16-bit samples times taps of TAP_BITS bits fit into the 53 bits of a float64.
    """

    def __init__(self, up: int, down: int) -> None:
        self._up, self._down = up, down
        self._filters = filters(up, down)
        self._taps = taps_of(up, down)
        self._restart()

    def _restart(self) -> None:
        self._input: Doubles = np.zeros(self._taps // 2 - 1)
        """What the next outputs may still need; before the stream there is silence. It begins where an output lies on
        an input sample, as every `up`th does."""
        self._skip = 0
        """Outputs from there on that were already given, less than `up`."""
        self._taken = 0
        self._given = 0

    def push(self, samples: Pcm) -> Doubles:
        if len(samples) <= LONGEST:
            return self._push(samples)
        return np.concatenate(
            [self._push(samples[start : start + LONGEST]) for start in range(0, len(samples), LONGEST)]
        )

    def _push(self, samples: Pcm) -> Doubles:
        self._taken += len(samples)
        span, width = self._filters.shape
        step = BLOCK * self._down
        # Behind the input stand zeros, so that the last row has all it looks at; what it makes of them is cut off.
        padded: Doubles = np.concatenate((self._input, samples, np.zeros(span)), dtype=np.float64)
        size = len(padded) - span
        complete = max(0, size - self._taps + 1)
        outputs = max(self._skip, -(-complete * self._up // self._down))
        item = padded.itemsize
        rows = np.ndarray((-(-outputs // width), span), padded.dtype, padded, 0, (step * item, item))
        output: Doubles = np.dot(rows, self._filters).ravel()[self._skip : outputs]
        used, self._skip = divmod(outputs, self._up)
        self._input = padded[used * self._down : size].copy()
        self._given += len(output)
        return output

    def flush(self) -> Doubles:
        due = -(-self._taken * self._up // self._down) - self._given
        rest = self.push(silence(self._taps // 2))[:due]
        self._restart()
        return rest


def taps_of(up: int, down: int) -> int:
    """Inputs that one output is made of."""
    return 2 * math.ceil(ZEROS / min(1.0, up / down))


@lru_cache(maxsize=32)
def filters(up: int, down: int) -> Doubles:
    """What each of BLOCK * up outputs takes of the inputs from the first one's first on, shape (inputs, outputs)."""
    taps = phases(up, down)
    outputs = BLOCK * up
    matrix = np.zeros(((outputs - 1) * down // up + taps.shape[1], outputs))
    for output in range(outputs):
        start, phase = divmod(output * down, up)
        matrix[start : start + taps.shape[1], output] = taps[phase]
    return matrix


def phases(up: int, down: int) -> Doubles:
    """The filter for each place an output can have between two inputs, shape (up, taps); gain 1 for a constant."""
    scale = min(1.0, up / down)
    half = taps_of(up, down) // 2
    times = (np.arange(1 - half, half + 1) - np.arange(up)[:, np.newaxis] / up) * scale
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1.0 - (times / ZEROS) ** 2, 0.0, None)))
    taps = np.sinc(times * CUTOFF) * window
    rounded: Doubles = np.rint(taps / taps.sum(axis=1, keepdims=True) * 2**TAP_BITS) / 2**TAP_BITS
    return rounded


def to_pcm(samples: Floats | Doubles) -> Pcm:
    """Rounded and clipped. The samples given are used up."""
    np.rint(samples, out=samples)
    np.maximum(samples, -32768.0, out=samples)
    return np.minimum(samples, 32767.0, out=samples).astype(np.int16)
