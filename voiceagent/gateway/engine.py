"""The one place where the edge is put together: the endpoints in the middle, the layers around them.

    audit log > moderation > masking > spans > cache > budgets > routes > endpoints

A layer is a language model that asks another one, and opens and closes it with itself. The outermost sees a request
first and its answer last: the log sees what was refused, and what lies inside the masking never sees personal data.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

from prometheus_client.metrics_core import Metric
from pydantic import Field, JsonValue

from voiceagent.gateway.audit.engine import AuditedLlm, AuditSettings
from voiceagent.gateway.budgets.accounts import MoneySettings, PeriodClock, Price
from voiceagent.gateway.budgets.engine import BudgetedLlm, ledger_of
from voiceagent.gateway.cache.engine import CacheSection, cached
from voiceagent.gateway.cache.question import is_personal
from voiceagent.gateway.experiments.assignment import ExperimentOptions, Experiments
from voiceagent.gateway.observe.metrics import GatewayMetrics, SpentShares
from voiceagent.gateway.routes.engine import RoutedLlm
from voiceagent.gateway.routes.options import Groups, Names, RouteOptions, endpoints
from voiceagent.gateway.routes.rules import Router
from voiceagent.gateway.tracing import TelemetrySettings
from voiceagent.guard.engine import GuardSettings, guarded
from voiceagent.llm.base import LlmEngine, LlmEvent, LlmRequest
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.limits.buckets import LimitSettings
from voiceagent.llm.failover.limits.gates import Gates, LimitedGate
from voiceagent.llm.failover.options import EndpointOptions, FailoverOptions
from voiceagent.llm.failover.status import FailoverStatus
from voiceagent.models.store import ModelStore

_HIDDEN = re.compile(r"\[(?:CARD|ID|SSN|PHONE|EMAIL|TEXT)_\d")
"""What masking leaves in the place of personal data."""


class BudgetSection(MoneySettings):
    """With `cheaper`: the endpoints and groups that answer from the share `degrade` on; none: the step is left out."""

    cheaper: Names = ()
    """Endpoints and groups that answer from `degrade` on."""

    @property
    def is_used(self) -> bool:
        budgets = (self.all, self.tenant, *self.tenants.values())
        return bool(self.path or self.redis) or any(budget.daily or budget.monthly for budget in budgets)


class GatewayOptions(FailoverOptions):
    """`[llm] engine = "edge"`: everything under it, the layers included. A layer without settings is not there."""

    groups: Groups = Field(default_factory=dict)
    """Endpoints by the name of a group, for routes."""
    routes: tuple[RouteOptions, ...] = ()
    """Rules that send a request to some of the endpoints."""
    experiments: tuple[ExperimentOptions, ...] = ()
    """Splits of the requests by user."""
    experiments_path: str = ""
    """SQLite file of what experiments have shown; empty: nothing outlives the process."""
    limits: LimitSettings = LimitSettings()
    """How rate limits are kept."""
    money: BudgetSection = BudgetSection()
    """Budgets."""
    cache: CacheSection | None = None
    """Kept answers; none without this table."""
    guard: GuardSettings = GuardSettings()
    """Guard rails."""
    audit: AuditSettings = AuditSettings()
    """The audit log."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Spans."""


class GatewayLlm:
    """The edge within all layers that the settings ask for: what `engine = "edge"` is."""

    Options = GatewayOptions

    def __init__(self, options: GatewayOptions, models: ModelStore) -> None:
        """Raises ConfigError for options that cannot work together."""
        self._options = options
        self._names = tuple(endpoint.name for endpoint in options.endpoints)
        self._gates = Gates(options.limits)
        self._gate_of: dict[str, LimitedGate] = {}
        self._edge = FailoverLlm(options, models, self._gate)
        self._clock = PeriodClock()
        self._ledger: SpentShares | None = None
        if options.money.is_used:
            self._ledger = SpentShares(ledger_of(options.money, self._clock), options.money, self._clock)
        self.experiments: Experiments | None = None
        self._metrics = GatewayMetrics(self._edge, self._names, self._gate_of, self._ledger)
        self._edge.subscribe(self._metrics.observe)
        engine = self._budgeted(self._routed())
        if options.cache is not None:
            engine = self._metrics.cache = cached(engine, options.cache, models, self._must_not_be_kept)
        engine = guarded(self._traced(engine), options.guard, self._metrics.blocked)
        self._engine = AuditedLlm.by(options.audit, engine) if options.audit.on else engine

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    async def open(self) -> None:
        """Raises ConfigError when an endpoint or a layer cannot be used."""
        await self._engine.open()

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        return self._engine.reply(request)

    async def close(self) -> None:
        try:
            await self._engine.close()
        finally:
            await self._gates.close()

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None:
        """A reply is over, for the experiments."""
        if self.experiments is not None:
            self.experiments.observe_reply(session, user, interrupted)

    def collect(self) -> Iterable[Metric]:
        """Its series for Prometheus. Only on the loop it runs on."""
        return self._metrics.collect()

    def status(self) -> FailoverStatus:
        """The endpoints. Only on the loop it runs on."""
        return self._edge.status()

    def report(self) -> dict[str, JsonValue]:
        """How it is doing, for people. Only on the loop it runs on."""
        return self._metrics.report()

    # -- the layers, from the innermost on ---------------------------------------------------------------------------

    def _gate(self, endpoint: EndpointOptions) -> LimitedGate | None:
        if not (endpoint.rpm or endpoint.tpm):
            return None
        gate = self._gate_of[endpoint.name] = self._gates.gate(endpoint.name, endpoint.rpm, endpoint.tpm)
        return gate

    def _routed(self) -> LlmEngine:
        options = self._options
        if not (options.routes or options.experiments):
            return self._edge
        router = Router(options.routes, options.groups, self._names)
        if options.experiments:
            self.experiments = Experiments(options.experiments, options.groups, self._names, options.experiments_path)
            self._edge.subscribe(self.experiments.observe_outcome)
        routed = self._metrics.routes = RoutedLlm(self._edge, router, self.experiments)
        return routed

    def _budgeted(self, engine: LlmEngine) -> LlmEngine:
        money = self._options.money
        if self._ledger is None:
            return engine
        cheaper: LlmEngine | None = None
        if money.cheaper:
            names = endpoints(money.cheaper, self._options.groups, self._names, "[llm.money] cheaper")
            cheaper = self._edge.among(names)
        dearest = Price.dearest(Price(one.price_in, one.price_out) for one in self._options.endpoints)
        return BudgetedLlm(engine, self._ledger, money, dearest, cheaper, self._metrics.alert)

    def _traced(self, engine: LlmEngine) -> LlmEngine:
        """As it is where OpenTelemetry is not installed."""
        if self._options.telemetry.spans:
            with suppress(ImportError):
                from opentelemetry import trace

                from voiceagent.gateway.tracing import TracedLlm

                tracer = trace.get_tracer("voiceagent.llm")
                traced = TracedLlm(engine, tracer, self._options.endpoints, self._options.telemetry.content)
                self._edge.subscribe(traced.observe)
                return traced
        return engine

    def _must_not_be_kept(self, text: str) -> bool:
        """A question or answer that the cache may not give to others: with personal data, also such as is masked, and
        what a spent budget says instead of an answer."""
        return text in self._options.money.sentences.values() or is_personal(text) or bool(_HIDDEN.search(text))
