"""What is on its way to one client: bounded, in order, and able to take back the audio of a cancelled reply."""

import asyncio
from collections import deque

from voiceagent.protocols.base import Frame

MAX_FRAMES = 2000
"""Messages that may wait for a client that does not read. Audio is paced: one that reads has one or two waiting."""


class Outbox:
    def __init__(self) -> None:
        self._frames: deque[tuple[Frame, str | None]] = deque()
        self._filled = asyncio.Event()
        self.overflowed = False
        """The client has stopped reading: the connection is to be ended."""

    def put(self, frame: Frame, audio_of: str | None = None) -> None:
        """Send this next; `audio_of` is the reply whose audio it is."""
        if len(self._frames) >= MAX_FRAMES:
            self.overflowed = True
        else:
            self._frames.append((frame, audio_of))
        self._filled.set()

    def drop_audio(self, reply_id: str) -> None:
        """Not one sample more of this reply."""
        if any(audio_of == reply_id for _, audio_of in self._frames):
            self._frames = deque(entry for entry in self._frames if entry[1] != reply_id)

    async def get(self) -> Frame | None:
        """The next message, or None once the outbox has overflowed."""
        while not self._frames and not self.overflowed:
            self._filled.clear()
            await self._filled.wait()
        return None if self.overflowed else self._frames.popleft()[0]

    @property
    def empty(self) -> bool:
        return not self._frames
