"""A queue whose attempts are made by Celery workers: the store is the truth, Celery the wake-up."""

from __future__ import annotations

import datetime
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueClosedError
from changehook.forks import after_fork_in_child
from changehook.inspection import SWEEPER, DeliveryFilter, Retention, may_be_claimed
from changehook.interfaces import Store
from changehook.models import utcnow
from changehook.queues.celery.broker import Broker
from changehook.queues.celery.health import NO_SWEEP, another_sweeps, problems_of
from changehook.queues.celery.wakeups import SWEEP_LIMIT, WakeUps
from changehook.queues.celery.worker import Ticker, busy, carries_another, with_worker
from changehook.queues.stored import LEASE_BEYOND_DEADLINE, StoredQueue

__all__ = ["CeleryQueue"]

REPORT_EVERY = 10.0
PURGE_EVERY = 60.0
MONTH = Retention()

logger = logging.getLogger(__name__)


class CeleryQueue(StoredQueue):
    """Keeps deliveries in a store and has Celery workers make their attempts.

    ``put`` returns when the store has the deliveries; then a thread sends messages with their ids.
    Messages may get lost or come twice: a sweep sends those of what is due, such as retries, and
    whoever gets the id of a delivery that is not due does nothing. Something has to sweep: beat,
    with the task ``changehook.sweep``, or a thread, by ``sweep_every``.

    A worker imports the module that builds the emitter. It makes attempts in the order of its
    messages: receivers do not share workers here, and none is given a rest.

    Args:
        app: the Celery application. It carries one such queue.
        store: keeps the deliveries; durable, and within reach of all workers.
        task_queue: the name of Celery's queue for the messages; None for what the app's routes say.
        sweep_every: seconds between two sweeps by a thread, in each Celery worker and each process
            that starts the emitter, one of which sweeps; None for no thread.
        retention: how long finished deliveries are kept, looked after by sweeps once a minute; None
            for as long as the store keeps them by itself.
        clock: returns the present moment, aware.

    Raises:
        ConfigurationError: an argument is wrong, or the app carries another such queue.
    """

    def __init__(
        self,
        app: Any,
        *,
        store: Store,
        task_queue: str | None = None,
        sweep_every: float | None = None,
        retention: Retention | None = MONTH,
        clock: Callable[[], datetime.datetime] = utcnow,
    ) -> None:
        self._broker = Broker(app, task_queue)
        _check(app, store, sweep_every, retention)
        super().__init__(store, clock=clock)
        self.app = app
        self.sweep_every = sweep_every
        self.retention = retention
        self._purged = time.monotonic()  # a child goes on from here: it may not live for a minute
        self._forked()
        after_fork_in_child(self._forked)
        self._broker.register(self._deliver, self.sweep, self._save_unsaved)
        with_worker(app, self._serve, self._rest)

    def _forked(self) -> None:
        """Start anew: threads, and whoever held a lock, are the parent's."""
        self._closing = False
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._performed = 0  # attempts that this process makes just now
        self._sweeping = threading.RLock()  # an eager attempt may retry others
        self._wake_ups = WakeUps()
        self._ticker = Ticker(self._look_after, min(REPORT_EVERY, self.sweep_every or NO_SWEEP))
        self._serving: int | None = None
        self._problems: set[str] = set()
        self._reported = self._looked = time.monotonic()
        self._identify()

    def start(self) -> None:
        """Start the thread that sweeps, if one was asked for."""
        if self.sweep_every is not None and not self._closing:
            self._ticker.start()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none, and tell the workers of those due now.

        A broker that does not answer is no error, because the store has the deliveries: a sweep
        tells the workers later.

        Raises:
            QueueClosedError: the queue is closed.
            QueueError: no emitter is attached, or the store did not take them.
        """
        self._performer()
        if self._closing:
            raise QueueClosedError("the queue is closed")
        self.store.add(deliveries)
        now = self.clock()
        self._broker.tell([each for each in deliveries if each.due_at <= now])
        self._report_now_and_then()

    def retry(
        self,
        which: str | DeliveryFilter,
        *,
        rerender: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Make deliveries due now, with the schedule starting again, and tell the workers."""
        if self._closing:
            raise QueueClosedError("the queue is closed")
        due = super().retry(which, rerender=rerender, on_progress=on_progress)
        if isinstance(which, str):
            self._broker.tell([self.get(which)])
        else:
            self.sweep()
        return due

    def sweep(self) -> int:
        """Tell the workers what is due, unless they were told just now; write what could not be
        written, and now and then purge. A store or a broker that fails is logged.

        Returns:
            how many deliveries they were told of, at most 500.
        """
        with self._sweeping:
            try:
                self._save_unsaved()
                self.store.report(attrs.evolve(self._heartbeat(0, 0), worker=SWEEPER), ())
                sent = self._broker.send(self._news())
                self._wake_ups.remember(sent)
                if self.retention is not None and _is_over(self._purged, PURGE_EVERY):
                    self._purged = time.monotonic()
                    self.purge(self.retention)
                self._complaint = ""
            except Exception as error:
                self._complain(error)
                return 0
        return len(sent)

    def health(self) -> list[str]:
        """Return what keeps deliveries from being made, in words; empty when nothing does."""
        found = [] if (silent := self._broker.silence()) is None else [silent]
        try:
            return found + problems_of(self.store.stats(self.clock()), self.clock())
        except Exception as error:
            return [*found, f"the store fails ({type(error).__name__})"]

    def close(self, timeout: float = 10.0) -> int:
        """Take no more, and finish the attempts that this process is making. What is left stays in
        the store, for the workers that go on.

        Args:
            timeout: seconds.

        Returns:
            how many deliveries are left undone, in all processes.
        """
        self._closing = True
        give_up = time.monotonic() + timeout
        with self._done:
            self._done.wait_for(lambda: not self._performed, timeout)
        self._ticker.stop(max(0.0, give_up - time.monotonic()))
        self._broker.close()
        self._serving = self._serving and 0
        try:
            self._save_unsaved()
            self._report()
            counts = self.counts()
        except Exception as error:
            self._complain(error)
            return len(self._unsaved)
        return counts[DeliveryStatus.PENDING] + counts[DeliveryStatus.DELIVERING]

    def _deliver(self, delivery_id: str) -> None:
        """Make an attempt of a delivery, if it is due and nobody else does: the task."""
        if self.perform is None:
            logger.error("no emitter is attached; build it in the module that the worker imports")
            return
        with self._lock:
            if self._closing:
                return
            self._performed += 1
        try:
            self._save_unsaved()
            claimed = self._claimed(delivery_id)
            if claimed is not None:
                self._perform(claimed)
        except Exception as error:
            self._complain(error)
        finally:
            with self._done:
                self._performed -= 1
                self._done.notify_all()

    def _claimed(self, delivery_id: str) -> Delivery | None:
        """Return a delivery that is due, claimed; None for one that another worker has or had."""
        now = self.clock()
        delivery = self.store.get(delivery_id)
        self._complaint = ""
        if delivery is None or delivery.status is not DeliveryStatus.PENDING:
            return None
        with self._lock:
            if not may_be_claimed(delivery, now) or not self._admits(delivery):
                return None
        seconds = self._terms(delivery.webhook).timeout + LEASE_BEYOND_DEADLINE
        claimed = delivery.claimed(now + datetime.timedelta(seconds=seconds))
        saved = False
        try:
            saved = self.store.save(claimed)
        finally:
            if not saved and self._suspect == delivery_id:
                self._suspect = None
        return claimed if saved else None

    def _attempted(self, claimed: Delivery) -> Delivery:
        try:
            return self._performer()(claimed)
        except (SystemExit, KeyboardInterrupt):
            # So Celery ends a process of its pool; the delivery is not to blame.
            lost = claimed.lease_expired(self.clock())
            if threading.current_thread() is not threading.main_thread():
                return lost
            self._keep(lost)
            raise
        except BaseException as error:
            return self._raised(claimed, error)

    def _news(self) -> list[Delivery]:
        """Return what is due and was not enqueued just now, as far as this process knows; what a
        dead worker had is made due."""
        now = self.clock()
        found = []
        for each in self.store.due(now, SWEEP_LIMIT):
            due = each
            if each.status is DeliveryStatus.DELIVERING:
                due = each.lease_expired(now)
                if not self.store.save(due):
                    continue
            if self._wake_ups.is_news(due, now):
                found.append(due)
        return found

    def _serve(self, concurrency: int, queues: Sequence[str]) -> None:
        """Begin as a Celery worker that works on these queues, unless on others only."""
        if self._broker.target() in (None, *queues):
            self._serving = concurrency
            self._report_now_and_then(at_once=True)
            self._ticker.start()

    def _rest(self) -> None:
        """End as a Celery worker."""
        if self._serving is not None:
            self._ticker.stop(0)
            self._serving = 0
            self._report_now_and_then(at_once=True)

    def _performing(self) -> tuple[int, int] | None:
        """Return how many tasks this process can perform, and does; None if it is no worker."""
        return None if self._serving is None else (self._serving, min(self._serving, busy()))

    def _look_after(self) -> None:
        """Sweep if asked to and no other process does, report, and warn."""
        try:
            if self.sweep_every is not None:
                now, me = self.clock(), self._heartbeat(0, 0)
                workers = self.store.stats(now).workers
                if not another_sweeps(workers, me, now, 3 * self.sweep_every):
                    self.sweep()
            self._save_unsaved()
            self._report_now_and_then()
            if self._serving and _is_over(self._looked, NO_SWEEP):
                self._looked = time.monotonic()
                self._warn()
        except Exception as error:
            self._complain(error)

    def _warn(self) -> None:
        """Log what keeps deliveries from being made, each problem once until it is gone."""
        now = self.clock()
        found = {re.sub("[0-9]+", "some", each) for each in problems_of(self.store.stats(now), now)}
        for problem in sorted(found - self._problems):
            logger.warning("%s", problem)
        self._problems = found

    def _report_now_and_then(self, *, at_once: bool = False) -> None:
        if at_once or _is_over(self._reported, REPORT_EVERY):
            self._reported = time.monotonic()
            try:
                self._report()
            except Exception as error:
                self._complain(error)


def _is_over(since: float, seconds: float) -> bool:
    return time.monotonic() - since >= seconds


def _check(app: Any, store: object, sweep_every: Any, retention: object) -> None:
    if carries_another(app):
        raise ConfigurationError("app: carries another CeleryQueue; give each an app of its own")
    if not isinstance(store, Store):
        raise ConfigurationError(f"store: expected a Store, found {type(store).__name__}")
    if not store.durable and not app.conf.task_always_eager:
        raise ConfigurationError(
            "store: workers are other processes and find nothing in the memory of this one; "
            'write SQLiteStore("webhooks.db"), or set task_always_eager for tests'
        )
    if sweep_every is not None:
        number = isinstance(sweep_every, int | float) and not isinstance(sweep_every, bool)
        if not number or not 0 < sweep_every < NO_SWEEP:
            raise ConfigurationError(
                f"sweep_every: expected seconds, above 0 and below {NO_SWEEP:g}, or None"
            )
    if not isinstance(retention, Retention | None):
        found = type(retention).__name__
        raise ConfigurationError(f"retention: expected Retention(...), found {found}")
