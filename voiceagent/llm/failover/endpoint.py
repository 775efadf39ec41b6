"""Endpoint: its engine, its health and breaker, its rate limit, and what it has done and cost so far."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEngine
from voiceagent.llm.failover.breaker import Breaker, State
from voiceagent.llm.failover.choice import Candidate, blended_price
from voiceagent.llm.failover.health import Health
from voiceagent.llm.failover.limits.gates import LimitedGate
from voiceagent.llm.failover.options import EndpointOptions, FailoverOptions
from voiceagent.llm.failover.reports import EndpointStatus, Outcome

logger = logging.getLogger(__name__)

KEPT_FOR_NEED, PAUSED = 1, 2
"""Ranks of the choice."""
ALONE_ENOUGH = ("rate_limited", "unauthorized")
"""Failures that will surely come again at once."""


@dataclass(slots=True)
class Totals:
    """Since the start."""

    requests: int = 0
    hedges: int = 0
    resumes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    spend: float = 0.0


class Endpoint:
    def __init__(
        self, options: EndpointOptions, engine: LlmEngine, gate: LimitedGate | None, shared: FailoverOptions
    ) -> None:
        """`shared` are the options of all endpoints; `gate` keeps the rate limit, None where there is none."""
        failover = shared.failover
        self.options = options
        self.engine = engine
        self.gate = gate
        self.health = Health(shared.balance.window_seconds)
        self.breaker = Breaker(failover.breaker, self.health)
        self.totals = Totals()
        self.in_flight = 0
        self.last_used = 0.0
        self.first_token_seconds = options.first_token_seconds or failover.first_token_seconds
        self.next_token_seconds = options.next_token_seconds or failover.next_token_seconds
        self.waiting: set[asyncio.Event] = set()
        """Set when the breaker opens: requests that wait for it then look elsewhere."""
        self._checked = failover.check_seconds > 0
        self._price = blended_price(options.price_in, options.price_out)

    @property
    def name(self) -> str:
        return self.options.name

    def candidate(self, now: float) -> Candidate:
        """As the choice sees it."""
        health = self.health
        return Candidate(
            self.name,
            p50=health.p50(now),
            p95=health.p95(now),
            failure_rate=health.failure_rate(now),
            in_flight=self.in_flight,
            capacity=self.options.capacity,
            headroom=1.0 if self.gate is None else self.gate.headroom,
            price=self._price,
            weight=self.options.weight,
            recent=health.recent(now),
            rank=self._rank(now),
        )

    def failed(self, now: float, error: EngineError, *, at_once: bool = False) -> None:
        """A request went wrong here, and the endpoint is to blame; `at_once` if that is enough to open the breaker."""
        self.health.ended(now, failed=True)
        at_once = at_once or error.code in ALONE_ENOUGH
        if self.breaker.failed(now, at_once=at_once, retry_after=error.retry_after):
            seconds = self.breaker.reopens_in(now)
            logger.warning("language model endpoint %s: breaker open for %.1f s (%s)", self.name, seconds, error.code)
            for event in self.waiting:
                event.set()

    def succeeded(self, now: float) -> None:
        self.breaker.succeeded()
        self.health.ended(now, failed=False)

    def count(self, outcome: Outcome) -> None:
        totals = self.totals
        totals.requests += 1
        totals.hedges += outcome.hedged
        totals.resumes += outcome.resumed
        if outcome.code not in ("ok", "cancelled"):
            totals.errors[outcome.code] += 1
        totals.input_tokens += outcome.input_tokens
        totals.output_tokens += outcome.output_tokens
        totals.cached_tokens += outcome.cached_tokens
        totals.spend += outcome.cost

    def status(self, now: float) -> EndpointStatus:
        health, totals, options = self.health, self.totals, self.options
        return EndpointStatus(
            name=self.name,
            dialect=options.dialect,
            model=options.model,
            region=options.region,
            breaker=self.breaker.state(now),
            reopens_in=self.breaker.reopens_in(now),
            ttft_p50=health.p50(now),
            ttft_p95=health.p95(now),
            failure_rate=health.failure_rate(now),
            in_flight=self.in_flight,
            waiting=0 if self.gate is None else self.gate.waiting,
            capacity=options.capacity,
            headroom=1.0 if self.gate is None else self.gate.headroom,
            requests=totals.requests,
            hedges=totals.hedges,
            resumes=totals.resumes,
            errors=dict(totals.errors),
            input_tokens=totals.input_tokens,
            output_tokens=totals.output_tokens,
            cached_tokens=totals.cached_tokens,
            spend=totals.spend,
        )

    def _rank(self, now: float) -> int:
        """Where checks find out whether it has come back, no caller has to; else one caller tries it."""
        if self.breaker.state(now) is State.CLOSED:
            return 0 if self.options.weight > 0 else KEPT_FOR_NEED
        return -1 if not self._checked and self.breaker.wants_probe(now) else PAUSED
