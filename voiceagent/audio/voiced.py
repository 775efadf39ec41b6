"""Where in a piece of speech there is voice: words lie there, and not in the pauses between them."""

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import Pcm

FRAME_SECONDS = 0.02
QUIET = 0.1
"""Below this share of the clause's loudness (the 95th percentile of its frames) there is no voice."""
LEAST = 30.0
"""Amplitude below which nothing is voice."""


class VoicedTime:
    """One clause's audio, piece by piece. All times are in seconds from its start."""

    def __init__(self) -> None:
        self._loudness: list[npt.NDArray[np.float64]] = []
        self._seconds: list[npt.NDArray[np.float64]] = []

    def push(self, pcm: Pcm, rate: int) -> None:
        """More of it, `rate` in Hz. The last frame of a piece may be a short one."""
        if not len(pcm):
            return
        starts = np.arange(0, len(pcm), int(rate * FRAME_SECONDS))
        lengths = np.diff(np.append(starts, len(pcm)))
        energy = np.add.reduceat(pcm.astype(np.float64) ** 2, starts)
        self._loudness.append(np.sqrt(energy / lengths))
        self._seconds.append(lengths / rate)

    def before(self, seconds: float) -> float:
        """How many seconds of voice lie before this position."""
        if not self._loudness:
            return 0.0
        loudness, lengths = np.concatenate(self._loudness), np.concatenate(self._seconds)
        voiced = loudness > max(LEAST, QUIET * float(np.percentile(loudness, 95)))
        played = np.clip(seconds - (np.cumsum(lengths) - lengths), 0.0, lengths)
        return float(played[voiced].sum())
