"""What the operator sees of the edge: series for Prometheus, and a report for people."""

from collections.abc import Iterator, Mapping
from typing import cast

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from pydantic import JsonValue

from voiceagent.gateway.budgets.accounts import EVERYONE, BudgetAlert, MoneySettings, PeriodClock, is_day, standings
from voiceagent.gateway.budgets.ledger import Kind, Ledger, Reservation
from voiceagent.gateway.cache.engine import CachedLlm
from voiceagent.gateway.routes.engine import RoutedLlm
from voiceagent.guard.moderation import Side
from voiceagent.llm.base import Caller, LlmRequest
from voiceagent.llm.failover.breaker import State
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.limits.gates import LimitedGate
from voiceagent.llm.failover.outcome import Outcome

# How far the budgets are used up, for the metrics.

MOST_SHARES = 200
"""Of tenants and periods; those beyond are not shown. Tenants are API keys, so there are hardly so many."""


class SpentShares:
    """A Ledger over another one, that remembers what share of each budget was spent or reserved at the last request."""

    def __init__(self, ledger: Ledger, settings: MoneySettings, clock: PeriodClock) -> None:
        """`clock` is the ledger's own."""
        self._ledger, self._settings, self._clock = ledger, settings, clock
        self._shares: dict[tuple[str, str], float] = {}

    def now(self) -> dict[tuple[str, str], float]:
        """By account and "day" or "month". What is of yesterday is gone."""
        periods = self._clock.periods()
        self._shares = {key: share for key, share in self._shares.items() if key[1] in periods}
        return {
            (account, "day" if is_day(period) else "month"): share for (account, period), share in self._shares.items()
        }

    async def open(self) -> None:
        await self._ledger.open()

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        reservation = await self._ledger.reserve(tenant, amount)
        for standing in standings(self._settings, reservation.before):
            key = (standing.account, standing.period)
            if key in self._shares or len(self._shares) < MOST_SHARES:
                self._shares[key] = standing.share
        return reservation

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        self._ledger.settle(reservation, caller, model, cost)

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        return await self._ledger.spent(kind, period)

    async def close(self) -> None:
        await self._ledger.close()


def account_label(account: str) -> str:
    """How metrics name it: all tenants together as "all"."""
    return "all" if account == EVERYONE else account or "(none)"


SECONDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
CODES = frozenset("ok cancelled unavailable timeout unauthorized rate_limited bad_request bad_response failed".split())
"""Labels are bounded: what else an engine may call its failure is "other"."""
KINDS = ("first", "hedge", "resume", "check")


