"""Which deliveries a claim takes: those whose worker died, then what is due."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from changehook.deliveries import Delivery
from changehook.stores.sqlite.queries import (
    LEASED,
    RECORDED,
    attempts_of,
    by,
    first_due,
    webhooks_waiting,
)
from changehook.stores.sqlite.rows import COLUMNS, delivery_of, number_of
from changehook.stores.sqlite.writer import Transaction

__all__ = ["DEFAULT_LEASE", "candidates", "is_anything_due"]

SECOND = 1_000_000
DEFAULT_LEASE = 45.0
LONGEST_LEASE = 600 * SECOND  # one that ends later was taken while the clock was ahead
CLOCK_JUMP = 60 * SECOND  # what was recorded so far ahead was, too


def is_anything_due(connection: Any, now: datetime.datetime) -> bool:
    """Return whether there may be something to claim."""
    moment = number_of(now)
    due = first_due(connection)
    if due is None or due <= moment:
        return due is not None
    recorded = connection.execute(f"SELECT max(recorded_at) {RECORDED}").fetchone()[0] or 0
    leased = connection.execute(f"SELECT max(lease_until) {LEASED}").fetchone()[0] or 0
    return recorded > moment + CLOCK_JUMP or leased > moment + LONGEST_LEASE


def candidates(
    transaction: Transaction, now: datetime.datetime, limit: int, admit: Callable[[str], bool]
) -> Iterator[tuple[int, Delivery]]:
    """Yield the deliveries that may be claimed now, each admitted, with the number of its row."""
    refused: set[str] = set()
    taken = 0
    for query, values in _queries(number_of(now), limit):
        for row in transaction.execute(query, values).fetchall():
            if row[3] not in refused and admit(row[3]):
                taken += 1
                yield row[0], delivery_of(row, attempts_of(transaction, row))
            else:
                refused.add(row[3])
            if taken == limit:
                return
    if refused and not taken:
        yield from _beyond(transaction, number_of(now), refused, admit)


def _queries(now: int, limit: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    # All of them, for those that are not admitted: there are as many as workers died.
    expired = "d.status = 'delivering' AND (d.lease_until <= ? OR d.lease_until > ?)"
    yield f"SELECT {COLUMNS} {by('leased')} WHERE {expired}", (now, now + LONGEST_LEASE)
    ahead = "d.status = 'pending' AND d.recorded_at > ? ORDER BY d.recorded_at LIMIT ?"
    yield f"SELECT {COLUMNS} {by('recorded')} WHERE {ahead}", (now + CLOCK_JUMP, limit)
    for retry in ("0", "1"):
        due = f"d.status = 'pending' AND (d.attempts > 0) = {retry} AND d.due_at <= ?"
        due += " ORDER BY d.due_at, d.number LIMIT ?"
        # Some more than are wanted, for those that are not admitted.
        yield f"SELECT {COLUMNS} {by('due')} WHERE {due}", (now, 2 * limit)


def _beyond(
    transaction: Transaction, now: int, refused: set[str], admit: Callable[[str], bool]
) -> Iterator[tuple[int, Delivery]]:
    """Yield one delivery of the webhooks that wait behind those that are not admitted."""
    for name in webhooks_waiting(transaction):
        if name in refused:
            continue
        row = transaction.one(
            f"SELECT {COLUMNS} {by('due_by_webhook')} WHERE d.status = 'pending' AND d.webhook = ?"
            " AND d.due_at <= ? ORDER BY d.attempts > 0, d.due_at, d.number LIMIT 1",
            (name, now),
        )
        if row is not None and admit(name):
            yield row[0], delivery_of(row, attempts_of(transaction, row))
            return
