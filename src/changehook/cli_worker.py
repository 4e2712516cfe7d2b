"""``changehook worker``: performs deliveries in a process of its own, until a signal stops it."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from changehook.arguments import (
    ALLOW,
    check_shared,
    command,
    count,
    emitter_at,
    located,
    network_of,
)
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.emitter import Emitter
from changehook.errors import ConfigurationError, QueueError
from changehook.interfaces import InspectableQueue
from changehook.printing import DONE, complain, put_out
from changehook.queues.threads import ThreadPoolQueue
from changehook.sources import FileSource
from changehook.stores.sqlite import SQLiteStore

__all__ = ["add_worker"]

STOP_TIME = 30.0
LOOK_EVERY = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNFINISHED = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERING)
WORKERS = 8


def add_worker(commands: Any) -> None:
    """Add ``worker``."""
    add = command(commands, _worker)
    add("store", metavar="STORE", nargs="?", help="the SQLite file; it is made if need be")
    add("file", metavar="FILE", nargs="?", help="the webhooks; read again when the file changes")
    place = "the emitter to work for, or a function that returns it; in place of STORE and FILE"
    add("--emitter", metavar="MODULE:NAME", help=place)
    add("--rq", action="store_true", help="be a worker of RQ, for an emitter with an RQQueue")
    add("--workers", metavar="N", type=count, help="how many deliveries at once (8)")
    add("--allow", metavar="NETWORK", action="append", default=[], help=ALLOW)
    add("--until-empty", action="store_true", help="end when no delivery waits, also for a retry")
    disk = "NORMAL: faster, and a power cut may lose what was written last (FULL)"
    add("--synchronous", choices=("FULL", "NORMAL"), help=disk)


def _worker(options: argparse.Namespace) -> int:
    """Perform the deliveries that a SQLite file keeps.

    With the webhooks of FILE; or for an emitter of your application, which is imported. SIGTERM or
    CONTROL-C stops it: it finishes the attempts that are being made, within 30 seconds, or with
    --rq however long they take, and says how many deliveries are left. A second signal ends it at
    once. With --json, each event is one line of JSON.

    example: changehook worker webhooks.db webhooks.toml --allow internal
    example: changehook worker --emitter myapp.hooks:emitter
    example: changehook worker --rq --emitter myapp.hooks:emitter
    """
    if options.rq and not options.emitter:
        raise ConfigurationError("--rq: needs --emitter MODULE:NAME, whose queue is an RQQueue")
    emitter, what = _imported(options) if options.emitter else _built(options)
    _log_to_stderr()
    if options.rq:
        return _rq_worker(options, emitter, what)
    queue = emitter.queue
    if options.until_empty and not isinstance(queue, InspectableQueue):
        raise ConfigurationError("--until-empty: the queue of this emitter cannot be looked into")
    left = 0
    with _Signals() as signals:
        _say(options, "started", f"working on {what}; CONTROL-C stops it", on=what)
        try:
            emitter.start()
            while not signals.wait(LOOK_EVERY if options.until_empty else None):
                if options.until_empty and _is_empty(queue):
                    break
            else:
                _say_stopping(options)
        finally:
            left = emitter.close(STOP_TIME)
        _say(options, "stopped", f"stopped; deliveries left: {left}", left=left)
    return DONE


def _rq_worker(options: argparse.Namespace, emitter: Emitter, what: str) -> int:
    """Work as RQ's workers do, with a scheduler."""
    queue: Any = emitter.queue
    try:
        worker = queue.worker()
        worker.on_stop = lambda: _say_stopping(options)
        for each in SIGNALS:
            signal.signal(each, worker.request_stop)
        idle = None
        if options.until_empty:
            # Twice, as RQ's scheduler may move a job while the places that hold jobs are read.
            worker.is_needed = lambda: not (_is_empty(queue) and _is_empty(queue))
            idle = 1
        _say(options, "started", f"working on {what}; CONTROL-C stops it", on=what)
        emitter.start()
        queue.adopt()
        worker.work(with_scheduler=True, max_idle_time=idle, logging_level="WARNING")
        unknown = _unfinished(queue) is None
    finally:
        closed = emitter.close(STOP_TIME)
    left = None if unknown else closed
    shown = "unknown" if unknown else closed
    _say(options, "stopped", f"stopped; deliveries left: {shown}", left=left)
    if worker.stopped or worker.is_done:
        return DONE
    raise QueueError("the worker of RQ ended by itself; its log says why")


def _say(options: argparse.Namespace, event: str, text: str, **values: Any) -> None:
    put_out(json.dumps({"event": event, **values}) if options.json else text)


