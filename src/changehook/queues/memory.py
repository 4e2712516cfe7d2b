"""A queue for unit tests: nothing runs until it is told to."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Callable, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import QueueClosedError
from changehook.models import utcnow
from changehook.queues.stored import StoredQueue
from changehook.stores.memory import MemoryStore

__all__ = ["InMemoryQueue"]


class InMemoryQueue(StoredQueue):
    """Keeps deliveries until ``run`` is called, which performs what is due on the caller's thread.

    Args:
        capacity: how many deliveries may wait; more raise ``QueueFullError`` at once.
        clock: returns the present moment, aware.
    """

    def __init__(
        self, *, capacity: int = 10_000, clock: Callable[[], datetime.datetime] = utcnow
    ) -> None:
        self._memory = MemoryStore(capacity=capacity, keep=capacity)
        super().__init__(self._memory, clock=clock)
        self._closed = False

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery that was put, in its present state, in the order in which it was put."""
        return self._memory.all()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none."""
        if self._closed:
            raise QueueClosedError("the queue is closed")
        self.store.add(deliveries)

    def run(self) -> list[Delivery]:
        """Perform one attempt of each delivery that is due now, on this thread.

        Returns:
            the deliveries after their attempts.

        Raises:
            QueueError: no emitter is attached.
        """
        self._performer()
        pending = self.counts()[DeliveryStatus.PENDING]
        due = collections.deque(self.store.claim(self.clock(), limit=pending))
        performed = []
        try:
            while due:
                performed.append(self._perform(due.popleft()))
        finally:
            self.store.save_all([each.released() for each in due])
        return performed

    def close(self, timeout: float = 10.0) -> int:
        """Take no more; return how many deliveries are left undone."""
        self._closed = True
        counts = self.counts()
        return counts[DeliveryStatus.PENDING] + counts[DeliveryStatus.DELIVERING]
