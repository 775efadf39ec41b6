"""The xiaozhi devices that are known: one SQLite file, which server and command line use at the same time."""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from voiceagent import database
from voiceagent.database import Layout
from voiceagent.errors import VoiceagentError

# The SQLite file of xiaozhi devices: its tables, and how it is opened.

SCHEMA_VERSION = 1
"""Kept in `user_version`."""
APPLICATION_ID = 0x564F5853
"""Kept in `application_id`: tells our file from another program's ("VOXS")."""

_SCHEMA = """
CREATE TABLE speaker (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    client TEXT NOT NULL,
    standing TEXT NOT NULL,
    tenant TEXT NOT NULL,
    code TEXT UNIQUE,
    challenge TEXT NOT NULL,
    proven INTEGER NOT NULL,
    serial TEXT NOT NULL,
    board TEXT NOT NULL,
    version TEXT NOT NULL,
    seen REAL NOT NULL,
    UNIQUE (device, client)
) STRICT;
CREATE INDEX speaker_standing ON speaker (standing, number);
CREATE TABLE revoked (device TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
CREATE TABLE secret (value BLOB NOT NULL) STRICT;
"""


LAYOUT = Layout("[xiaozhi] path", APPLICATION_ID, SCHEMA_VERSION, _SCHEMA)


def connect(path: Path | None) -> sqlite3.Connection:
    """Opens it, or makes it; None keeps all in memory. Raises ConfigError."""
    return database.connect(path, LAYOUT, autocommit=True)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read in it is still so when it is written, whatever other processes do."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends it when the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


T = TypeVar("T")

MAX_UNKNOWN = 50_000
"""Devices kept that nobody has let in; those that asked longest ago go. A twentieth of all codes."""
CLEAN_EVERY = 100
"""Boots between two looks for those that go."""
ANY_CLIENT = "\n"
"""No client id has it."""
CODE_SECONDS = 3600.0
"""How long a code is good after the device last asked; a device that waits asks every minute or so."""

_COLUMNS = "device, client, standing, tenant, code, challenge, proven, serial, board, version, seen"
_INSERT = f"INSERT INTO speaker ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND = f"SELECT {_COLUMNS} FROM speaker WHERE device = ? AND client = ?"
_REMOVE = "DELETE FROM speaker WHERE device = ?"
_REVOKE = """
INSERT INTO revoked (device, epoch) VALUES (?, 1) ON CONFLICT (device) DO UPDATE SET epoch = epoch + 1
"""


class StoreError(VoiceagentError):
    """The file failed in use."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A device at its boot. `client_id` is random and kept in its flash: the nearest that most have to a secret."""

    device_id: str
    client_id: str
    serial: str = ""
    board: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A device as it is known. `standing` is "unknown", "allowed" (by an operator, a code or its serial number) or
    "listed" (it came while the configuration had it). `client_id` is ANY_CLIENT until an allowed device comes; `seen`
    is the wall clock's time."""

    device_id: str
    client_id: str
    standing: str
    tenant: str
    code: str | None
    challenge: str
    proven: bool
    serial: str
    board: str
    version: str
    seen: float


