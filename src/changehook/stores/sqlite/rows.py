"""Deliveries as rows of tables, and back."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.inspection import last_error_class

__all__ = ["COLUMNS", "delivery_of", "moment", "number_of", "optional_number", "state_of"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

COLUMNS = (
    "d.number, d.attempts, d.id, d.webhook, d.event, d.model, p.text, d.created_at, d.due_at,"
    " d.status, d.attempt_number, d.body, d.body_is_payload, d.reason, d.revision, d.lease_until"
)
"""What ``delivery_of`` reads, from ``deliveries`` as d and ``payloads`` as p."""


def number_of(moment: datetime.datetime) -> int:
    """Return a moment as microseconds since 1970."""
    since = moment - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def optional_number(moment: datetime.datetime | None) -> int | None:
    """Return the same, None for None."""
    return None if moment is None else number_of(moment)


def moment(number: int) -> datetime.datetime:
    """Return the moment that ``number_of`` wrote."""
    return _EPOCH + datetime.timedelta(microseconds=number)


def state_of(delivery: Delivery) -> tuple[Any, ...]:
    """Return what changes of a delivery over its life, in the order of the columns that the
    statements of the store name."""
    body = delivery.body
    same = body is not None and (body is delivery.payload or body == delivery.payload)
    return (
        number_of(delivery.due_at),
        number_of(delivery.recorded_at),
        optional_number(delivery.lease_until),
        str(delivery.status),
        delivery.attempt_number,
        len(delivery.attempts),
        last_error_class(delivery),
        None if same else body,
        same,
        delivery.reason,
        delivery.revision,
    )


def attempt_text(attempt: Attempt) -> str:
    """Return an attempt as a JSON document."""
    return json.dumps(attempt.to_dict(), ensure_ascii=False)


def delivery_of(row: Sequence[Any], attempts: Iterable[str]) -> Delivery:
    """Return the delivery of a row of ``COLUMNS`` and of the documents of its attempts."""
    payload, until = row[6], row[15]
    return Delivery(
        id=row[2],
        webhook=row[3],
        event=row[4],
        model=row[5],
        payload=payload,
        created_at=moment(row[7]),
        due_at=moment(row[8]),
        status=DeliveryStatus(row[9]),
        attempt_number=row[10],
        attempts=tuple(Attempt.from_dict(json.loads(text)) for text in attempts),
        body=payload if row[12] else row[11],
        reason=row[13],
        revision=row[14],
        lease_until=None if until is None else moment(until),
    )
