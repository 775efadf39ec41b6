"""A ledger that processes share, in a real Redis."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from tests.gateway.test_budgets import ANNA, DAY, MONTH, NOON, Clock, until
from tests.support.redis_server import RedisServer, hanging, redis_server  # noqa: F401
from voiceagent.errors import EngineError
from voiceagent.gateway.budgets.accounts import EVERYONE
from voiceagent.gateway.budgets.redis import RedisLedger


@asynccontextmanager
async def opened(server: RedisServer, clock: Clock | None = None) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(server.address, 400, (clock or Clock()).periods())
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


async def test_what_one_process_reserves_the_other_sees_at_once(redis_server: RedisServer) -> None:  # noqa: F811
    async with opened(redis_server) as one, opened(redis_server) as two:
        first = await one.reserve("anna", 500)
        second = await two.reserve("anna", 500)
        assert first.before["anna", DAY] == 0
        assert second.before["anna", DAY] == second.before[EVERYONE, MONTH] == 500
        one.settle(first, ANNA, "small", 300)
        two.settle(second, ANNA, "small", 200)
        two.settle(second, ANNA, "small", 200)
    async with opened(redis_server) as later:
        assert (await later.reserve("anna", 0)).before["anna", DAY] == 500
        assert await later.spent("budget", DAY) == {EVERYONE: 500, "anna": 500}
        assert await later.spent("user", MONTH) == {"anna/u1": 500}
        assert await later.spent("session", DAY) == {"anna/s1": 500}
        assert await later.spent("model", DAY) == {"small": 500}


async def test_parallel_processes_overrun_by_no_more_than_one(
    redis_server: RedisServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voiceagent.gateway.redis.ANSWER_SECONDS", 5.0)  # however busy this machine is
    async with opened(redis_server) as one, opened(redis_server) as two:

        async def turn(ledger: RedisLedger) -> bool:
            reservation = await ledger.reserve("anna", 100)
            allowed = reservation.before["anna", DAY] < 1050
            await asyncio.sleep(0.01)
            ledger.settle(reservation, ANNA, "small", 100 if allowed else 0)
            return allowed

        went = await asyncio.gather(*(turn(ledger) for _ in range(20) for ledger in (one, two)))
    assert sum(went) == 11


async def test_a_redis_that_goes_away_loses_no_spending(
    redis_server: RedisServer,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voiceagent.gateway.redis.AWAY_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)
    async with opened(redis_server) as other, opened(redis_server) as ledger:
        other.settle(await other.reserve("anna", 40), ANNA, "small", 40)
        ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 30)
        await asyncio.sleep(0.4)
        redis_server.stop()
        ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 20)
        assert (await ledger.reserve("anna", 1000)).before["anna", DAY] == 90
        with pytest.raises(EngineError):
            await ledger.spent("budget", DAY)
        redis_server.start()
        await until(lambda: any("is back" in record.message for record in caplog.records))
        await asyncio.sleep(0.4)
        assert (await ledger.spent("budget", DAY))["anna"] == 1020  # this Redis kept nothing, and one is under way
    assert sum("is away" in record.message for record in caplog.records) <= 2


async def test_a_batch_whose_answer_was_lost_counts_once(redis_server: RedisServer) -> None:  # noqa: F811
    async with opened(redis_server) as ledger:
        ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 30)
        sending = ledger._send()
        await sending
        ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 30)
        batch = None
        add = ledger._add

        async def twice(keys: list[str], args: list[str | float]) -> object:
            nonlocal batch
            batch = keys[0]
            await add(keys=keys, args=args)
            return await add(keys=keys, args=args)

        ledger._add = twice  # type: ignore[assignment]
        await ledger._send()
        assert batch is not None
        assert await ledger.spent("budget", DAY) == {EVERYONE: 60, "anna": 60}


async def test_a_process_with_a_clock_behind_goes_by_the_ledgers(redis_server: RedisServer) -> None:  # noqa: F811
    async with opened(redis_server) as ledger:
        ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 30)
    async with opened(redis_server, Clock(NOON - 10 * 86_400)) as behind:
        assert (await behind.reserve("anna", 0)).before["anna", DAY] == 30


async def test_a_redis_that_hangs_holds_nobody_up_for_long() -> None:
    async with hanging() as port:
        ledger = RedisLedger(SecretStr(f"redis://127.0.0.1:{port}/0"), 400, Clock().periods())
        async with asyncio.timeout(5.0):
            await ledger.open()
            for _ in range(20):
                ledger.settle(await ledger.reserve("anna", 50), ANNA, "small", 30)
            assert (await ledger.reserve("anna", 0)).before["anna", DAY] == 600
            await ledger.close()