class GatewayMetrics:
    """The series of one edge. Every label has the values that the configuration gives it, and no others."""

    def __init__(
        self, edge: FailoverLlm, names: tuple[str, ...], gates: Mapping[str, LimitedGate], budgets: SpentShares | None
    ) -> None:
        """`names` are the endpoints', `gates` those that have limits."""
        self.cache: CachedLlm | None = None
        self.routes: RoutedLlm | None = None
        self._edge, self._gates, self._budgets = edge, gates, budgets
        registry = self._registry = CollectorRegistry()
        self._attempts = Counter(
            "voiceagent_llm_endpoint_attempts_total",
            "Requests sent to an endpoint, by what for (first, hedge, resume, check) and how they ended",
            ["endpoint", "kind", "code"],
            registry=registry,
        )
        self._ttft = Histogram(
            "voiceagent_llm_endpoint_ttft_seconds",
            "Time to the first token, checks left out",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "voiceagent_llm_endpoint_tokens_total",
            "Tokens as the endpoint counts them; cached ones are among the input",
            ["endpoint", "direction"],
            registry=registry,
        )
        self._spend = Counter(
            "voiceagent_llm_endpoint_spend_total", "Cost at the configured prices", ["endpoint"], registry=registry
        )
        self._alerts = Counter(
            "voiceagent_llm_budget_alerts_total",
            "How often a budget reached a step (warn, degrade, refuse)",
            ["account", "level"],
            registry=registry,
        )
        self._blocked = Counter(
            "voiceagent_llm_blocked_total",
            "What moderation blocked, by side (in, out)",
            ["side"],
            registry=registry,
        )
        for name in names:  # a series that begins with its first error has no rate
            self._ttft.labels(name)
            self._spend.labels(name)
            for code in CODES:
                self._attempts.labels(name, "first", code)

    def observe(self, outcome: Outcome) -> None:
        """One attempt at an endpoint, as the edge tells its observers."""
        name = outcome.endpoint
        code = outcome.code if outcome.code in CODES else "other"
        self._attempts.labels(name, _kind(outcome), code).inc()
        if outcome.ttft is not None and not outcome.check:
            self._ttft.labels(name).observe(outcome.ttft)
        self._tokens.labels(name, "input").inc(outcome.input_tokens)
        self._tokens.labels(name, "output").inc(outcome.output_tokens)
        self._tokens.labels(name, "cached").inc(outcome.cached_tokens)
        self._spend.labels(name).inc(outcome.cost)

    def alert(self, alert: BudgetAlert) -> None:
        self._alerts.labels(account_label(alert.account), alert.level).inc()

    def blocked(self, request: LlmRequest, side: Side, reason: str) -> None:
        self._blocked.labels(side).inc()

    def collect(self) -> Iterator[Metric]:
        """Only while the edge's loop runs, and on it."""
        yield from self._registry.collect()
        yield from self._of_endpoints()
        yield from self._of_layers()
        status = self._edge.status()
        yield CounterMetricFamily("voiceagent_llm_edge_requests", "Callers' requests", value=status.requests)
        yield CounterMetricFamily(
            "voiceagent_llm_edge_failed", "Callers' requests that no endpoint could answer", value=status.failed
        )
        yield CounterMetricFamily(
            "voiceagent_llm_edge_hedged",
            "Callers' requests that got a second one, as the first was late",
            value=status.hedged,
        )
        yield CounterMetricFamily(
            "voiceagent_llm_edge_resumed", "Answers that broke off and went on elsewhere", value=status.resumed
        )

    def report(self) -> dict[str, JsonValue]:
        """The status as JSON: no key, no address, nobody's words."""
        status = self._edge.status()
        told = cast(dict[str, JsonValue], msgspec.to_builtins(status))
        told["endpoints"] = [
            {**cast(dict[str, JsonValue], msgspec.to_builtins(endpoint)), "waiting": self._waiting(endpoint.name)}
            for endpoint in status.endpoints
        ]
        return told

    def _waiting(self, name: str) -> int:
        gate = self._gates.get(name)
        return 0 if gate is None else gate.waiting

    def _of_endpoints(self) -> Iterator[Metric]:
        labels = ["endpoint"]
        in_flight = GaugeMetricFamily("voiceagent_llm_endpoint_in_flight", "Requests under way", labels=labels)
        waiting = GaugeMetricFamily(
            "voiceagent_llm_endpoint_waiting", "Requests that wait for the rate limit", labels=labels
        )
        headroom = GaugeMetricFamily(
            "voiceagent_llm_endpoint_headroom", "Share of the rate limit that is left", labels=labels
        )
        breaker = GaugeMetricFamily(
            "voiceagent_llm_endpoint_breaker", "1 for the breaker's state now", labels=["endpoint", "state"]
        )
        for endpoint in self._edge.status().endpoints:
            in_flight.add_metric([endpoint.name], endpoint.in_flight)
            waiting.add_metric([endpoint.name], self._waiting(endpoint.name))
            headroom.add_metric([endpoint.name], endpoint.headroom)
            for state in State:
                breaker.add_metric([endpoint.name, state.value], endpoint.breaker is state)
        yield from (in_flight, waiting, headroom, breaker)

    def _of_layers(self) -> Iterator[Metric]:
        if self._budgets is not None:
            share = GaugeMetricFamily(
                "voiceagent_llm_budget_share", "Share of a budget that is used up", labels=["account", "period"]
            )
            for (account, period), used in self._budgets.now().items():
                share.add_metric([account_label(account), period], used)
            yield share
        if self.cache is not None:
            totals = self.cache.totals
            asked = CounterMetricFamily(
                "voiceagent_llm_cache",
                "Requests by what the cache did: exact and meant were answered, missed might have been, the rest not",
                labels=["result"],
            )
            results = {"exact": totals.exact, "meant": totals.meant, "missed": totals.missed}
            for result, count in {**results, "skipped": sum(totals.skipped.values())}.items():
                asked.add_metric([result], count)
            yield asked
            yield CounterMetricFamily("voiceagent_llm_cache_failed", "Calls that went wrong", value=totals.failed)
        if self.routes is not None:
            taken = CounterMetricFamily("voiceagent_llm_routes", "Requests by route", labels=["route"])
            for route, count in self.routes.taken.items():
                taken.add_metric([route], count)
            yield taken


def _kind(outcome: Outcome) -> str:
    if outcome.check:
        return "check"
    if outcome.hedged:
        return "hedge"
    return "resume" if outcome.resumed else "first"
