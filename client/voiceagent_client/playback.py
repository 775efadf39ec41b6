"""What is to be played, and how much of it was: counted in samples handed to the speaker."""

import threading
from collections import deque
from dataclasses import dataclass

from voiceagent_client.pcm import RATE, Pcm, to_ms

PREBUFFER_MS = 60
"""The jitter buffer's usual size."""

KEPT_ITEMS = 32
"""Items whose count is kept after they were played or cut."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was stopped before its end: `played_ms` of it were heard, of `arrived_ms` that had come by then."""

    item_id: str
    content_index: int
    played_ms: int
    arrived_ms: int


@dataclass(slots=True, eq=False)
class _Item:
    item_id: str
    content_index: int
    played: int = 0
    """Samples."""
    arrived: int = 0
    """Samples."""
    ended: bool = False
    """All its audio is here."""
    cut: bool = False
    """What still comes of it is not wanted."""


class Player:
    """Between the network, which adds audio, and the speaker, which reads it; from any threads.

    A small jitter buffer: playing starts once `prebuffer_ms` are there, or the item's end is, or `prebuffer_ms`
    have passed since its first sample; the same again after it has run dry. Silence is read in between and
    never counted.

    A sample counts as played when the speaker has taken it: from then on it cannot be called back, so it will be heard.
    At most `limit_seconds` are held; of what does not fit, the newest is dropped.
    """

    def __init__(self, *, prebuffer_ms: int = PREBUFFER_MS, limit_seconds: int = 600) -> None:
        self._prebuffer = prebuffer_ms * RATE // 1000
        self._limit = limit_seconds * RATE
        self._lock = threading.Lock()
        self._queue: deque[tuple[_Item, Pcm]] = deque()
        self._offset = 0  # samples of the first chunk that are already played
        self._buffered = 0
        self._holding = True
        self._waited = 0
        self._items: dict[tuple[str, int], _Item] = {}
        self._latest: _Item | None = None

    def add(self, item_id: str, content_index: int, pcm: Pcm) -> bool:
        """More audio of an item. False if it was dropped: the item was cut before, or the buffer is full."""
        with self._lock:
            item = self._latest = self._item(item_id, content_index)
            if item.cut or self._buffered + len(pcm) > self._limit:
                return False
            if len(pcm):
                self._queue.append((item, pcm))
                self._buffered += len(pcm)
                item.arrived += len(pcm)
            return True

    def end(self) -> None:
        """All audio that was to come is here."""
        with self._lock:
            for item in self._items.values():
                item.ended = True

    def read_into(self, out: Pcm) -> int:
        """Fills `out` for the speaker, with silence where there is nothing to play; returns the samples that
        were played."""
        with self._lock:
            filled = self._take(out) if self._ready(len(out)) else 0
        out[filled:] = 0
        return filled

    def flush(self) -> list[Cut]:
        """Drops everything not yet played, at once, and says what was cut by that: the items with samples left,
        and the last one if more of it was to come. What arrives of them later is dropped too."""
        with self._lock:
            items = list(dict.fromkeys(item for item, _ in self._queue))
            latest = self._latest
            if latest is not None and not latest.ended and not latest.cut and latest not in items:
                items.append(latest)
            for item in items:
                item.cut = True
            self._queue.clear()
            self._offset = self._buffered = self._waited = 0
            self._holding = True
            return [Cut(item.item_id, item.content_index, to_ms(item.played), to_ms(item.arrived)) for item in items]

    def played_ms(self, item_id: str, content_index: int = 0) -> int:
        """Of one of the last items; 0 for an unknown one."""
        with self._lock:
            item = self._items.get((item_id, content_index))
            return 0 if item is None else to_ms(item.played)

    @property
    def buffered_ms(self) -> int:
        """Milliseconds still to be played."""
        with self._lock:
            return to_ms(self._buffered)

    @property
    def idle(self) -> bool:
        """Nothing is left to be played."""
        with self._lock:
            return not self._queue

    def _item(self, item_id: str, content_index: int) -> _Item:
        key = (item_id, content_index)
        if key not in self._items:
            if len(self._items) >= KEPT_ITEMS:
                del self._items[next(iter(self._items))]
            self._items[key] = _Item(item_id, content_index)
        return self._items[key]

    def _ready(self, samples: int) -> bool:
        if not self._queue:
            return False
        if self._holding:
            first, _ = self._queue[0]
            enough = self._buffered >= self._prebuffer or self._waited >= self._prebuffer
            self._holding = not (enough or first.ended)
            self._waited += samples
        return not self._holding

    def _take(self, out: Pcm) -> int:
        filled = 0
        while filled < len(out) and self._queue:
            item, pcm = self._queue[0]
            count = min(len(out) - filled, len(pcm) - self._offset)
            out[filled : filled + count] = pcm[self._offset : self._offset + count]
            item.played += count
            filled += count
            self._offset += count
            if self._offset == len(pcm):
                self._queue.popleft()
                self._offset = 0
        self._buffered -= filled
        if not self._queue:
            self._holding = True
            self._waited = 0
        return filled
