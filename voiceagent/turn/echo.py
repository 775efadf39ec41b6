"""Echo judge: whether the microphone hears the agent's own voice, by comparing it with what the agent is playing.

The room, the devices and the network delay the echo by some unknown but steady time and colour it by some unknown but
steady gain. Both are learned while the agent talks, from the ups and downs of the energy in a few bands: speech of
another person does not rise and fall with the agent's. Once they are known, what is louder than the echo explains is
somebody else.
"""

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.vad.base import WINDOW

Floats = npt.NDArray[np.float64]

FRAME = WINDOW // 2
"""Samples a frame: 16 ms, fine enough for syllables."""

EDGES_HZ = (300, 700, 1300, 2200, 3600)
"""Four bands that every loudspeaker and telephone has."""

BANDS = len(EDGES_HZ) - 1

LAGS = 38
"""Frames of delay that are tried: 0 to 592 ms, for a client 400 ms late and a room that reverberates."""

HALF_LIFE = 125
"""Frames (2 s) after which what was compared has lost half its weight: users turn the volume and walk about."""

ENOUGH = 30
"""Frames of the agent's voice (half a second) before anything is concluded."""

ALIKE = 0.6
"""The correlation from which the microphone hears the agent. In 20 mixes of a recorded user, without any echo, beside a
recorded agent 1.2 % of the windows came to that by chance."""

ALIKE_STEP = 0.05
"""How much better another delay must be to be taken instead."""

STEP_DB = 0.2
"""How far a frame moves the learned gain towards itself: as a median would, whatever the outliers."""

DECAY_DB = 1.5
"""How much a frame of echo falls in the next: 60 dB in 0.64 s, a furnished room."""

TAIL = 12
"""Frames after which an echo has died away."""

PAST = LAGS + TAIL

MOST_WAITING = 32
"""Windows (a second) that may wait to be compared."""

FLOOR_STEP_DB = 0.05
"""How fast the background may rise: 3 dB a second."""

QUIET_DB = 30.0
"""Energy of a frame's band below which there is nothing to compare: rounding noise of 16 bit."""

LOUD_DB = QUIET_DB + 12.0
"""From here on the agent is loud enough to teach the gain."""

