"""Metrics of endpoints: series for Prometheus, and a report for people."""

from collections.abc import Iterator
from typing import cast

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from pydantic import JsonValue

from voiceagent.llm.failover.breaker import State
from voiceagent.llm.failover.pool import Pool
from voiceagent.llm.failover.reports import Outcome

SECONDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
CODES = frozenset("ok cancelled unavailable timeout unauthorized rate_limited bad_request bad_response failed".split())
"""Labels are bounded: what else an engine may call its failure is "other"."""


class EndpointMetrics:
    """The series of one failover engine. Every label has the values that the configuration gives it, and no others."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
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
        for name in pool.endpoints:  # a series that begins with its first error has no rate
            self._ttft.labels(name)
            self._spend.labels(name)
            for code in CODES:
                self._attempts.labels(name, "first", code)

    def observe(self, outcome: Outcome) -> None:
        """Count one attempt at an endpoint."""
        name = outcome.endpoint
        code = outcome.code if outcome.code in CODES else "other"
        self._attempts.labels(name, _kind(outcome), code).inc()
        if outcome.ttft is not None and not outcome.check:
            self._ttft.labels(name).observe(outcome.ttft)
        self._tokens.labels(name, "input").inc(outcome.input_tokens)
        self._tokens.labels(name, "output").inc(outcome.output_tokens)
        self._tokens.labels(name, "cached").inc(outcome.cached_tokens)
        self._spend.labels(name).inc(outcome.cost)

    def collect(self) -> Iterator[Metric]:
        """Only while the engine's loop runs, and on it."""
        yield from self._registry.collect()
        yield from self._of_endpoints()
        status = self._pool.status()
        yield CounterMetricFamily("voiceagent_llm_failover_requests", "Callers' requests", value=status.requests)
        yield CounterMetricFamily(
            "voiceagent_llm_failover_failed", "Callers' requests that no endpoint could answer", value=status.failed
        )
        yield CounterMetricFamily(
            "voiceagent_llm_failover_hedged",
            "Callers' requests that got a second one, as the first was late",
            value=status.hedged,
        )
        yield CounterMetricFamily(
            "voiceagent_llm_failover_resumed", "Answers that broke off and went on elsewhere", value=status.resumed
        )

    def report(self) -> dict[str, JsonValue]:
        """The status as JSON: no key, no address, nobody's words."""
        return cast(dict[str, JsonValue], msgspec.json.decode(msgspec.json.encode(self._pool.status())))

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
        for endpoint in self._pool.status().endpoints:
            in_flight.add_metric([endpoint.name], endpoint.in_flight)
            waiting.add_metric([endpoint.name], endpoint.waiting)
            headroom.add_metric([endpoint.name], endpoint.headroom)
            for state in State:
                breaker.add_metric([endpoint.name, state.value], endpoint.breaker is state)
        yield from (in_flight, waiting, headroom, breaker)


def _kind(outcome: Outcome) -> str:
    if outcome.check:
        return "check"
    if outcome.hedged:
        return "hedge"
    return "resume" if outcome.resumed else "first"
