"""webrtcvad alone: no model, no onnxruntime, 10 µs a window. For servers without the extra `local`.

It takes more for a voice than Silero does: music, and steady noise with the bands of speech.
"""

from typing import Annotated

import numpy as np
import webrtcvad
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import WINDOW

FRAME = 160
"""Samples a frame at 16 kHz: 10 ms, the shortest that webrtcvad takes, so that three or four end in each window."""


class WebRtcVad:
    """The engine. It holds nothing: each stream has a detector of its own."""

    class Options(BaseModel):
        """The detector of the WebRTC project, which needs no model."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        aggressiveness: Annotated[int, Field(ge=0, le=3)] = 2
        """webrtcvad's own: the higher, the less noise is taken for a voice."""

    def __init__(self, options: Options, models: ModelStore) -> None:
        self._options = options

    async def open(self) -> None:
        """Nothing is to be loaded."""

    def stream(self) -> "WebRtcStream":
        return WebRtcStream(self._options.aggressiveness)

    async def close(self) -> None:
        """Nothing is held."""


class WebRtcStream:
    """One conversation's detector. A window's probability is the share of voiced frames among those that end in it.

    The result does not depend on how the audio is cut into pushes.
    """

    def __init__(self, aggressiveness: int) -> None:
        self._aggressiveness = aggressiveness
        self.reset()

    def reset(self) -> None:
        self._detector = webrtcvad.Vad(self._aggressiveness)
        self._audio = silence(0)
        """What is not yet part of a whole window or frame: from the first sample that the detector has not heard."""
        self._ahead = 0
        """How many samples of the next window the detector has heard already."""

    async def push(self, pcm: Pcm) -> list[float]:
        self._audio = np.concatenate((self._audio, pcm))
        probabilities: list[float] = []
        while self._ahead + len(self._audio) >= WINDOW:
            probabilities.append(self._judge())
        self._audio = self._audio.copy()
        return probabilities

    def _judge(self) -> float:
        voiced: list[bool] = []
        while self._ahead + FRAME <= WINDOW:
            frame, self._audio = self._audio[:FRAME], self._audio[FRAME:]
            voiced.append(self._detector.is_speech(frame.tobytes(), EAR_RATE))
            self._ahead += FRAME
        self._ahead -= WINDOW
        return sum(voiced) / len(voiced)
