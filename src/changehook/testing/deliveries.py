"""Deliveries in every state for tests, and waiting without sleeping."""

from __future__ import annotations

import datetime
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus

__all__ = [
    "NOW",
    "after_attempt",
    "delayed",
    "delivered",
    "failed",
    "later",
    "make_delivery",
    "raises",
    "until",
]

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
LIMIT = 20.0

_numbers = itertools.count(1)


def make_delivery(**changes: Any) -> Delivery:
    """Return a pending delivery with an id of its own, due at noon of 2026-01-01.

    Args:
        changes: fields to set.
    """
    values: dict[str, Any] = {
        "id": f"msg_{next(_numbers):06d}",
        "webhook": "contract",
        "event": "created",
        "model": "site",
        "payload": '{"event":"created","data":{"name":"Zürich"}}',
        "created_at": NOW,
        "due_at": NOW,
    }
    return Delivery(**{**values, **changes})


def later(seconds: float) -> datetime.datetime:
    """Return a moment after noon."""
    return NOW + datetime.timedelta(seconds=seconds)


def delivered(claimed: Delivery) -> Delivery:
    """Return a claimed delivery after a successful attempt."""
    return after_attempt(claimed, Decision(status=DeliveryStatus.DELIVERED), status=200)


def failed(claimed: Delivery) -> Delivery:
    """Return a claimed delivery after the attempt that was its last."""
    return after_attempt(
        claimed, Decision(status=DeliveryStatus.FAILED, reason="status 500"), status=500
    )


def delayed(claimed: Delivery, seconds: float) -> Delivery:
    """Return a claimed delivery after an attempt that is made again ``seconds`` after noon."""
    decision = Decision(status=DeliveryStatus.PENDING, due_at=later(seconds), reason="status 500")
    return after_attempt(claimed, decision, status=500)


def after_attempt(
    claimed: Delivery, decision: Decision, *, status: int, error_class: str | None = None
) -> Delivery:
    """Return a claimed delivery after an attempt with that status, error and decision."""
    number = len(claimed.attempts) + 1
    attempt = Attempt(
        number=number, started_at=NOW, duration=0.1, status=status, error_class=error_class
    )
    return claimed.after(attempt, decision, body=claimed.payload)


def raises(kind: type[Exception], call: Callable[[], object]) -> bool:
    """Return whether a call raises an error of that kind."""
    try:
        call()
    except kind:
        return True
    return False


def until(condition: Callable[[], bool], limit: float = LIMIT) -> bool:
    """Wait for a condition, at most ``limit`` seconds; return whether it came."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.002)
    return True
