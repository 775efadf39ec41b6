"""One SQLite file, or a database in memory, on a thread of its own."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from voiceagent.errors import ConfigError, EngineError

T = TypeVar("T")

BUSY_SECONDS = 2.0
"""How long a call waits for another process that is writing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds. `key` is the setting that names it, `application` tells it from another program's file."""

    key: str
    application: int
    version: int
    schema: str


class Database:
    """Calls run one after the other. The file is made on `open()`, readable by its owner only; deleted words are
    overwritten in it."""

    def __init__(self, path: str, layout: Layout, name: str) -> None:
        """Without a path it is in memory and ends with the process. `name` is the thread's."""
        self._path = Path(path).expanduser() if path else None
        self._layout = layout
        self._name = name
        self._worker: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Raises ConfigError, saying what to do, for a file that cannot be used."""
        worker = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        try:
            connecting = asyncio.get_running_loop().run_in_executor(worker, _connect, self._path, self._layout)
            self._database = await connecting
        except BaseException:
            worker.shutdown(wait=False)
            raise
        self._worker = worker

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In one transaction. Raises EngineError (stage "llm"), also when it is not open."""
        if self._worker is None or self._database is None:
            raise EngineError("llm", "unavailable", f"the file of {self._layout.key} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, _within, self._database, work)
        except sqlite3.Error as error:
            kind = type(error).__name__
            raise EngineError("llm", "failed", f"the file of {self._layout.key} failed ({kind})") from None

    async def close(self) -> None:
        """Waits for the calls before it. May be called twice."""
        worker, self._worker = self._worker, None
        database, self._database = self._database, None
        if worker is not None and database is not None:
            await asyncio.get_running_loop().run_in_executor(worker, database.close)
            worker.shutdown(wait=False)


def storable(text: str) -> str:
    """SQLite holds UTF-8: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _within(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    with database:
        return work(database)


def _connect(path: Path | None, layout: Layout) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{layout.key}: {path} cannot be opened ({error}); choose another") from None
    try:
        _prepare(database, path, layout)
    except sqlite3.Error as error:
        database.close()
        raise ConfigError(f"{layout.key}: {path} cannot be used ({error}); choose another") from None
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None, layout: Layout) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
        database.execute(f"PRAGMA {pragma}").close()
    with closing(database.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        (version,) = cursor.execute("PRAGMA user_version").fetchone()
        (application,) = cursor.execute("PRAGMA application_id").fetchone()
        (tables,) = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != layout.application and (application or version or tables):
            raise ConfigError(f"{layout.key}: {path} belongs to another program; choose another")
        if version > layout.version:
            raise ConfigError(f"{layout.key}: {path} was written by a newer voiceagent; upgrade or choose another")
        if version == 0:
            for statement in layout.schema.split(";"):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA application_id = {layout.application}")
            cursor.execute(f"PRAGMA user_version = {layout.version}")
        cursor.execute("COMMIT")
