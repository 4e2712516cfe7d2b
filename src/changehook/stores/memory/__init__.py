"""A store in memory: bounded, and gone with the process."""

from __future__ import annotations

import collections
import datetime
import heapq
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueFullError
from changehook.forks import after_fork_in_child
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    Position,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
    figures_of,
    fresh_ones,
)
from changehook.interfaces import Store
from changehook.stores.memory.order import PIECE, Order, agreeing

__all__ = ["MemoryStore"]

DEFAULT_LEASE = 45.0
LONGEST_LEASE = datetime.timedelta(minutes=10)  # one that ends later was taken by a wrong clock
CLOCK_JUMP = datetime.timedelta(minutes=1)
SHOWN = datetime.timedelta(hours=48)

_Entry = tuple[bool, datetime.datetime, int, Delivery]


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
        self._due: tuple[list[_Entry], list[_Entry]] = ([], [])  # first attempts, retries
        # Due, of webhooks that were not admitted; and whether they are retries.
        self._parked: dict[tuple[str, bool], list[_Entry]] = {}
        self._delivering: dict[str, Delivery] = {}
        self._numbers = itertools.count()
        self._order = Order()
        self._finished = {
            status: collections.OrderedDict[str, None]()
            for status in DeliveryStatus
            if status.finished
        }
        self._counts = collections.Counter[DeliveryStatus]()
        self._latest = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        self._disabled: dict[str, DisabledWebhook] = {}
        self._tallies: dict[str, WebhookTally] = {}
        self._workers: dict[str, WorkerHeartbeat] = {}
        self._outcomes: dict[tuple[datetime.datetime, str, str], list[float]] = {}

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep new pending deliveries, all of them or none; an id that is kept is passed over."""
        with self._lock:
            fresh = deliveries
            if len(deliveries) != 1 or deliveries[0].id in self._kept:
                fresh = fresh_ones(deliveries, self._content)
            if len(fresh) > self._room():
                raise QueueFullError(
                    f"{len(fresh)} deliveries, {self._room()} places; capacity {self.capacity}"
                )
            for delivery in fresh:
                self._keep(delivery)

    def _content(self, delivery_id: str) -> tuple[str, str] | None:
        kept = self._kept.get(delivery_id)
        return None if kept is None else (kept.webhook, kept.payload)

    def claim(
        self,
        now: datetime.datetime,
        *,
        limit: int = 1,
        admit: Callable[[str], bool] | None = None,
        lease: Callable[[str], float] | None = None,
    ) -> list[Delivery]:
        """Return deliveries that are due, claimed."""
        with self._lock:
            self._watch_clock(now)
            claimed = []
            for found in itertools.islice(self._candidates(now, admit or _anyone), limit):
                seconds = DEFAULT_LEASE if lease is None else lease(found.webhook)
                if found.status is DeliveryStatus.DELIVERING:
                    self._keep(found.lease_expired(now))
                    self._count_outcome(self._kept[found.id])
                until = now + datetime.timedelta(seconds=seconds)
                claimed.append(self._kept[found.id].claimed(until))
                self._keep(claimed[-1])
            return claimed

    def save(self, delivery: Delivery) -> bool:
        """Keep the next state of a delivery, unless a newer one is kept."""
        with self._lock:
            kept = self._kept.get(delivery.id)
            if kept is None or delivery.revision != kept.revision + 1:
                return False
            if kept.status.finished and not delivery.status.finished and self._room() < 1:
                raise QueueFullError(f"no place for another; capacity {self.capacity}")
            attempted = len(delivery.attempts) > len(kept.attempts)
            if not kept.status.finished and (attempted or delivery.status.finished):
                self._count_outcome(delivery)
            self._keep(delivery)
            return True

    def next_due(self, without: Collection[str] = ()) -> datetime.datetime | None:
        """Return when the next pending delivery is due, or its lease ends."""
        with self._lock:
            self._drop_stale()
            parked = (self._parked[each] for each in self._parked if each[0] not in without)
            heaps = [*self._due, *parked]
            moments = [heap[0][1] for heap in heaps if heap]
            claimed = [each for each in self._delivering.values() if each.webhook not in without]
            moments += filter(None, (each.lease_until for each in claimed))
            return min(moments, default=None)

    def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery."""
        with self._lock:
            return self._kept.get(delivery_id)

    def all(self) -> list[Delivery]:
        """Return every delivery, in the order in which they were added."""
        with self._lock:
            return list(self._kept.values())

    def find(
        self,
        where: DeliveryFilter,
        limit: int | None = None,
        after: Position | None = None,
    ) -> list[Delivery]:
        """Return the deliveries that agree with the filter, those of the highest position first.

        Others use the store meanwhile: each is as it was when it was looked at.
        """
        found = agreeing(self._lock, self._kept, self._order, where, after)
        return list(itertools.islice(found, limit))

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        if where == DeliveryFilter(status=where.status):
            counts = self.counts()
            return sum(counts.values()) if where.status is None else counts[where.status]
        return sum(1 for _ in agreeing(self._lock, self._kept, self._order, where))

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        with self._lock:
            return {status: self._counts[status] for status in DeliveryStatus}

    def remove(self, deliveries: Iterable[Delivery]) -> int:
        """Remove the deliveries that are still kept at this revision."""
        removed = 0
        with self._lock:
            for delivery in deliveries:
                kept = self._kept.get(delivery.id)
                if kept is not None and kept.revision == delivery.revision:
                    self._forget(kept)
                    removed += 1
            self._drop_stale()
        return removed

    def purge(self, retention: Retention, now: datetime.datetime, limit: int = 500) -> int:
        """Remove finished deliveries that are not to be kept, at most ``limit`` at once."""
        with self._lock:
            expired = list(itertools.islice(self._expired(retention, now), limit))
            for delivery in expired:
                self._forget(delivery)
        return len(expired)

    def disable(self, webhook: DisabledWebhook) -> bool:
        """Keep that a webhook gets no deliveries; return whether it is new."""
        return self._disabled.setdefault(webhook.webhook, webhook) is webhook

    def enable(self, webhook: str) -> bool:
        """Forget that a webhook gets no deliveries; return whether it was so."""
        return self._disabled.pop(webhook, None) is not None

    def disabled(self) -> dict[str, DisabledWebhook]:
        """Return the webhooks that get no deliveries, by name."""
        return dict(self._disabled)

    def report(self, heartbeat: WorkerHeartbeat | None, tallies: Iterable[WebhookTally]) -> None:
        """Keep that a worker lives, and add to how often webhooks were asked."""
        with self._lock:
            if heartbeat is not None:
                self._workers[heartbeat.worker] = heartbeat
            for tally in tallies:
                kept = self._tallies.get(tally.webhook)
                self._tallies[tally.webhook] = tally if kept is None else kept.plus(tally)

    def stats(self, now: datetime.datetime) -> QueueStats:
        """Return how the deliveries that are kept fare."""
        due = self.next_due()
        late = None if due is None else (now - due).total_seconds()
        with self._lock:
            return QueueStats(
                counts={status: self._counts[status] for status in DeliveryStatus},
                age_of_oldest_due=late if late is not None and late >= 0 else None,
                hours=tuple(self._hours(now - SHOWN)),
                workers=tuple(self._workers.values()),
                webhooks=tuple(self._tallies[name] for name in sorted(self._tallies)),
                disabled=tuple(self._disabled[name] for name in sorted(self._disabled)),
            )

    def _candidates(
        self, now: datetime.datetime, admit: Callable[[str], bool]
    ) -> Iterator[Delivery]:
        """Yield what may be claimed, each admitted; whoever takes one moves it on at once."""
        for delivery in list(self._delivering.values()):
            if _is_over(delivery.lease_until, now) and admit(delivery.webhook):
                yield delivery
        for key in sorted(self._parked, key=lambda key: key[1]):
            while self._parked[key]:
                if not self._is_kept(self._parked[key][0][3]):
                    heapq.heappop(self._parked[key])
                elif admit(key[0]):
                    yield heapq.heappop(self._parked[key])[3]
                else:
                    break
            else:
                del self._parked[key]
        for heap in self._due:
            while heap and heap[0][1] <= now:
                entry = heap[0]
                key = entry[3].webhook, entry[0]
                kept = self._is_kept(entry[3])
                admitted = kept and key not in self._parked and admit(key[0])
                heapq.heappop(heap)  # not before: what is asked may raise
                if admitted:
                    yield entry[3]
                elif kept:
                    heapq.heappush(self._parked.setdefault(key, []), entry)

    def _watch_clock(self, now: datetime.datetime) -> None:
        """When the clock was set back, make due what was recorded while it was ahead."""
        if self._latest > now + CLOCK_JUMP:
            self._rebuild(
                lambda entry: now if entry[3].recorded_at > now + CLOCK_JUMP else entry[1]
            )
            self._latest = now

    def _rebuild(self, due_at: Callable[[_Entry], datetime.datetime]) -> None:
        entries = [*itertools.chain(*self._due, *self._parked.values())]
        self._due = ([], [])
        self._parked = {}
        for entry in entries:
            retry, _, order, delivery = entry
            if self._is_kept(delivery):
                heapq.heappush(self._due[retry], (retry, due_at(entry), order, delivery))

    def _room(self) -> int:
        taken = self._counts[DeliveryStatus.PENDING] + self._counts[DeliveryStatus.DELIVERING]
        return self.capacity - taken

    def _keep(self, delivery: Delivery) -> None:
        kept = self._kept.get(delivery.id)
        if kept is not None:
            self._count_out(kept)
        self._kept[delivery.id] = delivery
        self._counts[delivery.status] += 1
        ranks = self._order.of(delivery)
        ranks.put(delivery)
        if kept is not None and ranks.waiting() > PIECE:
            ranks.settle(PIECE)  # in the worker's time, not in that of whoever looks or emits
        if delivery.status is DeliveryStatus.PENDING:
            retry = bool(delivery.attempts)
            entry = (retry, delivery.due_at, next(self._numbers), delivery)
            heapq.heappush(self._due[retry], entry)
            recorded_at = delivery.recorded_at
            if recorded_at > self._latest:
                self._latest = recorded_at
            if kept is not None:
                self._drop_stale()
        elif delivery.status is DeliveryStatus.DELIVERING:
            self._delivering[delivery.id] = delivery
        else:
            self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        finished = self._finished[delivery.status]
        finished[delivery.id] = None
        if len(finished) > self.keep:
            self._forget(self._kept[next(iter(finished))])

    def _expired(self, retention: Retention, now: datetime.datetime) -> Iterator[Delivery]:
        for status, ids in self._finished.items():
            excess = 0 if retention.count is None else len(ids) - retention.count
            oldest = retention.oldest(status, now)
            for index, delivery_id in enumerate(list(ids)):
                delivery = self._kept[delivery_id]
                if index < excess or (oldest is not None and delivery.created_at < oldest):
                    yield delivery

    def _forget(self, delivery: Delivery) -> None:
        self._count_out(delivery)
        del self._kept[delivery.id]

    def _count_out(self, delivery: Delivery) -> None:
        self._counts[delivery.status] -= 1
        self._order.of(delivery).drop(delivery)
        if delivery.status.finished:
            del self._finished[delivery.status][delivery.id]
        else:
            self._delivering.pop(delivery.id, None)

    def _count_outcome(self, delivery: Delivery) -> None:
        figures = figures_of(delivery)
        if figures is None:
            return
        hour, outcome, seconds = figures
        key = (hour, delivery.webhook, outcome)
        if key not in self._outcomes:
            old = [each for each in self._outcomes if each[0] < hour - SHOWN]
            for each in old:
                del self._outcomes[each]
        count, total, slowest = self._outcomes.get(key, (0, 0.0, 0.0))
        self._outcomes[key] = [count + 1, total + seconds, max(slowest, seconds)]

    def _hours(self, since: datetime.datetime) -> Iterator[HourlyOutcome]:
        for (hour, webhook, outcome), (count, seconds, slowest) in sorted(self._outcomes.items()):
            if hour >= since:
                yield HourlyOutcome(
                    hour=hour,
                    webhook=webhook,
                    outcome=outcome,
                    count=int(count),
                    seconds=seconds,
                    slowest=slowest,
                )

    def _drop_stale(self) -> None:
        """Drop heap entries that are no longer the state kept: those on top, and all if they are
        many."""
        first, again = self._due
        entries = len(first) + len(again)
        if self._parked:
            entries += sum(map(len, self._parked.values()))
        if entries > 2 * self._counts[DeliveryStatus.PENDING] + 64:
            self._rebuild(lambda entry: entry[1])
        for heap in (*self._due, *self._parked.values()):
            while heap and not self._is_kept(heap[0][3]):
                heapq.heappop(heap)

    def _is_kept(self, delivery: Delivery) -> bool:
        return self._kept.get(delivery.id) is delivery


def _anyone(_: str) -> bool:
    return True


def _is_over(lease_until: datetime.datetime | None, now: datetime.datetime) -> bool:
    if lease_until is None:
        return False
    return lease_until <= now or lease_until > now + LONGEST_LEASE
