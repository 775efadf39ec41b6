"""Segmenter: from speech probabilities to the start of a voice and the running length of silence.

Pure: the windows are its clock. It does not say when a turn is over; the endpointer does, by `silence_samples`.
"""

from collections import deque
from dataclasses import dataclass

from voiceagent.audio.pcm import Pcm
from voiceagent.vad.base import WINDOW

ONSET_WINDOWS = 2
ONSET_SPAN = 3
"""A voice has begun once ONSET_WINDOWS of the last ONSET_SPAN windows hold it: a click fills one window only."""

PAUSE_WINDOWS = 3
"""A voice has paused after so many windows (96 ms) without it: shorter gaps are the stops within words."""

HYSTERESIS = 0.15
"""How far below the threshold the probability must fall before a voice that has begun counts as gone."""

LOWEST = 0.01
"""Probabilities below it never count as voice, however low the threshold."""


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """A voice has begun; `sample` is the first of its first window."""

    sample: int


@dataclass(frozen=True, slots=True)
class VoicePaused:
    """The voice has stopped, for now; `sample` is where its last window ended, `speech` how many samples of voice
    there were since its onset."""

    sample: int
    speech: int


SegmentEvent = VoiceStarted | VoicePaused


@dataclass(frozen=True, slots=True)
class SegmentedWindow:
    """One window of the microphone with what the segmenter made of it: the detector's `probability`, its audio, what
    began or paused with it, whether a voice goes on, and the sample where it ends."""

    probability: float
    pcm: Pcm
    event: SegmentEvent | None
    speaking: bool
    end: int


class Segmenter:
    """Positions are samples at 16 kHz; the first window begins at `start`. `threshold` may be changed while running."""

    def __init__(self, threshold: float = 0.5, start: int = 0) -> None:
        self.threshold = threshold
        self.reset(start)

    def reset(self, start: int = 0) -> None:
        """Forget what was heard; the next window begins at sample `start`."""
        self.sample = start
        """Where the latest window ended."""
        self.voiced = False
        """Whether the latest window holds voice; while not `speaking`, that may still be a click."""
        self.speaking = False
        """True from a VoiceStarted to its VoicePaused."""
        self.onset_sample: int | None = None
        """Of the latest onset."""
        self.last_speech_sample: int | None = None
        """Where the last window of voice ended that was part of a voice, not just a click."""
        self.speech_samples = 0
        """Samples in windows of voice since the latest onset."""
        self._silence_start = start
        self._recent: deque[bool] = deque(maxlen=ONSET_SPAN)

    @property
    def silence_samples(self) -> int:
        """Samples since the last speech, 0 while there is some; before any speech, since the start."""
        return self.sample - self._silence_start

    def hear(self, probability: float, pcm: Pcm) -> SegmentedWindow:
        """Take the next window with its speech probability."""
        event = self.push(probability)
        return SegmentedWindow(probability, pcm, event, self.speaking, self.sample)

    def push(self, probability: float) -> SegmentEvent | None:
        """Take the next window's speech probability."""
        self.sample += WINDOW
        floor = max(self.threshold - HYSTERESIS, LOWEST) if self.speaking else max(self.threshold, LOWEST)
        self.voiced = probability >= floor
        self._recent.append(self.voiced)
        return self._go_on() if self.speaking else self._begin()

    def _begin(self) -> VoiceStarted | None:
        voiced = sum(self._recent)
        if not self.voiced or voiced < ONSET_WINDOWS:
            return None
        self.speaking = True
        self.onset_sample = self.sample - (len(self._recent) - self._recent.index(True)) * WINDOW
        self.speech_samples = voiced * WINDOW
        self._mark_speech()
        return VoiceStarted(self.onset_sample)

    def _go_on(self) -> VoicePaused | None:
        if self.voiced:
            self.speech_samples += WINDOW
            self._mark_speech()
        elif self.silence_samples >= PAUSE_WINDOWS * WINDOW:
            self.speaking = False
            self._recent.clear()
            return VoicePaused(self._silence_start, self.speech_samples)
        return None

    def _mark_speech(self) -> None:
        self.last_speech_sample = self._silence_start = self.sample
