"""SQLite files of ours: made readable by their owner only, told from other programs' and from newer versions'."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from voiceagent.errors import ConfigError

BUSY_SECONDS = 5.0
"""How long a call waits for another process that is writing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds. `key` is the setting that names it, for messages; `application` (`application_id`) tells it
    from another program's, `version` (`user_version`) from one of a later release; `schema` makes its tables."""

    key: str
    application: int
    version: int
    schema: str


def connect(
    path: Path | None, layout: Layout, *, busy_seconds: float | None = None, autocommit: bool = False
) -> sqlite3.Connection:
    """Open the file, or make it; None keeps all in memory. Words that are deleted are overwritten in it. With
    `autocommit` transactions are the caller's to begin. Raises ConfigError, saying what to do."""
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(
            path or ":memory:",
            timeout=BUSY_SECONDS if busy_seconds is None else busy_seconds,
            isolation_level=None if autocommit else "DEFERRED",
            check_same_thread=False,  # its owner has one thread for it; the garbage collector may run in another
        )
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{layout.key}: {path} cannot be opened ({error}); choose another") from None
    try:
        _prepare(database, path, layout)
    except BaseException:
        database.close()
        raise
    return database


def storable(text: str) -> str:
    """SQLite holds UTF-8: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _prepare(database: sqlite3.Connection, path: Path | None, layout: Layout) -> None:
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}").close()
        with closing(database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            _migrate(cursor, path, layout)
            cursor.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{layout.key}: {path} cannot be used ({error}); choose another") from None
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"{layout.key}: {path} is damaged or no SQLite file ({error}); move it away or put a backup in its place"
        ) from None


def _migrate(cursor: sqlite3.Cursor, path: Path | None, layout: Layout) -> None:
    """Makes the tables of a new file; refuses a file that is another program's or a newer version's."""
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    (application,) = cursor.execute("PRAGMA application_id").fetchone()
    (tables,) = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != layout.application and (application or version or tables):
        raise ConfigError(f"{layout.key}: {path} belongs to another program; choose another")
    if version > layout.version:
        raise ConfigError(
            f"{layout.key}: {path} was written by a newer voiceagent (schema {version}, this one knows "
            f"{layout.version}); upgrade voiceagent or choose another path"
        )
    if version == 0:
        for statement in layout.schema.split(";"):
            cursor.execute(statement)
        cursor.execute(f"PRAGMA application_id = {layout.application}")
        cursor.execute(f"PRAGMA user_version = {layout.version}")
