"""Between the sound card's rate and the wire's: a small streaming resampler in numpy alone."""

import numpy as np
import numpy.typing as npt

from voiceagent_client.pcm import Pcm

CARD_RATE = 48_000
"""Hz: every sound card takes it, and so does the echo canceller, while 24 kHz is refused by many."""

CARD_FRAME = CARD_RATE // 50
"""Samples of 20 ms."""

SIDE_LOBES = 12
"""Zero crossings of the filter on either side of its middle: 0.5 ms of delay at 24 kHz."""


class Resampler:
    """Changes the rate of a stream by `up / down`, block by block without a seam.

    A windowed sinc cuts off at 90 % of the lower rate's half. A block must hold a multiple of `down` samples, and gives
    `up / down` as many at once; the stream comes out late by half the filter's length.
    """

    def __init__(self, up: int, down: int) -> None:
        self._up, self._down = up, down
        widest = max(up, down)
        reach = SIDE_LOBES * widest
        places = np.arange(-reach, reach + 1)
        taps = np.sinc(0.9 * places / widest) * np.blackman(2 * reach + 3)[1:-1]
        self._taps: npt.NDArray[np.float64] = taps * (up / taps.sum())
        self._past = np.zeros(2 * reach)

    def __call__(self, pcm: Pcm) -> Pcm:
        spread = np.zeros(len(pcm) * self._up)
        spread[:: self._up] = pcm
        stream = np.concatenate((self._past, spread))
        self._past = stream[len(spread) :]
        filtered = np.convolve(stream, self._taps, mode="valid")[:: self._down]
        return np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)
