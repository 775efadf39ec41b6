"""Failover engine: one logical language model over many endpoints."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import suppress

from prometheus_client.metrics_core import Metric
from pydantic import JsonValue

from voiceagent.errors import ConfigError
from voiceagent.llm.base import LLM_ENGINES, LlmEngine, LlmEvent, LlmRequest
from voiceagent.llm.failover.checks import check_endpoints
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.limits.buckets import BucketSource
from voiceagent.llm.failover.limits.gates import Gates, LimitedGate
from voiceagent.llm.failover.metrics import EndpointMetrics
from voiceagent.llm.failover.options import EndpointOptions, FailoverOptions, FailoverSection
from voiceagent.llm.failover.pool import Pool
from voiceagent.llm.failover.reports import FailoverStatus, Observer
from voiceagent.llm.failover.request import FailoverRequest
from voiceagent.models.store import ModelStore

OVER_HTTP = ("openai", "azure", "anthropic", "gemini")
"""The dialects that share these options: `connect_timeout`, `first_token_seconds` and `next_token_seconds`."""
AZURE_VERSION = "2024-10-21"
"""The latest version of Azure's API that is generally available."""
BACKSTOP = 2.0


class FailoverLlm:
    """Every request goes to the endpoint that is best for it, and elsewhere when that fails, even in mid-answer.
    Belongs to the event loop it was opened on."""

    Options = FailoverOptions

    def __init__(self, options: FailoverOptions, models: ModelStore, buckets: BucketSource | None = None) -> None:
        """`buckets`: where the endpoints' rate limits are kept, if processes share them; closed with the engine. Raises
        ConfigError for an endpoint whose dialect or options are wrong."""
        self._gates = Gates(options.limits, buckets)
        self._endpoints = [
            Endpoint(endpoint, _engine(endpoint, options.failover, models), self._gate(endpoint), options)
            for endpoint in options.endpoints
        ]
        self._pool = Pool(options, self._endpoints)
        self._metrics = EndpointMetrics(self._pool)
        self.subscribe(self._metrics.observe)
        self._checks: asyncio.Task[None] | None = None

    @property
    def talk_tokens(self) -> int | None:
        """The least that any endpoint allows, as each may have to answer."""
        limits = [limit for endpoint in self._endpoints if (limit := endpoint.engine.talk_tokens) is not None]
        return min(limits, default=None)

    @property
    def endpoints(self) -> tuple[EndpointOptions, ...]:
        """As they are configured."""
        return self._pool.options.endpoints

    def subscribe(self, observer: Observer) -> None:
        """Call it with the Outcome of every attempt from now on."""
        self._pool.observers.append(observer)

    def status(self) -> FailoverStatus:
        """As it is now. Only on the loop it runs on."""
        return self._pool.status()

    def report(self) -> dict[str, JsonValue]:
        """The status as JSON: no key, no address, nobody's words. Only on the loop it runs on."""
        return self._metrics.report()

    def collect(self) -> Iterator[Metric]:
        """The series of the endpoints for Prometheus. Only on the loop it runs on."""
        return self._metrics.collect()

    def among(self, names: Collection[str]) -> LlmEngine:
        """The same engine, but only with these endpoints: for a route. Opened and closed with the engine itself. Raises
        ConfigError for a name that is not configured."""
        if unknown := [name for name in names if name not in self._pool.endpoints]:
            raise ConfigError(f"[[llm.endpoints]] there is no endpoint {unknown[0]!r}")
        return _EndpointSubset(self, tuple(names))

    async def open(self) -> None:
        results = await asyncio.gather(*map(_open, self._endpoints), return_exceptions=True)
        if failures := [result for result in results if result is not None]:
            await self.close()
            raise failures[0]
        if self._pool.options.failover.check_seconds:
            self._checks = asyncio.create_task(check_endpoints(self._pool), name="llm checks")

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        return self.reply_among(request, self._pool.endpoints)

    def reply_among(self, request: LlmRequest, names: Collection[str]) -> AsyncGenerator[LlmEvent, None]:
        return FailoverRequest(self._pool, request, names).events()

    async def close(self) -> None:
        """Answers still being streamed are broken off."""
        checks, self._checks = self._checks, None
        tasks = [task for task in (checks, *self._pool.tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in self._endpoints:
            with suppress(OSError):  # the others are still to be closed
                await endpoint.engine.close()
        await self._gates.close()

    def _gate(self, endpoint: EndpointOptions) -> LimitedGate | None:
        if not (endpoint.rpm or endpoint.tpm):
            return None
        return self._gates.gate(endpoint.name, endpoint.rpm, endpoint.tpm)


class _EndpointSubset:
    """Some of the endpoints."""

    def __init__(self, whole: FailoverLlm, names: Collection[str]) -> None:
        self._whole = whole
        self._names = names

    @property
    def talk_tokens(self) -> int | None:
        return self._whole.talk_tokens

    async def open(self) -> None: ...

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        return self._whole.reply_among(request, self._names)

    async def close(self) -> None: ...


def _engine(endpoint: EndpointOptions, failover: FailoverSection, models: ModelStore) -> LlmEngine:
    """The dialect's engine. Its own deadlines are only the backstop of those here."""
    options = {"engine": endpoint.dialect, **endpoint.dialect_options}
    if endpoint.dialect in OVER_HTTP:
        options.setdefault("connect_timeout", failover.connect_seconds)
        options["first_token_seconds"] = BACKSTOP * (endpoint.first_token_seconds or failover.first_token_seconds)
        options["next_token_seconds"] = BACKSTOP * (endpoint.next_token_seconds or failover.next_token_seconds)
    if endpoint.dialect == "azure":
        options = {"azure_api_version": AZURE_VERSION, **options, "engine": "openai"}
    try:
        return LLM_ENGINES.make("[llm]", options, models)
    except ConfigError as error:
        raise ConfigError(f"[[llm.endpoints]] {endpoint.name}: {error}") from None


async def _open(endpoint: Endpoint) -> None:
    await endpoint.engine.open()
    endpoint.last_used = asyncio.get_running_loop().time()
