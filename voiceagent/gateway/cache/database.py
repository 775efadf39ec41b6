"""One SQLite file, or a database in memory, on a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from voiceagent.database import Layout, connect
from voiceagent.errors import EngineError

T = TypeVar("T")

BUSY_SECONDS = 2.0
"""How long a call waits for another process that is writing."""


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
            connecting = partial(connect, self._path, self._layout, busy_seconds=BUSY_SECONDS)
            self._database = await asyncio.get_running_loop().run_in_executor(worker, connecting)
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


def _within(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    with database:
        return work(database)
