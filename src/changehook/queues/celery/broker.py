"""The two tasks, and the messages that have Celery workers carry them out."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from changehook.deliveries import Delivery
from changehook.errors import ConfigurationError
from changehook.forks import after_fork_in_child, around_fork

try:
    import celery
    from celery import signals
except ImportError as error:
    raise ImportError('CeleryQueue needs Celery: pip install "changehook[celery]"') from error

__all__ = ["Broker"]

DELIVER = "changehook.deliver"
SWEEP = "changehook.sweep"
PATIENCE = 1.0  # seconds for the broker to answer
SILENCE = 5.0  # seconds without messages after it did not
CONNECTIONS = 2  # one is used, and one may be lost
FORK_PATIENCE = 5.0  # seconds
LINGER = 0.02  # seconds that an id waits for others to share a message with
TOGETHER = 8  # ids in one message, all of one webhook, because they are performed in turn
# Limits of the app may be shorter than attempts, which they would end as failures.
SOFT_TIME_LIMIT = 2700
TIME_LIMIT = 2730
QUICKLY = {
    "socket_timeout": PATIENCE,
    "socket_connect_timeout": PATIENCE,
    "interval_start": 0,
    "interval_step": 0,
}

logger = logging.getLogger(__name__)


class Broker:
    """Sends ids of deliveries to the workers of a Celery app, from a thread of its own, so that no
    host waits for a broker. One that did not answer is left alone for 5 seconds.

    Args:
        app: the Celery application.
        task_queue: the name of Celery's queue for the messages; None for what the app's routes say.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, app: Any, task_queue: str | None) -> None:
        if not isinstance(app, celery.Celery):
            raise ConfigurationError(f"app: expected a Celery, found {type(app).__name__}")
        if task_queue is not None and (not isinstance(task_queue, str) or not task_queue):
            raise ConfigurationError("task_queue: expected the name of a queue of Celery, or None")
        self.app = app
        self.task_queue = task_queue
        self._options = {} if task_queue is None else {"queue": task_queue}
        self._inherited: list[Any] = []
        self._pool: Any = None
        self._held = False
        self._forked()
        around_fork(self._before_fork, self._after_fork)
        after_fork_in_child(self._forked)
        self._at_exit = functools.partial(_flush_at_exit, weakref.ref(self))
        # A process of a pool runs no atexit. Older Celery takes the methods of two objects for one.
        signals.worker_process_shutdown.connect(self._process_ends, dispatch_uid=object())

    def _before_fork(self) -> None:
        """Let no child be forked while Celery is at work: it would hold locks there for ever."""
        self._held = self._sending.acquire(timeout=FORK_PATIENCE)

    def _after_fork(self) -> None:
        if self._held:
            self._sending.release()

    def _forked(self) -> None:
        """Start anew, with connections of this process; those of the parent are left alone."""
        self._inherited.append(self._pool)
        self._pool = None
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._waiting: list[Delivery] = []
        self._sending = threading.RLock()  # an eager task may emit changes
        self._sender: threading.Thread | None = None
        self._reached = False
        self._quiet_until = 0.0

    def register(
        self,
        deliver: Callable[[str], None],
        sweep: Callable[[], object],
        end: Callable[[], None],
    ) -> None:
        """Add the two tasks to the app.

        Args:
            deliver: makes an attempt of the delivery of an id.
            sweep: sends messages for what is due.
            end: is called when a process of a worker's pool ends.
        """
        self._end = end

        def deliver_all(ids: list[str]) -> None:
            for delivery_id in ids:
                deliver(delivery_id)

        def sweep_once() -> None:
            sweep()

        options = {
            "shared": False,
            "serializer": "json",
            "ignore_result": True,
            "soft_time_limit": SOFT_TIME_LIMIT,
            "time_limit": TIME_LIMIT,
        }
        late = {"acks_late": True, "reject_on_worker_lost": True}
        self._deliver = self.app.task(name=DELIVER, **options, **late)(deliver_all)
        self.app.task(name=SWEEP, **options)(sweep_once)

    def target(self) -> str | None:
        """Return the name of Celery's queue for the messages; None where routes do not say it."""
        if self.task_queue is not None:
            return self.task_queue
        with contextlib.suppress(Exception):  # routes may be functions of the host
            route = self.app.amqp.router.route({}, DELIVER)
            name: str = route["queue"].name
            return name
        return None

    def tell(self, deliveries: Sequence[Delivery]) -> None:
        """Have messages sent soon for deliveries that are due; at once where Celery is eager."""
        if not deliveries:
            return
        with self._lock:
            self._waiting += deliveries
            eager = self.app.conf.task_always_eager or not self._has_sender()
            self._came.notify()
        if eager:
            self.flush()

    def flush(self) -> None:
        """Send what waits to be sent."""
        with self._sending:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            self._send(waiting)

    def send(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Send messages, as long as the broker takes them; return the deliveries they told of."""
        with self._sending:
            return self._send(deliveries)

    def _send(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        batches = _batches(deliveries)
        sent: list[Delivery] = []
        while batches and time.monotonic() >= self._quiet_until:
            try:
                with self._producer() as producer:
                    while batches:
                        arguments = ([each.id for each in batches[0]],)
                        self._deliver.apply_async(
                            arguments, producer=producer, retry=False, **self._options
                        )
                        sent += batches.pop(0)
                        self._reached = True
            except Exception as error:
                if self._reached:  # the connection may only have been closed meanwhile
                    self._reached = False
                    continue
                self._quiet_until = time.monotonic() + SILENCE
                kind = type(error).__name__
                logger.warning(
                    "the broker takes no messages (%s); a sweep tells the workers later", kind
                )
        return sent

    def silence(self) -> str | None:
        """Return in words that the broker does not answer, None when it does."""
        try:
            with self._connection() as connection:
                connection.default_channel  # noqa: B018 - this connects
        except Exception as error:
            return f"the broker does not answer ({type(error).__name__})"
        return None

    def close(self) -> None:
        """Send what waits, and close the connections; sending afterwards opens new ones."""
        self.flush()
        atexit.unregister(self._at_exit)
        with self._lock:
            self._sender = None
            self._came.notify()
            pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(Exception):
                pool.force_close_all()

    def _has_sender(self) -> bool:
        """Start the thread that sends, if need be; return whether there is one."""
        if self._sender is None:
            with contextlib.suppress(Exception):  # a broker that cannot be used is told of later
                self._connection().transport  # noqa: B018 - imports it; too late as Python exits
            sender = threading.Thread(target=self._run, name="changehook-wake-ups", daemon=True)
            try:
                sender.start()
            except RuntimeError:  # the interpreter is exiting
                return False
            self._sender = sender
            atexit.register(self._at_exit)
        return True

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                self._came.wait_for(lambda: self._waiting or self._sender is not me)
                if self._sender is not me:
                    return
            time.sleep(LINGER)
            self.flush()

    def _process_ends(self, **_: object) -> None:
        self._end()
        self.flush()

    def _connection(self) -> Any:
        connection = self.app.connection_for_write(
            connect_timeout=PATIENCE, transport_options=QUICKLY
        )
        brokers = len(connection.alt) or 1  # of several, each is asked once
        connection.transport_options |= {
            "max_retries": brokers - 1,
            "connect_retries_timeout": brokers * PATIENCE,
        }
        return connection

    @contextlib.contextmanager
    def _producer(self) -> Iterator[Any]:
        with self._lock:
            if self._pool is None:
                self._pool = self._connection().Pool(limit=CONNECTIONS)
            pool = self._pool
        with pool.acquire(block=True, timeout=PATIENCE) as connection:
            yield self.app.amqp.Producer(connection)


def _batches(deliveries: Iterable[Delivery]) -> list[list[Delivery]]:
    """Return deliveries in batches for one message each: a receiver that hangs delays its own."""
    batches: list[list[Delivery]] = []
    latest: dict[str, list[Delivery]] = {}
    for each in deliveries:
        batch = latest.get(each.webhook)
        if batch is None or len(batch) == TOGETHER:
            latest[each.webhook] = batch = []
            batches.append(batch)
        batch.append(each)
    return batches


def _flush_at_exit(broker: weakref.ref[Broker]) -> None:
    present = broker()
    if present is not None:
        present.flush()
