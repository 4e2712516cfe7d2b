"""Where the deliveries of a job are kept: in the job's meta, or in a store."""

from __future__ import annotations

import abc
import datetime
import logging
from collections.abc import Callable, Sequence

from rq.job import Job

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import QueueError
from changehook.interfaces import Store
from changehook.queues.rq import jobs

__all__ = ["InMeta", "InStore", "Keeper"]

logger = logging.getLogger(__name__)


class Keeper(abc.ABC):
    """Reads and writes the deliveries of a job for the worker that makes their attempts."""

    def __init__(self, clock: Callable[[], datetime.datetime]) -> None:
        self.clock = clock

    def add(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - jobs hold them
        """Keep deliveries that are about to be put into jobs."""

    @abc.abstractmethod
    def message(self, delivery: Delivery) -> str:
        """Return what a job carries for a delivery."""

    @abc.abstractmethod
    def load(self, job: Job) -> list[Delivery]:
        """Return the deliveries that are this job's own, in their newest state."""

    def change(self, after: Delivery) -> Delivery:
        """Return a delivery in its next state, kept so if the job does not keep it itself."""
        return after

    def claim(self, delivery: Delivery) -> Delivery | None:
        """Return a delivery as claimed by this worker; None when someone changed it just now."""
        return delivery.claimed()

    def wait(self, delivery: Delivery, now: datetime.datetime) -> float:
        """Return for how many seconds a delivery is not to be attempted yet."""
        return max(0.0, (delivery.due_at - now).total_seconds())

    def note(self, after: Delivery) -> None:  # noqa: B027 - the job's meta is saved in one go
        """Keep at once what came of the attempt of one delivery of several."""

    def without_lost(self, job: Job, delivery: Delivery) -> tuple[Delivery, int]:
        """Return a delivery with the attempts on record whose workers died, and their number."""
        dead = jobs.deaths(job)
        return jobs.with_lost(delivery, dead, self.clock()), dead

    def keep(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        """Keep what came of a job; it has all its lives again."""
        self.write(job, deliveries)
        jobs.revive(job)
        jobs.save(job)

    @abc.abstractmethod
    def write(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        """Write the states of deliveries; the job's meta is saved afterwards."""


class InMeta(Keeper):
    """The job holds everything."""

    def message(self, delivery: Delivery) -> str:
        """Return the whole delivery."""
        return delivery.to_json()

    def load(self, job: Job) -> list[Delivery]:
        """Return what the job says."""
        return jobs.deliveries_of(job)

    def write(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        """Write them into the meta."""
        jobs.keep(job, deliveries)


class InStore(Keeper):
    """A store holds the deliveries, and the job their ids."""

    def __init__(
        self,
        store: Store,
        lease: Callable[[str], float],
        clock: Callable[[], datetime.datetime],
    ) -> None:
        super().__init__(clock)
        self.store = store
        self.lease = lease

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep them before there are jobs: a worker is quick."""
        self.store.add(deliveries)

    def message(self, delivery: Delivery) -> str:
        """Return its id."""
        return delivery.id

    def load(self, job: Job) -> list[Delivery]:
        """Return those that the store keeps; the rest were discarded."""
        moved = jobs.moved(job)
        ids = [each for each in jobs.messages_of(job) if each not in moved]
        found = [self.store.get(each) for each in ids]
        return [each for each in found if each is not None]

    def change(self, after: Delivery) -> Delivery:
        """Save it."""
        if not self.store.save(after):
            raise QueueError(f"delivery {after.id} was changed by someone else just now")
        return after

    def claim(self, delivery: Delivery) -> Delivery | None:
        """Claim it for as long as the attempt can take."""
        until = self.clock() + datetime.timedelta(seconds=self.lease(delivery.webhook))
        claimed = delivery.claimed(until)
        return claimed if self.store.save(claimed) else None

    def wait(self, delivery: Delivery, now: datetime.datetime) -> float:
        """Return how long it is not due, or somebody else's lease lasts."""
        moment = delivery.due_at
        if delivery.status is DeliveryStatus.DELIVERING and delivery.lease_until is not None:
            moment = delivery.lease_until
        return max(0.0, (moment - now).total_seconds())

    def note(self, after: Delivery) -> None:
        """Save it at once."""
        self._save(after)

    def without_lost(self, job: Job, delivery: Delivery) -> tuple[Delivery, int]:
        """Put the attempt on record that the worker was making which died."""
        dead = jobs.deaths(job)
        leased = delivery.lease_until
        over = leased is None or leased <= self.clock()
        if delivery.status is DeliveryStatus.DELIVERING and (dead or over):
            delivery = self.change(delivery.lease_expired(self.clock()))
        return delivery, dead

    def write(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        """Save them, as far as that was not done."""
        for each in deliveries:
            self._save(each)

    def _save(self, after: Delivery) -> None:
        kept = self.store.get(after.id)
        if kept is not None and kept.revision < after.revision and not self.store.save(after):
            logger.warning("delivery %s was changed by someone else meanwhile", after.id)
