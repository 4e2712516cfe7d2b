"""The worker of RQ that makes its attempts in its own process."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
import rq
from rq.job import Job

from changehook.errors import ChangehookError, GivenUpError, QueueError
from changehook.queues.rq import jobs
from changehook.queues.rq.posting import TIMEOUT_BEYOND_DEADLINE

__all__ = ["MINUTE", "DeliveryWorker"]

MINUTE = 60

logger = logging.getLogger(__name__)
_silent = logging.Logger("silent", logging.CRITICAL + 1)


class DeliveryWorker(rq.SimpleWorker):
    """A worker that makes its attempts in its own process, without a fork for each job.

    ``stopped`` says whether a signal ended it, and ``is_needed`` whether one with a
    ``max_idle_time`` goes on all the same. It looks once a minute, where RQ's own do so every ten,
    for jobs whose worker died, and whether its scheduler is alive; then it calls ``upkeep``.
    """

    upkeep: Callable[[], object] = staticmethod(lambda: None)
    is_needed: Callable[[], bool] = staticmethod(lambda: False)
    stopped = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.worker_ttl = MINUTE + 15  # RQ waits for a job 15 seconds less
        self._upkeep_fails = False

    def run_maintenance_tasks(self) -> None:
        """Do what RQ does, and the upkeep."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call] # RQ leaves it untyped
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
        return found

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the job that runs."""
        self.stopped = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ leaves it untyped

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
        with contextlib.suppress(redis.RedisError):
            super().teardown()  # type: ignore[no-untyped-call] # RQ leaves it untyped

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Return after how many seconds without a sign a job counts as abandoned."""
        if not jobs.is_ours(job.id):
            return super().get_heartbeat_ttl(job)
        return int(job.timeout or 0) + TIMEOUT_BEYOND_DEADLINE
