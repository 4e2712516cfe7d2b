"""A store in memory: bounded, and gone with the process."""

from __future__ import annotations

import collections
import datetime
import heapq
import itertools
import threading
from collections.abc import Iterable, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueFullError
from changehook.forks import after_fork_in_child
from changehook.interfaces import DeliveryFilter, Store

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """Keeps deliveries in this process. After a fork the child's is empty: the parent has the work.

    Args:
        capacity: how many deliveries may wait or be attempted at once.
        keep: how many finished ones are kept of each status, so that a flood of delivered ones does
            not push out those that failed.

    Raises:
        ConfigurationError: a number is less than 1.
    """

    def __init__(self, *, capacity: int = 10_000, keep: int = 1_000) -> None:
        if capacity < 1 or keep < 1:
            raise ConfigurationError("capacity and keep are numbers of deliveries, at least 1")
        self.capacity = capacity
        self.keep = keep
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Delivery] = {}
        self._due: list[tuple[datetime.datetime, int, Delivery]] = []
        self._order = itertools.count()
        self._finished = {
            status: collections.deque[str]() for status in DeliveryStatus if status.finished
        }
        self._counts = collections.Counter[DeliveryStatus]()

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep new pending deliveries, all of them or none."""
        with self._lock:
            if len(deliveries) > self._room():
                raise QueueFullError(
                    f"{len(deliveries)} deliveries, {self._room()} places; capacity {self.capacity}"
                )
            for delivery in deliveries:
                self._keep(delivery)

    def claim(self, now: datetime.datetime) -> Delivery | None:
        """Return the delivery that has been due longest, claimed."""
        with self._lock:
            self._drop_stale()
            if not self._due or self._due[0][0] > now:
                return None
            claimed = heapq.heappop(self._due)[2].claimed()
            self._keep(claimed)
            return claimed

    def save(self, delivery: Delivery) -> bool:
        """Keep the next state of a delivery, unless a newer one is kept."""
        with self._lock:
            kept = self._kept.get(delivery.id)
            if kept is None or delivery.revision != kept.revision + 1:
                return False
            if kept.status.finished and not delivery.status.finished and self._room() < 1:
                raise QueueFullError(f"no place for another; capacity {self.capacity}")
            self._keep(delivery)
            return True

    def next_due(self) -> datetime.datetime | None:
        """Return when the next pending delivery is due."""
        with self._lock:
            self._drop_stale()
            return self._due[0][0] if self._due else None

    def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery."""
        with self._lock:
            return self._kept.get(delivery_id)

    def find(self, where: DeliveryFilter, limit: int | None = None) -> list[Delivery]:
        """Return the deliveries that agree with the filter, newest first."""
        with self._lock:
            kept = list(self._kept.values())
        return list(itertools.islice(filter(where.wants, reversed(kept)), limit))

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        with self._lock:
            return {status: self._counts[status] for status in DeliveryStatus}

    def remove(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Remove the deliveries that are still kept at this revision."""
        removed = []
        with self._lock:
            for delivery in deliveries:
                kept = self._kept.get(delivery.id)
                if kept is not None and kept.revision == delivery.revision:
                    self._forget(kept)
                    removed.append(kept)
            self._drop_stale()
        return removed

    def _room(self) -> int:
        taken = self._counts[DeliveryStatus.PENDING] + self._counts[DeliveryStatus.DELIVERING]
        return self.capacity - taken

    def _keep(self, delivery: Delivery) -> None:
        kept = self._kept.get(delivery.id)
        if kept is not None:
            self._count_out(kept)
        self._kept[delivery.id] = delivery
        self._counts[delivery.status] += 1
        if delivery.status is DeliveryStatus.PENDING:
            heapq.heappush(self._due, (delivery.due_at, next(self._order), delivery))
            self._drop_stale()
        elif delivery.status.finished:
            self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        finished = self._finished[delivery.status]
        finished.append(delivery.id)
        if len(finished) > self.keep:
            self._forget(self._kept[finished[0]])

    def _forget(self, delivery: Delivery) -> None:
        self._count_out(delivery)
        del self._kept[delivery.id]

    def _count_out(self, delivery: Delivery) -> None:
        self._counts[delivery.status] -= 1
        if delivery.status.finished:
            self._finished[delivery.status].remove(delivery.id)

    def _drop_stale(self) -> None:
        """Drop heap entries that are no longer the state kept: those on top, and all if they are
        many."""
        if len(self._due) > 2 * self._counts[DeliveryStatus.PENDING] + 64:
            self._due = [entry for entry in self._due if self._is_kept(entry[2])]
            heapq.heapify(self._due)
        while self._due and not self._is_kept(self._due[0][2]):
            heapq.heappop(self._due)

    def _is_kept(self, delivery: Delivery) -> bool:
        return self._kept.get(delivery.id) is delivery
