"""When a late first token is worth a second request, and how many of those there may be."""

from voiceagent.llm.failover.health import Health
from voiceagent.llm.failover.options import HedgeSection

LEAST_SAMPLES = 20
"""Fewer say nothing about a p95."""
MOST_CREDIT = 5.0
"""Hedges that may be saved up for a bad moment."""


class Hedges:
    """Never more than the configured share of all requests."""

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
