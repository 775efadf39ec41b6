"""Shares of budgets that are used up, for metrics."""

from voiceagent.gateway.budgets.accounts import BudgetSettings, PeriodClock, is_day, standings
from voiceagent.gateway.budgets.ledger import Kind, Ledger, Reservation
from voiceagent.llm.base import Caller

MOST_SHARES = 200
"""Of tenants and periods; those beyond are not shown. Tenants are API keys, so there are hardly so many."""


class SpentShares:
    """A Ledger over another one, that remembers what share of each budget was spent or reserved at the last request."""

    def __init__(self, ledger: Ledger, settings: BudgetSettings, clock: PeriodClock) -> None:
        """`clock` is the ledger's own."""
        self._ledger, self._settings, self._clock = ledger, settings, clock
        self._shares: dict[tuple[str, str], float] = {}

    def now(self) -> dict[tuple[str, str], float]:
        """By account and "day" or "month". What is of yesterday is gone."""
        periods = self._clock.periods()
        self._shares = {key: share for key, share in self._shares.items() if key[1] in periods}
        return {
            (account, "day" if is_day(period) else "month"): share for (account, period), share in self._shares.items()
        }

    async def open(self) -> None:
        await self._ledger.open()

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        reservation = await self._ledger.reserve(tenant, amount)
        for standing in standings(self._settings, reservation.before):
            key = (standing.account, standing.period)
            if key in self._shares or len(self._shares) < MOST_SHARES:
                self._shares[key] = standing.share
        return reservation

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        self._ledger.settle(reservation, caller, model, cost)

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        return await self._ledger.spent(kind, period)

    async def close(self) -> None:
        await self._ledger.close()
