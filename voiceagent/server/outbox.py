"""Outbox: the messages on their way to one client; bounded, in order, and able to drop a cancelled response's audio."""

import asyncio
from collections import deque

from voiceagent.channels.base import Delay, Frame

MAX_FRAMES = 2000
"""Messages that may wait for a client that does not read. Audio is paced: one that reads has one or two waiting."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes (or characters) that may wait, unless it is one message: a client may ask for its own large items."""


class Outbox:
    """A queue with one reader, of at most MAX_FRAMES and MAX_BYTES."""

    def __init__(self) -> None:
        self._frames: deque[tuple[Frame | Delay, str | None]] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self.overflowed = False
        """The client has stopped reading: the connection is to be ended."""

    def put(self, frame: Frame | Delay, audio_of: str | None = None) -> None:
        """Append a message or a delay; `audio_of` is the response whose audio it is."""
        if len(self._frames) >= MAX_FRAMES or (self._frames and self._size + size(frame) > MAX_BYTES):
            self.overflowed = True
        else:
            self._frames.append((frame, audio_of))
            self._size += size(frame)
        self._filled.set()

    def drop_audio(self, response_id: str) -> None:
        """Drop the audio of this response that is still here."""
        if any(audio_of == response_id for _, audio_of in self._frames):
            self._frames = deque(entry for entry in self._frames if entry[1] != response_id)
            self._size = sum(size(frame) for frame, _ in self._frames)

    async def get(self) -> Frame | Delay | None:
        """The next message or delay, or None once the outbox has overflowed."""
        while not self._frames and not self.overflowed:
            self._filled.clear()
            await self._filled.wait()
        if self.overflowed:
            return None
        frame, _ = self._frames.popleft()
        self._size -= size(frame)
        return frame

    @property
    def empty(self) -> bool:
        return not self._frames


def size(frame: Frame | Delay) -> int:
    """Bytes (or characters) of a message; 0 for a delay."""
    return 0 if isinstance(frame, Delay) else len(frame)
