"""The audio of one utterance, and how loud it is: what may be skipped, reused, and where it may be cut."""

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence

FRAME = EAR_RATE // 50
"""Samples over which loudness is taken: 20 ms."""

NEGLIGIBLE = 8.0
"""RMS in units of the last bit (-72 dBFS) under which nothing was said. Measured with Moonshine tiny: speech is still
understood at -80 dBFS, while noise of any level makes it say "You" or "♪♪♪"."""

QUIET = 0.03
"""What is this much softer than the loud parts of the utterance (-30 dB) is a pause in it."""

LOUD_FRAMES = 10
"""The loud parts are the loudest 200 ms: a click is shorter."""

SURE_SILENCE = EAR_RATE // 10
"""100 ms of silence at the end of what was decoded: the last word is surely in it."""

SHORT_SILENCE = EAR_RATE * 60 // 1000
"""60 ms: silence this short changes no word, wherever it follows."""

PAUSE_FRAMES = 10
"""A cut is made in the middle of the quietest 200 ms."""


class SpeechAudio:
    """Audio that is pushed in at the end and cut off at the beginning."""

    def __init__(self) -> None:
        self.samples = 0
        self._chunks: list[Pcm] = []
        self._levels: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self._loudest = self._levels

    def push(self, pcm: Pcm) -> None:
        self._chunks.append(pcm)
        self.samples += len(pcm)

    def audio(self) -> Pcm:
        """All that is held, shape (samples,)."""
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate(self._chunks) if self._chunks else silence(0)]
        return self._chunks[0]

    def is_silent(self) -> bool:
        """Nothing that is held is loud enough to be speech, by itself or beside what was cut off."""
        levels = self._measure()
        return not len(levels) or float(levels.max()) < self._floor()

    def is_covered_by(self, decoded: int) -> bool:
        """Whether a decoding of the first `decoded` samples would read the same for all that is held."""
        if decoded >= self.samples:
            return True
        levels, floor, end = self._measure(), self._floor(), decoded // FRAME
        if bool((levels[end:] >= floor).any()):
            return False
        tail = levels[max(0, (decoded - SURE_SILENCE) // FRAME) : end]
        return self.samples - decoded <= SHORT_SILENCE or bool((tail < floor).all())

    def cut(self, earliest: int, latest: int) -> Pcm:
        """Take off the beginning, up to the quietest place between two counts of samples. Empty if it was silent."""
        first = earliest // FRAME
        loudness = np.convolve(self._measure()[first : latest // FRAME], np.ones(PAUSE_FRAMES), mode="valid")
        end = (first + int(loudness.argmin()) + PAUSE_FRAMES // 2) * FRAME
        silent = bool((self._levels[: end // FRAME] < self._floor()).all())
        audio = self.audio()
        self._levels = self._levels[end // FRAME :]
        self._chunks, self.samples = [audio[end:].copy()], len(audio) - end
        return silence(0) if silent else audio[:end]

    def _measure(self) -> npt.NDArray[np.float32]:
        """RMS of every whole 20 ms; only what is new is computed."""
        known = len(self._levels)
        whole = self.samples // FRAME
        if whole > known:
            frames = self.audio()[known * FRAME : whole * FRAME].reshape(-1, FRAME).astype(np.float32)
            levels = np.sqrt(np.square(frames).mean(axis=1))
            self._levels = np.concatenate([self._levels, levels])
            self._loudest = np.sort(np.concatenate([self._loudest, levels]))[-LOUD_FRAMES:]
        return self._levels

    def _floor(self) -> float:
        loud = float(self._loudest[0]) if len(self._loudest) == LOUD_FRAMES else 0.0
        return max(NEGLIGIBLE, QUIET * loud)
