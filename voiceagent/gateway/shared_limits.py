"""Rate limits that all processes share: token buckets in Redis."""

import asyncio
from collections.abc import Callable
from typing import cast

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from voiceagent.gateway.redis import Presence, Script, connect
from voiceagent.llm.failover.limits.buckets import Level, Limit, Limits, LocalBucket

NO_LIMIT = Limit(10**9, 0.5)
"""Stands in the script for a limit that is not set."""

_TAKE = """
-- One request of ARGV[1] tokens, and ARGV[2] tokens to correct. Then for each bucket: capacity, units a second.
-- Answers the seconds to wait (0: taken) and the contents, as text since Redis cuts off fractions.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local old = redis.call('HMGET', KEYS[1], 'at', 'requests', 'tokens')
local past = math.max(0, now - (tonumber(old[1]) or now))
local wanted = {1, tonumber(ARGV[1])}
local level, wait = {}, 0
for i = 1, 2 do
  local capacity, rate = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  level[i] = math.min(capacity, (tonumber(old[1 + i]) or capacity) + past * rate)
  if i == 2 then level[i] = math.min(capacity, level[i] - ARGV[2]) end
  wait = math.max(wait, (math.min(wanted[i], capacity) - level[i]) / rate)
end
if wait <= 0 then
  wait = 0
  for i = 1, 2 do level[i] = level[i] - wanted[i] end
end
redis.call('HSET', KEYS[1], 'at', now, 'requests', level[1], 'tokens', level[2])
redis.call('EXPIRE', KEYS[1], 3600)
return {tostring(wait), tostring(level[1]), tostring(level[2])}
"""


class SharedBuckets:
    """The buckets of all endpoints over one client."""

    def __init__(self, address: SecretStr) -> None:
        """Raises ConfigError for an address that is none."""
        self._client = connect(address)
        self._presence = Presence("limits are kept by each process for itself")

    def bucket(self, endpoint: str, limits: Limits) -> "RedisBucket":
        return RedisBucket(self._client, endpoint, limits, self._presence)

    async def close(self) -> None:
        await self._client.aclose()


class RedisBucket:
    """A Bucket in Redis, by the clock of Redis. While Redis is away this process keeps the limits for itself, all of
    them: then several processes may exceed them together, and the service's own 429 is what is left."""

    def __init__(self, client: Redis, endpoint: str, limits: Limits, presence: Presence) -> None:
        self._key = f"voiceagent:llm:limit:{endpoint}"
        self._limits = limits
        self._buckets = [limit or NO_LIMIT for limit in (limits.requests, limits.tokens)]
        self._script = cast(Script, client.register_script(_TAKE))
        self._local = LocalBucket(limits)
        self._presence = presence
        self._owed = 0
        self._seen: Callable[[], float] | None = None

    @property
    def headroom(self) -> float:
        """As Redis last said, refilled since."""
        return self._seen() if self._seen is not None else self._local.headroom

    async def take(self, tokens: int) -> float:
        if not self._presence.worth_a_try:
            return await self._local.take(tokens)
        owed, self._owed = self._owed, 0
        sizes = [number for limit in self._buckets for number in (limit.capacity, limit.rate)]
        try:
            answer = await self._script(keys=[self._key], args=[tokens, owed, *sizes])
        except (RedisError, OSError) as error:
            self._owed += owed
            self._seen = None
            self._presence.failed(error)
            return await self._local.take(tokens)
        self._presence.answered()
        wait, requests, left = (float(number) for number in cast(list[str], answer))
        self._note(requests, left)
        if wait <= 0:  # the local bucket goes along, for when Redis is away
            await self._local.take(tokens)
        return wait

    def correct(self, tokens: int) -> None:
        """Goes to Redis with the next request."""
        self._owed += tokens
        self._local.correct(tokens)

    def _note(self, requests: float, tokens: float) -> None:
        loop = asyncio.get_running_loop()
        levels: list[Level] = []
        for limit, content in ((self._limits.requests, requests), (self._limits.tokens, tokens)):
            if limit is not None:
                level = Level(limit, loop.time())
                level.take(limit.capacity - content)
                levels.append(level)

        def headroom() -> float:
            for level in levels:
                level.fill(loop.time())
            return min((level.headroom for level in levels), default=1.0)

        self._seen = headroom
