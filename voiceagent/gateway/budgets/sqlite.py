"""Ledger that outlives the process, in one SQLite file."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from voiceagent.database import Layout, connect, storable
from voiceagent.errors import EngineError
from voiceagent.gateway.budgets.accounts import PeriodClock
from voiceagent.gateway.budgets.ledger import Account, Books, Kind, Reservation, entries
from voiceagent.llm.base import Caller

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x564F414D
"""Kept in `application_id`: tells our file from another program's ("VOAM")."""
SCHEMA_VERSION = 1
WRITE_SECONDS = 1.0
"""How often what was spent is written, and what others have spent is read: a crash forgets so much."""
MOST_UNWRITTEN = 100_000
"""Accounts whose sums wait for a file that cannot be written; what more comes is only kept for the budgets."""

_SCHEMA = """
CREATE TABLE spend (
    kind TEXT NOT NULL, name TEXT NOT NULL, period TEXT NOT NULL, nanos INTEGER NOT NULL,
    PRIMARY KEY (period, kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), latest REAL NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0.0)
"""
_LAYOUT = Layout("[llm.budgets] path", APPLICATION_ID, SCHEMA_VERSION, _SCHEMA)
_ADD = """
INSERT INTO spend (kind, name, period, nanos) VALUES (?, ?, ?, ?)
ON CONFLICT (period, kind, name) DO UPDATE SET nanos = nanos + excluded.nanos
"""
_BUDGETS = "SELECT name, period, nanos FROM spend WHERE kind = 'budget' AND period IN (?, ?)"

T = TypeVar("T")
Args = TypeVarTuple("Args")


class SqliteLedger:
    """A Ledger whose sums are written every second on a thread of its own. Processes may share the file: each sees
    what the others have spent within a second or two, but not what they have reserved; where budgets must hold to one
    turn over several processes, use Redis."""

    def __init__(self, path: Path, keep_days: int, clock: PeriodClock | None = None) -> None:
        self._path = path.expanduser()
        self._keep = timedelta(days=keep_days)
        self._clock = clock or PeriodClock()
        self._books = Books()
        self._unwritten: dict[Account, int] = {}
        self._worker: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._well = True

    async def open(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            self._database, latest = await self._run(_connect, self._path)
        finally:
            if self._database is None:
                self._worker.shutdown(wait=False)
        self._clock.not_before(latest)
        await self._try_to_write()
        self._writer = asyncio.create_task(self._keep_writing(), name="ledger")

    async def reserve(self, tenant: str, amount: int) -> Reservation:
        return self._books.reserve(tenant, self._clock.periods(), amount)

    def settle(self, reservation: Reservation, caller: Caller, model: str, cost: int) -> None:
        if reservation.settled:
            return
        reservation.settled = True
        self._books.settle(reservation, cost)
        for account in entries(reservation, caller, model) if cost else ():
            if account in self._unwritten or len(self._unwritten) < MOST_UNWRITTEN:
                self._unwritten[account] = self._unwritten.get(account, 0) + cost

    async def spent(self, kind: Kind, period: str) -> dict[str, int]:
        """Raises EngineError when the file fails."""
        if self._database is None:
            raise EngineError("llm", "unavailable", "the ledger is not open")
        try:
            sums = await self._run(_read, self._database, kind, period)
        except sqlite3.Error as error:
            raise EngineError("llm", "failed", f"the ledger's file failed ({type(error).__name__})") from None
        for account, nanos in self._unwritten.items():
            if (account.kind, account.period) == (kind, period):
                sums[account.name] = sums.get(account.name, 0) + nanos
        return sums

    async def close(self) -> None:
        """Writes what is left. May be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            await writer
        worker, self._worker = self._worker, None
        database, self._database = self._database, None
        if worker is not None and database is not None:
            await asyncio.get_running_loop().run_in_executor(worker, database.close)
            worker.shutdown(wait=False)

    async def _keep_writing(self) -> None:
        """Until closed, and then once more."""
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._closing.wait()
            if not self._closing.is_set():
                await self._try_to_write()
        await self._try_to_write()

    async def _try_to_write(self) -> None:
        """Write what was spent, and take over what all processes have spent."""
        assert self._database is not None
        periods = self._clock.periods()
        batch, self._unwritten = self._unwritten, {}
        rest = (self._clock.now(), periods, self._kept_since())
        try:
            spent = await self._run(_write, self._database, batch, *rest)
        except sqlite3.Error as error:
            for account, nanos in batch.items():
                self._unwritten[account] = self._unwritten.get(account, 0) + nanos
            if self._well:
                logger.warning("the ledger cannot be written, budgets go on in memory (%s)", type(error).__name__)
            self._well = False
            return
        for account, nanos in self._unwritten.items():
            if account.kind == "budget" and account.period in periods:
                spent[account] = spent.get(account, 0) + nanos
        self._books.spent = spent
        self._well = True

    def _kept_since(self) -> str:
        return (datetime.fromtimestamp(self._clock.now(), UTC) - self._keep).strftime("%Y-%m-%d")

    async def _run(self, work: Callable[[*Args], T], *args: *Args) -> T:
        assert self._worker is not None
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *args)


def _write(
    database: sqlite3.Connection, batch: Mapping[Account, int], now: float, periods: tuple[str, str], since: str
) -> dict[Account, int]:
    """Returns what was spent of the budgets of these periods. `since`: older days and months are deleted."""
    rows = [(account.kind, storable(account.name), account.period, nanos) for account, nanos in batch.items()]
    with database:
        database.executemany(_ADD, rows)
        database.execute("UPDATE clock SET latest = max(latest, ?)", (now,))
        database.execute("DELETE FROM spend WHERE period < substr(?, 1, length(period))", (since,))
    found = database.execute(
        "SELECT name, period, nanos FROM spend WHERE kind = 'budget' AND period IN (?, ?)", periods
    )
    return {Account("budget", name, period): nanos for name, period, nanos in found}


def _read(database: sqlite3.Connection, kind: Kind, period: str) -> dict[str, int]:
    return dict(database.execute("SELECT name, nanos FROM spend WHERE kind = ? AND period = ?", (kind, period)))


def _connect(path: Path) -> tuple[sqlite3.Connection, float]:
    """The file and the latest time it knows. Raises ConfigError."""
    database = connect(path, _LAYOUT)
    (latest,) = database.execute("SELECT latest FROM clock").fetchone()
    return database, float(latest)
