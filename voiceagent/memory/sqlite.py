"""SQLite memory: one file, which several processes on one machine may share."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from voiceagent.database import Layout, connect, storable
from voiceagent.errors import EngineError
from voiceagent.memory.base import Entry
from voiceagent.section import Section

T = TypeVar("T")

SCHEMA_VERSION = 1
"""Kept in `user_version`."""
APPLICATION_ID = 0x564F4147
"""Kept in `application_id`: tells our file from another program's ("VOAG")."""

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
_LAYOUT = Layout("[memory] path", APPLICATION_ID, SCHEMA_VERSION, _SCHEMA)
_REMEMBER = """
INSERT INTO entry (user, item_id, role, text, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (user, item_id) DO UPDATE SET role = excluded.role, text = excluded.text, at = excluded.at
"""
_RECALL = "SELECT item_id, role, text, at FROM entry WHERE user = ? ORDER BY number DESC LIMIT ?"
_USERS = "SELECT user, count(*), max(at) FROM entry GROUP BY user ORDER BY max(at) DESC"


class SqliteOptions(Section):
    """Memory in an SQLite file."""

    path: Path
    """The file; it is made when it is not there."""


class SqliteMemory:
    """A MemoryStore. All SQL runs on one thread of its own, in the order of the calls; entries keep the order in which
    they were first stored, whatever the clock says. Raises EngineError (stage "memory") when the file fails in use.

    The file is made on `open()`, readable by its owner only.
    """

    Options = SqliteOptions

    def __init__(self, options: SqliteOptions) -> None:
        self._path = options.path.expanduser()
        self._worker: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Raises ConfigError, saying what to do, for a file that cannot be used."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="memory")
        try:
            self._database = await asyncio.get_running_loop().run_in_executor(
                self._worker, connect, self._path, _LAYOUT
            )
        finally:
            if self._database is None:
                self._worker.shutdown(wait=False)

    async def recall(self, user: str, limit: int) -> list[Entry]:
        def read(database: sqlite3.Connection) -> list[Entry]:
            return [Entry(*row) for row in database.execute(_RECALL, (storable(user), limit))][::-1]

        return await self._run(read)

    async def remember(self, user: str, entry: Entry) -> None:
        def write(database: sqlite3.Connection) -> None:
            key = (storable(user), storable(entry.item_id))
            with database:
                if entry.text:
                    database.execute(_REMEMBER, (*key, entry.role, storable(entry.text), entry.at))
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
                return database.execute("DELETE FROM entry WHERE user = ?", (storable(user),)).rowcount

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
