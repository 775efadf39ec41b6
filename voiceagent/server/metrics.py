"""Metrics of the server, shown at /metrics in Prometheus' text format."""

import asyncio
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from voiceagent.session.events import (
    AudioCommitted,
    Event,
    Interruption,
    ResponseDone,
    Speculated,
    StageFailed,
    TurnTimed,
)
from voiceagent.session.timeline import PARTS

SECONDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
LAG_PERIOD = 1.0
"""Seconds between two readings of the loop's lag."""
LAG_STEP = 0.05
"""Seconds between two measurements within a period."""


@runtime_checkable
class Observable(Protocol):
    """An engine with series of its own."""

    def collect(self) -> Iterable[Metric]:
        """Called on the loop, for each reading. The names begin with `voiceagent_`."""
        ...


class Metrics:
    """All series of one process. A registry of its own, so that two servers in one process do not share numbers."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.sessions = Gauge("voiceagent_sessions", "Sessions in progress", registry=registry)
        self.refused = Counter(
            "voiceagent_refused_total", "Connections refused, by reason", ["reason"], registry=registry
        )
        self.warnings = Counter(
            "voiceagent_warnings_total", "Connections set up wrong, by what is wrong", ["code"], registry=registry
        )
        self.loop_lag = Gauge(
            "voiceagent_loop_lag_seconds", "Longest delay of the event loop lately", registry=registry
        )
        self._turns = Counter("voiceagent_turns_total", "The user's spoken turns", registry=registry)
        self._responses = Counter(
            "voiceagent_responses_total",
            "The agent's responses, by how they ended",
            ["status", "reason"],
            registry=registry,
        )
        self._errors = Counter(
            "voiceagent_errors_total", "What failed in sessions, by stage and code", ["code"], registry=registry
        )
        self._tokens = Counter("voiceagent_llm_tokens_total", "Model tokens", ["direction"], registry=registry)
        self._speculations = Counter(
            "voiceagent_speculations_total",
            "Responses prepared ahead, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self._interruptions = Counter(
            "voiceagent_interruptions_total",
            "Decisions on voices while the agent was speaking",
            ["action", "reason"],
            registry=registry,
        )
        self._response = Histogram(
            "voiceagent_response_seconds",
            "From the last sample of the user's speech to the first of the agent's",
            buckets=SECONDS,
            registry=registry,
        )
        part = Histogram(
            "voiceagent_response_part_seconds",
            "The same, by part",
            ["part"],
            buckets=SECONDS,
            registry=registry,
        )
        self._parts = {name: part.labels(name) for name in PARTS}

    def add(self, engine: object) -> None:
        """Add the engine's own series, where it has some."""
        if isinstance(engine, Observable):
            self._registry.register(engine)

    def observe(self, event: Event) -> None:
        """Count an event of a session."""
        match event:
            case AudioCommitted():
                self._turns.inc()
            case StageFailed(stage=stage, code=code):
                self._errors.labels(f"{stage}_{code}").inc()
            case ResponseDone():
                self._responses.labels(event.status, event.reason or "").inc()
                self._tokens.labels("input").inc(event.usage.input_tokens)
                self._tokens.labels("output").inc(event.usage.output_tokens)
            case TurnTimed(timeline=timeline):
                if timeline.response_ms is not None:
                    self._response.observe(timeline.response_ms / 1000)
                    for name, value in timeline.parts().items():
                        self._parts[name].observe(value / 1000)
            case Speculated(used, tokens):
                self._speculations.labels("used" if used else "thrown away").inc()
                self._tokens.labels("thrown away").inc(tokens)
            case Interruption(action, reason):
                self._interruptions.labels(action, reason).inc()
            case _:
                pass

    @property
    def lag(self) -> float:
        """Longest delay of the event loop lately, in seconds."""
        return next(sample.value for metric in self.loop_lag.collect() for sample in metric.samples)

    def refusals(self) -> dict[str, int]:
        """Connections refused since the start, by reason."""
        return _totals(self.refused, "reason")

    def warned(self) -> dict[str, int]:
        """Connections set up wrong since the start, by what is wrong."""
        return _totals(self.warnings, "code")

    def text(self) -> tuple[bytes, str]:
        """The page and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _totals(counter: Counter, label: str) -> dict[str, int]:
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return {sample.labels[label]: int(sample.value) for sample in samples if sample.name.endswith("_total")}


async def watch_lag(gauge: Gauge) -> None:
    """Set the gauge to the loop's worst lag, which shows whatever blocks it. Runs until cancelled."""
    loop = asyncio.get_running_loop()
    worst, until = 0.0, loop.time() + LAG_PERIOD
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_STEP)
        worst = max(worst, loop.time() - before - LAG_STEP)
        if loop.time() >= until:
            gauge.set(worst)
            worst, until = 0.0, loop.time() + LAG_PERIOD
