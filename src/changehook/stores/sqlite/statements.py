"""Statements that write, each a part of somebody's transaction."""

from __future__ import annotations

import datetime
from typing import Any

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import Retention, WebhookTally, WorkerHeartbeat
from changehook.stores.sqlite.rows import attempt_text, number_of, optional_number, state_of
from changehook.stores.sqlite.writer import Transaction

__all__ = ["claim", "delete", "expired", "insert", "save", "write_heartbeat", "write_tally"]

FORGET_OUTCOMES = datetime.timedelta(days=60)
FORGET_WORKERS = datetime.timedelta(days=1)

_INSERT = (
    "INSERT INTO deliveries (due_at, recorded_at, lease_until, status, attempt_number, attempts,"
    " error_class, body, body_is_payload, reason, revision, id, webhook, event, model, payload,"
    " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number"
)
_UPDATE = (
    "UPDATE deliveries SET due_at = ?, recorded_at = ?, lease_until = ?, status = ?,"
    " attempt_number = ?, attempts = ?, error_class = ?, body = ?, body_is_payload = ?,"
    " reason = ?, revision = ? WHERE number = ?"
)


def content(transaction: Transaction, delivery_id: str) -> tuple[str, str] | None:
    """Return webhook and payload of the delivery of that id; None when none is kept."""
    statement = "SELECT d.webhook, p.text FROM deliveries d JOIN payloads p ON p.id = d.payload"
    found: tuple[str, str] | None = transaction.one(f"{statement} WHERE d.id = ?", (delivery_id,))
    return found


def insert(transaction: Transaction, delivery: Delivery, payloads: dict[str, int]) -> None:
    """Write a new delivery, and its payload unless ``payloads`` has the number of it."""
    text = delivery.payload
    if text not in payloads:
        statement = "INSERT INTO payloads (text) VALUES (?) RETURNING id"
        payloads[text] = transaction.one(statement, (text,))[0]
    head = (delivery.id, delivery.webhook, delivery.event, delivery.model, payloads[text])
    values = (*state_of(delivery), *head, number_of(delivery.created_at))
    (number,) = transaction.one(_INSERT, values)
    transaction.counts[delivery.status] += 1
    _write_attempts(transaction, number, delivery, 0)


def save(transaction: Transaction, delivery: Delivery) -> tuple[DeliveryStatus, int] | None:
    """Write the next state of a delivery; return the status and the number of attempts before,
    None if it is overtaken."""
    kept = transaction.one(
        "SELECT number, status, attempts FROM deliveries WHERE id = ? AND revision = ?",
        (delivery.id, delivery.revision - 1),
    )
    if kept is None:
        return None
    number, before, attempts = kept
    _update(transaction, number, before, attempts, delivery)
    return DeliveryStatus(before), attempts


def claim(
    transaction: Transaction, number: int, found: Delivery, now: datetime.datetime, lease: float
) -> Delivery:
    """Write that a delivery is claimed for so many seconds, and return it so."""
    attempts = len(found.attempts)
    pending = found
    if found.status is DeliveryStatus.DELIVERING:
        pending = found.lease_expired(now)
        transaction.count_outcome(pending)
    claimed = pending.claimed(now + datetime.timedelta(seconds=lease))
    _update(transaction, number, found.status, attempts, claimed)
    return claimed


def _update(
    transaction: Transaction, number: int, before: str, attempts: int, delivery: Delivery
) -> None:
    transaction.execute(_UPDATE, (*state_of(delivery), number))
    transaction.counts[before] -= 1
    transaction.counts[delivery.status] += 1
    _write_attempts(transaction, number, delivery, attempts)


def _write_attempts(
    transaction: Transaction, number: int, delivery: Delivery, written: int
) -> None:
    for attempt in delivery.attempts[written:]:
        values = (number, attempt.number, attempt_text(attempt))
        transaction.execute("INSERT INTO attempts VALUES (?, ?, ?)", values)


def delete(transaction: Transaction, number: int) -> int:
    """Remove a delivery, its attempts, and its payload if no other has it; return 1."""
    statement = "DELETE FROM deliveries WHERE number = ? RETURNING status, payload"
    status, payload = transaction.one(statement, (number,))
    transaction.execute("DELETE FROM attempts WHERE delivery = ?", (number,))
    if transaction.one("SELECT 1 FROM deliveries WHERE payload = ?", (payload,)) is None:
        transaction.execute("DELETE FROM payloads WHERE id = ?", (payload,))
    transaction.counts[status] -= 1
    return 1


def expired(
    transaction: Transaction,
    status: DeliveryStatus,
    retention: Retention,
    now: datetime.datetime,
    limit: int,
) -> list[int]:
    """Return the numbers of finished deliveries that are too old or too many, the oldest first."""
    oldest = retention.oldest(status, now)
    before = 0 if oldest is None else number_of(oldest)
    excess = 0
    if retention.count is not None:
        kept = transaction.one("SELECT count FROM counts WHERE status = ?", (str(status),))
        excess = max(0, (kept[0] if kept else 0) - retention.count)
    rows = transaction.execute(
        "SELECT number, created_at FROM deliveries WHERE status = ? ORDER BY created_at LIMIT ?",
        (str(status), limit),
    ).fetchall()
    return [number for index, (number, at) in enumerate(rows) if index < excess or at < before]


def write_heartbeat(transaction: Transaction, heartbeat: WorkerHeartbeat) -> None:
    """Write that a worker lives, and forget workers and figures of long ago."""
    seen_at = number_of(heartbeat.seen_at)
    values: tuple[Any, ...] = (
        heartbeat.worker,
        heartbeat.host,
        heartbeat.pid,
        heartbeat.threads,
        heartbeat.busy,
        number_of(heartbeat.started_at),
        seen_at,
    )
    transaction.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    dead = number_of(heartbeat.seen_at - FORGET_WORKERS)
    transaction.execute("DELETE FROM workers WHERE seen_at < ?", (dead,))
    old = number_of(heartbeat.seen_at - FORGET_OUTCOMES)
    transaction.execute("DELETE FROM outcomes WHERE hour < ?", (old,))


def write_tally(transaction: Transaction, tally: WebhookTally) -> None:
    """Add to how often a webhook was asked."""
    transaction.execute(
        "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " matched = matched + excluded.matched,"
        " not_matched = not_matched + excluded.not_matched,"
        " unresolvable = unresolvable + excluded.unresolvable,"
        " reason = CASE WHEN excluded.reason_at IS NULL THEN reason ELSE excluded.reason END,"
        " reason_at = coalesce(excluded.reason_at, reason_at)",
        (
            tally.webhook,
            tally.matched,
            tally.not_matched,
            tally.unresolvable,
            tally.reason,
            optional_number(tally.reason_at),
        ),
    )
