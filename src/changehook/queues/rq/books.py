"""What an operator finds and does: over RQ's registries, or over a store whose ids jobs carry."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence

from rq.job import Job, JobStatus

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import DeliveryNotFoundError, QueueError
from changehook.inspection import DeliveryFilter, QueueStats
from changehook.interfaces import Position, Store
from changehook.queues.rq import jobs
from changehook.queues.rq.posting import Poster
from changehook.queues.stored import StoredQueue, check_limit, checked_filter

__all__ = ["RegistryBook", "StoreBook"]

PAGE = 500
LATE = datetime.timedelta(seconds=15)  # RQ's scheduler has brought by then what it is to bring
Progress = Callable[[int], object] | None


class RegistryBook:
    """Reads the deliveries from the jobs in RQ's registries."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._registries = poster.registries

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        counts = dict.fromkeys(DeliveryStatus, 0)
        unclear = []
        for job_id, status in self._registries.statuses().items():
            if status is None or jobs.is_batch(job_id):
                unclear.append(job_id)
            else:
                counts[status] += 1
        now = self._registries.clock()
        for job in self._registries.fetched(unclear):
            for delivery in jobs.view(job, now):
                counts[delivery.status] += 1
        return counts

    def find(
        self,
        where: DeliveryFilter | None = None,
        *,
        limit: int = 100,
        after: Position | None = None,
    ) -> list[Delivery]:
        """Return the newest deliveries that agree with the filter, newest first."""
        check_limit(limit)
        where = DeliveryFilter() if where is None else checked_filter(where)
        status = DeliveryStatus.PENDING if where.failing else where.status
        found = [
            delivery
            for _, delivery in self._seen(status)
            if where.wants(delivery) and (after is None or delivery.position < after)
        ]
        return sorted(found, key=lambda each: each.position, reverse=True)[:limit]

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        return len(self.find(checked_filter(where), limit=sys.maxsize))

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery."""
        return self._got(delivery_id)[1]

    def retry(
        self, which: str | DeliveryFilter, *, rerender: bool = False, on_progress: Progress = None
    ) -> int:
        """Make deliveries due now, with the schedule starting again."""
        number = 0
        for job, delivery in self._resting(which, on_progress):
            again = delivery.retried(self._registries.clock(), rerender=rerender)
            if not jobs.is_batch(job.id):
                self._poster.post_instead(job, again)
                number += 1
            elif self._moved_out(job, delivery, again):
                number += 1
        return self._checked(which, number)

    def discard(self, which: str | DeliveryFilter, *, on_progress: Progress = None) -> int:
        """Remove deliveries for good."""
        number = sum(self._left(job, each) for job, each in self._resting(which, on_progress))
        return self._checked(which, number)

    def age_of_oldest_due(self) -> float | None:
        """Return the seconds since the oldest delivery that is due became so; None if none is."""
        now = self._registries.clock()
        pending = self.find(DeliveryFilter(status=DeliveryStatus.PENDING), limit=sys.maxsize)
        ages = [(now - each.due_at).total_seconds() for each in pending]
        return max((age for age in ages if age >= 0), default=None)

    def stats(self) -> QueueStats:
        """Return how the queue fares."""
        return QueueStats(counts=self.counts(), age_of_oldest_due=self.age_of_oldest_due())

    def adopt(self) -> int:
        """Return 0: what has no job is not kept."""
        return 0

    def report(self) -> None:
        """Do nothing: there is no place for figures."""

    def _seen(self, status: DeliveryStatus | None) -> Iterator[tuple[Job, Delivery]]:
        now = self._registries.clock()
        known: set[str] = set()
        for job in self._registries.jobs(status):
            for delivery in jobs.view(job, now):
                if delivery.id not in known:
                    known.add(delivery.id)
                    yield job, delivery

    def _got(self, delivery_id: str) -> tuple[Job, Delivery]:
        for _ in range(2):  # it may move from a job of several to its own between two looks
            job = self._registries.carrying(str(delivery_id))
            for delivery in () if job is None else jobs.view(job, self._registries.clock()):
                if delivery.id == delivery_id:
                    assert job is not None
                    return job, delivery
        raise DeliveryNotFoundError(f"no delivery {delivery_id!r} is kept")

    def _resting(
        self, which: str | DeliveryFilter, on_progress: Progress
    ) -> Iterator[tuple[Job, Delivery]]:
        """Yield what may be retried or discarded, and its job: not what is being attempted."""
        if isinstance(which, str):
            job, delivery = self._got(which)
            if _is_started(job):
                self._checked(which, 0)
            yield job, delivery
            return
        checked_filter(which)
        status = DeliveryStatus.PENDING if which.failing else which.status
        for seen, delivery_id in enumerate([each.id for _, each in self._seen(status)], 1):
            with contextlib.suppress(DeliveryNotFoundError):
                job, delivery = self._got(delivery_id)  # again, for workers have gone on meanwhile
                if which.wants(delivery) and not _is_started(job):
                    yield job, delivery
            if on_progress is not None and seen % PAGE == 0:
                on_progress(seen)

    def _left(self, job: Job, delivery: Delivery) -> bool:
        """Take a delivery out of its job; return whether that could be done."""
        if jobs.is_batch(job.id):
            return self._moved_out(job, delivery, None)
        if job.get_status(refresh=False) is JobStatus.QUEUED and not self._registries.unqueue(job):
            return False  # a worker has it
        job.delete()
        self._registries.connection.delete(self._registries.index_key(delivery.id))
        return True

    def _moved_out(self, job: Job, delivery: Delivery, again: Delivery | None) -> bool:
        done = self._poster.move_out(job, delivery, again)
        if done and jobs.is_moved(job):
            job.delete()
        return done

    def _checked(self, which: str | DeliveryFilter, number: int) -> int:
        if isinstance(which, str) and not number:
            raise QueueError(f"delivery {which} is being attempted just now; try again later")
        return number


def _is_started(job: Job) -> bool:
    return job.get_status(refresh=False) is JobStatus.STARTED


class StoreBook(StoredQueue):
    """Reads the deliveries from the store; what is due by someone's hand gets a job at once."""

    def __init__(
        self,
        store: Store,
        poster: Poster,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        super().__init__(store, clock=clock)
        self._poster = poster
        self._registries = poster.registries

    def retry(
        self, which: str | DeliveryFilter, *, rerender: bool = False, on_progress: Progress = None
    ) -> int:
        """Make deliveries due now, with the schedule starting again."""
        if isinstance(which, str):
            number = super().retry(which, rerender=rerender)
            self._again([self.get(which)])
            return number
        number, now = 0, self.clock()
        for page in self._at_rest(checked_filter(which), on_progress):
            number += self.store.save_all([each.retried(now, rerender=rerender) for each in page])
            self._again(page)
        return number

    def adopt(self) -> int:
        """Give a job to each unfinished delivery that has none, or one that will not be run in
        time because somebody changed the store alone; return how many there were."""
        number = 0
        for status in (DeliveryStatus.PENDING, DeliveryStatus.DELIVERING):
            where = DeliveryFilter(status=status)
            page = self.store.find(where, PAGE)
            while page:
                number += self._adopted(page)
                page = self.store.find(where, PAGE, page[-1].position)
        return number

    def _adopted(self, page: Sequence[Delivery]) -> int:
        carried = self._registries.jobs_of(page)
        lost = [each for each in page if each.id not in carried]
        self._poster.post(lost)
        long_ago = self.clock() - LATE
        stuck = [
            (each, carried[each.id])
            for each in page
            if each.id in carried
            and (each.lease_until or each.due_at) < long_ago
            and carried[each.id].get_status(refresh=False) not in jobs.TO_BE_RUN
        ]
        for delivery, job in stuck:
            trouble = jobs.trouble_of(job)
            if trouble and delivery.due_at <= jobs.aware(job.ended_at or delivery.due_at):
                self.store.save(delivery.given_up(trouble))  # it was not retried since
            elif jobs.is_batch(job.id):
                self._poster.post_alone([delivery])
            else:
                self._poster.post_instead(job, delivery)
        return len(lost) + len(stuck)

    def _again(self, deliveries: Sequence[Delivery]) -> None:
        kept = [each for one in deliveries if (each := self.store.get(one.id)) is not None]
        carried = self._registries.jobs_of(kept)
        alone = {key: job for key, job in carried.items() if not jobs.is_batch(job.id)}
        for each in kept:
            if each.id in alone:
                self._poster.post_instead(alone[each.id], each)
        self._poster.post([each for each in kept if each.id not in alone])

    def report(self) -> None:
        """Tell the store how often webhooks were asked."""
        self._report()
