"""Kept answers in Redis, for all processes."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec
from pydantic import SecretStr
from redis.exceptions import RedisError

from voiceagent.errors import EngineError
from voiceagent.gateway.cache.question import Question, Scope
from voiceagent.gateway.cache.store import NEWS, News
from voiceagent.gateway.redis import Presence, connect

_PUT = """
-- KEYS: the answer, the tenant's answers by use, the scope's by age, the tenant's counter.
-- ARGV: the answer, milliseconds it lives, how many answers the tenant may have, the key's own part.
local count = redis.call('INCR', KEYS[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], count, KEYS[1])
redis.call('ZADD', KEYS[3], count, ARGV[4])
local surplus = redis.call('ZCARD', KEYS[2]) - ARGV[3]
if surplus > 0 then
  for _, old in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do
    redis.call('DEL', old)
    redis.call('ZREM', KEYS[2], old)
  end
end
local kept = redis.call('ZCARD', KEYS[3]) - ARGV[3]
if kept > 0 then redis.call('ZREMRANGEBYRANK', KEYS[3], 0, kept - 1) end
for i = 2, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
return count
"""
_GET = """
-- KEYS: the answer, the tenant's answers by use, the tenant's counter.
local found = redis.call('GET', KEYS[1])
if found then redis.call('ZADD', KEYS[2], 'XX', redis.call('INCR', KEYS[3]), KEYS[1]) end
return found
"""


class _Kept(msgspec.Struct):
    """As it lies in Redis."""

    question: str
    answer: str
    vector: str | None = None


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
        found = await self._run(self._get, [f"{base}:{scope.place}:{key}", f"{base}:used", f"{base}:count"], [])
        kept = _read(cast(str | None, found))
        return None if kept is None else kept.answer

    async def put(self, question: Question, answer: str, vector: bytes | None) -> None:
        scope, key = question.scope, question.key
        base = _base(scope.tenant)
        kept = _Kept(question.text, answer, None if vector is None else base64.b64encode(vector).decode())
        value = msgspec.json.encode(_clean(kept)).decode()
        keys = [f"{base}:{scope.place}:{key}", f"{base}:used", f"{base}:{scope.place}:new", f"{base}:count"]
        await self._run(self._put, keys, [value, self._milliseconds, self._entries, key])

    async def since(self, scope: Scope, mark: int) -> tuple[int, Sequence[News]]:
        base = f"{_base(scope.tenant)}:{scope.place}"
        if not self._presence.worth_a_try:
            return mark, ()
        try:
            new = cast(
                list[tuple[str, float]],
                await self._client.zrangebyscore(f"{base}:new", f"({mark}", "+inf", 0, NEWS, withscores=True),
            )
            keys = [f"{base}:{key}" for key, _ in new]
            values = cast(list[str | None], await self._client.mget(keys)) if keys else []
        except (RedisError, OSError) as error:
            raise self._away(error) from None
        found = [(key, _read(value)) for (key, _), value in zip(new, values, strict=True)]
        news = [
            News(key, kept.question, None if kept.vector is None else base64.b64decode(kept.vector))
            for key, kept in found
            if kept is not None
        ]
        return (int(new[-1][1]) if new else mark), news

    async def clear(self, tenant: str) -> None:
        try:
            base = _base(tenant)
            async for key in self._client.scan_iter(f"{base}:*", count=500):
                if key != f"{base}:count":  # by which other processes tell what is new
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


def _read(value: str | None) -> _Kept | None:
    """None also for what another version has written."""
    try:
        return None if value is None else msgspec.json.decode(value, type=_Kept)
    except msgspec.MsgspecError:
        return None


def _clean(kept: _Kept) -> _Kept:
    """Half a surrogate pair becomes a question mark."""
    question, answer = (text.encode("utf-8", "replace").decode() for text in (kept.question, kept.answer))
    return _Kept(question, answer, kept.vector)
