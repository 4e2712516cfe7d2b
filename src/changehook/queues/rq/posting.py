"""How deliveries become jobs."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import redis
import rq
from rq.job import Job, JobStatus

from changehook.deliveries import Delivery
from changehook.queues.rq import jobs
from changehook.queues.rq.keeping import Keeper
from changehook.queues.rq.registries import Registries

__all__ = ["TIMEOUT_BEYOND_DEADLINE", "Poster"]

DAY = 86400
TIMEOUT_BEYOND_DEADLINE = 30
WEEK = 7 * DAY


@attrs.frozen(kw_only=True)
class Poster:
    """Puts jobs into RQ.

    Args:
        registries: of the queue.
        keeper: says what a job carries.
        emitter: where the worker finds its emitter.
        timeout: returns the seconds after which an attempt for a webhook has ended for certain.
        batch: how many deliveries travel in one job.
        threads: how many of them are attempted at once.
        result_ttl, failure_ttl: seconds.
        clock: returns the present moment, aware.
    """

    registries: Registries
    keeper: Keeper
    emitter: str
    timeout: Callable[[str], float]
    batch: int
    threads: int
    result_ttl: int
    failure_ttl: int
    clock: Callable[[], datetime.datetime]

    def transaction(self) -> Any:
        """Return a pipeline that is one transaction; in a ``with`` it gives its connection back."""
        pipe = self.registries.connection.pipeline()
        pipe.multi()  # RQ does so with its first job, when it is too late if others came before
        return pipe

    def post(self, deliveries: Sequence[Delivery], pipe: Any = None) -> None:
        """Put jobs for deliveries into RQ in one transaction; what is due now travels together."""
        if not deliveries:
            return
        pipe = self.transaction() if pipe is None else pipe
        now = self.clock()
        due = [each for each in deliveries if each.due_at <= now]
        for start in range(0, len(due), self.batch):
            self._add(due[start : start + self.batch], pipe)
        for each in deliveries:
            if each.due_at > now:
                self._add([each], pipe)
        pipe.execute()

    def post_alone(self, deliveries: Sequence[Delivery]) -> None:
        """Put each delivery that has no job of its own into one, in one transaction."""
        pipe = self.transaction()
        for each in self.registries.without_job(deliveries):
            self._add([each], pipe)
        pipe.execute()

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Have Redis forget in which job of several deliveries travelled when RQ forgets the job,
        which ends now."""
        pipe = self.registries.connection.pipeline(transaction=False)
        for each in deliveries:
            pipe.expire(self.registries.index_key(each.id), self.result_ttl)
        pipe.execute()

    def move_out(self, job: Job, delivery: Delivery, again: Delivery | None) -> bool:
        """Take a delivery out of its job of several, in one transaction.

        Args:
            job: as it was looked at.
            delivery: one of those in it.
            again: the delivery as it is to have a job of its own; None to forget it.

        Returns:
            whether that was done: not when the job is or was changed, as by a worker.
        """
        own = [] if again is None else self.registries.without_job([again])
        with self.registries.connection.pipeline() as pipe:
            pipe.watch(job.key)  # type: ignore[no-untyped-call] # redis leaves it untyped
            kept = [jobs.state_of(each) for each in self.registries.fetched([job.id])]
            if kept != [jobs.state_of(job)]:
                return False
            jobs.move(job, delivery.id)
            pipe.multi()
            job.save(pipeline=pipe)
            for each in own:
                self._add([each], pipe)
            pipe.delete(self.registries.index_key(delivery.id))
            try:
                pipe.execute()
            except redis.WatchError:
                return False
        return True

    def post_instead(self, job: Job, delivery: Delivery) -> None:
        """Put a delivery into a new job in place of its old one, in one transaction."""
        pipe = self.transaction()
        self.registries.forget(job, pipe)
        self._add([delivery], pipe)
        pipe.execute()

    def _add(self, deliveries: Sequence[Delivery], pipe: Any) -> None:
        first = deliveries[0]
        alone = len(deliveries) == 1
        job_id = jobs.job_id_of(first.id) if alone else jobs.BATCH + uuid.uuid4().hex
        waits = alone and first.due_at > self.clock()
        queue = self.registries.queue
        settings: dict[str, Any] = {
            "args": (self.emitter, [self.keeper.message(each) for each in deliveries]),
            "timeout": self._timeout(deliveries),
            "result_ttl": self.result_ttl,
            "failure_ttl": self.failure_ttl,
            "description": _description(deliveries),
            "job_id": job_id,
            "retry": rq.Retry(max=jobs.LIVES),
        }
        if waits:
            job = queue.create_job(jobs.PERFORM, status=JobStatus.SCHEDULED, **settings)
            queue.schedule_job(job, _whole_second(first.due_at), pipeline=pipe)
        else:
            queue.enqueue_many([queue.prepare_data(jobs.PERFORM, **settings)], pipeline=pipe)
        for each in () if alone else deliveries:
            key = self.registries.index_key(each.id)
            pipe.set(key, job_id, ex=max(self.result_ttl, self.failure_ttl) + WEEK)

    def _timeout(self, deliveries: Sequence[Delivery]) -> int:
        """Return the seconds that RQ gives a job: more than its attempts take."""
        longest = max(self.timeout(each.webhook) for each in deliveries)
        turns = math.ceil(len(deliveries) / self.threads)
        return math.ceil(turns * longest) + TIMEOUT_BEYOND_DEADLINE


def _description(deliveries: Sequence[Delivery]) -> str:
    """Return what RQ logs of a job: no data."""
    names = ", ".join(sorted({each.webhook for each in deliveries}))
    one = len(deliveries) == 1
    what = f"delivery {deliveries[0].id}" if one else f"{len(deliveries)} deliveries"
    return f"{what} to {names}"[:200]


def _whole_second(moment: datetime.datetime) -> datetime.datetime:
    """Return the first whole second that is not earlier: RQ cuts parts of one off."""
    return moment.replace(microsecond=0) + datetime.timedelta(seconds=bool(moment.microsecond))
