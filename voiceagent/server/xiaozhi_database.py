"""The SQLite file of xiaozhi devices: its tables, and how it is opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voiceagent import database
from voiceagent.database import Layout

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
