"""A microphone with a switch and a level."""

import math

import numpy as np

from voiceagent_client.audio_io import AudioDevice, Frame
from voiceagent_client.pcm import silence

QUIETEST_DB = -60.0


class Microphone:
    """An `AudioDevice` around another one. While `on` is false its frames are empty, but they keep coming."""

    def __init__(self, device: AudioDevice, *, on: bool = True) -> None:
        self._device = device
        self.on = on
        self.level_db = QUIETEST_DB
        """How loud the last frame was: its root mean square against full scale, no lower than `QUIETEST_DB`; the same
        while it is off."""
        self.frames_on = 0
        """Frames that went through since it was last switched on."""

    async def read(self) -> Frame:
        frame = await self._device.read()
        if not self.on or not len(frame.pcm):
            self.level_db, self.frames_on = QUIETEST_DB, 0
            return Frame(silence(0))
        self.frames_on += 1
        strength = math.sqrt(float(np.mean(np.square(frame.pcm, dtype=np.float64)))) / 32768
        self.level_db = max(QUIETEST_DB, 20 * math.log10(strength)) if strength else QUIETEST_DB
        return frame