TAPER: Floats = np.hanning(FRAME)
BINS_HZ = np.arange(FRAME // 2 + 1) * EAR_RATE / FRAME
BINS_OF_BANDS: Floats = 1.0 * (np.digitize(BINS_HZ, EDGES_HZ)[:, np.newaxis] == np.arange(1, BANDS + 1))
FADE = 0.5 ** (1 / HALF_LIFE)
FALL: Floats = DECAY_DB * np.maximum(np.arange(TAIL)[::-1] - 2, 0)[:, np.newaxis]
SILENCE = silence(WINDOW)


def loudness(pcm: Pcm) -> Floats:
    """In dB, shape (frames, bands)."""
    spectrum = np.fft.rfft(pcm.reshape(-1, FRAME) * TAPER)
    bands = (spectrum.real**2 + spectrum.imag**2) @ BINS_OF_BANDS
    decibels: Floats = np.maximum(10.0 * np.log10(bands + 1.0), QUIET_DB)
    return decibels


class EchoTracker:
    """Follows the echo of one conversation. While the agent plays, a window costs half of what the voice detector takes
    for it (0.22 ms beside 0.45 ms, on a busy machine) if there may be a voice, and next to nothing if there is none."""

    def __init__(self) -> None:
        self._played: Floats = np.full((PAST, BANDS), QUIET_DB)
        """The agent's latest frames, the newest last."""
        self._waiting: deque[tuple[Pcm, Pcm]] = deque(maxlen=MOST_WAITING)
        """Windows without a voice: compared in one go when there is one, since that costs little more than one."""
        self._weight: Floats = np.zeros((LAGS, 1))
        self._sums: Floats = np.zeros((5, LAGS, BANDS))
        """Of microphone, agent, both squared, and their product, for each delay, fading."""
        self._lag: int | None = None
        self._gain: Floats = np.zeros(BANDS)
        self._floor: Floats = np.full(BANDS, QUIET_DB)
        self._still = LAGS
        """Frames since the agent was last played."""

    @property
    def delay_ms(self) -> int | None:
        """How late the microphone hears the agent; None while it does not seem to."""
        return None if self._lag is None else self._lag * FRAME * 1000 // EAR_RATE

    def hear(self, microphone: Pcm, played: Pcm | None, *, voice: bool = True) -> float | None:
        """Take WINDOW samples of each, at 16 kHz; `played` is what the client played in that time by the playout clock,
        None when it played nothing; `voice` False where there is certainly none to compare. Returns by how many dB the
        microphone is louder than the echo explains, None where nothing is known of an echo, or none can be left."""
        self._still = self._still + WINDOW // FRAME if played is None else 0
        if self._still > LAGS:
            self._waiting.clear()
            return None
        self._waiting.append((microphone, SILENCE if played is None else played))
        if not voice:
            return None
        heard = self._compare_waiting()
        self._find()
        if self._lag is None:
            return None
        return max(self._excess(heard[-2], self._lag + 1), self._excess(heard[-1], self._lag))

    def _compare_waiting(self) -> Floats:
        """Add the windows that wait to the sums; returns the microphone's frames."""
        pieces = [*(mine for mine, _ in self._waiting), *(theirs for _, theirs in self._waiting)]
        self._waiting.clear()
        heard, played = loudness(np.concatenate(pieces)).reshape(2, -1, BANDS)
        self._floor = np.minimum(heard.min(axis=0), self._floor + len(heard) * FLOOR_STEP_DB)
        history = np.concatenate((self._played, played))
        self._played = history[-PAST:]
        # For each frame the agent's of the same time and before, shape (frames, delays, bands).
        theirs = np.lib.stride_tricks.sliding_window_view(history[-len(played) - LAGS + 1 :], LAGS, axis=0)
        theirs = theirs.transpose(0, 2, 1)[:, ::-1]
        fade = FADE ** np.arange(len(heard) - 1, -1, -1)[:, np.newaxis]
        there = (theirs.max(axis=2) > QUIET_DB) * fade
        y = there[:, :, np.newaxis] * theirs
        terms = (there.T @ heard, y.sum(axis=0), there.T @ heard**2, (y * theirs).sum(axis=0))
        self._weight = self._weight * FADE ** len(heard) + there.sum(axis=0)[:, np.newaxis]
        self._sums *= FADE ** len(heard)
        for total, term in zip(self._sums, (*terms, (y * heard[:, np.newaxis]).sum(axis=0)), strict=True):
            total += term
        return heard

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
        elif self._lag is None or alike[best] > alike[self._lag] + ALIKE_STEP:
            self._lag = best
            self._gain = mean_x[best] - mean_y[best]

    def _excess(self, heard: Floats, lag: int) -> float:
        """The frame beside the echo expected of what was played `lag` frames before, and of its reverberation."""
        newest = PAST - max(0, lag - 1)  # the true delay lies between two frames
        source = (self._played[newest - TAIL : newest] - FALL).max(axis=0)
        expected = np.maximum(source + self._gain, self._floor)
        self._gain += np.where(source > LOUD_DB, STEP_DB * np.sign(heard - source - self._gain), 0.0)
        return 10.0 * math.log10(float((10 ** (heard / 10)).sum() / (10 ** (expected / 10)).sum()))


LATELY = 8
"""Windows (256 ms) that must be compared with the echo before it is said to explain a voice."""

OTHER_SHARE = 0.25
"""Somebody else than the echo is heard when so many of the windows are louder than it explains. In rooms made by
arithmetic echo alone is in 4 % of its windows; with a user 10 dB louder it is 18 %, besides those in which the user
drowns the echo so that nothing is known of it."""

SURELY_OTHER = 3
"""So many of the LATELY windows must be louder than it explains before an echo is taken for somebody else."""


class EchoJudge:
    """Whether a voice is the agent's echo. `louder_db`: how much louder than the echo explains somebody else is."""

    def __init__(self, louder_db: float) -> None:
        self._louder_db = louder_db
        self._tracker = EchoTracker()
        self._louder: list[bool] = []

    def hear(self, microphone: Pcm, played: Pcm | None, *, voice: bool, watched: bool) -> None:
        """Take one window, as EchoTracker.hear. `watched`: a voice is being judged, of which all windows count; before
        one, only the latest."""
        excess = self._tracker.hear(microphone, played, voice=voice)
        if excess is None:
            self._louder.clear()
        else:
            self._louder.append(excess > self._louder_db)
        if not watched:
            del self._louder[:-LATELY]

    @property
    def explains(self) -> bool:
        """Whether the echo is all that was heard of this voice. False while that is not known, also because somebody
        drowns it."""
        return len(self._louder) >= LATELY and sum(self._louder) < OTHER_SHARE * len(self._louder)

    @property
    def explains_lately(self) -> bool:
        """The same of the latest windows, but harder to refute: what was an echo is likely to be one still."""
        return len(self._louder) >= LATELY and sum(self._louder[-LATELY:]) < SURELY_OTHER
