"""Gates before endpoints: a request that comes too early waits for its turn instead of being refused."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from voiceagent.errors import EngineError
from voiceagent.llm.base import Caller, Completed
from voiceagent.llm.failover.limits.buckets import TICK, Bucket, BucketSource, Limits, LimitSettings, LocalBucket
from voiceagent.llm.failover.limits.queue import FairQueue, Ticket, priority_of


@dataclass(eq=False, slots=True)
class _Waiting(Ticket):
    """`called`: look again whether it is your turn. `dropped`: another has taken the place."""

    called: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False


class Gates:
    """The gates of all endpoints. Close it when no request is under way any more."""

    def __init__(self, settings: LimitSettings, shared: BucketSource | None = None) -> None:
        """`shared` is closed with them; without it this process has the limits for itself."""
        self._settings = settings
        self._shared = shared

    def gate(self, name: str, rpm: int | None, tpm: int | None) -> "LimitedGate":
        """The gate of the endpoint of that name; None is no limit."""
        limits = Limits.a_minute(rpm, tpm, self._settings.burst)
        bucket = self._shared.bucket(name, limits) if self._shared is not None else None
        return LimitedGate(name, limits, self._settings, bucket)

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()


class LimitedGate:
    """Requests and tokens a minute of one endpoint, shared by all that use it. Only the head of the queue asks the
    bucket; each that leaves calls the next."""

    def __init__(self, name: str, limits: Limits, settings: LimitSettings, bucket: Bucket | None = None) -> None:
        """`name` is the endpoint's, for messages. Without a `bucket` this process has the limits for itself."""
        self._name = name
        self._limits = limits
        self._bucket = bucket if bucket is not None else LocalBucket(limits)
        self._queue = FairQueue(settings.waiting, settings.weights)

    @property
    def headroom(self) -> float:
        """The share of the limit that is left now, 0 to 1, as far as this process knows; 1 without limits."""
        return 0.0 if len(self._queue) else self._bucket.headroom

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    async def enter(self, tokens: int, caller: Caller, seconds: float) -> "Pass":
        """Wait for a turn, fairly between tenants and by priority, at most `seconds`. `tokens` is the estimate of what
        the request will use. Raises EngineError "rate_limited" when the turn does not come in time."""
        tokens = max(1, tokens)
        ticket = _Waiting(priority_of(caller), caller.tenant, self._limits.share(tokens))
        dropped = self._queue.add(ticket)
        if isinstance(dropped, _Waiting):
            dropped.dropped = True
            dropped.called.set()
        if dropped is ticket:
            raise self._refused("the queue is full")
        try:
            await self._turn(ticket, tokens, asyncio.get_running_loop().time() + seconds)
        finally:
            self._queue.remove(ticket)
            self._call_head()
        return Pass(self._bucket, tokens)

    async def _turn(self, ticket: _Waiting, tokens: int, deadline: float) -> None:
        """Until the bucket has given what the request takes. A bucket that is asked is waited for: it answers soon."""
        loop = asyncio.get_running_loop()
        while not ticket.dropped:
            ticket.called.clear()
            until = deadline
            if self._queue.head is ticket:
                wait = await self._bucket.take(tokens)
                if wait <= 0:
                    self._queue.serve(ticket)
                    return
                until = loop.time() + wait
            if until > deadline or loop.time() >= deadline - TICK:
                raise self._refused("no turn comes in time")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await ticket.called.wait()
        raise self._refused("the queue is full")

    def _call_head(self) -> None:
        if isinstance(head := self._queue.head, _Waiting):
            head.called.set()

    def _refused(self, why: str) -> EngineError:
        return EngineError("llm", "rate_limited", f"the limits of the endpoint {self._name} are reached: {why}")


@dataclass(slots=True)
class Pass:
    """A request that was let through, for so many tokens by estimate."""

    bucket: Bucket
    tokens: int
    settled: bool = False

    def settle(self, completed: Completed | None) -> None:
        """It is over: what it really used replaces the estimate. None when it failed or was given up; then, and where
        the service counts no tokens, it has used the estimate. Only the first call counts."""
        used = completed.input_tokens + completed.output_tokens if completed is not None else 0
        if used and not self.settled:
            self.bucket.correct(used - self.tokens)
        self.settled = True
