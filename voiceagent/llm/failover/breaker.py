"""Circuit breaker: decides when an endpoint gets no requests, and how it comes back."""

from enum import StrEnum

from voiceagent.llm.failover.health import Health
from voiceagent.llm.failover.options import BreakerSection

LEAST_OUTCOMES = 10
"""Fewer tell nothing about a share of failures."""


class State(StrEnum):
    CLOSED = "closed"
    """It gets requests."""
    OPEN = "open"
    """It gets none until its pause is over."""
    HALF_OPEN = "half-open"
    """One request may find out whether it has come back."""


class Breaker:
    """Without effects: it is given every outcome, with the time in seconds of one monotonic clock."""

    def __init__(self, options: BreakerSection, health: Health) -> None:
        self._options = options
        self._health = health
        self._in_a_row = 0
        self._opened = 0
        """How often it was opened without a success in between."""
        self._until: float | None = None
        self._probing = False

    def state(self, now: float) -> State:
        if self._until is None:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    @property
    def is_open(self) -> bool:
        """Not closed: it is open, or nobody has found out yet whether it has come back."""
        return self._until is not None

    def reopens_in(self, now: float) -> float:
        """Seconds until the pause is over, 0 when there is none."""
        return max(0.0, (self._until or now) - now)

    def wants_probe(self, now: float) -> bool:
        """Whether a request may find out how the endpoint is: the pause is over, and no other is finding out."""
        return self.state(now) is State.HALF_OPEN and not self._probing

    def probe(self, now: float) -> bool:
        """A request begins; returns whether it is the one that finds out. If so, `succeeded`, `failed` or
        `released` must follow."""
        probing = self.wants_probe(now)
        self._probing = self._probing or probing
        return probing

    def released(self) -> None:
        """The probe was given up without a result."""
        self._probing = False

    def succeeded(self) -> None:
        """It answers: the pause is over, and what went before forgiven."""
        if self._until is not None:
            self._health.forgive()
        self._in_a_row = self._opened = 0
        self._until = None
        self._probing = False

    def failed(self, now: float, *, at_once: bool = False, retry_after: float = 0.0) -> bool:
        """One more failure; `at_once` when it is enough alone. `retry_after`: the endpoint asks to be left alone for so
        many seconds, 0 where it does not say. Returns whether it opened the breaker."""
        self._in_a_row += 1
        state = self.state(now)
        self._probing = False
        if state is State.OPEN:  # of a request that was under way, or the last resort
            self._until = max(self._until or now, now + retry_after)
            return False
        if state is State.CLOSED and not (retry_after or at_once or self._too_many(now)):
            return False
        options = self._options
        pause = min(options.most_seconds, options.open_seconds * 2.0 ** min(self._opened, 32))
        self._opened += 1
        self._until = now + (retry_after or pause)
        return True

    def _too_many(self, now: float) -> bool:
        health, options = self._health, self._options
        if self._in_a_row >= options.failures:
            return True
        return health.recent(now) >= LEAST_OUTCOMES and health.failure_rate(now) >= options.share
