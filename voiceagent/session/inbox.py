"""What waits to be heard, in the order in which it came."""

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np

from voiceagent.audio.pcm import Pcm

BACKLOG_SECONDS = 330.0
"""Audio that may wait to be heard: the largest single append of the Realtime protocol (15 MiB of 24 kHz PCM)."""
LEAST_SECONDS = 0.005
"""What a piece counts at least: a million of one sample each would be a minute of audio and 200 MB."""
SLACK = 1e-6
"""Seconds by which sums of lengths may be wrong."""


@dataclass(slots=True)
class Audio:
    """A piece of the user's audio, `rate` in Hz; when it arrived, on the loop's clock; and how many seconds of the
    backlog it takes."""

    pcm: Pcm
    rate: int
    arrived: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Commit:
    item_id: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


Entry = Audio | Commit | Clear


class Inbox:
    """One reader's queue, which joins audio to pieces worth a look: of 50 frames a second only 31 complete a window of
    the voice detector. Bounded by BACKLOG_SECONDS, of which every piece takes some."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._seconds = 0.0
        self._in_hand = 0.0
        self._others = 0
        self._enough = 0.0
        self._filled = asyncio.Event()

    def add(self, pcm: Pcm, rate: int, arrived: float) -> bool:
        """Put audio in; False when that is too much."""
        seconds = max(len(pcm) / rate, LEAST_SECONDS)
        if self._in_hand + self._seconds + seconds > BACKLOG_SECONDS:
            return False
        self._entries.append(Audio(pcm, rate, arrived, seconds))
        self._seconds += seconds
        if self._is_filled():
            self._filled.set()
        return True

    def put(self, entry: Commit | Clear) -> None:
        self._entries.append(entry)
        self._others += 1
        self._filled.set()

    async def get(self, enough: float) -> Entry:
        """The next entry; what was handed out before is done with. Audio is waited for, and joined, until it lasts
        `enough` seconds or something else follows."""
        self._in_hand, self._enough = 0.0, enough - SLACK
        while not self._is_filled():
            self._filled.clear()
            await self._filled.wait()
        entry = self._entries.popleft()
        if not isinstance(entry, Audio):
            self._others -= 1
            return entry
        pieces = [entry.pcm]
        while entry.seconds < self._enough and self._entries:
            following = self._entries[0]
            if not isinstance(following, Audio) or following.rate != entry.rate:
                break
            self._entries.popleft()
            pieces.append(following.pcm)
            entry = Audio(entry.pcm, entry.rate, following.arrived, entry.seconds + following.seconds)
        self._in_hand = entry.seconds
        self._seconds = self._seconds - entry.seconds if self._entries else 0.0
        if len(pieces) > 1:
            entry.pcm = np.concatenate(pieces)
        return entry

    def _is_filled(self) -> bool:
        return bool(self._entries) and (self._others > 0 or self._seconds >= self._enough)
