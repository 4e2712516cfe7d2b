"""What RQ's registries tell an operator of the deliveries, and which of them have a job."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
import rq
from rq.job import Job

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import WorkerHeartbeat
from changehook.queues.rq import jobs

__all__ = ["Registries"]

CHUNK = 500
_S = DeliveryStatus


class Registries:
    """The jobs of one RQ queue.

    Args:
        queue: the RQ queue.
        clock: returns the present moment, aware.
    """

    def __init__(self, queue: rq.Queue, clock: Callable[[], datetime.datetime]) -> None:
        self.queue = queue
        self.connection: redis.Redis = queue.connection
        self.clock = clock

    def index_key(self, delivery_id: str) -> str:
        """Return the key under which stands in which job of several a delivery travels."""
        return f"changehook:{self.queue.name}:batched:{delivery_id}"

    def fresh(self, deliveries: Sequence[Delivery], pipe: Any) -> list[Delivery]:
        """Return the deliveries that no job carries yet, each once; in one round trip, or two when
        some are said to travel with others: their job may have been deleted with RQ's tools.

        Args:
            deliveries: one or more.
            pipe: a pipeline, whose connection asks for one alone: to take another from the pool
                takes a third of the time of asking.
        """
        if len(deliveries) == 1:
            first = deliveries[0].id
            keys = Job.key_for(jobs.job_id_of(first)), self.index_key(first)
            if not pipe.immediate_execute_command("EXISTS", *keys):
                return list(deliveries)
        found = {each.id: each for each in deliveries}
        pipe = self.connection.pipeline(transaction=False)
        for delivery_id in found:
            pipe.exists(Job.key_for(jobs.job_id_of(delivery_id)))
            pipe.get(self.index_key(delivery_id))
        answers = pipe.execute()
        batches = self._existing({each.decode() for each in answers[1::2] if each})
        return [
            each
            for each, own, batch in zip(found.values(), answers[::2], answers[1::2], strict=True)
            if not own and (batch is None or batch.decode() not in batches)
        ]

    def _existing(self, ids: set[str]) -> set[str]:
        pipe = self.connection.pipeline(transaction=False)
        for each in ids:
            pipe.exists(Job.key_for(each))
        return {each for each, exists in zip(ids, pipe.execute(), strict=True) if exists}

    def without_job(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries that have no job of their own."""
        pipe = self.connection.pipeline(transaction=False)
        for each in deliveries:
            pipe.exists(Job.key_for(jobs.job_id_of(each.id)))
        return [each for each, own in zip(deliveries, pipe.execute(), strict=True) if not own]

    def jobs_of(self, deliveries: Sequence[Delivery]) -> dict[str, Job]:
        """Return the jobs that carry deliveries, by the ids of these; in three round trips."""
        own = {
            job.id: job for job in self._fetched([jobs.job_id_of(each.id) for each in deliveries])
        }
        found = {
            each.id: own[job_id]
            for each in deliveries
            if (job_id := jobs.job_id_of(each.id)) in own
        }
        others = [each.id for each in deliveries if each.id not in found]
        batches = [key.decode() if key else "" for key in self._read(others)]
        several = {job.id: job for job in self._fetched(sorted({*batches} - {""}))}
        pairs = zip(others, batches, strict=True)
        return found | {each: several[batch] for each, batch in pairs if batch in several}

    def _read(self, ids: Sequence[str]) -> list[bytes | None]:
        pipe = self.connection.pipeline(transaction=False)
        for each in ids:
            pipe.get(self.index_key(each))
        return list(pipe.execute())

    def carrying(self, delivery_id: str) -> Job | None:
        """Return the job that carries a delivery."""
        own = self._fetched([jobs.job_id_of(delivery_id)])
        if own:
            return own[0]
        batch = self.connection.get(self.index_key(delivery_id))
        found = self._fetched([batch.decode()]) if isinstance(batch, bytes) else []
        return found[0] if found else None

    def statuses(self, wanted: DeliveryStatus | None = None) -> dict[str, DeliveryStatus | None]:
        """Return the ids of our jobs, and the status of the delivery of each that carries one.

        Args:
            wanted: only jobs that may hold deliveries of this status.

        Returns:
            None for the status that the job itself has to be asked for.
        """
        queue = self.queue
        # In the order in which jobs move on, or one that moves meanwhile would not be seen; those
        # that are to be run again go back to the first.
        places: list[tuple[Any, DeliveryStatus | None, tuple[DeliveryStatus, ...]]] = [
            (queue.scheduled_job_registry.get_job_ids, _S.PENDING, (_S.PENDING,)),
            (queue.get_job_ids, _S.PENDING, (_S.PENDING, _S.FAILED, _S.SKIPPED)),
            (queue.intermediate_queue.get_job_ids, _S.PENDING, (_S.PENDING, _S.FAILED, _S.SKIPPED)),
            (self._started, _S.DELIVERING, (_S.DELIVERING, _S.PENDING)),
            (queue.scheduled_job_registry.get_job_ids, _S.PENDING, (_S.PENDING,)),
            (queue.failed_job_registry.get_job_ids, None, (_S.FAILED, _S.SKIPPED)),
            (queue.canceled_job_registry.get_job_ids, _S.FAILED, (_S.FAILED,)),
            (queue.finished_job_registry.get_job_ids, _S.DELIVERED, (_S.DELIVERED,)),
        ]
        found: dict[str, DeliveryStatus | None] = {}
        for read, status, possible in places:
            if wanted is None or wanted in possible:
                for job_id in filter(jobs.is_ours, read()):
                    found.setdefault(job_id, status)
        return found

    def _started(self) -> list[str]:
        # By default this has RQ run abandoned jobs again, which one worker at a time is to do.
        return list(self.queue.started_job_registry.get_job_ids(cleanup=False))

    def is_given_up(self, job: Job) -> bool:
        """Return whether RQ keeps a job as failed; what has been requeued it no longer does."""
        return job.id in self.queue.failed_job_registry

    def unqueue(self, job: Job) -> bool:
        """Take a job out of the queue; return whether it was there, and no worker has it yet."""
        return bool(self.connection.lrem(self.queue.key, 0, job.id))

    def jobs(self, wanted: DeliveryStatus | None) -> Iterator[Job]:
        """Yield our jobs that may hold deliveries of a status; None for any."""
        return self.fetched(list(self.statuses(wanted)))

    def fetched(self, ids: Sequence[str]) -> Iterator[Job]:
        """Yield the jobs of these ids that are kept."""
        for start in range(0, len(ids), CHUNK):
            yield from self._fetched(ids[start : start + CHUNK])

    def _fetched(self, ids: Sequence[str]) -> list[Job]:
        found = Job.fetch_many(ids, connection=self.connection, serializer=self.queue.serializer)
        return [job for job in found if job is not None]

    def forget(self, job: Job, pipe: Any) -> None:
        """Take a job out of Redis, as part of a transaction that may put it in again."""
        queue = self.queue
        queue.remove(job, pipeline=pipe)
        for registry in (
            queue.scheduled_job_registry,
            queue.failed_job_registry,
            queue.canceled_job_registry,
            queue.finished_job_registry,
        ):
            registry.remove(job, pipeline=pipe)
        pipe.delete(job.key)

    def workers(self) -> tuple[WorkerHeartbeat, ...]:
        """Return the workers of RQ that listen to this queue."""
        return tuple(
            WorkerHeartbeat(
                worker=each.name,
                host=each.hostname or "",
                pid=each.pid or 0,
                threads=1,
                busy=int(each.get_state() == "busy"),
                started_at=jobs.aware(each.birth_date or each.last_heartbeat),
                seen_at=jobs.aware(each.last_heartbeat),
            )
            for each in rq.Worker.all(queue=self.queue)
            if each.last_heartbeat is not None
        )

    def health(self) -> list[str]:
        """Return what keeps deliveries from being made, in words."""
        name = self.queue.name
        problems = []
        if not self.workers():
            problems.append(
                f'no RQ worker listens to the queue "{name}", so no delivery is made; '
                "start one: changehook worker --rq"
            )
        if self.queue.scheduler_pid is None:
            problems.append(
                f'no RQ scheduler is alive for the queue "{name}", so retries wait for ever; '
                "start a worker with one: changehook worker --rq, or rq worker --with-scheduler"
            )
        return problems
