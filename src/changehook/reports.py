"""Deliveries and the figures of a queue as text for people, and their form for programs."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.encoding import decode, isoformat
from changehook.inspection import SWEEPER, QueueStats, WorkerHeartbeat, last_error_class
from changehook.printing import clean, table

__all__ = ["counted", "document_of", "listing", "report", "stats_report", "summary"]

DAY = datetime.timedelta(hours=24)
HOUR = datetime.timedelta(hours=1)
UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
LIST_HEAD = ("ID", "AGE", "STATUS", "WEBHOOK", "CHANGE", "ATTEMPTS", "REASON")
OUTCOME_HEAD = ("outcome", "count", "mean", "slowest")
WORKER_HEAD = ("worker", "host", "pid", "threads", "busy", "last seen")
WEBHOOK_HEAD = ("webhook", "matched", "not matched", "unresolvable", "last reason")
DISABLED_HEAD = ("webhook", "since", "reason")


def counted(counts: Mapping[DeliveryStatus, int]) -> str:
    """Return how many there are in each status, those that there are."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"


def summary(delivery: Delivery) -> dict[str, Any]:
    """Return what an operator needs to know of a delivery, without payload and attempts."""
    attempt = delivery.attempts[-1] if delivery.attempts else None
    return {
        "id": delivery.id,
        "status": str(delivery.status),
        "webhook": delivery.webhook,
        "event": delivery.event,
        "model": delivery.model,
        "created_at": isoformat(delivery.created_at),
        "due_at": isoformat(delivery.due_at),
        "lease_until": delivery.lease_until and isoformat(delivery.lease_until),
        "attempts": len(delivery.attempts),
        "attempt_number": delivery.attempt_number,
        "error_class": last_error_class(delivery),
        "response_status": attempt and attempt.status,
        "reason": delivery.reason,
    }


def listing(deliveries: Iterable[Delivery], now: datetime.datetime, width: int) -> str:
    """Return deliveries as a table, a line each."""
    rows = [(*_cells(each, now), each.reason) for each in deliveries]
    return "\n".join(table([LIST_HEAD, *rows], width))


def _cells(delivery: Delivery, now: datetime.datetime) -> tuple[str, ...]:
    change, attempts = f"{delivery.event} {delivery.model}", str(len(delivery.attempts))
    age, status = _age(now - delivery.created_at), str(delivery.status)
    return delivery.id, age, status, delivery.webhook, change, attempts


