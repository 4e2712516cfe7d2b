"""Which deliveries that are due a broker need not be told of, because it was just now. No I/O."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable

import attrs

from changehook.deliveries import Delivery

__all__ = ["SWEEP_LIMIT", "WakeUps"]

SWEEP_LIMIT = 500
AGAIN = 60.0  # seconds
LONGEST_AGAIN = 3600.0
GRACE = 15.0  # seconds that the messages of ``put`` have


@attrs.frozen
class _Sent:
    revision: int
    until: float
    pause: float


class WakeUps:
    """What was enqueued, so that what waits in the broker is not enqueued at each sweep. A broker
    may lose messages, so what is still due after a minute is enqueued again, then after two, and so
    on up to an hour.

    Args:
        timer: a monotonic clock in seconds.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._sent: dict[str, _Sent] = {}

    def is_news(self, delivery: Delivery, now: datetime.datetime) -> bool:
        """Return whether the broker is to be told of a delivery that is due."""
        sent = self._sent.get(delivery.id)
        if sent is not None and sent.revision == delivery.revision:
            return self._timer() >= sent.until
        put_due = not delivery.revision and delivery.due_at <= delivery.created_at
        return not (put_due and 0 <= (now - delivery.due_at).total_seconds() < GRACE)

    def remember(self, deliveries: Iterable[Delivery]) -> None:
        """Remember that these were enqueued, and forget those of long ago."""
        moment = self._timer()
        self._sent = {
            name: sent for name, sent in self._sent.items() if moment < sent.until + sent.pause
        }
        for each in deliveries:
            before = self._sent.get(each.id)
            pause = AGAIN
            if before is not None and before.revision == each.revision:
                pause = min(2 * before.pause, LONGEST_AGAIN)
            self._sent[each.id] = _Sent(each.revision, moment + pause, pause)
