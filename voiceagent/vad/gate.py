"""Gate: a cheap look at the audio. While nothing is like a voice, the costly detector need not run."""

import webrtcvad

from voiceagent.audio.pcm import EAR_RATE, Pcm

FRAME = 320
"""Samples a frame at 16 kHz: 20 ms, one of the three lengths webrtcvad takes."""


class Gate:
    """Opens at the first frame that webrtcvad takes for voice and closes `hold` samples after the last sign of it.

    `aggressiveness` 0 to 3 is webrtcvad's own: the higher, the less noise opens the gate.
    """

    def __init__(self, aggressiveness: int, hold: int) -> None:
        self._detector = webrtcvad.Vad(aggressiveness)
        self._hold = hold
        self._left = 0

    @property
    def is_open(self) -> bool:
        return self._left > 0

    def hear(self, frame: Pcm) -> None:
        """Take the next FRAME samples of 16 kHz audio."""
        if self._detector.is_speech(frame.tobytes(), EAR_RATE):
            self._left = self._hold
        else:
            self._left -= FRAME

    def hold(self) -> None:
        """Someone who knows better heard a voice: stay open as if this gate had."""
        self._left = self._hold
