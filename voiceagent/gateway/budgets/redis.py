"""Ledger that all processes share, in Redis."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

from pydantic import SecretStr
from redis.exceptions import RedisError

from voiceagent.errors import EngineError
from voiceagent.gateway.budgets.accounts import PeriodClock
from voiceagent.gateway.budgets.ledger import Account, Books, Kind, Reservation, budgets, entries
from voiceagent.gateway.redis import Presence, Script, connect
from voiceagent.llm.base import Caller

logger = logging.getLogger(__name__)

WRITE_SECONDS = 0.25
"""How often what was spent is sent."""
MOST_UNSENT = 100_000
"""Accounts whose sums wait for a Redis that is away; what more comes is only kept for the budgets."""
BATCH = 1000
KEY = "voiceagent:llm:spend"
DAY_SECONDS = 86_400

_ADD = """
-- Amounts by (key, field), once: a batch that is sent again, since its answer was lost, changes nothing.
-- KEYS: the batch's, the clock's, then each amount's. ARGV: the seconds all is kept; the time; fields and amounts.
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', 3600) then
  for i = 3, #KEYS do
    redis.call('HINCRBY', KEYS[i], ARGV[2 * i - 3], ARGV[2 * i - 2])
    redis.call('EXPIRE', KEYS[i], ARGV[1])
  end
end
if (tonumber(redis.call('GET', KEYS[2])) or 0) < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class _Batch:
    name: str
    amounts: dict[Account, int]


class RedisLedger:
    """A Ledger in which requests of all processes are reserved before they go out, in one round trip; what they cost
    follows a moment later. While Redis is away a process goes by what it last knew and by what it spends itself, and
    tells Redis when it is back. A process that is killed leaves what it had reserved as spent."""

    def __init__(self, address: SecretStr, keep_days: int, clock: PeriodClock | None = None) -> None:
        self._client = connect(address)
        self._add = cast(Script, self._client.register_script(_ADD))
        self._keep_seconds = keep_days * DAY_SECONDS
        self._clock = clock or PeriodClock()
        self._books = Books()
        self._elsewhere: dict[Account, int] = {}
        """What Redis had of others, when last asked."""
        self._unsent: dict[Account, int] = {}
        self._batch: _Batch | None = None
        self._presence = Presence("budgets are kept by each process for itself")
        self._periods = self._clock.periods()
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """A Redis that is away only costs a line in the log."""
        try:
            latest = await self._client.get(f"{KEY}:clock")
        except (RedisError, OSError) as error:
            self._presence.failed(error)
        else:
            self._clock.not_before(float(latest or 0))
        self._writer = asyncio.create_task(self._keep_writing(), name="ledger")

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        periods = self._turn_periods()
        accounts = budgets(tenant, periods)
        if not self._presence.worth_a_try or not await self._reserve_there(accounts, amount):
            for account in accounts:
                self._unsent[account] = self._unsent.get(account, 0) + amount
        reservation = self._books.reserve(tenant, periods, amount)
        for (name, period), own in reservation.before.items():
            reservation.before[name, period] = own + self._elsewhere.get(Account("budget", name, period), 0)
        return reservation

    async def _reserve_there(self, accounts: list[Account], amount: int) -> bool:
        """What is on its way to Redis counts where it makes an account fuller, since it may be there already."""
        before = [self._waiting(account) for account in accounts]
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for account in accounts:
                    pipeline.hincrby(_key(account), account.name, amount)
                totals = cast(list[int], await pipeline.execute())
        except (RedisError, OSError) as error:
            self._presence.failed(error)
            return False
        self._presence.answered()
        for account, total, waited in zip(accounts, totals, before, strict=True):
            unknown = max(0, waited, self._waiting(account))
            self._elsewhere[account] = total - amount + unknown - self._books.total(account)
        return True

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        if reservation.settled:
            return
        reservation.settled = True
        self._books.settle(reservation, cost)
        for account in entries(reservation, caller, model):
            change = cost - reservation.amount if account.kind == "budget" else cost
            if change and (account in self._unsent or len(self._unsent) < MOST_UNSENT):
                self._unsent[account] = self._unsent.get(account, 0) + change

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        """Of budgets, with what is reserved. Raises EngineError when Redis is away."""
        try:
            found = await self._client.hgetall(f"{KEY}:{period}:{kind}")
        except (RedisError, OSError) as error:
            raise EngineError("llm", "unavailable", f"the ledger's Redis is away ({type(error).__name__})") from None
        sums = {str(name): int(nanos) for name, nanos in found.items()}
        for account in {**(self._batch.amounts if self._batch is not None else {}), **self._unsent}:
            if (account.kind, account.period) == (kind, period):
                sums[account.name] = sums.get(account.name, 0) + self._waiting(account)
        return sums

    async def close(self) -> None:
        """Sends what is left. May be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            await writer
        await self._client.aclose()

    def _turn_periods(self) -> tuple[str, str]:
        periods = self._clock.periods()
        if periods != self._periods:
            self._periods = periods
            self._books.forget_but(periods)
            for account in [account for account in self._elsewhere if account.period not in periods]:
                del self._elsewhere[account]
        return periods

    def _waiting(self, account: Account) -> int:
        """What Redis does not know yet of our own."""
        batch = self._batch.amounts if self._batch is not None else {}
        return self._unsent.get(account, 0) + batch.get(account, 0)

    async def _keep_writing(self) -> None:
        """Until closed, and then all that is left."""
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._closing.wait()
            if self._presence.worth_a_try:
                await self._send()
        while (self._unsent or self._batch is not None) and self._presence.worth_a_try:
            await self._send()
        if self._unsent or self._batch is not None:
            logger.warning("the ledger ends with spending that Redis has not been told")

    async def _send(self) -> None:
        if self._batch is None:
            if not self._unsent:
                return
            some = dict(list(self._unsent.items())[:BATCH])
            for account in some:
                del self._unsent[account]
            self._batch = _Batch(uuid4().hex, some)
        amounts = self._batch.amounts
        keys = [f"{KEY}:batch:{self._batch.name}", f"{KEY}:clock", *map(_key, amounts)]
        fields = [value for account, nanos in amounts.items() for value in (account.name, nanos)]
        try:
            await self._add(keys=keys, args=[self._keep_seconds, self._clock.now(), *fields])
        except (RedisError, OSError) as error:
            self._presence.failed(error)
        else:
            self._presence.answered()
            self._batch = None


def _key(account: Account) -> str:
    return f"{KEY}:{account.period}:{account.kind}"
