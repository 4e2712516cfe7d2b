"""RQQueue: put, and what a worker of RQ does with a job of ours."""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import redis
import rq
from rq.job import Job

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueClosedError, QueueError
from changehook.inspection import DeliveryFilter, QueueStats, Retention, WebhookTally
from changehook.interfaces import InspectableQueue, Perform, Position, Store, Terms
from changehook.models import utcnow
from changehook.places import HostCodeError, check_place, found_at
from changehook.queues.rq import jobs
from changehook.queues.rq.books import RegistryBook, StoreBook
from changehook.queues.rq.connections import hasty, said
from changehook.queues.rq.keeping import InMeta, InStore, Keeper
from changehook.queues.rq.posting import TIMEOUT_BEYOND_DEADLINE, Poster
from changehook.queues.rq.registries import Registries
from changehook.queues.rq.work import PUT_OFF, Work, again_in
from changehook.queues.rq.worker import MINUTE, DeliveryWorker
from changehook.queues.stored import DEFAULT_TIMEOUT

__all__ = ["RQQueue", "perform", "queue_at"]

DAY = 86400
LOOK_EVERY = 60.0
UPKEEP_EVERY = 50
LONGEST_UPKEEP = 600  # seconds, after which another worker looks after the store
SHARE_OF_UPKEEP = 20  # what takes a second is done every 20
FINISHED_FOR = 500
"""Seconds that RQ keeps a finished job by default; with a store it says nothing that is needed."""

logger = logging.getLogger(__name__)


def perform(emitter: str, messages: list[str]) -> dict[str, Any] | rq.Retry:
    """Make the attempts of one job: the function that RQ's workers call.

    Args:
        emitter: where the worker finds its emitter, as ``module:name``.
        messages: the deliveries as JSON text, or their ids where a store keeps them.

    Returns:
        what came of it; or an ``rq.Retry``, when an attempt is to be made again.

    Raises:
        GivenUpError: a delivery was given up, so that RQ keeps its job as a failed one.
        ConfigurationError: there is no emitter at that place, or its queue is no ``RQQueue``.
    """
    job = rq.get_current_job()
    if job is None:
        raise ConfigurationError("perform: is called by a worker of RQ, within a job")
    try:
        return queue_at(emitter).work_on(job)
    except HostCodeError as error:  # such as a database that is away when a module is imported
        logger.error("job %s: put off for %d seconds: %s", job.id, PUT_OFF, error)
        return again_in(PUT_OFF)
    except ConfigurationError as error:
        jobs.end(job, f"not attempted: {error}")
        raise


def queue_at(place: str) -> RQQueue:
    """Return the queue of the emitter that stands at a place.

    Raises:
        ConfigurationError: there is none, or its queue is no ``RQQueue``.
    """
    found = found_at("emitter", place)
    queue = getattr(found, "queue", found)
    if isinstance(queue, RQQueue):
        return queue
    if callable(found):
        raise ConfigurationError(
            f"emitter: {place} is a function, which a worker would call for each job; "
            "write emitter = ...() in the module, and name that"
        )
    kind = type(queue).__name__
    raise ConfigurationError(f"emitter: the queue of {place} is no RQQueue, but a {kind}")


