"""Devices that ask in a loop are answered slowly, so that they cost little; an error would lock them out."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 20_000
"""Of which the pace is known; the one that asked longest ago is forgotten."""
LONGEST_SECONDS = 2.0
"""That an answer is held back."""
MAX_WAITING = 300
"""Answers that are held back at a time."""


class Pace:
    """`burst` answers at once, from then on `rate` a second, for each key by itself."""

    def __init__(self, burst: int, rate: float, clock: Callable[[], float] | None = None) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """When all of a key's burst is there again."""

    def delay(self, key: str) -> float:
        """Count an answer. Seconds by which it is too early, 0 for one in time."""
        now = self._clock()
        free_at = max(now, self._free_at.pop(key, now)) + 1 / self._rate
        early = free_at - now - self._burst / self._rate
        if early > LONGEST_SECONDS:  # what has waited as long as any does is counted as answered
            free_at -= early - LONGEST_SECONDS
        self._free_at[key] = free_at
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
        return min(LONGEST_SECONDS, max(0.0, early))


class Brake:
    """Holds answers back, but not more than MAX_WAITING of them."""

    def __init__(self) -> None:
        self._waiting = 0

    async def hold(self, seconds: float) -> bool:
        """False when too many wait already."""
        if seconds <= 0:
            return True
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1
        return True
