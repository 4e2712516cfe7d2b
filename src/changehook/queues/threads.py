"""A queue performed by daemon threads of this process."""

from __future__ import annotations

import atexit
import datetime
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueClosedError, QueueError, QueueFullError
from changehook.forks import after_fork_in_child
from changehook.interfaces import DeliveryFilter, Store
from changehook.models import utcnow
from changehook.queues.stored import StoredQueue
from changehook.stores.memory import MemoryStore

__all__ = ["ThreadPoolQueue"]

EXIT_TIMEOUT = 10.0
LONGEST_WAIT = 60.0
STORE_PAUSE = 1.0

logger = logging.getLogger(__name__)


class ThreadPoolQueue(StoredQueue):
    """Performs deliveries on threads of this process, started on first use and closed at exit.

    The threads are daemons: the interpreter's exit waits for what is due, at most 10 seconds. With
    a store in memory, what is left then is lost, and so is everything on a crash, on SIGKILL, and
    on a SIGTERM that the host does not handle. A process forked from this one starts empty.

    Args:
        store: keeps the deliveries; a ``MemoryStore`` by default.
        workers: how many threads.
        put_timeout: seconds that ``put`` waits for room.
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
        clock: Callable[[], datetime.datetime] = utcnow,
    ) -> None:
        if store is not None and not isinstance(store, Store):
            raise ConfigurationError(f"store: expected a Store, found {type(store).__name__}")
        if not isinstance(workers, int) or workers < 1:
            raise ConfigurationError(f"workers is {workers}; write a number of threads, at least 1")
        if isinstance(put_timeout, bool) or not isinstance(put_timeout, int | float):
            found = type(put_timeout).__name__
            raise ConfigurationError(f"put_timeout: expected seconds, found {found}")
        super().__init__(MemoryStore() if store is None else store, clock=clock)
        self.workers = workers
        self.put_timeout = put_timeout
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        """Start anew: the threads, and whoever held the lock, are the parent's."""
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._signals = 0
        self._freed = 0
        self._idle = 0
        self._putting = 0
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._stopping = False
        self._at_exit = functools.partial(_close_at_exit, weakref.ref(self))

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

    def retry(self, which: str | DeliveryFilter) -> list[Delivery]:
        """Make deliveries due now, with the schedule starting again."""
        if self._closing:
            raise QueueClosedError("the queue is closed")
        try:
            return super().retry(which)
        finally:
            with self._work:
                self._start_threads(self.workers)
            self._signal(self.workers)

    def close(self, timeout: float = EXIT_TIMEOUT) -> int:
        """Take no more, finish what is due, stop the threads.

        Args:
            timeout: seconds; an attempt that still runs then is left to end by itself.

        Returns:
            how many deliveries are left undone: retries not yet due, and what time ran out for.
        """
        give_up = time.monotonic() + timeout
        with self._work:
            self._closing = True
            self._work.notify_all()
            self._room.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, give_up - time.monotonic()))
        self._stopping = True
        atexit.unregister(self._at_exit)
        return self._left()

    def _left(self) -> int:
        counts = self.counts()
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
                self._room.wait_for(lambda: self._freed != freed or self._closing, left)
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
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise QueueError("no thread can be started now; is the process exiting?") from None
            return
        self._threads.append(thread)

    def _run(self) -> None:
        """Perform deliveries until the queue is closed."""
        while not self._stopping:
            signals = self._signals
            claimed, wait = self._claim()
            if claimed is not None:
                self._pass_on(wait)
                self._perform(claimed)
                self._free()
            elif self._drained():
                return
            else:
                self._rest(signals, wait)

    def _drained(self) -> bool:
        """Return whether the queue is closed, and nobody is just putting something."""
        return self._closing and not self._putting

    def _claim(self) -> tuple[Delivery | None, float]:
        """Return a delivery that is due, or None and the seconds until one may be."""
        try:
            now = self.clock()
            claimed = self.store.claim(now)
            due = self.store.next_due()
        except Exception as error:
            logger.error("the store fails (%s), trying again", type(error).__name__)
            return None, STORE_PAUSE
        wait = LONGEST_WAIT if due is None else (due - now).total_seconds()
        return claimed, max(0.0, min(wait, LONGEST_WAIT))

    def _pass_on(self, wait: float) -> None:
        """Have another worker take what is due as well: one that rests, or a new one."""
        if wait > 0:
            return
        with self._work:
            self._signals += 1
            self._work.notify()
            if not self._idle and len(self._threads) < self.workers and not self._stopping:
                self._start_thread()

    def _rest(self, signals: int, wait: float) -> None:
        with self._work:
            self._idle += 1
            self._work.wait_for(lambda: self._signals != signals or self._drained(), wait)
            self._idle -= 1

    def _free(self) -> None:
        with self._room:
            self._freed += 1
            self._room.notify_all()


def _close_at_exit(queue: weakref.ref[ThreadPoolQueue]) -> None:
    present = queue()
    if present is not None:
        present.close(EXIT_TIMEOUT)
