"""Files of older versions become present ones, with all that they keep."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from changehook import ConfigurationError, DeliveryFilter, DeliveryStatus, SQLiteStore
from changehook.stores.sqlite import schema
from changehook.testing import make_delivery
from changehook.testing.deliveries import NOW, delivered, later

FIRST = Path(__file__).parent / "version_1.sql"  # what a release of version 1 wrote, as SQL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file of version 1, with a delivery in every state."""
    path = tmp_path / "webhooks.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text(encoding="utf-8"))
    connection.close()
    return path


def asked(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Return the rows that a statement gives, on a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables."""
    names = [name for (name,) in asked(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: asked(path, f"SELECT * FROM {name}") for name in names}


def shape(path: Path) -> set[tuple[object, ...]]:
    """Return the statements that make the tables and indexes."""
    return set(asked(path, "SELECT type, name, sql FROM sqlite_master"))


def test_a_file_of_version_1_keeps_all_that_it_has(path: Path, tmp_path: Path) -> None:
    """Not a row of it changes, and it is like a file that is made now."""
    before = content(path)
    assert asked(path, "PRAGMA user_version") == [(1,)]
    SQLiteStore(path).close()
    assert content(path) == before
    assert asked(path, "PRAGMA user_version") == [(2,)]
    assert asked(path, "PRAGMA integrity_check") == [("ok",)]
    SQLiteStore(tmp_path / "new.db").close()
    assert shape(path) == shape(tmp_path / "new.db")


def test_a_file_of_version_1_is_read(path: Path) -> None:
    """Deliveries, figures and what is disabled; the new indexes know what was there before."""
    store = SQLiteStore(path)
    kept = {each.id: each for each in store.find(DeliveryFilter())}
    assert [each[-1] for each in kept] == list("7654321")
    assert {each.status for each in kept.values()} == set(DeliveryStatus)
    assert kept["msg_1"].body == kept["msg_1"].payload == kept["msg_2"].payload
    assert [attempt.status for attempt in kept["msg_4"].attempts] == [500, 200]
    assert kept["msg_5"].lease_until == later(310)
    found = {
        "32": {"with_error": True},
        "3": {"with_error": True, "webhook": "chat"},
        "2": {"with_error": True, "webhook": "audit", "status": "failed"},
        "41": {"webhook": "chat", "status": "delivered"},
    }
    for ids, criteria in found.items():
        assert [each.id[-1] for each in store.find(DeliveryFilter(**criteria))] == list(ids)
    stats = store.stats(NOW)
    assert sum(stats.counts.values()) == len(kept)
    assert sum(each.count for each in stats.hours) == 6
    assert [each.webhook for each in (*stats.webhooks, *stats.disabled)] == ["chat", "off"]
    store.close()


def test_a_file_of_version_1_is_worked_on(path: Path) -> None:
    """What waited in it is claimed, made, retried and removed, beside what is new."""
    store = SQLiteStore(path)
    store.add([make_delivery(webhook="chat", created_at=later(60), due_at=later(60))])
    claimed = store.claim(later(4000), limit=9)
    assert [each.id[:5] for each in claimed[:2]] == ["msg_5", "msg_7"]
    assert len(claimed) == 4
    assert store.save_all([delivered(each) for each in claimed]) == 4
    assert [each.id for each in store.find(DeliveryFilter(with_error=True))] == ["msg_2"]
    [failed] = store.find(DeliveryFilter(status="failed", webhook="audit"))
    assert store.save(failed.retried(later(4000)))
    assert store.remove(store.find(DeliveryFilter())) == 8
    assert sum(store.counts().values()) == 0
    assert asked(path, "SELECT count(*) FROM payloads") == [(0,)]
    store.close()


def test_a_release_of_version_1_refuses_a_newer_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both versions, and what to do."""
    SQLiteStore(path).close()
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    with pytest.raises(ConfigurationError, match="is of version 2, this release knows 1; install"):
        SQLiteStore(path)


def test_who_has_the_file_open_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the older release that runs while a newer one brings the file forward."""
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        running = SQLiteStore(path)
        running.counts()
    newer = SQLiteStore(path)
    with running._connections.use() as connection:
        connection.execute("UPDATE deliveries SET error_class = 'dns' WHERE id = 'msg_7'")
    where = DeliveryFilter(with_error=True, webhook="audit")
    assert [each.id for each in newer.find(where)] == ["msg_7", "msg_2"]
    running.close()
    newer.close()
