"""Choice of the endpoint that answers a request: a pure function of what is known about each.

Every endpoint gets a score, the sum of weight times badness; the lowest is the best. The badnesses:

- latency: how many times slower than the fastest, as a power of two (twice as slow is 1), of the median and a fifth of
  the way from there to the p95. One that was not measured lately counts as the fastest, so that it is tried again.
- failures: 0 to 8, eight times the share of requests that failed.
- load: requests in flight, this one included, by capacity: nothing up to three quarters, then steep (full is 1, one and
  a half times full is 7). 0 where no capacity is configured.
- headroom: of the rate limit: 0 while half of it is left, 2 at its end.
- price: 0 to 4, four times its share of the dearest endpoint's price.

Endpoints whose scores are nearly the same share the requests by their configured weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voiceagent.llm.failover.options import Weights

SAME = 0.15
"""Scores this close are equally good: 10 % of latency are noise."""
FLOOR_SECONDS = 0.02
"""Times to the first token below this are all the same: nobody hears the difference."""
TAIL = 0.2
INPUT_SHARE = 0.8
"""Of a spoken turn's tokens: the prompt is long, the answer short."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known about an endpoint now. Times in seconds, None without measurement; `price` is for a million tokens
    of a usual turn; `recent` counts its requests of late. `rank`: those of a higher one are only taken when there is
    none of a lower (1: weight 0, kept for need; 2: its breaker is open)."""

    name: str
    p50: float | None = None
    p95: float | None = None
    failure_rate: float = 0.0
    in_flight: int = 0
    capacity: int | None = None
    headroom: float = 1.0
    price: float = 0.0
    weight: float = 1.0
    recent: int = 0
    rank: int = 0

    @property
    def latency(self) -> float | None:
        if self.p50 is None:
            return None
        tail = self.p50 if self.p95 is None else self.p95
        return max(FLOOR_SECONDS, self.p50 + TAIL * (tail - self.p50))

    @property
    def _share_taken(self) -> tuple[float, float]:
        """What it has of the work, by its weight: now, and of late."""
        weight = max(self.weight, 1e-9)
        return self.in_flight / weight, (self.recent + 1) / weight


def blended_price(price_in: float, price_out: float) -> float:
    """What a million tokens of a usual spoken turn cost."""
    return INPUT_SHARE * price_in + (1 - INPUT_SHARE) * price_out


def scores(candidates: Sequence[Candidate], weights: Weights) -> dict[str, float]:
    """By name; only their differences mean something."""
    fastest = min((latency for one in candidates if (latency := one.latency) is not None), default=FLOOR_SECONDS)
    dearest = max((one.price for one in candidates), default=0.0)
    return {one.name: _score(one, weights, fastest, dearest) for one in candidates}


def choose(
    candidates: Sequence[Candidate], weights: Weights, *, sticky: str | None = None, margin: float = 0.0
) -> Candidate | None:
    """The endpoint for a request; None without candidates. `sticky` names the session's last one, which is kept while
    it is of the lowest rank and no other's score is better by `margin`."""
    if not candidates:
        return None
    rank = min(one.rank for one in candidates)
    ready = [one for one in candidates if one.rank == rank]
    score = scores(ready, weights)
    best = min(score.values())
    kept = next((one for one in ready if one.name == sticky), None)
    if kept is not None and score[kept.name] <= best + margin:
        return kept
    return min((one for one in ready if score[one.name] <= best + SAME), key=lambda one: one._share_taken)


def _score(one: Candidate, weights: Weights, fastest: float, dearest: float) -> float:
    latency = 0.0 if one.latency is None else math.log2(one.latency / fastest)
    return (
        weights.latency * latency
        + weights.failures * 8 * one.failure_rate
        + weights.load * _load(one)
        + weights.headroom * max(0.0, 2 - 4 * one.headroom)
        + weights.price * (4 * one.price / dearest if dearest else 0.0)
    )


def _load(one: Candidate) -> float:
    if one.capacity is None:
        return 0.0
    over = max(0.0, (one.in_flight + 1) / one.capacity - 0.75)
    return 4 * over + 8 * max(0.0, over - 0.25)