def _say_stopping(options: argparse.Namespace) -> None:
    # A handler of signals may call this while a line is being printed, or during an attempt.
    with contextlib.suppress(OSError, RuntimeError):
        if options.json:
            _say(options, "stopping", "")
        else:
            complain("finishing the attempts that are being made; another signal ends it at once")


def _is_empty(queue: Any) -> bool:
    return _unfinished(queue) == 0  # not when the store fails, as the workers try again


def _unfinished(queue: InspectableQueue) -> int | None:
    """Return how many deliveries are unfinished; None when they cannot be counted."""
    try:
        counts = queue.counts()
    except QueueError:
        return None
    return sum(counts[status] for status in UNFINISHED)


class _Signals:
    """Waits for SIGTERM or SIGINT; the second one ends the process.

    Python runs a handler between two steps of its own: a signal that comes between the last of
    them and the system call that waits would be seen only when the call returns. So the
    interpreter is told to write the signal's number to a pipe at once (``signal.set_wakeup_fd``).
    """

    def __enter__(self) -> _Signals:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._came = False
        self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._before = {each: signal.signal(each, self._handle) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)
        signal.set_wakeup_fd(self._woken)
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, timeout: float | None) -> bool:
        """Return whether a signal came, at most ``timeout`` seconds from now."""
        ready = select.select([self._reading], [], [], timeout)[0]
        return bool(ready) and any(each in SIGNALS for each in os.read(self._reading, 64))

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._came:
            os._exit(128 + number)
        self._came = True


def _built(options: argparse.Namespace) -> tuple[Emitter, str]:
    """Return an emitter over the file of deliveries, with the webhooks of the other file."""
    if options.file is None:
        raise ConfigurationError("write STORE and FILE, or --emitter MODULE:NAME")
    try:
        source = FileSource(options.file)
    except ConfigurationError as error:
        raise located(options.file, error) from None
    network = network_of(options.allow)
    new = "" if Path(options.store).exists() else ", a new file,"
    store = SQLiteStore(options.store, synchronous=options.synchronous or "FULL")

    def tell(delivery: Delivery) -> None:
        _say(options, "attempted", "", **_outcome(delivery))

    emitter = Emitter(
        webhooks=source,
        queue=ThreadPoolQueue(store, workers=options.workers or WORKERS),
        network=network,
        listeners=[tell] if options.json else [],
    )
    return emitter, f"{options.store}{new} with the webhooks of {options.file}"


def _outcome(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "webhook": delivery.webhook,
        "status": str(delivery.status),
        "attempts": len(delivery.attempts),
        "reason": delivery.reason,
    }


def _imported(options: argparse.Namespace) -> tuple[Emitter, str]:
    """Return the emitter of an application."""
    words = (options.store, options.file, options.workers, options.allow, options.synchronous)
    if options.rq and options.workers:
        raise ConfigurationError(
            "--workers: a worker of RQ makes one job at a time, so start several of them; "
            "for the deliveries of one job, RQQueue has the argument threads"
        )
    if any(words):
        raise ConfigurationError(
            "--emitter: takes no STORE, FILE, --workers, --allow or --synchronous; "
            "the emitter has its own"
        )
    emitter = emitter_at(options.emitter)
    _check(emitter, options.emitter, options.rq)
    return emitter, f"the queue of {options.emitter}"


def _check(value: Emitter, place: str, rq: bool) -> None:
    if rq and not _is_of_rq(value.queue):
        found = type(value.queue).__name__
        raise ConfigurationError(f"--rq: the queue of {place} is no RQQueue, but {found}")
    if not rq and _is_of_rq(value.queue):
        raise ConfigurationError(
            f"--emitter: {place} has an RQQueue, on which the workers of RQ work; add --rq"
        )
    if _is_of_celery(value.queue):
        raise ConfigurationError(
            f"--emitter: {place} has a CeleryQueue, on which the workers of Celery work; "
            f"start one: celery -A {place.partition(':')[0]} worker"
        )
    check_shared(value, place, "no worker")


def _is_of_rq(queue: object) -> bool:
    module = sys.modules.get("changehook.queues.rq")  # RQ may not be installed
    return module is not None and isinstance(queue, module.RQQueue)


def _is_of_celery(queue: object) -> bool:
    module = sys.modules.get("changehook.queues.celery")  # nor Celery
    return module is not None and isinstance(queue, module.CeleryQueue)


class _Complaints(logging.Handler):
    """Prints what the library logs, with nothing that a terminal obeys."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            complain(record.getMessage())


def _log_to_stderr() -> None:
    """Show what the library logs, unless the application has its own logging."""
    if not logging.getLogger("changehook").hasHandlers():
        logger = logging.getLogger("changehook")
        logger.addHandler(_Complaints())
        logger.setLevel(logging.INFO)
