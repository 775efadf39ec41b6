"""Playout of responses into a call: messages of a good size, marks between them, and how much was heard."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import Frame
from voiceagent.session.commands import ReportPlayed

MAX_PENDING = 1000
"""Marks that may be on their way: two minutes of speech. A client that returns none costs no more memory than this."""


class Marks:
    """Marks between the pieces of audio that the other side has queued: each comes back once it has played up to there.

    A mark's name holds a generation, which ends when the other side's queue is cleared: it returns all the marks it
    threw away as well, and these count for nothing."""

    def __init__(self) -> None:
        self._generation = 0
        self._count = 0
        self._pending: dict[str, ReportPlayed] = {}

    def place(self, item_id: str, audio_ms: int) -> str:
        """A name for the mark behind this position of an item's audio."""
        self._count += 1
        name = f"g{self._generation}:m{self._count}:{audio_ms}"
        self._pending[name] = ReportPlayed(item_id, audio_ms)
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        return name

    def returned(self, name: str) -> ReportPlayed | None:
        """What this mark reports; None for one that was cleared, has been returned before, or is none of ours. Those
        before it are passed as well, whether they come or not."""
        report = self._pending.get(name)
        if report is None:
            return None
        for passed in list(self._pending):
            del self._pending[passed]
            if passed == name:
                break
        return report

    def clear(self) -> None:
        """The other side is told to throw its queue away."""
        self._generation += 1
        self._pending.clear()

    @property
    def pending(self) -> bool:
        return bool(self._pending)


MARK_MS = 100
"""Audio between two marks."""


class TelephoneLine(Protocol):
    """The messages of one telephone protocol for what all of them do."""

    @property
    def has_marks(self) -> bool: ...

    def audio(self, pcm: Pcm) -> Sequence[Frame]: ...

    def mark(self, name: str) -> Frame:
        """Only where it has marks."""
        ...

    def clear(self) -> Frame | None:
        """Throw away what is queued. None where nothing is ever queued."""
        ...

    def digits(self, digits: str) -> Frame | None:
        """Send DTMF. None where the protocol cannot."""
        ...


class CallPlayout:
    """What came as audio of replies leaves in messages of at least `message_ms`, each a multiple of `grain_ms` (0: any
    length): tiny ones sound choppy. What is too short waits for more, or for `flush`."""

    def __init__(self, line: TelephoneLine, rate: int, *, message_ms: int, grain_ms: int) -> None:
        self._line = line
        self._rate = rate
        self._least = rate * message_ms // 1000
        self._grain = max(1, rate * grain_ms // 1000)
        self._marks = Marks()
        self._held = silence(0)
        self._item_id = ""
        self._sent = 0
        self._marked = 0
        self.unheard = False
        """Something was sent that may not have been played yet."""

    @property
    def held(self) -> bool:
        """Something waits for more."""
        return len(self._held) > 0

    @property
    def marked(self) -> bool:
        """A mark is still to come back."""
        return self._marks.pending

    def say(self, item_id: str, pcm: Pcm) -> list[Frame]:
        """More of the item's audio."""
        frames: list[Frame] = []
        if item_id != self._item_id:
            frames = self.flush()
            self._item_id, self._sent, self._marked = item_id, 0, 0
        self._held = np.concatenate((self._held, pcm))
        if len(self._held) < self._least:
            return frames
        whole = len(self._held) // self._grain * self._grain
        now, self._held = self._held[:whole], self._held[whole:]
        frames += self._send(now)
        if self._sent - self._marked >= self._rate * MARK_MS // 1000:
            frames += self._mark()
        return frames

    def flush(self) -> list[Frame]:
        """Send what is left, and a mark behind it."""
        frames: list[Frame] = []
        if self.held:
            rest, self._held = self._held, silence(0)
            frames += self._send(rest)
        if self._sent > self._marked:
            frames += self._mark()
        return frames

    def clear(self, *, cut: bool = False) -> list[Frame]:
        """Nothing of what was said is to be heard any more. A reply that is cut off is cleared even when all marks so
        far have come back; otherwise only what may still be queued."""
        queued = self.unheard or (cut and self._sent > 0)
        self._held = silence(0)
        self._item_id = ""
        self._sent = self._marked = 0
        self._marks.clear()
        cleared = self._line.clear() if queued else None
        self.unheard = False
        return [] if cleared is None else [cleared]

    def played(self, name: str) -> ReportPlayed | None:
        """A mark came back."""
        report = self._marks.returned(name)
        if report is not None and not self.marked and self._sent == self._marked:
            self.unheard = False
        return report

    def settled(self) -> None:
        """By the clock all of it was played."""
        if not self.marked:
            self.unheard = False

    def _send(self, pcm: Pcm) -> list[Frame]:
        self._sent += len(pcm)
        self.unheard = True
        short = -len(pcm) % self._grain
        return list(self._line.audio(np.concatenate((pcm, silence(short))) if short else pcm))

    def _mark(self) -> list[Frame]:
        self._marked = self._sent
        if not self._line.has_marks:
            return []
        return [self._line.mark(self._marks.place(self._item_id, 1000 * self._sent // self._rate))]
