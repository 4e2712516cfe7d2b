"""A queue performed by daemon threads of this process."""

from __future__ import annotations

import atexit
import collections
import datetime
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import (
    ConfigurationError,
    QueueClosedError,
    QueueError,
    QueueFullError,
)
from changehook.forks import after_fork_in_child
from changehook.inspection import DeliveryFilter, Retention
from changehook.interfaces import Store
from changehook.models import utcnow
from changehook.queues.stored import LEASE_BEYOND_DEADLINE, StoredQueue
from changehook.shares import Admission, Shares
from changehook.stores.memory import MemoryStore

__all__ = ["ThreadPoolQueue"]

EXIT_TIMEOUT = 10.0
LONGEST_WAIT = 60.0
STORE_PAUSE = 1.0
REPORT_EVERY = 10.0
PURGE_EVERY = 60.0
MONTH = Retention()

logger = logging.getLogger(__name__)


class ThreadPoolQueue(StoredQueue):
    """Performs deliveries on threads of this process, started on first use and closed at exit.

    The threads are daemons: the interpreter's exit waits, at most 10 seconds, for what is due with
    a store in memory, and for the attempts that are being made with a durable one. With a store in
    memory, what is left then is lost, and so is everything on a crash, on SIGKILL, and on a SIGTERM
    that the host does not handle. A process forked from this one starts empty.

    Args:
        store: keeps the deliveries; a ``MemoryStore`` by default.
        workers: how many threads; ``Shares`` tells how receivers share them.
        put_timeout: seconds that ``put`` waits for room.
        retention: how long finished deliveries are kept, looked after once a minute; None for as
            long as the store keeps them by itself.
        clock: returns the present moment, aware.

    Raises:
        ConfigurationError: ``workers`` is less than 1, or ``store`` is none.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        workers: int = 8,
        put_timeout: float = 5.0,
        retention: Retention | None = MONTH,
        clock: Callable[[], datetime.datetime] = utcnow,
    ) -> None:
        if store is not None and not isinstance(store, Store):
            raise ConfigurationError(f"store: expected a Store, found {type(store).__name__}")
        if not isinstance(workers, int) or workers < 1:
            raise ConfigurationError(f"workers is {workers}; write a number of threads, at least 1")
        if isinstance(put_timeout, bool) or not isinstance(put_timeout, int | float):
            found = type(put_timeout).__name__
            raise ConfigurationError(f"put_timeout: expected seconds, found {found}")
        if not isinstance(retention, Retention | None):
            found = type(retention).__name__
            raise ConfigurationError(f"retention: expected Retention(...), found {found}")
        super().__init__(MemoryStore() if store is None else store, clock=clock)
        self.workers = workers
        self.put_timeout = put_timeout
        self.retention = retention
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        """Start anew: the threads, and whoever held the lock, are the parent's."""
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._claiming = threading.Lock()
        self._keeping_house = threading.Lock()
        self._shares = Shares(self.workers)
        self._ready: collections.deque[tuple[Delivery, str]] = collections.deque()
        self._hungry = 0
        self._signals = 0
        self._freed = 0
        self._idle = 0
        self._busy = 0
        self._watcher: threading.Thread | None = None
        self._watching_until = 0.0
        self._putting = 0
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._stopping = False
        self._purged = self._saved = time.monotonic()
        self._reported = self._purged - REPORT_EVERY
        self._identify()
        self._at_exit = functools.partial(_close_at_exit, weakref.ref(self))

    def start(self) -> None:
        """Begin to work on what a durable store has kept, also from before this process."""
        if self.store.durable and self.perform is not None:
            with self._work:
                if not self._closing:
                    self._start_threads(1)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none, waiting up to ``put_timeout`` for room.

        Raises:
            QueueClosedError: the queue is closed.
            QueueFullError: there was no room in time.
            QueueError: no emitter is attached, or the interpreter is exiting.
        """
        self._performer()
        give_up = time.monotonic() + self.put_timeout
        with self._work:
            if self._closing:
                raise QueueClosedError("the queue is closed")
            self._start_threads(len(deliveries))
            self._putting += 1
        try:
            while not self._added(deliveries, give_up):
                pass
        finally:
            self._signal(len(deliveries), done=1)

    def retry(
        self,
        which: str | DeliveryFilter,
        *,
        rerender: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Make deliveries due now, with the schedule starting again."""
        if self._closing:
            raise QueueClosedError("the queue is closed")
        try:
            return super().retry(which, rerender=rerender, on_progress=on_progress)
        finally:
            if self.perform is not None:
                with self._work:
                    self._start_threads(self.workers)
                self._signal(self.workers)

    def _performing(self) -> tuple[int, int] | None:
        """Return how many deliveries this process can perform, and does; None if it never did."""
        return (0 if self._closing else self.workers, self._busy) if self._threads else None

    def close(self, timeout: float = EXIT_TIMEOUT) -> int:
        """Take no more and stop the threads. A store in memory is drained of what is due; what a
        durable one keeps, whoever opens it next goes on with.

        Args:
            timeout: seconds; an attempt that still runs then is left to end by itself.

        Returns:
            how many deliveries are left undone: retries not yet due, and what time ran out for.
        """
        give_up = time.monotonic() + timeout
        with self._work:
            self._closing = True
            self._stopping = self._stopping or self.store.durable
            self._work.notify_all()
            self._room.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, give_up - time.monotonic()))
        self._stopping = True
        atexit.unregister(self._at_exit)
        return self._left()

    def _left(self) -> int:
        try:
            while self._ready:
                self.store.save(self._ready.popleft()[0].released())
            self._save_unsaved()
            self._report()
            counts = self.counts()
        except Exception as error:
            self._complain(error)
            return len(self._unsaved)
        left = counts[DeliveryStatus.PENDING] + counts[DeliveryStatus.DELIVERING]
        if left and not self.store.durable:
            logger.warning(
                "%d deliveries are left undone in memory and end with this process", left
            )
        return left

    def _added(self, deliveries: Sequence[Delivery], give_up: float) -> bool:
        """Add to the store; when it is full, wait until a place was freed and return False."""
        freed = self._freed
        try:
            self.store.add(deliveries)
        except QueueFullError:
            left = give_up - time.monotonic()
            if left <= 0 or self._closing:
                raise
            with self._room:
                waits = min(left, self.store.poll)  # others may free a place as well
                self._room.wait_for(lambda: self._freed != freed or self._closing, waits)
            return False
        return True

    def _signal(self, how_many: int, *, done: int = 0) -> None:
        with self._work:
            self._putting -= done
            self._signals += 1
            self._work.notify(self.workers if self._closing else how_many)

    def _start_threads(self, how_many: int) -> None:
        """Start as many threads as there is work for; the caller holds the lock."""
        if not self._threads:
            atexit.register(self._at_exit)
        for _ in range(min(how_many - self._idle, self.workers - len(self._threads))):
            self._start_thread()

    def _start_thread(self) -> None:
        name = f"changehook-worker-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)  # before it reports how many there are
        try:
            thread.start()
        except RuntimeError:
            self._threads.pop()
            if not self._threads:
                raise QueueError("no thread can be started now; is the process exiting?") from None

    def _run(self) -> None:
        """Perform deliveries until the queue is closed."""
        while not self._stopping:
            self._keep_house()
            signals = self._signals
            taken, wait = self._take()
            if taken is not None:
                self._pass_on(wait)
                self._finish(*taken)
            elif self._drained():
                return
            else:
                self._rest(signals, wait)

    def _drained(self) -> bool:
        """Return whether the queue is closed, and nobody is just putting something."""
        return self._stopping or (self._closing and not self._putting)

    def _finish(self, claimed: Delivery, receiver: str) -> None:
        """Perform a delivery, and give its place among those of its receiver to the next."""
        after = claimed
        try:
            after = self._perform(claimed)
        finally:
            if len(after.attempts) > len(claimed.attempts):
                self._shares.finish(receiver, after.attempts[-1], self.clock())
            else:
                self._shares.give_back(receiver)
            self._free()

    def _take(self) -> tuple[tuple[Delivery, str] | None, float]:
        """Return a delivery that is due and its receiver, or None; and how long to wait for more.

        One thread at a time asks the store, for all that wait to ask.
        """
        with self._work:
            self._hungry += 1
        try:
            with self._claiming:
                if self._ready:
                    return self._ready.popleft(), LONGEST_WAIT
                return self._claim(self._hungry)
        finally:
            with self._work:
                self._hungry -= 1

    def _claim(self, limit: int) -> tuple[tuple[Delivery, str] | None, float]:
        now = self.clock()
        terms = functools.cache(self._terms)
        admission = Admission(self._shares, lambda webhook: terms(webhook).receiver)
        claim = functools.partial(
            self.store.claim,
            now,
            limit=limit,
            admit=admission,
            lease=lambda webhook: terms(webhook).timeout + LEASE_BEYOND_DEADLINE,
        )
        claimed: list[tuple[Delivery, str]] = []
        due = None
        try:
            found = claim()
            if not found and admission.may_spare:
                admission.spare()
                found = claim()
            kept = self._without_suspects(found)
            claimed = [(each, terms(each.webhook).receiver) for each in kept]
            if len(kept) < len(found):
                due = now + datetime.timedelta(seconds=STORE_PAUSE)
            elif len(found) in (0, limit):
                due = self.store.next_due(admission.refused)
            self._complaint = ""
        except Exception as error:
            self._complain(error)
            due = now + datetime.timedelta(seconds=STORE_PAUSE)
        admission.settle(receiver for _, receiver in claimed)
        self._ready.extend(claimed)
        waits = [LONGEST_WAIT if due is None else max(0.0, (due - now).total_seconds())]
        if admission.refused and (opens := self._shares.wait()) is not None:
            waits.append(opens)
        return (self._ready.popleft() if claimed else None), min(waits)

    def _pass_on(self, wait: float) -> None:
        """Have another worker look out, and take what is due as well: one that rests, or a new
        one."""
        with self._work:
            self._busy += 1
            if self._watcher is threading.current_thread():
                self._watcher = None
                self._work.notify()
            if wait <= 0:
                self._signals += 1
                self._work.notify()
            elif wait >= LEASE_BEYOND_DEADLINE <= self.store.poll:
                return  # nothing comes but what is put here, and that starts threads
            if not self._idle and len(self._threads) < self.workers and not self._stopping:
                self._start_thread()

    def _rest(self, signals: int, wait: float) -> None:
        """Wait for a signal; one of those that rest looks out for what time or others bring."""
        me = threading.current_thread()
        until = time.monotonic() + wait
        with self._work:
            if self._watcher is None or until < self._watching_until:
                self._watcher, self._watching_until = me, until
            watches = self._watcher is me
            self._idle += 1
            self._work.wait_for(
                lambda: (
                    self._signals != signals
                    or self._drained()
                    or (self._watcher is None and not watches)
                ),
                min(wait, self._look_out_every()) if watches else LONGEST_WAIT,
            )
            self._idle -= 1

    def _look_out_every(self) -> float:
        return min(self.store.poll, REPORT_EVERY, STORE_PAUSE if self._unsaved else LONGEST_WAIT)

    def _keep_house(self) -> None:
        """Now and then save what could not be saved, report, and purge: one thread at a time."""
        now = time.monotonic()
        unsaved = self._unsaved and now - self._saved > STORE_PAUSE
        if not unsaved and now - self._reported < REPORT_EVERY and now - self._purged < PURGE_EVERY:
            return
        if not self._keeping_house.acquire(blocking=False):
            return
        try:
            if unsaved:
                self._saved = now
                self._save_unsaved()
            if now - self._reported >= REPORT_EVERY:
                self._reported = now
                self._report()
            if self.retention is not None and now - self._purged >= PURGE_EVERY:
                self._purged = now
                self.purge(self.retention)
        except Exception as error:
            self._complain(error)
        finally:
            self._keeping_house.release()

    def _free(self) -> None:
        with self._room:
            self._freed += 1
            self._busy -= 1
            self._room.notify_all()


def _close_at_exit(queue: weakref.ref[ThreadPoolQueue]) -> None:
    present = queue()
    if present is not None:
        present.close(EXIT_TIMEOUT)
