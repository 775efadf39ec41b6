"""Kept answers in Redis, for all processes."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, cast

from pydantic import SecretStr
from redis.exceptions import RedisError

from voiceagent.database import storable
from voiceagent.errors import EngineError
from voiceagent.gateway.cache.question import Question, Scope
from voiceagent.gateway.redis import Presence, connect

_PUT = """
-- KEYS: the answer, the tenant's answers by use, the tenant's counter.
-- ARGV: the answer, milliseconds it lives, how many answers the tenant may have.
local count = redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], count, KEYS[1])
local surplus = redis.call('ZCARD', KEYS[2]) - ARGV[3]
if surplus > 0 then
  for _, old in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do
    redis.call('DEL', old)
    redis.call('ZREM', KEYS[2], old)
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return count
"""
_GET = """
-- KEYS: the answer, the tenant's answers by use, the tenant's counter.
local found = redis.call('GET', KEYS[1])
if found then redis.call('ZADD', KEYS[2], 'XX', redis.call('INCR', KEYS[3]), KEYS[1]) end
return found
"""


class _Script(Protocol):
    async def __call__(self, keys: Sequence[str], args: Sequence[str | int]) -> object: ...


class RedisStore:
    """A CacheStore. All of a tenant's keys have one hash tag, so that they lie on one node of a cluster. While Redis is
    away nothing is found and nothing kept, which the log says once."""

    def __init__(self, address: SecretStr, entries: int, seconds: float) -> None:
        """Raises ConfigError for an address that is none."""
        self._client = connect(address)
        self._put = cast(_Script, self._client.register_script(_PUT))
        self._get = cast(_Script, self._client.register_script(_GET))
        self._entries = entries
        self._milliseconds = max(1, int(seconds * 1000))
        self._presence = Presence("answers are not cached")

    async def open(self) -> None:
        """Connects at the first use."""

    async def get(self, scope: Scope, key: str) -> str | None:
        base = _base(scope.tenant)
        keys = [f"{base}:{scope.place}:{key}", f"{base}:used", f"{base}:count"]
        return cast(str | None, await self._run(self._get, keys, []))

    async def put(self, question: Question, answer: str) -> None:
        base = _base(question.scope.tenant)
        keys = [f"{base}:{question.scope.place}:{question.key}", f"{base}:used", f"{base}:count"]
        await self._run(self._put, keys, [storable(answer), self._milliseconds, self._entries])

    async def clear(self, tenant: str) -> None:
        try:
            base = _base(tenant)
            async for key in self._client.scan_iter(f"{base}:*", count=500):
                await self._client.delete(key)
        except (RedisError, OSError) as error:
            raise self._away(error) from None

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(self, script: _Script, keys: list[str], args: list[str | int]) -> object:
        if not self._presence.worth_a_try:
            return None
        try:
            result = await script(keys=keys, args=args)
        except (RedisError, OSError) as error:
            raise self._away(error) from None
        self._presence.answered()
        return result

    def _away(self, error: Exception) -> EngineError:
        self._presence.failed(error)
        return EngineError("llm", "unavailable", f"Redis failed ({type(error).__name__})")


def _base(tenant: str) -> str:
    digest = hashlib.blake2b(tenant.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return f"voiceagent:llm:cache:{{{digest}}}"
