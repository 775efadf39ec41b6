"""Route layer: a language model that asks the endpoints of a request's route."""

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from voiceagent.gateway.experiments.assignment import Experiments
from voiceagent.gateway.routes.rules import Route, Router
from voiceagent.llm.base import LlmEngine, LlmEvent, LlmRequest

Now = Callable[[], datetime]


class EndpointGroup(LlmEngine, Protocol):
    """An engine over many endpoints, of which a request may be given some."""

    def among(self, names: Collection[str]) -> LlmEngine: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class RoutedLlm:
    """Each request goes to the endpoints of its route, or of its arm where it is part of an experiment."""

    def __init__(
        self, inner: EndpointGroup, router: Router, experiments: Experiments | None = None, now: Now = utc_now
    ) -> None:
        self._inner = inner
        self._router = router
        self._experiments = experiments
        self._now = now
        self._parts: dict[tuple[str, ...], LlmEngine] = {}
        self.taken: dict[str, int] = dict.fromkeys(router.names, 0)
        """Requests by route since the start."""

    @property
    def inner(self) -> LlmEngine:
        return self._inner

    @property
    def talk_tokens(self) -> int | None:
        return self._inner.talk_tokens

    async def open(self) -> None:
        """Raises ConfigError as the inner engine does, and for an experiment's file that cannot be used."""
        if self._experiments is not None:
            await self._experiments.open()
        try:
            await self._inner.open()
        except BaseException:
            await self.close()
            raise

    def route(self, request: LlmRequest) -> Route:
        """Where a request goes now. Has no effect."""
        route = self._router.route(request, self._now())
        return route if self._experiments is None else self._experiments.divert(route, request.caller)

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the endpoints do."""
        route = self.route(request)
        self.taken[route.name] += 1
        if self._experiments is not None:
            self._experiments.entered(route, request.caller)
        if request.effort is None and route.effort is not None:
            request = replace(request, effort=route.effort)
        async with aclosing(self._part(route.endpoints).reply(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        await self._inner.close()
        if self._experiments is not None:
            await self._experiments.close()

    def _part(self, names: tuple[str, ...]) -> LlmEngine:
        part = self._parts.get(names)
        if part is None:
            part = self._parts[names] = self._inner.among(names)
        return part
