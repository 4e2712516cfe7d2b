"""The message of a delivery, as a store or a broker hands it back."""

from __future__ import annotations

import attrs
from fuzz.harness import attempt, check_faults

from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.errors import ConfigurationError
from changehook.models import utcnow

INPUTS = 150_000
WORDS = (
    *(field.name for field in attrs.fields(Delivery)),
    *(field.name for field in attrs.fields(Attempt)),
    *DeliveryStatus,
    *("version", "2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00", "2026-W01", "***"),
)


def check(data: bytes) -> None:
    """A message is refused, or gives a delivery that works and writes a message that reads back."""
    delivery, error = attempt(ConfigurationError, Delivery.from_json, data)
    if error:
        check_faults(error)
        assert all(len(fault.message) < 500 for fault in error.faults)
        return
    assert Delivery.from_json(delivery.to_json()) == delivery
    for field in ("id", "webhook", "event", "model", "payload", "reason"):
        assert isinstance(getattr(delivery, field), str), field
    for field in ("attempt_number", "revision"):
        assert type(getattr(delivery, field)) is int, field
    assert delivery.body is None or isinstance(delivery.body, str)
    assert delivery.due_at - utcnow()
    assert delivery.created_at - utcnow()
    assert delivery.lease_until is None or delivery.lease_until - utcnow()
    assert all(one.started_at - utcnow() for one in delivery.attempts)
    assert len(repr(delivery)) < 10_000
