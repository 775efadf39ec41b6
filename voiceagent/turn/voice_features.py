"""Voice features: how a voice sounds, by its 32 ms windows. Is it a person near the microphone or something else?

Four measures, each with a plain reason:

- *clear*: the detector is sure of nearly every window of a person's voice; of residual echo, music or a crowd it is
  sure of some. Measured over 704 ms, 98 % of 580 voices near the microphone had at least 68 % of such windows, sung
  music none.
- *body*: the energy below 300 Hz beside that up to 1 kHz. A chest has it, a small loudspeaker does not: 97 % of those
  voices lie above -14 dB, half of them above -4 dB; of the voices that a loudspeaker left after an echo canceller half
  lie below -20 dB.
- *hum*: the energy above 1 kHz beside that below. With the mouth closed ("mm-hmm") hardly any gets out.
- *level*: how loud it is.

A telephone cuts off all below 300 Hz, and rooms and microphones differ; so body, hum and level are judged beside this
user's own voice once it is known.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.turn.options import BargeInSettings
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import PAUSE_WINDOWS

SURE = 0.9
"""The probability from which the detector is sure of a window."""

RECENT = 22
"""Windows (704 ms) over which a voice is judged clear or not."""

RAMP = 2
"""The first windows of a voice, while the detector makes up its mind, do not count in that."""

LOW, MIDDLE, HIGH = (80, 300), (300, 1000), (1000, 4000)
"""Bands in Hz. Below 80 Hz there is rumble, above 4 kHz a telephone has nothing."""


def _rows(band: tuple[int, int]) -> slice:
    return slice(*(math.ceil(edge * WINDOW / EAR_RATE) for edge in band))


def _sums() -> npt.NDArray[np.float64]:
    bands = np.zeros((WINDOW // 2 + 1, 3))
    for column, band in enumerate((LOW, MIDDLE, HIGH)):
        bands[_rows(band), column] = 1.0
    return bands


BANDS = _sums()
"""Adds the spectrum's rows up in the three bands."""
TAPER: npt.NDArray[np.float64] = np.hanning(WINDOW)
FULL_SCALE = 32768.0**2 * WINDOW * float((TAPER**2).sum()) / 2
"""The energy of a window whose mean square is that of the loudest square wave."""


@dataclass(frozen=True, slots=True)
class WindowSound:
    """One window: the detector's probability and the energies in the three bands (never 0)."""

    probability: float
    low: float
    middle: float
    high: float

    @property
    def energy(self) -> float:
        return self.low + self.middle + self.high


STILL = WindowSound(0.0, 1.0, 1.0, 1.0)
"""A window in which nothing sounds."""


def sound(probability: float, window: Pcm) -> WindowSound:
    """Measure WINDOW samples of 16 kHz audio. Where the detector's gate was closed (probability 0) nothing is measured,
    since most windows of a session are such."""
    if probability == 0.0:
        return WindowSound(0.0, 1.0, 1.0, 1.0)
    spectrum = np.fft.rfft(window * TAPER)
    power = spectrum.real**2 + spectrum.imag**2
    low, middle, high = (power @ BANDS + 1.0).tolist()
    return WindowSound(probability, low, middle, high)


def decibels(ratio: float) -> float:
    return 10.0 * math.log10(ratio)


class VoiceFeatures:
    """One voice from its onset on, short gaps included."""

    def __init__(self, sounds: Iterable[WindowSound]) -> None:
        self._sure: deque[bool] = deque(maxlen=RECENT + PAUSE_WINDOWS)
        self._bright: list[tuple[float, float]] = []
        self._low = self._middle = self._energy = 0.0
        self.windows = 0
        self.clearest = 0.0
        """The most that `clear` has been over RECENT windows: what comes after the user in the background takes none of
        it away."""
        for heard in sounds:
            self.add(heard)

    def add(self, heard: WindowSound) -> None:
        self.windows += 1
        if self.windows > RAMP:
            self._sure.append(heard.probability >= SURE)
            if len(self._sure) >= RECENT:
                self.clearest = max(self.clearest, sum(list(self._sure)[-RECENT:]) / RECENT)
        self._low += heard.low
        self._middle += heard.middle
        self._energy += heard.energy
        if self.windows <= HUM_WINDOWS:
            self._bright.append((heard.energy, heard.high / (heard.low + heard.middle)))

    @property
    def clear(self) -> float:
        """The share of the recent windows of which the detector is sure, 0 to 1; not counted is how it fades out."""
        sure = list(self._sure)
        faded = next((n for n, is_sure in enumerate(reversed(sure)) if is_sure), len(sure))
        counted = sure[: len(sure) - min(faded, PAUSE_WINDOWS)][-RECENT:]
        return sum(counted) / len(counted) if counted else 0.0

    @property
    def body(self) -> float:
        """In dB; loud windows count more, so that the noise in the gaps does not."""
        return decibels(self._low / self._middle)

    @property
    def hum(self) -> float:
        """In dB, the median of the louder windows of its first second."""
        floor = max(energy for energy, _ in self._bright) / 100
        return decibels(float(np.median([ratio for energy, ratio in self._bright if energy >= floor])))

    @property
    def level(self) -> float:
        """In dB below full scale, of the bands looked at."""
        return decibels(self._energy / self.windows / FULL_SCALE)


HUM_WINDOWS = 31
"""Windows (a second) in which a hum is looked for: no "mm-hmm" lasts longer."""

LEARN_WINDOWS = 16
"""A voice shorter than that (half a second) teaches nothing about its owner."""

LEARN_RATE = 0.3
"""The weight of the newest voice beside all before."""


class UserVoiceLevels:
    """What this user's voice is like when it is their turn, a running mean over their voices, in dB."""

    def __init__(self) -> None:
        self.body: float | None = None
        self.hum: float | None = None
        self.level: float | None = None

    def learn(self, voice: VoiceFeatures) -> None:
        if voice.windows < LEARN_WINDOWS:
            return
        self.body = _mix(self.body, voice.body)
        self.hum = _mix(self.hum, voice.hum)
        self.level = _mix(self.level, voice.level)


def _mix(known: float | None, new: float) -> float:
    return new if known is None else known + LEARN_RATE * (new - known)


RELATIVE_DB = 12.0
"""A user whose own voice is thin or dull is judged by that: so far below it, it is another's."""

FAINTER_DB = 12.0
"""So far below the user's usual level a voice is another's: somebody else in the room, the television."""


def is_doubtful(voice: VoiceFeatures, usual: UserVoiceLevels, settings: BargeInSettings, *, narrowband: bool) -> bool:
    """Whether it may be a noise or a loudspeaker."""
    thin = not narrowband and voice.body < below(settings.thin_db, usual.body)
    return voice.clear < settings.clear or thin


def is_faint(voice: VoiceFeatures, usual: UserVoiceLevels) -> bool:
    """Whether it is surely not this user, as far as their voice is known."""
    return usual.level is not None and voice.level < usual.level - FAINTER_DB


def below(limit: float, usual: float | None) -> float:
    """The limit, lowered for a user whose usual voice is near or below it."""
    return limit if usual is None else min(limit, usual - RELATIVE_DB)
