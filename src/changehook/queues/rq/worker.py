"""The worker of RQ that makes its attempts in its own process, and its scheduler."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
import rq
from rq.exceptions import StopRequested
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.worker_registration import register

from changehook.errors import ChangehookError, GivenUpError, QueueError
from changehook.queues.rq import jobs
from changehook.queues.rq.posting import TIMEOUT_BEYOND_DEADLINE

__all__ = ["MINUTE", "DeliveryWorker", "Scheduler"]

MINUTE = 60
SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger(__name__)
_silent = logging.Logger("silent", logging.CRITICAL + 1)


class Scheduler(RQScheduler):
    """RQ's scheduler, a process of its own, which here ends soon after its worker.

    Args:
        queues, settings: as RQ takes them.
        connection: that of the worker, of which RQ's scheduler only copies the settings.
    """

    def __init__(self, queues: Any, connection: redis.Redis, **settings: Any) -> None:
        super().__init__(queues, connection, **settings)
        self._inherited = connection.connection_pool

    def start(self) -> Any:
        """Start the process; a signal that comes before it can hear waits, or it would be lost."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return super().start()  # type: ignore[no-untyped-call] # RQ leaves it untyped
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def work(self) -> None:
        """Make due what is, until it is told to stop."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # As long as anybody holds the socket of a worker that was killed while it waited for a job,
        # Redis gives the next job to it.
        self._inherited.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # they refer to themselves, so this is what closes them
        super().work()  # type: ignore[no-untyped-call] # RQ leaves it untyped

    def heartbeat(self) -> None:
        """Show that it is alive; and stop when its worker no longer is."""
        worker = multiprocessing.parent_process()
        if worker is not None and not worker.is_alive():
            self.request_stop()  # type: ignore[no-untyped-call] # RQ leaves it untyped
        super().heartbeat()  # type: ignore[no-untyped-call] # RQ leaves it untyped


class DeliveryWorker(rq.SimpleWorker):
    """A worker that makes its attempts in its own process, without a fork for each job.

    It looks once a minute, where RQ's own do so every ten, for jobs whose worker died, and whether
    its scheduler is alive. The queue sets the first two of these, and whoever runs it the next:

    - ``upkeep`` is called once a minute.
    - ``translated`` makes our errors of those of Redis.
    - ``is_needed`` says whether one with a ``max_idle_time`` goes on though nothing came.
    - ``on_stop`` is called at the first signal.
    - ``stopped`` says whether a signal ended it.
    - ``is_done`` says whether it ended because nothing came.
    """

    upkeep: Callable[[], object] = staticmethod(lambda: None)
    translated: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    is_needed: Callable[[], bool] = staticmethod(lambda: False)
    on_stop: Callable[[], object] = staticmethod(lambda: None)
    stopped = False
    is_done = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.worker_ttl = MINUTE + 15  # RQ waits for a job 15 seconds less
        self._schedules = self._runs = self._upkeep_fails = False

    def work(
        self,
        burst: bool = False,
        *arguments: Any,
        with_scheduler: bool = False,
        **settings: Any,
    ) -> bool:
        """Work until a signal comes, with a scheduler that ends when this process does.

        Raises:
            QueueError: Redis cannot be reached to begin with.
        """
        self._schedules = with_scheduler and not burst
        if with_scheduler and burst:
            settings["with_scheduler"] = True  # RQ makes due what is, without a process
        with self.translated():
            return super().work(burst, *arguments, **settings)

    def bootstrap(self, logging_level: str | None = "INFO", *formats: Any) -> None:
        """Make itself known to RQ, and start the scheduler."""
        super().bootstrap(logging_level, *formats)
        if self._schedules:
            self.scheduler = Scheduler(
                self.queues,
                connection=self.connection,
                logging_level=logging_level or self.log.level,
                serializer=self.serializer,
            )
            self.scheduler.acquire_locks(auto_start=True)  # type: ignore[no-untyped-call] # RQ's is

    def check_for_suspension(self, burst: bool) -> None:
        """Wait while RQ is suspended: the first step of each round, which a signal may end."""
        self._runs = True
        if self.stopped:
            raise StopRequested
        super().check_for_suspension(burst)

    def run_maintenance_tasks(self) -> None:
        """Do what RQ does, and the upkeep."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call] # RQ leaves it untyped
        register(self)  # again, as Redis may have lost that
        try:
            self.upkeep()
            self._upkeep_fails = False
        except QueueError as error:
            if not self._upkeep_fails:
                logger.error("the upkeep of the queue fails, and is tried again: %s", error)
            self._upkeep_fails = True

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, rq.Queue] | None:
        """Return the next job; None when there is none and it is no longer needed."""
        found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        while found is None and self.is_needed():
            found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        self.is_done = found is None
        return found

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the job that runs; at once if that was asked for before."""
        if self.scheduler is not None and os.getpid() != self.pid:  # it has none of its own yet
            self.scheduler.request_stop()  # type: ignore[no-untyped-call] # RQ leaves it untyped
            return
        if self.stopped:
            self.request_force_stop(signum, frame)
        self.stopped = True
        self.on_stop()
        if not self._runs:
            return
        with contextlib.suppress(redis.RedisError):  # else it would break off the job that runs
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ's is untyped

    def stop_scheduler(self) -> None:
        """Stop it, but not in the middle of an attempt, whose time waiting for it would take."""
        if not self._runs:
            super().stop_scheduler()  # type: ignore[no-untyped-call] # RQ leaves it untyped

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at once, as a process that is killed."""
        os._exit(128 + signum)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log what a job of ours raised without its arguments, which may hold payloads; in one line
        if it is about a delivery."""
        if not jobs.is_ours(job.id):
            super().handle_exception(job, *exc_info)
            return
        error = exc_info[1]
        known = isinstance(error, ChangehookError)
        text = str(error) if known else "".join(traceback.format_exception(*exc_info))
        level = logging.WARNING if isinstance(error, GivenUpError) else logging.ERROR
        self.log.log(level, "job %s: %s", job.id, text)
        log, self.log = self.log, _silent
        try:
            super().handle_exception(job, *exc_info)
        finally:
            self.log = log

    def teardown(self) -> None:
        """Leave; without a word to Redis if it is away, where what it knows of this one expires."""
        self._runs = False
        with contextlib.suppress(redis.RedisError):
            super().teardown()  # type: ignore[no-untyped-call] # RQ leaves it untyped

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Return after how many seconds without a sign a job counts as abandoned."""
        if not jobs.is_ours(job.id):
            return super().get_heartbeat_ttl(job)
        return int(job.timeout or 0) + TIMEOUT_BEYOND_DEADLINE
