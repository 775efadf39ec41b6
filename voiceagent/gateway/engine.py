"""Model gateway, put together: the endpoints in the middle, the layers around them.

    audit log > (guard rails > tracing) > cache > budgets > routes > endpoints

A layer is a language model that asks another one, and opens and closes it with itself. The outermost sees a request
first and its answer last. Guard rails and tracing are the server's, for every engine; here they are put inside the
audit log, which shows what they refused, and around the rest, which never sees personal data.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator

from prometheus_client.metrics_core import Metric
from pydantic import Field, JsonValue, SecretStr

from voiceagent import extras
from voiceagent.gateway.audit import AuditedLlm, AuditSettings
from voiceagent.gateway.budgets.accounts import BudgetSettings, PeriodClock, Price
from voiceagent.gateway.budgets.engine import BudgetedLlm, ledger_of
from voiceagent.gateway.budgets.ledger import SpentShares
from voiceagent.gateway.cache.engine import CacheSection, cached
from voiceagent.gateway.cache.question import is_personal
from voiceagent.gateway.experiments.assignment import ExperimentOptions, Experiments
from voiceagent.gateway.metrics import GatewayMetrics
from voiceagent.gateway.routes.engine import RoutedLlm
from voiceagent.gateway.routes.options import Groups, Names, RouteOptions, endpoints
from voiceagent.gateway.routes.rules import Router
from voiceagent.llm.base import LlmEngine, LlmEvent, LlmRequest
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.limits.buckets import BucketSource, LimitSettings
from voiceagent.llm.failover.options import EndpointOptions, FailoverOptions
from voiceagent.llm.failover.reports import FailoverStatus, Observer
from voiceagent.models.store import ModelStore

_HIDDEN = re.compile(r"\[(?:CARD|ID|SSN|PHONE|EMAIL|TEXT)_\d")
"""What masking leaves in the place of personal data."""


class SharedLimitSettings(LimitSettings):
    """How the rate limits that endpoints declare are kept."""

    redis: SecretStr | None = None
    """Address of a Redis that all processes share; without it each process has the limits for itself."""

    def buckets(self) -> BucketSource | None:
        """None where each process has its own. Raises ConfigError for an address that is none."""
        if self.redis is None:
            return None
        extras.need("redis", "[llm.limits] redis")
        from voiceagent.gateway.shared_limits import SharedBuckets  # only who configures it needs the package

        return SharedBuckets(self.redis)


class BudgetSection(BudgetSettings):
    """With `cheaper`: the endpoints and groups that answer from the share `degrade` on; none: the step is left out."""

    cheaper: Names = ()
    """Endpoints and groups that answer from `degrade` on."""

    @property
    def is_used(self) -> bool:
        budgets = (self.all, self.tenant, *self.tenants.values())
        return bool(self.path or self.redis) or any(budget.daily or budget.monthly for budget in budgets)


class GatewayOptions(FailoverOptions):
    """`[llm] engine = "gateway"`: everything under it, the layers included. A layer without settings is not there."""

    groups: Groups = Field(default_factory=dict)
    """Endpoints by the name of a group, for routes."""
    routes: tuple[RouteOptions, ...] = ()
    """Rules that send a request to some of the endpoints."""
    experiments: tuple[ExperimentOptions, ...] = ()
    """Splits of the requests by user."""
    experiments_path: str = ""
    """SQLite file of what experiments have shown; empty: nothing outlives the process."""
    limits: SharedLimitSettings = SharedLimitSettings()
    """How rate limits are kept."""
    budgets: BudgetSection = BudgetSection()
    """Budgets."""
    cache: CacheSection | None = None
    """Kept answers; none without this table."""
    audit: AuditSettings = AuditSettings()
    """The audit log."""


class GatewayLlm:
    """The endpoints within all layers that the settings ask for: what `engine = "gateway"` is."""

    Options = GatewayOptions

    def __init__(self, options: GatewayOptions, models: ModelStore) -> None:
        """Raises ConfigError for options that cannot work together."""
        self._options = options
        self._names = tuple(endpoint.name for endpoint in options.endpoints)
        self._failover = FailoverLlm(options, models, options.limits.buckets())
        self._clock = PeriodClock()
        self._ledger: SpentShares | None = None
        if options.budgets.is_used:
            self._ledger = SpentShares(ledger_of(options.budgets, self._clock), options.budgets, self._clock)
        self.experiments: Experiments | None = None
        self._metrics = GatewayMetrics(self._ledger)
        engine = self._budgeted(self._routed())
        if options.cache is not None:
            engine = self._metrics.cache = cached(engine, options.cache, self._must_not_be_kept)
        self._engine = self._audited(engine)
        self._audited_engine = engine

    def enclose(self, put_around: Callable[[LlmEngine], LlmEngine]) -> None:
        """Put layers of others (guard rails, tracing) between the audit log and the rest. Once, before it is opened."""
        self._engine = self._audited(put_around(self._audited_engine))

    @property
    def inner(self) -> LlmEngine:
        """The outermost layer."""
        return self._engine

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    @property
    def endpoints(self) -> tuple[EndpointOptions, ...]:
        """As they are configured."""
        return self._options.endpoints

    def subscribe(self, observer: Observer) -> None:
        """Call it with the Outcome of every attempt at an endpoint from now on."""
        self._failover.subscribe(observer)

    async def open(self) -> None:
        """Raises ConfigError when an endpoint or a layer cannot be used."""
        await self._engine.open()

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        return self._engine.reply(request)

    async def close(self) -> None:
        await self._engine.close()

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None:
        """A response is over, for the experiments."""
        if self.experiments is not None:
            self.experiments.observe_reply(session, user, interrupted)

    def collect(self) -> Iterator[Metric]:
        """The series of its layers for Prometheus; those of the endpoints are the innermost layer's own. Only on the
        loop it runs on."""
        return self._metrics.collect()

    def status(self) -> FailoverStatus:
        """The endpoints. Only on the loop it runs on."""
        return self._failover.status()

    def report(self) -> dict[str, JsonValue]:
        """How the endpoints are, as JSON. Only on the loop it runs on."""
        return self._failover.report()

    # -- the layers, from the innermost on ---------------------------------------------------------------------------

    def _routed(self) -> LlmEngine:
        options = self._options
        if not (options.routes or options.experiments):
            return self._failover
        router = Router(options.routes, options.groups, self._names)
        if options.experiments:
            self.experiments = Experiments(options.experiments, options.groups, self._names, options.experiments_path)
            self._failover.subscribe(self.experiments.observe_outcome)
        routed = self._metrics.routes = RoutedLlm(self._failover, router, self.experiments)
        return routed

    def _budgeted(self, engine: LlmEngine) -> LlmEngine:
        budgets = self._options.budgets
        if self._ledger is None:
            return engine
        cheaper: LlmEngine | None = None
        if budgets.cheaper:
            names = endpoints(budgets.cheaper, self._options.groups, self._names, "[llm.budgets] cheaper")
            cheaper = self._failover.among(names)
        dearest = Price.dearest(Price(one.price_in, one.price_out) for one in self._options.endpoints)
        return BudgetedLlm(engine, self._ledger, budgets, dearest, cheaper, self._metrics.alert)

    def _audited(self, engine: LlmEngine) -> LlmEngine:
        return AuditedLlm.by(self._options.audit, engine) if self._options.audit.on else engine

    def _must_not_be_kept(self, text: str) -> bool:
        """A question or answer that the cache may not give to others: with personal data, also such as is masked, and
        what a spent budget says instead of an answer."""
        return text in self._options.budgets.sentences.values() or is_personal(text) or bool(_HIDDEN.search(text))
