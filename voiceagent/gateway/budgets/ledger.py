"""Ledger of what was spent: an account for all, each tenant, user, session and model, by UTC day and month."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from voiceagent.gateway.budgets.accounts import EVERYONE, BudgetSettings, PeriodClock, is_day, standings
from voiceagent.llm.base import Caller

Kind = Literal["budget", "user", "session", "model"]
"""What an account is of. "budget" are the tenants and EVERYONE; only these are reserved in."""

REMEMBERED = 10_000
"""Users, sessions and models whose sums are held in memory where no file keeps them; the oldest go first."""
MOST_SHARES = 200
"""Of tenants and periods; those beyond are not shown. Tenants are API keys, so there are hardly so many."""


@dataclass(frozen=True, slots=True)
class Account:
    """`name` of a user or session is led by its tenant and a slash."""

    kind: Kind
    name: str
    period: str


@dataclass(slots=True)
class Reservation:
    """What a request may cost, taken from its accounts till it is settled. Amounts in nanos. `before`: by
    (account, period), what was spent or reserved in each before it."""

    amount: int
    before: dict[tuple[str, str], int]
    settled: bool = False


class Ledger(Protocol):
    async def open(self) -> None:
        """Raises ConfigError, saying what to do, when it cannot be used."""
        ...

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        """Never refuses: who asks decides by what there was before, and settles with 0 what is not carried out."""
        ...

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        """What it cost replaces what was reserved. Only the first call counts. Does not wait for a disk or network."""
        ...

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        """Nanos by account of that kind in a day or month."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Books:
    """Sums in memory: `spent` is what was settled, `reserved` what is under way, of the current periods' budgets."""

    spent: dict[Account, int] = field(default_factory=dict)
    reserved: dict[Account, int] = field(default_factory=dict)

    def total(self, account: Account) -> int:
        return self.spent.get(account, 0) + self.reserved.get(account, 0)

    def reserve(self, tenant: str, periods: Iterable[str], amount: int) -> Reservation:
        before: dict[tuple[str, str], int] = {}
        for account in budgets(tenant, periods):
            before[account.name, account.period] = self.total(account)
            self.reserved[account] = self.reserved.get(account, 0) + amount
        return Reservation(amount, before)

    def settle(self, reservation: Reservation, cost: int) -> None:
        for name, period in reservation.before:
            account = Account("budget", name, period)
            left = self.reserved.get(account, 0) - reservation.amount
            if left > 0:
                self.reserved[account] = left
            else:
                self.reserved.pop(account, None)
            if cost:
                self.spent[account] = self.spent.get(account, 0) + cost

    def forget_but(self, periods: tuple[str, str]) -> None:
        """What no request is asked of any more."""
        for account in [account for account in self.spent if account.period not in periods]:
            del self.spent[account]


def entries(reservation: Reservation, caller: Caller, model: str) -> list[Account]:
    """All accounts that a settled request is entered in."""
    in_budgets = [Account("budget", name, period) for name, period in reservation.before]
    return in_budgets + others(caller, model, reservation)


class MemoryLedger:
    """A Ledger that ends with the process. It holds the sums of the current day and month, and of users, sessions and
    models those spent by last."""

    def __init__(self, clock: PeriodClock | None = None) -> None:
        self._clock = clock or PeriodClock()
        self._books = Books()
        self._others: OrderedDict[Account, int] = OrderedDict()
        self._periods = self._clock.periods()

    async def open(self) -> None:
        pass

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        periods = self._clock.periods()
        if periods != self._periods:
            self._periods = periods
            self._books.forget_but(periods)
        return self._books.reserve(tenant, periods, amount)

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        if reservation.settled:
            return
        reservation.settled = True
        self._books.settle(reservation, cost)
        for account in others(caller, model, reservation) if cost else ():
            self._others[account] = self._others.pop(account, 0) + cost
        while len(self._others) > REMEMBERED:
            self._others.popitem(last=False)

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        sums = self._books.spent if kind == "budget" else self._others
        return {
            account.name: cost for account, cost in sums.items() if account.kind == kind and account.period == period
        }

    async def close(self) -> None:
        pass


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


def budgets(tenant: str, periods: Iterable[str]) -> list[Account]:
    """The accounts a request is reserved in: its tenant's and everyone's, for the day and the month."""
    return [Account("budget", name, period) for name in dict.fromkeys((EVERYONE, tenant)) for period in periods]


def others(caller: Caller, model: str, reservation: Reservation) -> list[Account]:
    """The accounts a request is entered in once it is over, in the periods it was reserved in. A session has none for
    the month: it hardly outlives a day."""
    periods = list(dict.fromkeys(period for _, period in reservation.before))
    accounts: list[Account] = []
    if caller.user:
        accounts += [Account("user", f"{caller.tenant}/{caller.user}", period) for period in periods]
    if caller.session:
        name = f"{caller.tenant}/{caller.session}"
        accounts += [Account("session", name, period) for period in periods if is_day(period)]
    if model:
        accounts += [Account("model", model, period) for period in periods]
    return accounts
