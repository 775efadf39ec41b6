"""Race for the first event of an answer: one endpoint after the other, two at once when the first is late."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, LlmRequest
from voiceagent.llm.failover.attempt import HANG_UP_SECONDS, Attempt, AttemptOptions, EmptyAnswer
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.pool import Pool
from voiceagent.llm.failover.reports import Observer

SHORT_QUEUE_SECONDS = 0.05
"""How long to wait for an endpoint's rate limit while there is another endpoint to ask."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, where. `least`: endpoints that come last, as they have just failed. `resumed`: an answer goes on."""

    caller_request: LlmRequest
    request_for: Callable[[Endpoint], LlmRequest]
    names: Collection[str]
    least: Collection[str] = ()
    resumed: bool = False


@dataclass(eq=False, slots=True)
class _Runner:
    attempt: Attempt
    first: asyncio.Task[LlmEvent]
    hedge_at: float | None
    """When a second request is due; None: never, or no more."""


@dataclass(slots=True)
class Race:
    """Run `winner` once, and `close` in the end."""

    pool: Pool
    plan: Plan
    report: Observer
    hedged: bool = False
    empty: list[EmptyAnswer] = field(default_factory=list)
    """Answers of nothing that endpoints gave, at their first event."""
    _running: list[_Runner] = field(default_factory=list)
    _untried: set[str] = field(default_factory=set)
    _refused: list[Attempt] = field(default_factory=list)
    _error: EngineError | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def winner(self) -> tuple[Attempt, LlmEvent]:
        """The attempt that spoke first, and what it said. The others are cancelled. Raises the last EngineError when
        all have failed."""
        self._untried = set(self.plan.names)
        self._start()
        while self._running:
            await self._something()
            if (won := self._look()) is not None:
                return won
            if not self._running:
                self._start()
            elif self._late():
                self._start(second=True)
        raise self._error or EngineError("llm", "unavailable", "there is no language model to ask")

    async def close(self) -> None:
        """Cancel whatever is under way, and wait until its connections are closed."""
        for runner in self._running:
            runner.attempt.give_up()
            self._abandon(runner)
        self._running.clear()
        if self._ending:
            await asyncio.wait(self._ending, timeout=HANG_UP_SECONDS)

    def _start(self, *, second: bool = False) -> None:
        """Ask the best endpoint that has not been asked. A second request may go to the first's, when no other is in
        order: what was slow once is often fast the next time."""
        endpoint = self.pool.pick(self.plan.caller_request.caller, self._untried, least=self.plan.least)
        if second and (endpoint is None or endpoint.breaker.is_open):
            endpoint = self._running[0].attempt.endpoint
        if endpoint is None:
            return
        self._untried.discard(endpoint.name)
        failover = self.pool.options.failover
        queue_seconds = SHORT_QUEUE_SECONDS if self._untried or second else failover.queue_seconds
        options = AttemptOptions(hedged=second, resumed=self.plan.resumed, queue_seconds=queue_seconds)
        attempt = Attempt(endpoint, self.plan.request_for(endpoint), options, self.report)
        task = asyncio.create_task(attempt.first(), name=f"llm {endpoint.name}")
        self.pool.own(task)
        task.add_done_callback(self._woken)
        endpoint.waiting.add(self._wake)
        now = asyncio.get_running_loop().time()
        after = None if second else self.pool.hedges.after(endpoint.health, now)
        self._running.append(_Runner(attempt, task, None if after is None else now + after))

    async def _something(self) -> None:
        """Wait for a first event, a failure, or the time for a second request."""
        due = self._running[0].hedge_at if len(self._running) == 1 else None
        try:
            async with asyncio.timeout_at(due):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _look(self) -> tuple[Attempt, LlmEvent] | None:
        """The winner, if there is one; those that failed are out."""
        for runner in list(self._running):
            if not runner.first.done():
                continue
            error = _closed() if runner.first.cancelled() else runner.first.exception()
            if error is None:
                self._settle(runner)
                return runner.attempt, runner.first.result()
            self._leave(runner)
            runner.attempt.give_up()  # where it has not ended by itself
            if not isinstance(error, EngineError):
                raise error
            self._error = error
            if isinstance(error, EmptyAnswer):
                self.empty.append(error)
            if error.code == "bad_request":
                self._refused.append(runner.attempt)
        return None

    def _settle(self, won: _Runner) -> None:
        self._leave(won)
        for attempt in self._refused:
            attempt.refused_alone()
        for runner in list(self._running):
            self._leave(runner)
            runner.attempt.beaten()
            self._abandon(runner)

    def _late(self) -> bool:
        """Whether a second request is due: the first is late and the share of hedges allows it, or its endpoint has
        since been found out of order."""
        if len(self._running) > 1:
            return False
        [runner] = self._running
        if runner.attempt.endpoint.breaker.is_open:
            return any(not self.pool.endpoints[name].breaker.is_open for name in self._untried)
        now = asyncio.get_running_loop().time()
        if runner.hedge_at is None or now < runner.hedge_at:
            return False
        runner.hedge_at = None
        self.hedged = self.pool.hedges.take()
        return self.hedged

    def _leave(self, runner: _Runner) -> None:
        self._running.remove(runner)
        if all(other.attempt.endpoint is not runner.attempt.endpoint for other in self._running):
            runner.attempt.endpoint.waiting.discard(self._wake)

    def _abandon(self, runner: _Runner) -> None:
        """Hang up, in a task of its own: the winner does not wait for that."""
        runner.attempt.endpoint.waiting.discard(self._wake)
        ending = asyncio.create_task(_hang_up(runner), name="llm hang up")
        self.pool.own(ending)
        self._ending.add(ending)

    def _woken(self, _: asyncio.Task[LlmEvent]) -> None:
        self._wake.set()


def _closed() -> EngineError:
    return EngineError("llm", "unavailable", "the language models were closed")


async def _hang_up(runner: _Runner) -> None:
    runner.first.cancel()
    await asyncio.wait([runner.first])
    if not runner.first.cancelled():
        runner.first.exception()  # looked at, so that asyncio does not complain
    await runner.attempt.close()
