"""Input of a caller: keyed digits, audio made whole (packets in order, silence for lost ones), and what came before the
call had begun."""

from collections import deque
from typing import Generic, TypeVar

import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.messages import AudioReceived, DigitPressed

KEYS = frozenset("0123456789*#ABCD")
MAX_DIGITS = 64


class Keypad:
    """Digits that a caller keys in, one after the other, until they are complete."""

    def __init__(self, options: CallOptions) -> None:
        self._end = options.key_end
        self._count = min(options.key_count, MAX_DIGITS) or MAX_DIGITS
        self._digits = ""

    def press(self, key: str) -> str | None:
        """A key was pressed, one of KEYS. Returns the digits once they are complete. The key that ends them is not
        among them, unless it was the only one."""
        if key == self._end:
            return self.complete() or key
        self._digits += key
        return self.complete() if len(self._digits) >= self._count else None

    def complete(self) -> str | None:
        """No further key came in time: the digits so far, None when there are none."""
        digits, self._digits = self._digits, ""
        return digits or None


T = TypeVar("T")

MAX_EARLY = 1000
MAX_EARLY_BYTES = 1024 * 1024
"""Messages, and bytes of audio in them, that may come before the call begins: ten seconds of the highest rate. Of more
the oldest are dropped."""
MAX_GAP_MS = 2000
"""Most silence put in for one gap: enough to end a turn. What is longer was a caller on hold, or a broken clock."""
TOLERANCE_MS = 10
"""Gaps up to this are rounding."""
MAX_GAPS_IN_A_ROW = 5
"""Before so many packets in a row nothing can be missing: the time stamps are no milliseconds, and tell nothing."""
WINDOW = 5
"""Packets that wait for an earlier one to come: 100 ms."""


class GapFiller:
    """Silence for lost packets: telephone networks send nothing in their place, and speech is measured in samples."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due_ms: float | None = None
        """The time stamp that the next packet has when nothing is missing."""
        self._gaps = 0

    def fill(self, pcm: Pcm, at_ms: int | None) -> Pcm:
        """The packet, behind the silence that is missing before it. `at_ms` is its time stamp, in milliseconds from
        any start; None where there are none, and then nothing is missing."""
        if at_ms is None or self._gaps >= MAX_GAPS_IN_A_ROW:
            return pcm
        length_ms = 1000 * len(pcm) / self._rate
        missing = at_ms - self._due_ms if self._due_ms is not None else 0.0
        behind = missing < -MAX_GAP_MS  # the clock has begun anew
        self._due_ms = at_ms + length_ms if behind else max(self._due_ms or 0.0, at_ms + length_ms)
        if missing <= TOLERANCE_MS:
            self._gaps = 0
            return pcm
        self._gaps += 1
        return np.concatenate((silence(int(min(missing, MAX_GAP_MS) * self._rate / 1000)), pcm))

    def lost(self, ms: int) -> Pcm:
        """Silence for audio that does not come; it is not put in again when the time stamps go on."""
        if self._due_ms is not None:
            self._due_ms += ms
        return silence(ms * self._rate // 1000)


class Reorder(Generic[T]):
    """Packets by their numbers. In order they pass at once; one that is missing is waited for while WINDOW others come.
    Those that come too late or twice are dropped."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: dict[int, T] = {}
        self._late = 0

    def push(self, number: int, packet: T) -> list[T]:
        """What can be passed on now, in order."""
        if self._next is None:
            self._next = number
        if number < self._next:
            self._late += 1
            if self._late <= WINDOW:
                return []
            self._next = number  # not late: the other side counts anew
        self._late = 0
        self._waiting[number] = packet
        return self._in_order() or (self.flush() if len(self._waiting) > WINDOW else [])

    def flush(self) -> list[T]:
        """Wait no longer for what is missing."""
        passed = [self._waiting[number] for number in sorted(self._waiting)]
        if self._waiting:
            self._next = max(self._waiting) + 1
        self._waiting.clear()
        return passed

    def _in_order(self) -> list[T]:
        passed: list[T] = []
        while self._next in self._waiting:
            passed.append(self._waiting.pop(self._next))
            self._next += 1
        return passed


class EarlyInput:
    """Audio and keys that came before the message that begins the call: networks do not keep the order, and what the
    caller said is kept until it can be understood."""

    def __init__(self) -> None:
        self._waiting: deque[AudioReceived | DigitPressed] = deque()
        self._bytes = 0

    def add(self, incoming: AudioReceived | DigitPressed) -> None:
        self._waiting.append(incoming)
        self._bytes += _size(incoming)
        while len(self._waiting) > MAX_EARLY or self._bytes > MAX_EARLY_BYTES:
            self._bytes -= _size(self._waiting.popleft())

    def take(self) -> list[AudioReceived | DigitPressed]:
        """All of it, in order; nothing is left."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken


def _size(incoming: AudioReceived | DigitPressed) -> int:
    return len(incoming.audio) if isinstance(incoming, AudioReceived) else 0
