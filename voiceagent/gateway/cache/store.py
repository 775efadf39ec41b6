"""Where kept answers lie."""

import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from voiceagent.database import Layout, storable
from voiceagent.gateway.cache.database import Database
from voiceagent.gateway.cache.question import Question, Scope


class CacheStore(Protocol):
    """Answers by scope and key, of each tenant so many, for so long. Raises EngineError when it fails in use."""

    async def open(self) -> None:
        """Raises ConfigError for what cannot be used."""
        ...

    async def get(self, scope: Scope, key: str) -> str | None:
        """The answer, which counts as used. None where there is none or it is too old."""
        ...

    async def put(self, question: Question, answer: str) -> None:
        """Keeps it; beyond the number allowed the tenant's answer goes that was not used for longest."""
        ...

    async def clear(self, tenant: str) -> None:
        """Forgets all of a tenant's answers."""
        ...

    async def close(self) -> None: ...


_LAYOUT = Layout(
    key="[llm.cache] path",
    application=0x564F4143,  # "VOAC"
    version=1,
    schema="""
CREATE TABLE answer (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, place TEXT NOT NULL, key TEXT NOT NULL,
    answer TEXT NOT NULL, made REAL NOT NULL, used INTEGER NOT NULL,
    UNIQUE (tenant, place, key)
) STRICT;
CREATE INDEX answer_by_use ON answer (tenant, used);
CREATE INDEX answer_by_age ON answer (made)
""",
)
_GET = "SELECT number, answer FROM answer WHERE tenant = ? AND place = ? AND key = ? AND made BETWEEN ? AND ?"
_NEXT_USE = "(SELECT coalesce(max(used), 0) + 1 FROM answer WHERE tenant = ?1)"
_USE = f"UPDATE answer SET used = {_NEXT_USE} WHERE number = ?2"
_PUT = f"""
INSERT OR REPLACE INTO answer (tenant, place, key, answer, made, used)
VALUES (?1, ?2, ?3, ?4, ?5, {_NEXT_USE})
"""
_OLD = "DELETE FROM answer WHERE made NOT BETWEEN ? AND ?"
_SURPLUS = """
DELETE FROM answer WHERE tenant = ?1 AND used <= (
    SELECT used FROM answer WHERE tenant = ?1 ORDER BY used DESC LIMIT 1 OFFSET ?2
)
"""


class SqliteStore:
    """In one SQLite file that processes may share, or in memory. Ages go by the wall clock, as they must outlive the
    process: an answer from the future, when the clock was set back, counts as too old."""

    def __init__(self, path: str, entries: int, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, _LAYOUT, "cache")
        self._entries = entries
        self._seconds = seconds
        self._clock = clock

    async def open(self) -> None:
        await self._database.open()

    async def get(self, scope: Scope, key: str) -> str | None:
        lifetime = self._lifetime()

        def read(database: sqlite3.Connection) -> str | None:
            found = database.execute(_GET, (storable(scope.tenant), scope.place, key, *lifetime)).fetchone()
            if found is None:
                return None
            database.execute(_USE, (storable(scope.tenant), found[0]))
            return str(found[1])

        return await self._database.run(read)

    async def put(self, question: Question, answer: str) -> None:
        oldest, now = self._lifetime()
        tenant = storable(question.scope.tenant)
        row = (tenant, question.scope.place, question.key, storable(answer), now)

        def write(database: sqlite3.Connection) -> None:
            database.execute(_OLD, (oldest, now))
            database.execute(_PUT, row)
            database.execute(_SURPLUS, (tenant, self._entries))

        await self._database.run(write)

    async def clear(self, tenant: str) -> None:
        def delete(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM answer WHERE tenant = ?", (storable(tenant),))

        await self._database.run(delete)

    async def close(self) -> None:
        await self._database.close()

    def _lifetime(self) -> tuple[float, float]:
        now = self._clock()
        return now - self._seconds, now
