"""Health checks of endpoints that get no requests: those without traffic, and those whose breaker is open."""

import asyncio

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmRequest, Message
from voiceagent.llm.failover.attempt import ABOUT_THE_REQUEST, Attempt, AttemptOptions
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.pool import Pool

CHECK = LlmRequest((Message("user", "Hi"),), max_tokens=1)
QUEUE_SECONDS = 1.0
"""For the endpoint's rate limit."""
LEAST_WAIT_SECONDS = 0.05
MOST_WAIT_SECONDS = 1.0
"""A breaker may open meanwhile: look again after this."""


async def check_endpoints(pool: Pool) -> None:
    """Runs for as long as the engine is open."""
    every = pool.options.failover.check_seconds
    async with asyncio.TaskGroup() as tasks:
        under_way: dict[str, asyncio.Task[None]] = {}
        while True:
            now = asyncio.get_running_loop().time()
            wait = MOST_WAIT_SECONDS
            for name, endpoint in pool.endpoints.items():
                if name in under_way and not under_way[name].done():
                    continue
                due = _due_in(endpoint, every, now)
                if due <= 0:
                    under_way[name] = tasks.create_task(check(pool, endpoint), name=f"llm check {name}")
                else:
                    wait = min(wait, due)
            await asyncio.sleep(max(LEAST_WAIT_SECONDS, wait))


async def check(pool: Pool, endpoint: Endpoint) -> None:
    """Ask for one token; the endpoint's breaker and statistics count the outcome."""
    attempt = Attempt(endpoint, CHECK, AttemptOptions(check=True, queue_seconds=QUEUE_SECONDS), pool.report)
    try:
        await attempt.first()
    except EngineError as error:
        if error.code in ABOUT_THE_REQUEST:  # some models answer no such short request: it lives
            endpoint.succeeded(asyncio.get_running_loop().time())
    finally:
        await attempt.close()


def _due_in(endpoint: Endpoint, every: float, now: float) -> float:
    """Seconds until it wants a check; below 0 when that is overdue."""
    if endpoint.breaker.is_open:
        return endpoint.breaker.reopens_in(now)
    return endpoint.last_used + every - now if not endpoint.in_flight else every