class SpeakerStore:
    """All SQL runs on one thread of its own, in the order of the calls. Without a path it is kept in memory. The file
    is readable by its owner only: it holds the secret of the tokens."""

    def __init__(self, path: Path | None) -> None:
        self._path = path.expanduser() if path else None
        self._worker: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._version = -1
        """`data_version` of the last look at the revoked, which only others' writes change; -1 makes it look again."""

    async def open(self) -> None:
        """Raises ConfigError, saying what to do, for a file that cannot be used."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="speakers")
        try:
            self._database = await asyncio.get_running_loop().run_in_executor(self._worker, connect, self._path)
        finally:
            if self._database is None:
                self._worker.shutdown(wait=False)

    async def close(self) -> None:
        """Waits for the calls before it. May be called twice."""
        worker, self._worker = self._worker, None
        database, self._database = self._database, None
        if worker is not None and database is not None:
            await asyncio.get_running_loop().run_in_executor(worker, database.close)
            worker.shutdown(wait=False)

    async def secret(self) -> bytes:
        """The file's own, made when it is first wanted."""

        def read(database: sqlite3.Connection) -> bytes:
            with transaction(database):
                row = database.execute("SELECT value FROM secret").fetchone()
                if row is None:
                    row = (secrets.token_bytes(32),)
                    database.execute("INSERT INTO secret (value) VALUES (?)", row)
            return bytes(row[0])

        return await self._run(read)

    async def revoked(self) -> Mapping[str, int] | None:
        """Every device's epoch that is not 0; None when nothing was written by others since the last look."""

        def read(database: sqlite3.Connection) -> Mapping[str, int] | None:
            (version,) = database.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            self._version = version
            return dict(database.execute("SELECT device, epoch FROM revoked").fetchall())

        return await self._run(read)

    # -- devices ----------------------------------------------------------------------------------------------------

    async def ask(self, asking: Asking, *, with_code: bool, listed: str | None) -> tuple[Speaker, int]:
        """A device boots. One that is not let in gets a code, the same as long as it asks. `listed` is the tenant of
        one that the configuration lets in: the first client id that comes with it is the one that counts. Also tells
        the device's epoch."""

        def work(database: sqlite3.Connection) -> tuple[Speaker, int]:
            with transaction(database):
                number = _number_of(database, asking)
                _list(database, asking, number, listed)
                if with_code:
                    _give_code(database, number)
                if number % CLEAN_EVERY == 0:
                    _forget_oldest(database)
                speaker = f"SELECT {_COLUMNS} FROM speaker WHERE number = ?"
                epoch = database.execute("SELECT epoch FROM revoked WHERE device = ?", (asking.device_id,)).fetchone()
                return _of(database.execute(speaker, (number,)).fetchone()), epoch[0] if epoch else 0

        return await self._run(work)

    async def find(self, device_id: str, client_id: str) -> Speaker | None:
        def read(database: sqlite3.Connection) -> Speaker | None:
            row = database.execute(_FIND, (device_id, client_id)).fetchone()
            return _of(row) if row else None

        return await self._run(read)

    async def prove(self, device_id: str, client_id: str, tenant: str | None) -> None:
        """It has shown that it has its serial number's key; with a `tenant` it is thereby let in."""

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                key = (device_id, client_id)
                prove = "UPDATE speaker SET proven = 1, challenge = '' WHERE device = ? AND client = ?"
                database.execute(prove, key)
                if tenant is not None:
                    _let_in(database, device_id, client_id, tenant)
                    self._version = -1

        await self._run(write)

    async def activate(self, code: str, tenant: str) -> str | None:
        """Let the device in that says this code. Its id; None when none does."""

        def write(database: sqlite3.Connection) -> str | None:
            with transaction(database):
                found = "SELECT device, client FROM speaker WHERE code = ? AND standing = 'unknown' AND seen > ?"
                row = database.execute(found, (code, time.time() - CODE_SECONDS)).fetchone()
                if row is None:
                    return None
                _let_in(database, row[0], row[1], tenant)
                self._version = -1
                return str(row[0])

        return await self._run(write)

    async def allow(self, device_id: str, tenant: str, by: str | None = None) -> bool:
        """Let a device in, whatever its client id is; what it had before counts no more. `by` is the tenant that wants
        it, None for who may do all: False when the device is another's."""

        def write(database: sqlite3.Connection) -> bool:
            with transaction(database):
                if by is not None and _holder(database, device_id) not in (None, by):
                    return False
                if database.execute(_REMOVE, (device_id,)).rowcount:
                    database.execute(_REVOKE, (device_id,))
                    self._version = -1
                row = (device_id, ANY_CLIENT, "allowed", tenant, None, "", 0, "", "", "", time.time())
                database.execute(_INSERT, row)
                return True

        return await self._run(write)

    async def forget(self, device_id: str, by: str | None = None) -> bool:
        """Its tokens count no more, from now on. False when it was not known, or not `by`'s."""

        def delete(database: sqlite3.Connection) -> bool:
            with transaction(database):
                if by is not None and _holder(database, device_id) != by:
                    return False
                database.execute(_REVOKE, (device_id,))
                self._version = -1
                return database.execute(_REMOVE, (device_id,)).rowcount > 0

        return await self._run(delete)

    async def speakers(self, tenant: str | None = None, limit: int = 100_000) -> list[Speaker]:
        """Those that came last, first; those of one tenant, or of all. Those nobody let in are nobody's."""

        def read(database: sqlite3.Connection) -> list[Speaker]:
            which = "WHERE standing != 'unknown' AND tenant = ?2" if tenant is not None else ""
            query = f"SELECT {_COLUMNS} FROM speaker {which} ORDER BY number DESC LIMIT ?1"
            return [_of(row) for row in database.execute(query, (limit, tenant) if which else (limit,))]

        return await self._run(read)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Once handed over, a write is carried out even if its caller is cancelled."""
        if self._worker is None or self._database is None:
            raise StoreError("the file of devices is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, self._database)
        except sqlite3.Error as error:
            raise StoreError(f"the file of devices failed ({type(error).__name__})") from None


# -- within a transaction ---------------------------------------------------------------------------------------------


def _number_of(database: sqlite3.Connection, asking: Asking) -> int:
    """The row of a device that asks, which becomes the newest."""
    key = (asking.device_id, asking.client_id)
    own = database.execute(_FIND, key).fetchone()
    awaited = database.execute(_FIND, (asking.device_id, ANY_CLIENT)).fetchone()
    before = _of(awaited or own) if awaited or own else None
    database.execute("DELETE FROM speaker WHERE device = ? AND client IN (?, ?)", (*key, ANY_CLIENT))
    row = (
        *key,
        before.standing if before else "unknown",
        before.tenant if before else "",
        before.code if before else None,
        (before.challenge if before else "") or secrets.token_hex(16),
        before.proven and asking.serial in ("", before.serial) if before else False,
        asking.serial or (before.serial if before else ""),
        asking.board,
        asking.version,
        time.time(),
    )
    return database.execute(_INSERT, row).lastrowid or 0


def _list(database: sqlite3.Connection, asking: Asking, number: int, tenant: str | None) -> None:
    """Let it in, or no longer, as the configuration says. Another client id that came first, or an operator's word,
    counts more."""
    others = "SELECT 1 FROM speaker WHERE device = ? AND number != ? AND standing != 'unknown'"
    if tenant is None or database.execute(others, (asking.device_id, number)).fetchone():
        database.execute("UPDATE speaker SET standing = 'unknown' WHERE number = ? AND standing = 'listed'", (number,))
    else:
        listed = "UPDATE speaker SET standing = 'listed', tenant = ?, code = NULL WHERE number = ?"
        database.execute(f"{listed} AND standing != 'allowed'", (tenant, number))


def _give_code(database: sqlite3.Connection, number: int) -> None:
    wanting = "SELECT 1 FROM speaker WHERE number = ? AND standing = 'unknown' AND code IS NULL"
    if database.execute(wanting, (number,)).fetchone() is None:
        return
    while True:  # at most a twentieth of all codes are taken
        code = f"{secrets.randbelow(1_000_000):06d}"
        if database.execute("SELECT 1 FROM speaker WHERE code = ?", (code,)).fetchone() is None:
            database.execute("UPDATE speaker SET code = ? WHERE number = ?", (code, number))
            return


def _let_in(database: sqlite3.Connection, device_id: str, client_id: str, tenant: str) -> None:
    others = "DELETE FROM speaker WHERE device = ? AND client != ? AND standing != 'unknown'"
    if database.execute(others, (device_id, client_id)).rowcount:
        database.execute(_REVOKE, (device_id,))
    admit = "UPDATE speaker SET standing = 'allowed', tenant = ?, code = NULL WHERE device = ? AND client = ?"
    database.execute(admit, (tenant, device_id, client_id))


def _holder(database: sqlite3.Connection, device_id: str) -> str | None:
    holder = "SELECT tenant FROM speaker WHERE device = ? AND standing != 'unknown'"
    row = database.execute(holder, (device_id,)).fetchone()
    return str(row[0]) if row else None


def _forget_oldest(database: sqlite3.Connection) -> None:
    (count,) = database.execute("SELECT count(*) FROM speaker WHERE standing = 'unknown'").fetchone()
    if count > MAX_UNKNOWN:
        oldest = "SELECT number FROM speaker WHERE standing = 'unknown' ORDER BY number LIMIT ?"
        database.execute(f"DELETE FROM speaker WHERE number IN ({oldest})", (count - MAX_UNKNOWN,))


def _of(row: tuple[str, str, str, str, str | None, str, int, str, str, str, float]) -> Speaker:
    return Speaker(*row[:6], bool(row[6]), *row[7:])
