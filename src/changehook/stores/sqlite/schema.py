"""The tables, and how a file of an older version becomes one of this version."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from changehook.errors import ConfigurationError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "version_of"]

APPLICATION_ID = 0x63686F6B  # "chok", SQLite's header field for the kind of file

_FIRST = """
CREATE TABLE payloads (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    webhook TEXT NOT NULL,
    event TEXT NOT NULL,
    model TEXT NOT NULL,
    payload INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    lease_until INTEGER,
    status TEXT NOT NULL,
    attempt_number INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error_class TEXT,
    body TEXT,
    body_is_payload INTEGER NOT NULL,
    reason TEXT NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX due ON deliveries (attempts > 0, due_at) WHERE status = 'pending';
CREATE INDEX due_by_webhook ON deliveries (webhook, attempts > 0, due_at) WHERE status = 'pending';
CREATE INDEX recorded ON deliveries (recorded_at) WHERE status = 'pending';
CREATE INDEX leased ON deliveries (lease_until) WHERE status = 'delivering';
CREATE INDEX failing ON deliveries (created_at) WHERE status = 'pending' AND attempt_number > 0;
CREATE INDEX newest ON deliveries (created_at);
CREATE INDEX newest_by_status ON deliveries (status, created_at);
CREATE INDEX newest_by_webhook ON deliveries (webhook, created_at);
CREATE INDEX newest_by_model ON deliveries (model, created_at);
CREATE INDEX newest_by_error ON deliveries (error_class, created_at) WHERE error_class IS NOT NULL;
CREATE INDEX by_payload ON deliveries (payload);
CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    number INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
CREATE TABLE counts (status TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outcomes (
    hour INTEGER NOT NULL,
    webhook TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count INTEGER NOT NULL,
    seconds REAL NOT NULL,
    slowest REAL NOT NULL,
    PRIMARY KEY (hour, webhook, outcome)
) WITHOUT ROWID;
CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    threads INTEGER NOT NULL,
    busy INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tallies (
    webhook TEXT PRIMARY KEY,
    matched INTEGER NOT NULL,
    not_matched INTEGER NOT NULL,
    unresolvable INTEGER NOT NULL,
    reason TEXT NOT NULL,
    reason_at INTEGER
) WITHOUT ROWID;
CREATE TABLE disabled (
    webhook TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
"""

# A page of what failed, or of one status of a webhook, whose other deliveries may be a million.
_SECOND = """
CREATE INDEX newest_with_error ON deliveries (created_at) WHERE error_class IS NOT NULL;
CREATE INDEX newest_with_error_by_webhook ON deliveries (webhook, created_at)
    WHERE error_class IS NOT NULL;
CREATE INDEX newest_by_webhook_status ON deliveries (webhook, status, created_at);
"""

MIGRATIONS = (_FIRST, _SECOND)
"""The statements that lead from each version to the next; the version is how many were run."""


def migrate(connection: Any) -> None:
    """Bring a file to the present version, in one transaction.

    Raises:
        ConfigurationError: the file is another program's, or of a newer release.
    """
    version = version_of(connection)
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version_of(connection) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # it may be rolled back already
            connection.execute("ROLLBACK")
        raise


def version_of(connection: Any) -> int:
    """Return how many migrations a file has had; writes nothing.

    Raises:
        ConfigurationError: the file is another program's, or of a newer release.
    """
    if connection.in_transaction:
        return _version(connection)
    connection.execute("BEGIN")  # so that all is read as of one moment
    try:
        return _version(connection)
    finally:
        connection.execute("COMMIT")


def _version(connection: Any) -> int:
    application = _value(connection, "PRAGMA application_id")
    version = int(_value(connection, "PRAGMA user_version"))
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                f"is of version {version}, this release knows {len(MIGRATIONS)}; "
                "install the newer release of changehook that wrote it"
            )
        return version
    if application or version or _value(connection, "SELECT count(*) FROM sqlite_master"):
        raise ConfigurationError("is a database of another program; give it a file of its own")
    return 0


def _value(connection: Any, statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]
