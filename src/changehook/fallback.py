"""Keeps the deliveries that a queue would not take, and moves them over when it does again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import QueueClosedError, QueueError, QueueFullError
from changehook.forks import after_fork_in_child
from changehook.interfaces import Queue, Store

__all__ = ["Fallback", "put_on"]

PAGE = 100
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

logger = logging.getLogger(__name__)


def put_on(queue: Queue, deliveries: Sequence[Delivery]) -> None:
    """Put deliveries on a queue.

    Raises:
        QueueError: it did not take them, whatever it raised.
    """
    try:
        queue.put(deliveries)
    except QueueError:
        raise
    except Exception as error:
        raise QueueError(f"the queue failed ({type(error).__name__})") from error


class Fallback:
    """A store that stands in for a queue. While it holds anything, all that is new joins it, so
    that the deliveries reach the queue in the order in which they were made.

    Args:
        store: keeps the deliveries.
        put: puts deliveries on the queue, and passes over those that it has.
        wait: waits for an event and a time in seconds, and returns whether the event came.
    """

    def __init__(
        self,
        store: Store,
        put: Callable[[Sequence[Delivery]], None],
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.store = store
        self._put = put
        self._wait = wait
        self._closed = threading.Event()
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._mover: threading.Thread | None = None
        self._page = PAGE
        self.holds = False

    def start(self) -> None:
        """Move over what was kept before, if there is any."""
        with self._lock:
            if self.store.oldest(1):
                self._hold()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries on the queue; keep them if it does not take them, or some wait already.

        Raises:
            QueueError: they could not be kept.
        """
        if self.holds:
            self.take(deliveries)
            return
        try:
            self._put(deliveries)
        except QueueError as error:
            logger.warning("the queue took no deliveries (%s), the fallback does", error)
            self.take(deliveries)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Keep deliveries until the queue takes them.

        Raises:
            QueueError: they could not be kept.
        """
        with self._lock:
            self.store.add(deliveries)
            self._hold()

    def close(self, timeout: float) -> int:
        """Stop moving; return how many deliveries are held."""
        self._closed.set()
        mover = self._mover
        if mover is not None:
            mover.join(timeout)
        return self.store.counts()[DeliveryStatus.PENDING]

    def _hold(self) -> None:
        self.holds = True
        if self._mover is None and not self._closed.is_set():
            mover = threading.Thread(target=self._move, name="changehook-fallback", daemon=True)
            try:
                mover.start()
            except RuntimeError:
                logger.error("no thread can be started to move deliveries over; they are kept")
                return
            self._mover = mover

    def _move(self) -> None:
        """Move deliveries over until none is left, or the queue or this is closed."""
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            try:
                if not self._move_page():
                    return
                pause = FIRST_PAUSE
            except QueueFullError:
                # It takes all of a page or none, and may have room for some.
                pause = self._pause(pause) if self._page == 1 else FIRST_PAUSE
                self._page = max(1, self._page // 2)
            except QueueClosedError:
                logger.error("the queue is closed; the fallback keeps its deliveries")
                return
            except Exception as error:
                problem = str(error) if isinstance(error, QueueError) else type(error).__name__
                logger.warning("the fallback keeps its deliveries: %s", problem)
                pause = self._pause(pause)

    def _pause(self, seconds: float) -> float:
        """Wait, and return how long to wait the next time."""
        self._wait(self._closed, seconds)
        return min(2 * seconds, LONGEST_PAUSE)

    def _move_page(self) -> bool:
        """Move the oldest deliveries over; return whether there were any."""
        with self._lock:
            page = self.store.oldest(self._page)
            if not page:
                self.holds, self._mover = False, None
                logger.info("the fallback is empty, the queue takes deliveries again")
                return False
        self._put(page)
        self.store.remove(page)
        self._page = min(2 * self._page, PAGE)
        return True
