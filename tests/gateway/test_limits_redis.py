"""Buckets that processes share, in a real Redis."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from tests.support.redis_server import RedisServer, hanging, redis_server  # noqa: F401
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.redis import Presence, connect
from voiceagent.gateway.shared_limits import RedisBucket, SharedBuckets
from voiceagent.llm.base import Caller, Completed
from voiceagent.llm.failover.limits.buckets import Limit, Limits, LimitSettings
from voiceagent.llm.failover.limits.gates import Gates, LimitedGate

ANNA = Caller(session="s1", tenant="anna")


@asynccontextmanager
async def shared(server: RedisServer) -> AsyncIterator[SharedBuckets]:
    buckets = SharedBuckets(server.address)
    try:
        yield buckets
    finally:
        await buckets.close()


async def test_two_processes_share_one_limit(redis_server: RedisServer) -> None:  # noqa: F811
    limits = Limits(Limit(60, 0.5), Limit(6000, 0.5))
    async with shared(redis_server) as here, shared(redis_server) as there:
        buckets = [here.bucket("model", limits), there.bucket("model", limits)]
        took = [await buckets[number % 2].take(10) for number in range(40)]
        assert sum(1 for wait in took if wait == 0) in (30, 31)
        assert 0 < took[-1] <= 2.1
        assert all(bucket.headroom < 0.1 for bucket in buckets)
        assert await here.bucket("another", limits).take(10) == 0


async def test_tokens_are_corrected_with_the_next_request_and_overdrawn_by_a_great_one(
    redis_server: RedisServer,  # noqa: F811
) -> None:
    limits = Limits(tokens=Limit(6000, 0.5))
    async with shared(redis_server) as buckets:
        bucket = buckets.bucket("model", limits)
        assert await bucket.take(5000) == 0
        assert await bucket.take(100) == pytest.approx(2100 / Limit(6000, 0.5).rate, rel=0.05)
        bucket.correct(-4000)
        assert await bucket.take(100) == 0
        assert bucket.headroom == pytest.approx(1900 / 3000, abs=0.05)


async def test_without_redis_each_process_goes_on_alone_and_says_so_once(
    redis_server: RedisServer,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voiceagent.gateway.redis.AWAY_SECONDS", 0.2)
    caplog.set_level(logging.WARNING)
    limits = Limits(Limit(60, 0.1))
    async with shared(redis_server) as buckets:
        bucket = buckets.bucket("model", limits)
        assert await bucket.take(1) == 0
        redis_server.stop()
        took = [await bucket.take(1) for _ in range(8)]
        assert sum(1 for wait in took if wait == 0) == 5
        await asyncio.sleep(0.3)
        await bucket.take(1)
        assert [record.message for record in caplog.records if "away" in record.message] == [
            "Redis is away (ConnectionError): limits are kept by each process for itself"
        ]
        redis_server.start()
        await asyncio.sleep(0.3)
        assert await bucket.take(1) == 0
        assert caplog.records[-1].message == "Redis is back"


async def test_a_redis_that_hangs_costs_a_moment_once() -> None:
    async with hanging() as port:
        client = connect(SecretStr(f"redis://127.0.0.1:{port}/0"))
        bucket = RedisBucket(client, "model", Limits(Limit(600, 0.5)), Presence("test"))
        began = time.monotonic()
        assert [await bucket.take(1) for _ in range(20)] == [0.0] * 20
        assert time.monotonic() - began < 3.0
        await client.aclose()


async def test_a_gate_over_redis_lets_in_and_settles(redis_server: RedisServer) -> None:  # noqa: F811
    gates = Gates(LimitSettings(burst=0.1), SharedBuckets(redis_server.address))
    there = gates.gate("model", 60, 10_000)
    assert isinstance(there, LimitedGate)
    for _ in range(6):
        (await there.enter(100, ANNA, 0.0)).settle(Completed(input_tokens=50, output_tokens=10))
    with pytest.raises(EngineError) as refused:
        await there.enter(100, ANNA, 0.2)
    assert refused.value.code == "rate_limited"
    await there.enter(100, ANNA, 5.0)
    await gates.close()


def test_a_wrong_address_is_named_without_its_password() -> None:
    with pytest.raises(ConfigError, match="no address") as wrong:
        connect(SecretStr("http://user:secret@host"))
    assert "secret" not in str(wrong.value)
