"""Health of an endpoint: times to the first token and failures, over a moving window; and hedges, which go by them."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from voiceagent.llm.failover.options import HedgeSection

MOST_SAMPLES = 256
"""The window also ends here, so that it costs the same at any load."""
LEAST_SAMPLES = 20
"""Fewer say nothing about a p95."""
MOST_CREDIT = 5.0
"""Hedges that may be saved up for a bad moment."""


class Health:
    """`window` in seconds. All times are the caller's own monotonic clock, in seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._first_tokens: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failed = 0

    def spoke(self, now: float, seconds: float) -> None:
        """A first token came after `seconds`; or the request was given up then, and it would have come later."""
        self._first_tokens.append((now, seconds))
        insort(self._sorted, seconds)
        self._forget(now)

    def ended(self, now: float, *, failed: bool) -> None:
        self._outcomes.append((now, failed))
        self._failed += failed
        self._forget(now)

    def forgive(self) -> None:
        """It has come back: the failures do not count any more."""
        self._outcomes.clear()
        self._failed = 0

    def p50(self, now: float) -> float | None:
        """Median time to the first token in seconds, None when there is no measurement in the window."""
        self._forget(now)
        return percentile(self._sorted, 0.5)

    def p95(self, now: float) -> float | None:
        self._forget(now)
        return percentile(self._sorted, 0.95)

    def samples(self, now: float) -> int:
        self._forget(now)
        return len(self._sorted)

    def recent(self, now: float) -> int:
        """Requests that ended within the window."""
        self._forget(now)
        return len(self._outcomes)

    def failure_rate(self, now: float) -> float:
        """0 to 1. One good outcome is assumed beforehand, so that a single failure is not a rate of 1."""
        self._forget(now)
        return self._failed / (len(self._outcomes) + 1)

    def _forget(self, now: float) -> None:
        oldest = now - self._window
        while self._first_tokens and (self._first_tokens[0][0] < oldest or len(self._first_tokens) > MOST_SAMPLES):
            _, seconds = self._first_tokens.popleft()
            del self._sorted[bisect_left(self._sorted, seconds)]
        while self._outcomes and (self._outcomes[0][0] < oldest or len(self._outcomes) > MOST_SAMPLES):
            _, failed = self._outcomes.popleft()
            self._failed -= failed


class Hedges:
    """When a late first token is worth a second request, and how many of those there may be: never more than the
    configured share of all requests."""

    def __init__(self, options: HedgeSection) -> None:
        self._options = options
        self._credit = 0.0

    def request(self) -> None:
        """One more request has come."""
        self._credit = min(max(MOST_CREDIT, self._options.share), self._credit + self._options.share)

    def take(self) -> bool:
        """Whether a hedge is allowed now; if so it counts."""
        if self._credit < 1.0 - 1e-9:
            return False
        self._credit -= 1.0
        return True

    def after(self, health: Health, now: float) -> float | None:
        """Seconds after which a request's first token counts as late; None: it never does."""
        median, p95 = health.p50(now), health.p95(now)
        if not self._options.on or median is None or p95 is None or health.samples(now) < LEAST_SAMPLES:
            return None
        return max(self._options.least_ms / 1000, min(p95, median * self._options.most_medians))


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed; None without any."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
