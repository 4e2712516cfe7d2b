"""A store in one SQLite file, which the processes of one machine share."""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueFullError
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
    fresh_ones,
)
from changehook.interfaces import Store
from changehook.stores.sqlite import queries, statements
from changehook.stores.sqlite.claims import DEFAULT_LEASE, candidates, is_anything_due
from changehook.stores.sqlite.connections import Connections
from changehook.stores.sqlite.rows import moment, number_of
from changehook.stores.sqlite.writer import Transaction, Writer

__all__ = ["SQLiteStore"]

SHOWN = datetime.timedelta(hours=48)


class SQLiteStore(Store):
    """Keeps deliveries in a file: when ``add`` returns, they are on disk.

    Several processes of one machine may share the file, such as the workers of gunicorn and a
    ``changehook worker``. Writes of threads that come together share one commit. The file and the
    two beside it (``-wal``, ``-shm``) are readable by their user only, and may not be copied while
    they are in use; ``sqlite3 FILE ".backup COPY"`` does that.

    Args:
        path: the file; it is created if need be, in a folder that exists, on a local disk.
        synchronous: ``FULL``: what was acknowledged outlives a power cut. ``NORMAL``: commits are
            faster, and outlive the process, but a power cut may lose those acknowledged last.
        capacity: how many deliveries may wait or be attempted at once.
        timeout: seconds to wait for another process that writes.
        connect: opens a connection to a path, for tests.

    Raises:
        ConfigurationError: an argument is wrong; the file is another program's or of a newer
            release, or lies on a network file system.
        StoreError: the file is damaged, read-only or locked; the error says which.
    """

    durable = True
    poll = 0.5

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        capacity: int = 1_000_000,
        timeout: float = 5.0,
        connect: Callable[[str], Any] | None = None,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigurationError(
                f'synchronous: expected "FULL" or "NORMAL", found {synchronous!r}'
            )
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ConfigurationError("capacity is a number of deliveries, at least 1")
        self.path = _checked_path(path)
        self.capacity = capacity
        self._connections = Connections(
            self.path, synchronous=synchronous, timeout=timeout, connect=connect
        )
        self._writer = Writer(self._connections)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    def close(self) -> None:
        """Close the connections; using the store afterwards opens new ones."""
        self._connections.close()

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep new pending deliveries, all of them or none; an id that is kept is passed over."""

        def work(transaction: Transaction) -> None:
            kept = functools.partial(statements.content, transaction)
            fresh = fresh_ones(deliveries, kept)
            room = max(0, self.capacity - transaction.waiting())
            if len(fresh) > room:
                raise QueueFullError(
                    f"{len(fresh)} deliveries, {room} places; capacity {self.capacity}"
                )
            payloads: dict[str, int] = {}
            for delivery in fresh:
                statements.insert(transaction, delivery, payloads)

        self._writer.run(work)

    def claim(
        self,
        now: datetime.datetime,
        *,
        limit: int = 1,
        admit: Callable[[str], bool] | None = None,
        lease: Callable[[str], float] | None = None,
    ) -> list[Delivery]:
        """Return deliveries that are due, claimed."""

        def work(transaction: Transaction) -> list[Delivery]:
            found = candidates(transaction, now, limit, admit or _anyone)
            return [
                statements.claim(transaction, number, each, now, (lease or _default)(each.webhook))
                for number, each in found
            ]

        with self._connections.use() as connection:
            due = is_anything_due(connection, now)  # without the lock that writers share
        return self._writer.run(work) if due else []

    def save(self, delivery: Delivery) -> bool:
        """Keep the next state of a delivery, unless a newer one is kept."""
        return self._writer.run(lambda transaction: self._save(transaction, delivery))

    def save_all(self, deliveries: Sequence[Delivery]) -> int:
        """Keep the next states of many in one transaction; return how many were kept."""
        return self._writer.run(
            lambda transaction: sum(self._save(transaction, each) for each in deliveries)
        )

    def _save(self, transaction: Transaction, delivery: Delivery) -> bool:
        found = statements.save(transaction, delivery)
        if found is None:
            return False
        before, attempts = found
        if not before.finished:
            if len(delivery.attempts) > attempts or delivery.status.finished:
                transaction.count_outcome(delivery)
        elif not delivery.status.finished and transaction.waiting() > self.capacity:
            raise QueueFullError(f"no place for another; capacity {self.capacity}")
        return True

    def next_due(self, without: Collection[str] = ()) -> datetime.datetime | None:
        """Return when the next pending delivery is due, or its lease ends."""
        with self._connections.use() as connection:
            due = queries.first_due(connection, without)
        return None if due is None else moment(due)

    def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery."""
        with self._connections.use() as connection, queries.snapshot(connection):
            return queries.get(connection, delivery_id)

    def find(
        self,
        where: DeliveryFilter,
        limit: int | None = None,
        after: tuple[datetime.datetime, str] | None = None,
    ) -> list[Delivery]:
        """Return the deliveries that agree with the filter, those of the highest position first."""
        with self._connections.use() as connection, queries.snapshot(connection):
            return queries.find(connection, where, limit, after)

    def due(self, now: datetime.datetime, limit: int) -> list[Delivery]:
        """Return deliveries that could be claimed, without claiming them."""
        with self._connections.use() as connection, queries.snapshot(connection):
            found = candidates(connection, now, limit, _anyone)
            return list({each.id: each for _, each in found}.values())

    def oldest(self, limit: int) -> list[Delivery]:
        """Return the pending deliveries of the lowest positions, the lowest first."""
        with self._connections.use() as connection, queries.snapshot(connection):
            return queries.oldest(connection, limit)

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        with self._connections.use() as connection:
            return queries.count(connection, where)

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        with self._connections.use() as connection:
            return queries.counts(connection)

    def remove(self, deliveries: Iterable[Delivery]) -> int:
        """Remove the deliveries that are still kept at this revision."""

        def work(transaction: Transaction) -> int:
            statement = "SELECT number FROM deliveries WHERE id = ? AND revision = ?"
            kept = (transaction.one(statement, (each.id, each.revision)) for each in deliveries)
            return sum(statements.delete(transaction, row[0]) for row in kept if row is not None)

        return self._writer.run(work)

    def purge(self, retention: Retention, now: datetime.datetime, limit: int = 500) -> int:
        """Remove finished deliveries that are not to be kept, at most ``limit`` at once."""

        def work(transaction: Transaction) -> int:
            removed = 0
            for status in filter(lambda each: each.finished, DeliveryStatus):
                numbers = statements.expired(transaction, status, retention, now, limit - removed)
                removed += sum(statements.delete(transaction, number) for number in numbers)
            return removed

        return self._writer.run(work)

    def disable(self, webhook: DisabledWebhook) -> bool:
        """Keep, for every process, that a webhook gets no deliveries; return whether it is new."""
        statement = "INSERT INTO disabled VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING webhook"
        values = (webhook.webhook, webhook.reason, number_of(webhook.at))
        return self._writer.run(lambda writing: writing.one(statement, values) is not None)

    def enable(self, webhook: str) -> bool:
        """Forget that a webhook gets no deliveries; return whether it was so."""
        statement = "DELETE FROM disabled WHERE webhook = ? RETURNING webhook"
        return self._writer.run(lambda writing: writing.one(statement, (webhook,)) is not None)

    def disabled(self) -> dict[str, DisabledWebhook]:
        """Return the webhooks that get no deliveries, by name."""
        with self._connections.use() as connection:
            return queries.disabled(connection)

    def report(self, heartbeat: WorkerHeartbeat | None, tallies: Iterable[WebhookTally]) -> None:
        """Keep that a worker lives, and add to how often webhooks were asked."""

        def work(transaction: Transaction) -> None:
            if heartbeat is not None:
                statements.write_heartbeat(transaction, heartbeat)
            for tally in tallies:
                statements.write_tally(transaction, tally)

        self._writer.run(work)

    def stats(self, now: datetime.datetime) -> QueueStats:
        """Return how the deliveries that are kept fare, without counting them."""
        with self._connections.use() as connection, queries.snapshot(connection):
            due = queries.first_due(connection)
            late = None if due is None else (now - moment(due)).total_seconds()
            return QueueStats(
                counts=queries.counts(connection),
                age_of_oldest_due=late if late is not None and late >= 0 else None,
                hours=queries.hours(connection, now - SHOWN),
                workers=queries.workers(connection),
                webhooks=queries.tallies(connection),
                disabled=tuple(queries.disabled(connection).values()),
            )


def _anyone(_: str) -> bool:
    return True


def _default(_: str) -> float:
    return DEFAULT_LEASE


def _checked_path(path: object) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    good = isinstance(text, str) and text and "\0" not in text
    if not good or not isinstance(text, str) or text.startswith((":memory:", "file:")):
        raise ConfigurationError(
            "path: expected the name of a file; MemoryStore() keeps deliveries in memory"
        )
    return Path(text).absolute()
