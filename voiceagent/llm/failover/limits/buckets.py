"""Token buckets for requests and tokens a minute: what a service allows, and what of it is left."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from voiceagent.section import Section

Share = Annotated[float, Field(gt=0, le=1)]

MARGIN = 61 / 60
"""By how much longer than the service's window ours is: what the network delays may bunch up."""


TICK = 1e-4
"""Seconds that are not worth a wait: less than a timer keeps. What goes early is owed, so it does not add up."""


class LimitSettings(Section):
    """How the rate limits that endpoints declare are kept."""

    burst: Share = 0.2
    """Share of a minute's limit that may go at once. The rest flows evenly, so that no window of a minute sees more
    than the limit; a steady load gets 1 - burst of it."""
    waiting: Annotated[int, Field(ge=1)] = 1000
    """Requests that may wait for one endpoint."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """A tenant's share of a crowded endpoint, 1 where none is named."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many units in any `window` of seconds, of which `burst` (a share) may go at once."""

    count: int
    burst: float = 0.2
    window: float = 60.0

    @property
    def capacity(self) -> float:
        """Units that may go at once after a rest."""
        return max(1.0, self.count * self.burst)

    @property
    def rate(self) -> float:
        """Units a second that flow back: with a full bucket at its start, a window still sees at most `count`."""
        return (self.count + 1 - self.capacity) / (self.window * MARGIN)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one endpoint; None is no limit."""

    requests: Limit | None = None
    tokens: Limit | None = None

    @classmethod
    def a_minute(cls, rpm: int | None, tpm: int | None, burst: float = 0.2) -> "Limits":
        return cls(Limit(rpm, burst) if rpm else None, Limit(tpm, burst) if tpm else None)

    def share(self, tokens: int) -> float:
        """What one request takes of the scarcer of the two limits, 0 without limits."""
        of_requests = 1 / self.requests.count if self.requests is not None else 0.0
        of_tokens = tokens / self.tokens.count if self.tokens is not None else 0.0
        return max(of_requests, of_tokens)


class Bucket(Protocol):
    """The requests and tokens of one endpoint that may go now."""

    @property
    def headroom(self) -> float:
        """The share of the scarcer that is left, 0 to 1."""
        ...

    async def take(self, tokens: int) -> float:
        """0 when one request of so many tokens was taken; else nothing was, and in so many seconds it may be."""
        ...

    def correct(self, tokens: int) -> None:
        """So many tokens more (below 0: fewer) were used than taken."""
        ...


class BucketSource(Protocol):
    """Where the buckets of all endpoints are, if not in this process alone."""

    def bucket(self, endpoint: str, limits: Limits) -> Bucket:
        """The bucket of the endpoint of that name."""
        ...

    async def close(self) -> None: ...


class Level:
    """One token bucket. What is taken beyond its content is a debt: a request greater than the bucket goes when that
    is full, and those after it wait the longer."""

    def __init__(self, limit: Limit, at: float) -> None:
        self._limit = limit
        self._level = limit.capacity
        self._at = at

    def fill(self, now: float) -> float:
        """What is in it by now."""
        self._level = min(self._limit.capacity, self._level + max(0.0, now - self._at) * self._limit.rate)
        self._at = now
        return self._level

    def missing(self, units: float) -> float:
        """In how many seconds so many can be taken."""
        return max(0.0, (min(units, self._limit.capacity) - self._level) / self._limit.rate)

    def take(self, units: float) -> None:
        """Below 0 gives back."""
        self._level = min(self._limit.capacity, self._level - units)

    @property
    def headroom(self) -> float:
        return min(1.0, max(0.0, self._level / self._limit.capacity))


class LocalBucket:
    """A Bucket of this process alone."""

    def __init__(self, limits: Limits, clock: Callable[[], float] | None = None) -> None:
        """`clock` in seconds, never back; the running loop's where none is given."""
        self._limits = limits
        self._clock = clock
        self._requests: Level | None = None
        self._tokens: Level | None = None

    @property
    def headroom(self) -> float:
        levels = self._filled()
        return min((level.headroom for level in levels), default=1.0)

    async def take(self, tokens: int) -> float:
        self._filled()
        wanted = [(level, units) for level, units in ((self._requests, 1), (self._tokens, tokens)) if level is not None]
        wait = max((level.missing(units) for level, units in wanted), default=0.0)
        if wait > TICK:
            return wait
        for level, units in wanted:
            level.take(units)
        return 0.0

    def correct(self, tokens: int) -> None:
        self._filled()
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _filled(self) -> list[Level]:
        now = self._clock() if self._clock is not None else asyncio.get_running_loop().time()
        if self._requests is None and self._limits.requests is not None:
            self._requests = Level(self._limits.requests, now)
        if self._tokens is None and self._limits.tokens is not None:
            self._tokens = Level(self._limits.tokens, now)
        levels = [level for level in (self._requests, self._tokens) if level is not None]
        for level in levels:
            level.fill(now)
        return levels
