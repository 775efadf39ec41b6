"""Memory in one SQLite file, which several processes on one machine may share."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from voiceagent.errors import ConfigError, EngineError
from voiceagent.memory.base import Entry

T = TypeVar("T")

SCHEMA_VERSION = 1
"""Kept in `user_version`."""
APPLICATION_ID = 0x564F4147
"""Kept in `application_id`: tells our file from another program's ("VOAG")."""
BUSY_SECONDS = 5.0
"""How long a call waits for another process that is writing."""

_SCHEMA = """
CREATE TABLE entry (
    number INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    item_id TEXT NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (user, item_id)
) STRICT;
CREATE INDEX entry_of_user ON entry (user, number);
"""
_REMEMBER = """
INSERT INTO entry (user, item_id, role, text, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (user, item_id) DO UPDATE SET role = excluded.role, text = excluded.text, at = excluded.at
"""
_RECALL = "SELECT item_id, role, text, at FROM entry WHERE user = ? ORDER BY number DESC LIMIT ?"
_USERS = "SELECT user, count(*), max(at) FROM entry GROUP BY user ORDER BY max(at) DESC"


class SqliteMemory:
    """A MemoryStore. All SQL runs on one thread of its own, in the order of the calls; entries keep the order in which
    they were first stored, whatever the clock says. Raises EngineError (stage "memory") when the file fails in use.

    The file is made on `open()`, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        self._worker: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Raises ConfigError, saying what to do, for a file that cannot be used."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="memory")
        try:
            self._database = await asyncio.get_running_loop().run_in_executor(self._worker, _connect, self._path)
        finally:
            if self._database is None:
                self._worker.shutdown(wait=False)

    async def recall(self, user: str, limit: int) -> list[Entry]:
        def read(database: sqlite3.Connection) -> list[Entry]:
            return [Entry(*row) for row in database.execute(_RECALL, (_storable(user), limit))][::-1]

        return await self._run(read)

    async def remember(self, user: str, entry: Entry) -> None:
        def write(database: sqlite3.Connection) -> None:
            key = (_storable(user), _storable(entry.item_id))
            with database:
                if entry.text:
                    database.execute(_REMEMBER, (*key, entry.role, _storable(entry.text), entry.at))
                else:
                    database.execute("DELETE FROM entry WHERE user = ? AND item_id = ?", key)

        await self._run(write)

    async def users(self) -> list[tuple[str, int, float]]:
        def read(database: sqlite3.Connection) -> list[tuple[str, int, float]]:
            return database.execute(_USERS).fetchall()

        return await self._run(read)

    async def forget(self, user: str) -> int:
        """Also overwrites the words in the file (`secure_delete`)."""

        def delete(database: sqlite3.Connection) -> int:
            with database:
                return database.execute("DELETE FROM entry WHERE user = ?", (_storable(user),)).rowcount

        return await self._run(delete)

    async def close(self) -> None:
        """Waits for the calls before it. May be called twice."""
        worker, self._worker = self._worker, None
        database, self._database = self._database, None
        if worker is not None and database is not None:
            await asyncio.get_running_loop().run_in_executor(worker, database.close)
            worker.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Once handed over, a write is carried out even if its caller is cancelled."""
        if self._worker is None or self._database is None:
            raise EngineError("memory", "unavailable", "the memory is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, self._database)
        except sqlite3.Error as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            code = "timeout" if busy else "failed"
            raise EngineError("memory", code, f"the memory file failed ({type(error).__name__})") from None


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path, timeout=BUSY_SECONDS)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"[memory] path: {path} cannot be opened ({error}); choose another") from None
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    try:
        database.execute("PRAGMA journal_mode = WAL").close()
        database.execute("PRAGMA synchronous = NORMAL").close()
        database.execute("PRAGMA secure_delete = ON").close()
        with closing(database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            _migrate(cursor, path)
            cursor.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise ConfigError(f"[memory] path: {path} cannot be used ({error}); choose another") from None
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"[memory] path: {path} is damaged or no SQLite file ({error}); move it away or put a backup in its place"
        ) from None


def _migrate(cursor: sqlite3.Cursor, path: Path) -> None:
    """Makes the tables of a new file; refuses a file that is another program's or a newer version's."""
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    (application,) = cursor.execute("PRAGMA application_id").fetchone()
    (tables,) = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise ConfigError(f"[memory] path: {path} belongs to another program; choose another")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"[memory] path: {path} was written by a newer voiceagent (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade voiceagent or choose another path"
        )
    if version == 0:
        for statement in _SCHEMA.split(";"):
            cursor.execute(statement)
        cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _storable(text: str) -> str:
    """SQLite holds UTF-8: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