def _age(time: datetime.timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    found = ((size, unit) for size, unit in UNITS if seconds >= 2 * size)
    size, unit = next(found, (1, "s"))
    return f"{seconds // size}{unit}"


def document_of(delivery: Delivery) -> dict[str, Any]:
    """Return everything of a delivery as plain JSON types, its payload as a document."""
    document: dict[str, Any] = decode(delivery.to_json())
    return {**document, "payload": decode(delivery.payload)}


def report(delivery: Delivery) -> str:
    """Return everything of a delivery as text. What stands in it is escaped and indented, so that
    nothing that a receiver sent can pass for a line of the report."""
    lines = [clean(delivery.id), *_fields(_head(delivery))]
    lines += ["", "payload", *_indented(_pretty(delivery.payload), "  ")]
    if delivery.body is not None and delivery.body != delivery.payload:
        lines += ["", "body", *_indented(delivery.body, "  | ")]
    for attempt in delivery.attempts:
        lines += ["", *_attempt(attempt)]
    return "\n".join(lines)


def _head(delivery: Delivery) -> dict[str, object]:
    pending = delivery.status is DeliveryStatus.PENDING
    return {
        "status": delivery.status,
        "reason": delivery.reason,
        "created": isoformat(delivery.created_at),
        "due": isoformat(delivery.due_at) if pending else None,
        "leased": delivery.lease_until and f"until {isoformat(delivery.lease_until)}",
        "webhook": delivery.webhook,
        "event": delivery.event,
        "model": delivery.model,
        "attempts": len(delivery.attempts),
        "body": _body(delivery),
    }


def _body(delivery: Delivery) -> str:
    if delivery.body is None:
        return "made at the next attempt"
    return "the payload" if delivery.body == delivery.payload else "see below"


def _pretty(payload: str) -> str:
    try:
        return json.dumps(decode(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return payload


def _attempt(attempt: Attempt) -> Iterator[str]:
    yield f"attempt {attempt.number}"
    error = attempt.error_class and f"{attempt.error_class}: {attempt.error or ''}"
    request = f"{attempt.method} {attempt.url}" if attempt.method else None
    before = {
        "time": isoformat(attempt.started_at),
        "took": f"{attempt.duration:.3f} s",
        "error": error,
        "note": attempt.note,
        "address": attempt.address,
        "request": request,
    }
    yield from _fields(before)
    yield from _headers(attempt.headers)
    if attempt.status is not None:
        yield from _fields({"response": attempt.status})
        yield from _headers(attempt.response_headers)
    if attempt.response_body:
        yield from _indented(attempt.response_body, "    | ")


def _fields(fields: Mapping[str, object]) -> list[str]:
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    return [f"  {name:<9} {clean(str(value))}" for name, value in given.items()]


def _headers(headers: Mapping[str, str]) -> list[str]:
    return [clean(f"    {name}: {value}") for name, value in headers.items()]


def _indented(text: str, prefix: str) -> list[str]:
    return [prefix + clean(line, keep="\t") for line in text.split("\n")]


def stats_report(stats: QueueStats, now: datetime.datetime, width: int) -> str:
    """Return the figures of a queue as text."""
    late = stats.age_of_oldest_due
    oldest = "nothing is due"
    if late is not None:
        oldest = f"for {_age(datetime.timedelta(seconds=late))}"
    counts = "   ".join(f"{status} {count}" for status, count in stats.counts.items())
    lines = [f"deliveries      {counts}", f"oldest due      {oldest}"]
    workers = [(_state(each, now), *_place(each, now)) for each in stats.workers]
    webhooks = [
        (each.webhook, *map(str, (each.matched, each.not_matched, each.unresolvable)), each.reason)
        for each in stats.webhooks
    ]
    disabled = [(each.webhook, isoformat(each.at), each.reason) for each in stats.disabled]
    lines += _section("the last 24 hours", OUTCOME_HEAD, _outcomes(stats, now), width)
    lines += _section("workers", WORKER_HEAD, workers, width)
    lines += _section("changes that webhooks were asked about", WEBHOOK_HEAD, webhooks, width)
    if disabled:
        lines += _section("disabled webhooks", DISABLED_HEAD, disabled, width)
    return "\n".join(lines)


def _section(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[str]:
    if not rows:
        return ["", f"{title}: none"]
    lines = table([head, *rows], max(0, width - 2))
    return ["", f"{title}:", *(f"  {line}" for line in lines)]


def _outcomes(stats: QueueStats, now: datetime.datetime) -> list[tuple[str, ...]]:
    recent = [each for each in stats.hours if each.hour > now - DAY - HOUR]
    rows: list[tuple[str, ...]] = []
    for outcome in dict.fromkeys(each.outcome for each in recent):
        found = [each for each in recent if each.outcome == outcome]
        count = sum(each.count for each in found)
        mean = sum(each.seconds for each in found) / max(count, 1)
        slowest = max(each.slowest for each in found)
        rows.append((outcome, str(count), f"{mean:.3f} s", f"{slowest:.3f} s"))
    return rows


def _state(worker: WorkerHeartbeat, now: datetime.datetime) -> str:
    if not worker.threads:
        return "sweeper" if worker.worker == SWEEPER else "stopped"
    return "alive" if worker.is_alive(now) else "dead"


def _place(worker: WorkerHeartbeat, now: datetime.datetime) -> tuple[str, ...]:
    seen = f"{_age(now - worker.seen_at)} ago"
    return worker.host, str(worker.pid), str(worker.threads), str(worker.busy), seen
