"""What a worker does with a job."""

from __future__ import annotations

import concurrent.futures
import datetime
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import redis
import rq
from rq.job import Job
from rq.timeouts import BaseTimeoutException

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ChangehookError, GivenUpError, QueueError
from changehook.interfaces import Perform
from changehook.queues.rq import jobs
from changehook.queues.rq.keeping import Keeper
from changehook.queues.rq.posting import Poster
from changehook.queues.stored import broken

__all__ = ["PUT_OFF", "Work", "again_in"]

FOREVER = 1_000_000  # it is our schedule that ends, and not RQ's
PUT_OFF = 10

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Work:
    """Makes the attempts of a job.

    Args:
        perform: makes one attempt.
        keeper: where the deliveries are kept.
        poster: gives a delivery of several a job of its own.
        threads: how many attempts are made at once.
        clock: returns the present moment, aware.
    """

    perform: Perform
    keeper: Keeper
    poster: Poster
    threads: int
    clock: Callable[[], datetime.datetime]

    def on(self, job: Job) -> dict[str, Any] | rq.Retry:
        """Return what came of a job, or when it is to be run again.

        Raises:
            GivenUpError: its delivery was given up.
        """
        try:
            return self._on(job, self.keeper.load(job))
        except (QueueError, redis.RedisError) as error:
            words = error if isinstance(error, QueueError) else type(error).__name__
            logger.warning("job %s: put off for %d seconds: %s", job.id, PUT_OFF, words)
            return again_in(PUT_OFF)

    def _on(self, job: Job, deliveries: list[Delivery]) -> dict[str, Any] | rq.Retry:
        if jobs.is_revived(job) and not self.poster.registries.is_given_up(job):
            return self._revived(job, deliveries)
        if not jobs.is_batch(job.id):
            return self._alone(job, deliveries[0]) if deliveries else {"deliveries": []}
        if jobs.deaths(job):
            # The one that kills its worker is to be alone.
            return self._part(job, [self.keeper.without_lost(job, one)[0] for one in deliveries])
        return self._part(job, self._together(deliveries))

    def _alone(self, job: Job, delivery: Delivery) -> dict[str, Any] | rq.Retry:
        if delivery.status.finished:
            return self._ended(job, delivery)  # RQ has not heard of it yet
        delivery, dead = self.keeper.without_lost(job, delivery)
        if dead >= jobs.LIVES:
            after = delivery.given_up(f"lost: {dead} workers died with it, one after the other")
        elif wait := self.keeper.wait(delivery, self.clock()):
            return again_in(wait)
        elif (claimed := self.keeper.claim(delivery)) is None:
            return again_in(1)
        else:
            after = self._attempted(claimed)
        self.keeper.keep(job, [after])
        return self._ended(job, after)

    def _revived(self, job: Job, deliveries: Sequence[Delivery]) -> rq.Retry:
        """Begin anew, with all the lives that RQ knows of: it runs the job once more for that."""
        again = []
        for each in deliveries:
            given_up = each.status in (DeliveryStatus.FAILED, DeliveryStatus.SKIPPED)
            again.append(self.keeper.change(each.retried(self.clock())) if given_up else each)
        self.keeper.keep(job, again)
        return again_in(0)

    def _ended(self, job: Job, after: Delivery) -> dict[str, Any] | rq.Retry:
        if after.status is DeliveryStatus.DELIVERED:
            return jobs.outcome(after)
        if after.status is DeliveryStatus.PENDING:
            return again_in((after.due_at - self.clock()).total_seconds())
        jobs.end(job)
        raise GivenUpError(
            f"delivery {after.id} to webhook {after.webhook} is {after.status}: {after.reason}"
        )

    def _together(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        pool = concurrent.futures.ThreadPoolExecutor(min(self.threads, len(deliveries) or 1))
        try:
            return list(pool.map(self._one_of_several, deliveries))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _one_of_several(self, delivery: Delivery) -> Delivery:
        waits = self.keeper.wait(delivery, self.clock())
        if delivery.status is not DeliveryStatus.PENDING or waits:
            return delivery
        after = delivery
        try:
            claimed = self.keeper.claim(delivery)
            if claimed is not None:
                after = self._attempted(claimed)
                self.keeper.note(after)
        except ChangehookError as error:  # the others go on; it gets a job of its own
            logger.error("delivery %s: %s", delivery.id, error)
        return after

    def _part(self, job: Job, deliveries: Sequence[Delivery]) -> dict[str, Any]:
        """Leave in a job what was delivered, and give the rest jobs of their own."""
        self.keeper.keep(job, deliveries)  # first, or they would be attempted again if Redis fails
        rest = [each for each in deliveries if each.status is not DeliveryStatus.DELIVERED]
        if rest:
            self.poster.post_alone(rest)
            for each in rest:
                jobs.move(job, each.id)
            jobs.save(job)
        self.poster.settle(deliveries)
        return {"deliveries": [jobs.outcome(each) for each in deliveries]}

    def _attempted(self, claimed: Delivery) -> Delivery:
        try:
            return self.perform(claimed)
        except BaseTimeoutException:  # by RQ, of a job that lasts too long: it runs again
            raise
        except Exception as error:
            kind = type(error).__name__
            logger.error("delivery %s: its attempt raised %s", claimed.id, kind)
            return broken(claimed, self.clock(), f"the attempt raised {kind}")


def again_in(seconds: float) -> rq.Retry:
    """Return what has RQ run the job again, never too early: it cuts parts of a second off."""
    return rq.Retry(max=FOREVER, interval=math.ceil(seconds) + 1 if seconds > 0 else 0)