class RQQueue(InspectableQueue):
    """Carries deliveries as jobs of RQ; its workers make the attempts.

    A delivered delivery is a finished job whose result says what came back; one that was given up
    is a failed job, and ``rq requeue`` retries it. Retries wait in RQ's registry of scheduled jobs,
    so a worker with a scheduler must run: ``changehook worker --rq``, or
    ``rq worker --with-scheduler``. Jobs hold the payload as JSON text, and no secret.

    Args:
        connection: a ``redis.Redis``.
        queue: the name of the RQ queue; it may be shared with other jobs.
        emitter: where a worker finds the emitter that this queue belongs to, as ``module:name``.
        store: keeps the deliveries, where every process that emits or works can reach it; jobs
            then hold ids only. None to keep them in the jobs themselves.
        batch: how many deliveries of one ``put`` may travel in one job. Each that is not delivered
            at once becomes a job of its own.
        threads: how many attempts a job of several makes at once.
        result_ttl: seconds for which a delivered delivery is kept; None for a day, or for seven
            days with a store.
        failure_ttl: seconds for which one is kept that was given up or skipped.
        serializer: RQ's serializer, which the workers must use as well; None for RQ's own.
        clock: returns the present moment, aware.

    Raises:
        ConfigurationError: an argument is of the wrong type.
    """

    def __init__(
        self,
        connection: redis.Redis,
        queue: str = "default",
        *,
        emitter: str,
        store: Store | None = None,
        batch: int = 25,
        threads: int = 8,
        result_ttl: int | None = None,
        failure_ttl: int = 30 * DAY,
        serializer: Any = None,
        clock: Callable[[], datetime.datetime] = utcnow,
    ) -> None:
        _check(connection, queue, store)
        if check_place("emitter", emitter)[0] == "__main__":
            raise ConfigurationError("emitter: __main__ is each process's own; name a module")
        if result_ttl is None:
            result_ttl = DAY if store is None else 7 * DAY
        numbers = {
            "batch": batch,
            "threads": threads,
            "result_ttl": result_ttl,
            "failure_ttl": failure_ttl,
        }
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}: expected a number from 1, found {value!r:.40}")
        self.connection = connection
        self.emitter = emitter
        self.store = store
        self.threads = threads
        self.clock = clock
        self.rq = rq.Queue(queue, connection=connection, serializer=serializer)
        self._registries = Registries(self.rq, clock)
        self._keeper: Keeper = InMeta(clock)
        if store is not None:
            self._keeper = InStore(store, self.lease, clock)
            numbers["result_ttl"] = min(result_ttl, FINISHED_FOR)
        self._poster = Poster(
            registries=self._registries,
            keeper=self._keeper,
            emitter=emitter,
            timeout=lambda webhook: self._terms(webhook).timeout,
            clock=clock,
            **numbers,
        )
        impatient = rq.Queue(queue, connection=hasty(connection), serializer=serializer)
        self._hasty = attrs.evolve(self._poster, registries=Registries(impatient, clock))
        self._book: RegistryBook | StoreBook = RegistryBook(self._poster)
        if store is not None:
            self._book = StoreBook(store, self._poster, clock)
        self._retention = Retention(delivered=result_ttl, failed=failure_ttl)
        self._closed = False
        self._looked_at = -LOOK_EVERY
        self._told: list[str] = []

    def attach(
        self,
        perform: Perform,
        terms: Callable[[str], Terms] | None = None,
        tallies: Callable[[], Sequence[WebhookTally]] | None = None,
    ) -> None:
        """Take the callable that performs one attempt."""
        super().attach(perform, terms, tallies)
        if isinstance(self._book, StoreBook):
            self._book.tallies = tallies

    # The host's side

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none, in one transaction of Redis.

        Raises:
            QueueClosedError: the queue is closed.
            QueueError: Redis does not answer or refuses, or the store does.
        """
        if self._closed:
            raise QueueClosedError("the queue is closed")
        with self._translated(), self._hasty.transaction() as pipe:
            fresh = self._hasty.registries.fresh(deliveries, pipe)
            self._keeper.add(deliveries)
            self._hasty.post(fresh, pipe)
        self._look_after()

    def close(self, timeout: float = 10.0) -> int:
        """Take no more. What is in Redis stays, and RQ's workers go on with it.

        Returns:
            how many deliveries are left undone; 0 when Redis does not say.
        """
        self._closed = True
        with contextlib.suppress(QueueError):
            self._book.report()
        book = RegistryBook(self._hasty) if self.store is None else self._book
        try:
            with self._translated():
                counts = book.counts()
        except QueueError as error:
            logger.warning("the deliveries that are left cannot be counted: %s", error)
            return 0
        return counts[DeliveryStatus.PENDING] + counts[DeliveryStatus.DELIVERING]

    def work_on(self, job: Job) -> dict[str, Any] | rq.Retry:
        """Make the attempts of a job; see ``perform``."""
        if self.perform is None:
            raise ConfigurationError("no emitter is attached; build one with Emitter(queue=...)")
        work = Work(
            perform=self.perform,
            keeper=self._keeper,
            poster=self._poster,
            threads=self.threads,
            clock=self.clock,
        )
        return work.on(job)

    # The operator's side

    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status."""
        with self._translated():
            return self._book.counts()

    def find(
        self,
        where: DeliveryFilter | None = None,
        *,
        limit: int = 100,
        after: Position | None = None,
    ) -> list[Delivery]:
        """Return the newest deliveries that agree with the filter, newest first.

        Without a store every job in the registries that the filter's status names is read.
        """
        with self._translated():
            return self._book.find(where, limit=limit, after=after)

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery."""
        with self._translated():
            return self._book.get(delivery_id)

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        with self._translated():
            return self._book.count(where)

    def retry(
        self,
        which: str | DeliveryFilter,
        *,
        rerender: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Make deliveries due now, with the schedule starting again."""
        if self._closed:
            raise QueueClosedError("the queue is closed")
        with self._translated():
            return self._book.retry(which, rerender=rerender, on_progress=on_progress)

    def discard(
        self, which: str | DeliveryFilter, *, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Remove deliveries for good."""
        with self._translated():
            return self._book.discard(which, on_progress=on_progress)

    def age_of_oldest_due(self) -> float | None:
        """Return the seconds since the oldest delivery that is due became so; None if none is."""
        with self._translated():
            return self._book.age_of_oldest_due()

    def stats(self) -> QueueStats:
        """Return how the queue fares, with the workers of RQ that listen to it."""
        with self._translated():
            return attrs.evolve(self._book.stats(), workers=self._registries.workers())

    def health(self) -> list[str]:
        """Return what keeps deliveries from being made, in words; empty when nothing does."""
        try:
            return self._registries.health()
        except redis.RedisError as error:
            return [said(self.connection, error)]

    def worker(self, **arguments: Any) -> DeliveryWorker:
        """Return a worker of RQ that listens to this queue and keeps connections and compiled
        templates between jobs; ``worker().work(with_scheduler=True)`` runs it.

        Raises:
            ConfigurationError: jobs would not find this queue's emitter at its place.
        """
        queue_at(self.emitter)
        settings = {"maintenance_interval": MINUTE, "serializer": self.rq.serializer, **arguments}
        with self._translated():
            worker = DeliveryWorker([self.rq], connection=self.connection, **settings)
        worker.upkeep, worker.translated = self.upkeep, self._translated
        return worker

    def lease(self, webhook: str) -> float:
        """Return the seconds after which whoever makes an attempt counts as dead."""
        return self._terms(webhook).timeout + TIMEOUT_BEYOND_DEADLINE

    def adopt(self) -> int:
        """Give a job to each unfinished delivery of the store that has none, because Redis was
        away when it was put, or has lost it, or that was retried in the store alone; return how
        many there were."""
        with self._translated():
            return self._book.adopt()

    def upkeep(self) -> None:
        """With a store, adopt, and remove from it what is not to be kept: once a minute, and less
        often if it takes long, by one of all workers."""
        if not isinstance(self._book, StoreBook):
            return
        with self._translated():
            key = f"changehook:{self.rq.name}:upkeep"
            if self.connection.set(key, self.emitter, nx=True, ex=LONGEST_UPKEEP):
                began = time.monotonic()
                self._book.adopt()
                self._book.purge(self._retention)
                seconds = SHARE_OF_UPKEEP * (time.monotonic() - began)
                self.connection.expire(key, max(UPKEEP_EVERY, math.ceil(seconds)))

    def _terms(self, webhook: str) -> Terms:
        if self.terms is None:
            return Terms(receiver=webhook, timeout=DEFAULT_TIMEOUT)
        return self.terms(webhook)

    def _look_after(self) -> None:
        """Once a minute, log what keeps deliveries from being made, unless that was logged."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        try:
            problems = self.health()
            self._book.report()
        except Exception as error:  # what was put is put
            problems = [f"the queue cannot be looked after ({type(error).__name__})"]
        for problem in problems:
            if problem not in self._told:
                logger.warning("%s", problem)
        self._told = problems

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise QueueError(said(self.connection, error)) from error


def _check(connection: object, queue: object, store: object) -> None:
    if not isinstance(connection, redis.Redis):
        found = f"{type(connection).__module__}.{type(connection).__name__}"
        raise ConfigurationError(f"connection: expected a redis.Redis, found {found}")
    if connection.connection_pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError("connection: RQ needs one without decode_responses=True")
    if not isinstance(queue, str) or not queue:
        raise ConfigurationError("queue: expected the name of an RQ queue, such as webhooks")
    if not isinstance(store, Store | None):
        raise ConfigurationError(f"store: expected a Store, found {type(store).__name__}")
    if store is not None and not store.durable:
        raise ConfigurationError(
            "store: this one is kept in the memory of a process, where no worker finds it; "
            "give one that the workers can reach, such as SQLiteStore(...)"
        )
