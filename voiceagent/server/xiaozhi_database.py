"""The SQLite file of xiaozhi devices: its tables, and how it is opened."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voiceagent.errors import ConfigError

SCHEMA_VERSION = 1
"""Kept in `user_version`."""
APPLICATION_ID = 0x564F5853
"""Kept in `application_id`: tells our file from another program's ("VOXS")."""
BUSY_SECONDS = 5.0
"""How long a call waits for another process that is writing."""

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


def connect(path: Path | None) -> sqlite3.Connection:
    """Opens it, or makes it, readable by its owner only; None keeps all in memory. Raises ConfigError."""
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"[xiaozhi] path: {path} cannot be opened ({error}); choose another") from None
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """What is read in it is still so when it is written, whatever other processes do."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # SQLite itself ends it when the disk is full
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    try:
        database.execute("PRAGMA journal_mode = WAL").close()
        database.execute("PRAGMA synchronous = NORMAL").close()
        with transaction(database):
            _migrate(database, path)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"[xiaozhi] path: {path} cannot be used ({error}); choose another") from None
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"[xiaozhi] path: {path} is damaged or no SQLite file ({error}); move it away or put a backup in its place"
        ) from None


def _migrate(database: sqlite3.Connection, path: Path | None) -> None:
    """Makes the tables of a new file; refuses a file that is another program's or a newer version's."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise ConfigError(f"[xiaozhi] path: {path} belongs to another program; choose another")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"[xiaozhi] path: {path} was written by a newer voiceagent (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade voiceagent or choose another path"
        )
    if version == 0:
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
