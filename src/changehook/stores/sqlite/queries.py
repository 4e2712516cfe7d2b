"""Statements that read: filters, pages, figures."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection, Iterator
from typing import Any

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.stores.sqlite.rows import COLUMNS, delivery_of, moment, number_of

__all__ = [
    "attempts_of",
    "condition_of",
    "count",
    "counts",
    "disabled",
    "find",
    "first_due",
    "get",
    "hours",
    "oldest",
    "snapshot",
    "tallies",
    "webhooks_waiting",
    "workers",
]

FROM = "FROM deliveries d JOIN payloads p ON p.id = d.payload"

LEASED = "FROM deliveries INDEXED BY leased WHERE status = 'delivering'"
RECORDED = "FROM deliveries INDEXED BY recorded WHERE status = 'pending'"


def by(index: str) -> str:
    """Return FROM by an index that the planner would not choose: it has no figures to go by."""
    return FROM.replace("deliveries d", f"deliveries d INDEXED BY {index}")


def _source(where: DeliveryFilter) -> str:
    if where.failing:
        return by("failing")
    if where.webhook is not None and where.status is not None:
        return by("newest_by_webhook_status")
    if where.webhook is not None and (where.with_error or where.error_class is not None):
        return by("newest_with_error_by_webhook")
    if where.with_error and where.status is None and where.error_class is None:
        return by("newest_with_error")
    return FROM


def condition_of(
    where: DeliveryFilter, after: tuple[datetime.datetime, str] | None = None
) -> tuple[str, list[Any]]:
    """Return a filter as a condition on ``deliveries`` d and ``payloads`` p, and its values."""
    parts: list[tuple[str, tuple[Any, ...]]] = [("1", ())]
    if where.status is not None:
        parts.append(("d.status = ?", (str(where.status),)))
    if where.failing:
        parts.append(("d.status = 'pending' AND d.attempt_number > 0", ()))
    if where.with_error:
        parts.append(("d.error_class IS NOT NULL", ()))
    for column in ("webhook", "model", "error_class"):
        value = getattr(where, column)
        if value is not None:
            parts.append((f"d.{column} = ?", (value,)))
    if where.since is not None:
        parts.append(("d.created_at >= ?", (number_of(where.since),)))
    if where.until is not None:
        parts.append(("d.created_at < ?", (number_of(where.until),)))
    if where.text is not None:
        fields = ("d.id", "d.event", "d.reason", "p.text")
        found = " OR ".join(f"instr({field}, ?)" for field in fields)
        parts.append((f"({found})", (where.text,) * len(fields)))
    bounds = (("<", after), *zip(("<=", ">="), where.between or (), strict=False))
    for comparison, position in bounds:
        if position is not None:
            values = (number_of(position[0]), position[1])
            parts.append((f"(d.created_at, d.id) {comparison} (?, ?)", values))
    return " AND ".join(text for text, _ in parts), [each for _, some in parts for each in some]


def find(
    connection: Any,
    where: DeliveryFilter,
    limit: int | None,
    after: tuple[datetime.datetime, str] | None,
) -> list[Delivery]:
    """Return the deliveries that agree with a filter, those of the highest position first."""
    condition, values = condition_of(where, after)
    order = "ORDER BY d.created_at DESC, d.id DESC LIMIT ?"
    statement = f"SELECT {COLUMNS} {_source(where)} WHERE {condition} {order}"
    rows = connection.execute(statement, (*values, -1 if limit is None else limit)).fetchall()
    return [delivery_of(row, attempts_of(connection, row)) for row in rows]


def oldest(connection: Any, limit: int) -> list[Delivery]:
    """Return the pending deliveries of the lowest positions, the lowest first."""
    order = "d.status = 'pending' ORDER BY d.created_at, d.id LIMIT ?"
    rows = connection.execute(f"SELECT {COLUMNS} {FROM} WHERE {order}", (limit,)).fetchall()
    return [delivery_of(row, attempts_of(connection, row)) for row in rows]


@contextlib.contextmanager
def snapshot(connection: Any) -> Iterator[None]:
    """Read everything within as of one moment."""
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


def get(connection: Any, delivery_id: str) -> Delivery | None:
    """Return one delivery, None when there is none."""
    statement = f"SELECT {COLUMNS} {FROM} WHERE d.id = ?"
    row = connection.execute(statement, (delivery_id,)).fetchone()
    return None if row is None else delivery_of(row, attempts_of(connection, row))


def count(connection: Any, where: DeliveryFilter) -> int:
    """Return how many deliveries agree with a filter."""
    condition, values = condition_of(where)
    source = "FROM deliveries d" if where.text is None else FROM
    row = connection.execute(f"SELECT count(*) {source} WHERE {condition}", values).fetchone()
    return int(row[0])


def attempts_of(connection: Any, row: Any) -> list[str]:
    """Return the documents of the attempts of a row of ``COLUMNS``, oldest first."""
    number, how_many = row[:2]
    if not how_many:
        return []
    statement = "SELECT document FROM attempts WHERE delivery = ? ORDER BY number"
    return [text for (text,) in connection.execute(statement, (number,)).fetchall()]


def webhooks_waiting(connection: Any) -> Iterator[str]:
    """Yield the names of the webhooks that have pending deliveries, with a look-up for each."""
    least = "SELECT min(webhook) FROM deliveries INDEXED BY due_by_webhook WHERE status = 'pending'"
    (name,) = connection.execute(least).fetchone()
    while name is not None:
        yield name
        (name,) = connection.execute(f"{least} AND webhook > ?", (name,)).fetchone()


def first_due(connection: Any, without: Collection[str] = ()) -> int | None:
    """Return when the first pending delivery is due, or the first lease ends."""
    ends = f"SELECT webhook, min(lease_until) {LEASED} GROUP BY webhook"
    moments = [end for name, end in connection.execute(ends).fetchall() if name not in without]
    due = "SELECT min(due_at) FROM deliveries INDEXED BY {} WHERE status = 'pending'"
    due += " AND (attempts > 0) = ?"
    for retry in (0, 1):
        if not without:
            moments += connection.execute(due.format("due"), (retry,)).fetchone()
            continue
        for name in webhooks_waiting(connection):
            if name not in without:
                statement = due.format("due_by_webhook") + " AND webhook = ?"
                moments += connection.execute(statement, (retry, name)).fetchone()
    return min((each for each in moments if each is not None), default=None)


def disabled(connection: Any) -> dict[str, DisabledWebhook]:
    """Return the webhooks that get no deliveries, by name."""
    rows = connection.execute("SELECT webhook, reason, at FROM disabled ORDER BY webhook")
    return {
        name: DisabledWebhook(webhook=name, reason=reason, at=moment(at))
        for name, reason, at in rows.fetchall()
    }


def counts(connection: Any) -> dict[DeliveryStatus, int]:
    """Return how many deliveries there are in each status."""
    kept = dict(connection.execute("SELECT status, count FROM counts").fetchall())
    return {status: kept.get(str(status), 0) for status in DeliveryStatus}


def hours(connection: Any, since: datetime.datetime) -> tuple[HourlyOutcome, ...]:
    """Return what came of the attempts in each hour, oldest first."""
    rows = connection.execute(
        "SELECT hour, webhook, outcome, count, seconds, slowest FROM outcomes WHERE hour >= ?"
        " ORDER BY hour, webhook, outcome",
        (number_of(since),),
    )
    return tuple(
        HourlyOutcome(
            hour=moment(row[0]),
            webhook=row[1],
            outcome=row[2],
            count=row[3],
            seconds=row[4],
            slowest=row[5],
        )
        for row in rows.fetchall()
    )


def workers(connection: Any) -> tuple[WorkerHeartbeat, ...]:
    """Return the workers as they last reported."""
    rows = connection.execute(
        "SELECT worker, host, pid, threads, busy, started_at, seen_at FROM workers ORDER BY worker"
    )
    return tuple(
        WorkerHeartbeat(
            worker=row[0],
            host=row[1],
            pid=row[2],
            threads=row[3],
            busy=row[4],
            started_at=moment(row[5]),
            seen_at=moment(row[6]),
        )
        for row in rows.fetchall()
    )


def tallies(connection: Any) -> tuple[WebhookTally, ...]:
    """Return how often each webhook was asked, by name."""
    rows = connection.execute(
        "SELECT webhook, matched, not_matched, unresolvable, reason, reason_at FROM tallies"
        " ORDER BY webhook"
    )
    return tuple(
        WebhookTally(
            webhook=row[0],
            matched=row[1],
            not_matched=row[2],
            unresolvable=row[3],
            reason=row[4],
            reason_at=None if row[5] is None else moment(row[5]),
        )
        for row in rows.fetchall()
    )
