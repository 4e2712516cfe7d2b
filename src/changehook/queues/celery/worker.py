"""What a Celery worker starts and stops with itself, and the thread that looks after a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps
from celery.worker import state

__all__ = ["Ticker", "busy", "carries_another", "with_worker"]


class Ticker:
    """Calls a function now and then on a daemon thread, once started and until stopped.

    Args:
        function: must not raise.
        every: seconds.
    """

    def __init__(self, function: Callable[[], None], every: float) -> None:
        self._function = function
        self._every = every
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                self._stopped = threading.Event()
                target = self._run
                self._thread = threading.Thread(
                    target=target, args=(self._stopped,), name="changehook-celery", daemon=True
                )
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """Have the thread end, and wait for that at most ``timeout`` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread not in (None, threading.current_thread()):
            thread.join(timeout)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._function()
            stopped.wait(self._every)


class _WorkerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    requires = ("celery.worker.components:Pool",)  # its processes are forked before the thread
    serve: Callable[[int, Sequence[str]], None]
    rest: Callable[[], None]

    def start(self, worker: Any) -> None:
        type(self).serve(worker.concurrency, tuple(worker.app.amqp.queues.consume_from))

    def stop(self, worker: Any) -> None:
        type(self).rest()

    terminate = stop


def with_worker(
    app: Any, serve: Callable[[int, Sequence[str]], None], rest: Callable[[], None]
) -> None:
    """Have each worker of an app call a function when it starts, and another when it stops.

    Args:
        app: the Celery application.
        serve: called with how many tasks the worker performs at once, and the names of its queues.
        rest: called without arguments.
    """
    functions = {"serve": staticmethod(serve), "rest": staticmethod(rest)}
    app.steps["worker"].add(type("Deliveries", (_WorkerStep,), functions))


def carries_another(app: Any) -> bool:
    """Return whether ``with_worker`` was called for an app."""
    steps = app.steps["worker"]
    return any(isinstance(step, type) and issubclass(step, _WorkerStep) for step in steps)


def busy() -> int:
    """Return how many tasks the worker of this process performs, of whatever kind."""
    return len(state.active_requests)
