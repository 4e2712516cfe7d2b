"""What a queue over a store has in common: inspection, and performing one delivery."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import attrs

from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.errors import ChangehookError, ConfigurationError, DeliveryNotFoundError, QueueError
from changehook.inspection import (
    DeliveryFilter,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.interfaces import InspectableQueue, Perform, Position, Store, Terms
from changehook.models import utcnow

__all__ = [
    "DEFAULT_TIMEOUT",
    "LEASE_BEYOND_DEADLINE",
    "StoredQueue",
    "broken",
    "check_limit",
    "checked_filter",
]

PAGE = 500
LEASE_BEYOND_DEADLINE = 30.0
DEFAULT_TIMEOUT = 15.0

logger = logging.getLogger(__name__)


class StoredQueue(InspectableQueue):
    """A queue whose deliveries are kept in a store of this library. By itself it performs nothing:
    for whoever only looks into a store that other processes work on.

    Args:
        store: keeps the deliveries.
        clock: returns the present moment, aware.
    """

    store: Store

    def __init__(self, store: Store, *, clock: Callable[[], datetime.datetime] = utcnow) -> None:
        self.store = store
        self.clock = clock
        self._identify()

    def _identify(self) -> None:
        """Begin as this process, with nothing left to write."""
        self._unsaved: dict[str, Delivery] = {}
        self._suspect: str | None = None
        self._complaint = ""
        self._untold: list[WebhookTally] = []
        self._reporting = threading.Lock()
        self._started_at = self.clock()
        self._host = socket.gethostname()
        self._worker = f"{self._host}-{os.getpid()}-{os.urandom(3).hex()}"

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Keep pending deliveries, all of them or none."""
        self.store.add(deliveries)

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        return self.store.counts()

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
        return self.store.find(where, limit, after)

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        return self.store.count(checked_filter(where))

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery."""
        delivery = self._unsaved.get(delivery_id) or self.store.get(delivery_id)
        if delivery is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r} is kept")
        return delivery

    def retry(
        self,
        which: str | DeliveryFilter,
        *,
        rerender: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Make deliveries due now, with the schedule starting again."""
        now = self.clock()
        if isinstance(which, str):
            if not self.store.save(self._resting(which).retried(now, rerender=rerender)):
                raise QueueError(f"delivery {which} changed just now; try again")
            return 1
        return sum(
            self.store.save_all([each.retried(now, rerender=rerender) for each in page])
            for page in self._at_rest(checked_filter(which), on_progress)
        )

    def discard(
        self, which: str | DeliveryFilter, *, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Remove deliveries for good."""
        if isinstance(which, str):
            if not self.store.remove([self._resting(which)]):
                raise QueueError(f"delivery {which} changed just now; try again")
            return 1
        pages = self._at_rest(checked_filter(which), on_progress)
        return sum(self.store.remove(page) for page in pages)

    def purge(self, retention: Retention) -> int:
        """Remove the finished deliveries that are not to be kept; return how many."""
        total = 0
        while removed := self.store.purge(retention, self.clock(), PAGE):
            total += removed
        return total

    def age_of_oldest_due(self) -> float | None:
        """Return the seconds since the oldest delivery that is due became so; None if none is."""
        due = self.store.next_due()
        age = None if due is None else (self.clock() - due).total_seconds()
        return age if age is not None and age >= 0 else None

    def stats(self) -> QueueStats:
        """Return how the queue fares."""
        self._report()
        return self.store.stats(self.clock())

    def _resting(self, delivery_id: str) -> Delivery:
        delivery = self.get(delivery_id)
        if delivery.status is DeliveryStatus.DELIVERING:
            raise QueueError(f"delivery {delivery_id} is being attempted just now; try again later")
        return delivery

    def _at_rest(
        self, where: DeliveryFilter, on_progress: Callable[[int], object] | None
    ) -> Iterator[list[Delivery]]:
        """Yield the deliveries that agree with a filter and are not being attempted, page by page,
        so that a million of them need no more memory than one page."""
        seen = 0
        page = self.store.find(where, PAGE)
        while page:
            yield [each for each in page if each.status is not DeliveryStatus.DELIVERING]
            seen += len(page)
            if on_progress is not None:
                on_progress(seen)
            page = self.store.find(where, PAGE, page[-1].position)

    def _without_suspects(self, claimed: list[Delivery]) -> list[Delivery]:
        """Give back those whose workers died twice running, but for one at a time: so the one that
        kills them takes no other along until it is given up."""
        kept = []
        for each in claimed:
            if self._admits(each):
                kept.append(each)
            else:
                self.store.save(each.released())
        return kept

    def _admits(self, delivery: Delivery) -> bool:
        """Return whether this process may perform a delivery now; see ``_without_suspects``."""
        if [attempt.error_class for attempt in delivery.attempts[-2:]] != ["lost"] * 2:
            return True
        if self._suspect is not None:
            return False
        self._suspect = delivery.id
        return True

    def _perform(self, claimed: Delivery) -> Delivery:
        """Perform one attempt and keep what came of it; one that fails does not kill its worker."""
        known = self._unsaved.get(claimed.id)
        try:
            if known is not None and known.attempts:
                after = _adopted(claimed, known)
            else:
                after = self._attempted(claimed)
        finally:
            if self._suspect == claimed.id:
                self._suspect = None
        self._keep(after)
        return after

    def _keep(self, after: Delivery) -> None:
        """Save what came of an attempt; if the store fails, remember it until it does not."""
        try:
            saved = self.store.save(after)
        except Exception as error:
            if after.id not in self._unsaved:
                kind = type(error).__name__
                logger.error("delivery %s: the store fails (%s), saving later", after.id, kind)
            self._unsaved[after.id] = after
            return
        self._unsaved.pop(after.id, None)
        if not saved:
            logger.warning("delivery %s was changed by someone else meanwhile", after.id)

    def _complain(self, error: Exception) -> None:
        """Log once that the store fails, and how, until it works again."""
        words = str(error) if isinstance(error, ChangehookError) else type(error).__name__
        if words != self._complaint:
            self._complaint = words
            logger.error("the store fails, trying again: %s", words)

    def _save_unsaved(self) -> None:
        for after in list(self._unsaved.values()):
            self._keep(after)

    def _report(self) -> None:
        """Tell the store that this process works for it, and how often webhooks were asked."""
        with self._reporting:
            if self.tallies is not None:
                self._untold.extend(self.tallies())
            performing = self._performing()
            heartbeat = None if performing is None else self._heartbeat(*performing)
            if heartbeat is not None or self._untold:
                self.store.report(heartbeat, self._untold)
            self._untold = []

    def _performing(self) -> tuple[int, int] | None:
        """Return how many deliveries this process can perform, and does; None if it never did."""
        return None

    def _heartbeat(self, threads: int, busy: int) -> WorkerHeartbeat:
        return WorkerHeartbeat(
            worker=self._worker,
            host=self._host,
            pid=os.getpid(),
            threads=threads,
            busy=busy,
            started_at=self._started_at,
            seen_at=self.clock(),
        )

    def _terms(self, webhook: str) -> Terms:
        if self.terms is None:
            return Terms(receiver=webhook, timeout=DEFAULT_TIMEOUT)
        return self.terms(webhook)

    def _performer(self) -> Perform:
        if self.perform is None:
            raise QueueError("no emitter is attached; build one with Emitter(queue=...)")
        return self.perform

    def _attempted(self, claimed: Delivery) -> Delivery:
        try:
            return self._performer()(claimed)
        except KeyboardInterrupt:
            self._keep(broken(claimed, self.clock(), "interrupted"))
            raise
        except BaseException as error:
            return self._raised(claimed, error)

    def _raised(self, claimed: Delivery, error: BaseException) -> Delivery:
        """Return a delivery after an attempt that raised what none may."""
        kind = type(error).__name__
        logger.error("delivery %s: its attempt raised %s", claimed.id, kind)
        return broken(claimed, self.clock(), f"the attempt raised {kind}")


def check_limit(limit: object) -> None:
    """Raise ConfigurationError unless it is a number of deliveries."""
    if not isinstance(limit, int) or limit < 0:
        raise ConfigurationError(f"limit is {limit!r:.40}; write a number of deliveries")


def checked_filter(which: DeliveryFilter) -> DeliveryFilter:
    """Return a filter; raise ConfigurationError if it is none."""
    if not isinstance(which, DeliveryFilter):
        found = type(which).__name__
        raise ConfigurationError(f"expected a DeliveryFilter(status=...), found {found}")
    return which


def _adopted(claimed: Delivery, known: Delivery) -> Delivery:
    """Return a delivery that was claimed again with what is known to have come of it before."""
    decision = Decision(status=known.status, due_at=known.due_at, reason=known.reason)
    attempt = attrs.evolve(known.attempts[-1], number=len(claimed.attempts) + 1)
    return claimed.after(attempt, decision, body=known.body)


def broken(claimed: Delivery, now: datetime.datetime, error: str) -> Delivery:
    """Return a delivery as failed, because its attempt raised something."""
    attempt = Attempt(
        number=len(claimed.attempts) + 1,
        started_at=now,
        duration=0.0,
        error_class="config",
        error=error,
    )
    decision = Decision(status=DeliveryStatus.FAILED, reason=f"config: {error}")
    return claimed.after(attempt, decision)
