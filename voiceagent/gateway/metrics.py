"""Metrics of the gateway's layers: budgets, cache and routes, as series for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from voiceagent.gateway.budgets.accounts import EVERYONE, BudgetAlert
from voiceagent.gateway.budgets.ledger import SpentShares
from voiceagent.gateway.cache.engine import CachedLlm
from voiceagent.gateway.routes.engine import RoutedLlm


class GatewayMetrics:
    """The series of one gateway beside those of its endpoints. `cache` and `routes` are set where there are any."""

    def __init__(self, budgets: SpentShares | None) -> None:
        self.cache: CachedLlm | None = None
        self.routes: RoutedLlm | None = None
        self._budgets = budgets
        registry = self._registry = CollectorRegistry()
        self._alerts = Counter(
            "voiceagent_llm_budget_alerts_total",
            "How often a budget reached a step (warn, degrade, refuse)",
            ["account", "level"],
            registry=registry,
        )

    def alert(self, alert: BudgetAlert) -> None:
        self._alerts.labels(account_label(alert.account), alert.level).inc()

    def collect(self) -> Iterator[Metric]:
        """Only on the loop it runs on."""
        yield from self._registry.collect()
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
                "Requests by what the cache did: hit were answered, missed might have been, skipped not",
                labels=["result"],
            )
            results = {"hit": totals.hit, "missed": totals.missed}
            for result, count in {**results, "skipped": sum(totals.skipped.values())}.items():
                asked.add_metric([result], count)
            yield asked
            yield CounterMetricFamily("voiceagent_llm_cache_failed", "Calls that went wrong", value=totals.failed)
        if self.routes is not None:
            taken = CounterMetricFamily("voiceagent_llm_routes", "Requests by route", labels=["route"])
            for route, count in self.routes.taken.items():
                taken.add_metric([route], count)
            yield taken


def account_label(account: str) -> str:
    """How metrics name it: all tenants together as "all"."""
    return "all" if account == EVERYONE else account or "(none)"
