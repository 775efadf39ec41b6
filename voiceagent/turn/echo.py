"""Is it the agent's own voice that the microphone hears? Told by comparing it with what the agent is playing.

The room, the devices and the network delay the echo by some unknown but steady time and colour it by some unknown but
steady gain. Both are learned while the agent talks, from the ups and downs of the energy in a few bands: speech of
another person does not rise and fall with the agent's. Once they are known, what is louder than the echo explains is
somebody else.
"""

import math

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.vad.base import WINDOW

Floats = npt.NDArray[np.float64]

FRAME = 256
"""Samples a frame: 16 ms, fine enough for syllables."""

EDGES_HZ = (300, 700, 1300, 2200, 3600)
"""Four bands that every loudspeaker and telephone has."""

LAGS = 38
"""Frames of delay that are tried: 0 to 592 ms, for a client 400 ms late and a room that reverberates."""

MEMORY = 125
"""Frames (2 s) after which what was compared has half lost its weight: a user may turn the volume or walk away."""

ENOUGH = 30
"""Frames of the agent's voice (half a second) before anything is concluded."""

ALIKE = 0.6
"""The correlation from which the microphone hears the agent. Measured on the development clips: a user's voice alone
beside an agent's seldom comes to 0.5 at any delay."""

STEP_DB = 0.2
"""How far a frame moves the learned gain towards itself: as a median would, whatever the outliers."""

DECAY_DB = 1.5
"""How much a frame of echo falls in the next: 60 dB in 0.64 s, a furnished room."""

QUIET_DB = 30.0
"""Energy of a frame's band below which there is nothing to compare: rounding noise of 16 bit."""

TAPER: Floats = np.hanning(FRAME)
ROWS = [slice(*(math.ceil(edge * FRAME / EAR_RATE) for edge in pair)) for pair in zip(EDGES_HZ, EDGES_HZ[1:], strict=False)]


def loudness(window: Pcm) -> Floats:
    """In dB, shape (frames, bands)."""
    frames = window.reshape(-1, FRAME) * TAPER
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    bands = np.stack([power[:, rows].sum(axis=1) for rows in ROWS], axis=1)
    return np.maximum(10.0 * np.log10(bands + 1.0), QUIET_DB)


class EchoTracker:
    """Follows the echo of one conversation. Costs about 0.15 ms a window while the agent plays, nothing otherwise."""

    def __init__(self) -> None:
        self._played: Floats = np.full((LAGS, len(ROWS)), QUIET_DB)
        """The agent's latest frames, the newest first."""
        self._weight = np.zeros((LAGS, 1))
        self._sums: Floats = np.zeros((5, LAGS, len(ROWS)))
        """Of microphone, agent, both squared, and their product, for each delay, fading."""
        self._lag: int | None = None
        self._gain: Floats = np.zeros(len(ROWS))
        self._floor: Floats = np.full(len(ROWS), QUIET_DB)
        self._still = LAGS
        """Frames since the agent was last played."""

    @property
    def delay_ms(self) -> int | None:
        """How late the microphone hears the agent; None while it does not seem to."""
        return None if self._lag is None else self._lag * FRAME * 1000 // EAR_RATE

    def hear(self, microphone: Pcm, played: Pcm | None) -> float | None:
        """Take WINDOW samples of each, at 16 kHz; `played` is what the client played in that time by the playout clock,
        None when it played nothing. Returns by how many dB the microphone is louder than the echo explains, None while
        nothing is known of an echo, or none can be left."""
        if played is None and self._still >= LAGS:
            return None
        heard = loudness(microphone)
        echoed = loudness(played) if played is not None else np.full_like(heard, QUIET_DB)
        excess = [self._frame(mine, theirs) for mine, theirs in zip(heard, echoed, strict=True)]
        self._find()
        return None if self._lag is None else max(excess)

    def _frame(self, heard: Floats, played: Floats) -> float:
        self._still = 0 if played.max() > QUIET_DB else self._still + 1
        self._played = np.concatenate((played[None], self._played[:-1]))
        self._floor = np.minimum(heard, self._floor + 0.05)
        self._compare(heard)
        return self._excess(heard)

    def _compare(self, heard: Floats) -> None:
        fade = 0.5 ** (1 / MEMORY)
        there = (self._played.max(axis=1, keepdims=True) > QUIET_DB).astype(float)
        x, y = np.broadcast_to(heard, self._played.shape), self._played
        self._weight = self._weight * fade + there
        self._sums = self._sums * fade + there * np.stack((x, y, x * x, y * y, x * y))

    def _find(self) -> None:
        """The delay at which the two rise and fall together most, if they do."""
        if self._weight[0, 0] < ENOUGH:
            return
        mean_x, mean_y, xx, yy, xy = self._sums / np.maximum(self._weight, 1.0)
        spread = np.sqrt(np.maximum(xx - mean_x**2, 1.0) * np.maximum(yy - mean_y**2, 1.0))
        alike = ((xy - mean_x * mean_y) / spread).mean(axis=1)
        best = int(alike.argmax())
        if alike[best] < ALIKE:
            self._lag = None
        elif self._lag is None or alike[best] > alike[self._lag] + 0.05:
            self._lag = best
            self._gain = mean_x[best] - mean_y[best]

    def _excess(self, heard: Floats) -> float:
        if self._lag is None:
            return 0.0
        first = max(0, self._lag - 1)
        near = self._played[first : first + 12]
        tail = near - DECAY_DB * np.maximum(np.arange(len(near)) - 2, 0)[:, None]
        source = tail.max(axis=0)
        expected = np.maximum(source + self._gain, self._floor)
        if source.max() > QUIET_DB + 12:
            self._gain += np.where(source > QUIET_DB + 12, STEP_DB * np.sign(heard - source - self._gain), 0.0)
        return float(10 * np.log10((10 ** (heard / 10)).sum() / (10 ** (expected / 10)).sum()))
