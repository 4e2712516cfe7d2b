"""What a queue over a store has in common: inspection, and performing one delivery."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable

from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, DeliveryNotFoundError, QueueError
from changehook.interfaces import DeliveryFilter, InspectableQueue, Perform, Store
from changehook.models import utcnow

__all__ = ["StoredQueue"]

logger = logging.getLogger(__name__)


class StoredQueue(InspectableQueue):
    """A queue whose deliveries are kept in a store of this library.

    Args:
        store: keeps the deliveries.
        clock: returns the present moment, aware.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime.datetime] = utcnow) -> None:
        self.store = store
        self.clock = clock

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        return self.store.counts()

    def find(self, where: DeliveryFilter | None = None, *, limit: int = 100) -> list[Delivery]:
        """Return the newest deliveries that agree with the filter, newest first."""
        if not isinstance(limit, int) or limit < 0:
            raise ConfigurationError(f"limit is {limit!r:.40}; write a number of deliveries")
        return self.store.find(DeliveryFilter() if where is None else _filter(where), limit)

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery."""
        delivery = self.store.get(delivery_id)
        if delivery is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r} is kept")
        return delivery

    def retry(self, which: str | DeliveryFilter) -> list[Delivery]:
        """Make deliveries due now, with the schedule starting again."""
        if isinstance(which, str):
            return [self._retry_one(which)]
        return list(self._retried(self._at_rest(_filter(which))))

    def discard(self, which: str | DeliveryFilter) -> list[Delivery]:
        """Remove deliveries for good."""
        if not isinstance(which, str):
            return self.store.remove(self._at_rest(_filter(which)))
        removed = self.store.remove([self._resting(which)])
        if not removed:
            raise QueueError(f"delivery {which} changed just now; try again")
        return removed

    def _retry_one(self, delivery_id: str) -> Delivery:
        retried = next(iter(self._retried([self._resting(delivery_id)])), None)
        if retried is None:
            raise QueueError(f"delivery {delivery_id} changed just now; try again")
        return retried

    def _retried(self, deliveries: Iterable[Delivery]) -> Iterable[Delivery]:
        now = self.clock()
        for delivery in deliveries:
            retried = delivery.retried(now)
            if self.store.save(retried):
                yield retried

    def _resting(self, delivery_id: str) -> Delivery:
        delivery = self.get(delivery_id)
        if delivery.status is DeliveryStatus.DELIVERING:
            raise QueueError(f"delivery {delivery_id} is being attempted just now; try again later")
        return delivery

    def _at_rest(self, where: DeliveryFilter) -> list[Delivery]:
        found = self.store.find(where)
        return [item for item in found if item.status is not DeliveryStatus.DELIVERING]

    def _perform(self, claimed: Delivery) -> Delivery:
        """Perform one attempt and keep what came of it; one that fails does not kill its worker."""
        after = self._attempted(claimed)
        try:
            if not self.store.save(after):
                logger.warning("delivery %s was changed by someone else meanwhile", claimed.id)
        except Exception as error:
            kind = type(error).__name__
            logger.error("delivery %s: its attempt could not be recorded (%s)", claimed.id, kind)
            return claimed
        return after

    def _performer(self) -> Perform:
        if self.perform is None:
            raise QueueError("no emitter is attached; build one with Emitter(queue=...)")
        return self.perform

    def _attempted(self, claimed: Delivery) -> Delivery:
        try:
            return self._performer()(claimed)
        except KeyboardInterrupt:
            self.store.save(_broken(claimed, self.clock(), "interrupted"))
            raise
        except BaseException as error:
            kind = type(error).__name__
            logger.error("delivery %s: its attempt raised %s", claimed.id, kind)
            return _broken(claimed, self.clock(), f"the attempt raised {kind}")


def _filter(which: DeliveryFilter) -> DeliveryFilter:
    if not isinstance(which, DeliveryFilter):
        found = type(which).__name__
        raise ConfigurationError(f"expected a DeliveryFilter(status=...), found {found}")
    return which


def _broken(claimed: Delivery, now: datetime.datetime, error: str) -> Delivery:
    attempt = Attempt(
        number=len(claimed.attempts) + 1,
        started_at=now,
        duration=0.0,
        error_class="config",
        error=error,
    )
    decision = Decision(status=DeliveryStatus.FAILED, reason=f"config: {error}")
    return claimed.after(attempt, decision)
