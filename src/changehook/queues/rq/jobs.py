"""What an RQ job of ours holds: deliveries as JSON text, and in its meta what became of each."""

from __future__ import annotations

import binascii
import datetime
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import redis
from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError

__all__ = [
    "BATCH",
    "LIVES",
    "PERFORM",
    "TO_BE_RUN",
    "aware",
    "deaths",
    "deliveries_of",
    "end",
    "is_batch",
    "is_moved",
    "is_ours",
    "is_revived",
    "job_id_of",
    "keep",
    "messages_of",
    "move",
    "moved",
    "outcome",
    "revive",
    "save",
    "state_of",
    "trouble_of",
    "view",
    "with_lost",
]

PERFORM = "changehook.queues.rq.perform"
LIVES = 3
"""How often a job is run again whose worker died, since the last attempt that came to an end."""

TO_BE_RUN = (JobStatus.QUEUED, JobStatus.DEFERRED, JobStatus.STARTED)
"""The statuses of jobs that a worker has, or takes next, without anybody's doing."""

ONE, HEX, BATCH = "changehook-d-", "changehook-h-", "changehook-b-"
STATE = ("status", "due_at", "attempt_number", "attempts", "body", "reason", "revision")
_STATES, _MOVED, _PAYLOAD = "deliveries", "moved", "payload"
_LIVES, _TROUBLE = "lives", "trouble"
DEAD = ("AbandonedJobError", "stuck in intermediate queue", "Work-horse terminated")
"""What RQ writes of a job whose worker died."""

logger = logging.getLogger(__name__)

_plain = re.compile(r"[A-Za-z0-9_-]+").fullmatch


def job_id_of(delivery_id: str) -> str:
    """Return the id of the job that carries one delivery; RQ allows fewer characters than we do."""
    if _plain(delivery_id):
        return ONE + delivery_id
    return HEX + binascii.hexlify(delivery_id.encode()).decode()


def is_ours(job_id: str) -> bool:
    """Return whether a job carries deliveries: the queue may be shared with others."""
    return job_id.startswith((ONE, HEX, BATCH))


def is_batch(job_id: str) -> bool:
    """Return whether a job carries several."""
    return job_id.startswith(BATCH)


def messages_of(job: Job) -> list[str]:
    """Return the deliveries as they were put, as JSON text."""
    return list(job.args[1])


def deliveries_of(job: Job) -> list[Delivery]:
    """Return the deliveries that this job carries, each in its newest state.

    Raises:
        ConfigurationError: another release wrote a message that this one cannot read.
    """
    states = job.meta.get(_STATES, {})
    return [
        delivery
        for message in messages_of(job)
        if (delivery := _restored(message, states)) is not None
    ]


def _restored(message: str, states: dict[str, Any]) -> Delivery | None:
    delivery = Delivery.from_json(message)
    state = states.get(delivery.id)
    if state is None:
        return delivery
    if state == _MOVED:
        return None
    values = {**json.loads(message), **state}
    if state["body"] == {_PAYLOAD: True}:
        values["body"] = delivery.payload
    return Delivery.from_json(json.dumps(values))


def keep(job: Job, deliveries: Sequence[Delivery]) -> None:
    """Write the newest states into the job's meta; the caller saves it."""
    states = job.meta.setdefault(_STATES, {})
    for delivery in deliveries:
        values = json.loads(delivery.to_json())
        state = {name: values[name] for name in STATE}
        if delivery.body == delivery.payload:
            state["body"] = {_PAYLOAD: True}
        states[delivery.id] = state


def move(job: Job, delivery_id: str) -> None:
    """Note in the job's meta that a delivery is no longer its own; the caller saves it."""
    job.meta.setdefault(_STATES, {})[delivery_id] = _MOVED


def state_of(job: Job) -> tuple[JobStatus | None, dict[str, Any]]:
    """Return what is different after anybody had to do with a job."""
    return job.get_status(refresh=False), dict(job.meta)


def moved(job: Job) -> set[str]:
    """Return the ids of the deliveries that are no longer this job's own."""
    return {key for key, state in job.meta.get(_STATES, {}).items() if state == _MOVED}


def is_moved(job: Job) -> bool:
    """Return whether no delivery is left in a job."""
    return len(moved(job)) == len(messages_of(job))


def deaths(job: Job) -> int:
    """Return how many workers died with this job since that was last looked at."""
    return max(0, int(job.meta.get(_LIVES, LIVES)) - (job.retries_left or 0))


def revive(job: Job) -> None:
    """Give a job all its lives; the caller saves it, and RQ does so when the job ends."""
    job.meta[_LIVES] = job.retries_left = LIVES
    job.meta.pop(_TROUBLE, None)


def end(job: Job, trouble: str = "") -> None:
    """Note that what the job raises next is its end, and no accident: RQ is not to run it again.

    Args:
        job: the job.
        trouble: why its deliveries cannot even be attempted.
    """
    job.meta[_LIVES] = job.retries_left = 0
    if trouble:
        job.meta[_TROUBLE] = trouble
    try:
        save(job)
    except redis.RedisError as error:
        kind = type(error).__name__
        logger.error("job %s: what came of it cannot be written (%s)", job.id, kind)


def trouble_of(job: Job) -> str | None:
    """Return why the deliveries of a job could not even be attempted, None if they could."""
    trouble: str | None = job.meta.get(_TROUBLE)
    return trouble


def is_revived(job: Job) -> bool:
    """Return whether someone has RQ run a job again that had come to its end."""
    return job.meta.get(_LIVES) == 0 and not job.retries_left


def save(job: Job) -> None:
    """Write the job's meta.

    Raises:
        redis.RedisError: it cannot be written; RQ writes it when the job is to be run again.
    """
    job.save_meta()  # type: ignore[no-untyped-call] # RQ leaves it untyped


def with_lost(delivery: Delivery, number: int, now: Any) -> Delivery:
    """Return a delivery with an attempt on record for each worker that died with it."""
    for _ in range(number if delivery.status is DeliveryStatus.PENDING else 0):
        delivery = delivery.claimed().lease_expired(now)
    return delivery


def outcome(delivery: Delivery) -> dict[str, Any]:
    """Return what a finished job shows as its result."""
    last = delivery.attempts[-1] if delivery.attempts else None
    return {
        "delivery": delivery.id,
        "webhook": delivery.webhook,
        "status": str(delivery.status),
        "attempts": len(delivery.attempts),
        "response": None if last is None else last.status,
    }


def view(job: Job, now: Any) -> list[Delivery]:
    """Return the deliveries of a job as an operator is shown them: RQ knows of the job what its
    meta does not say. What another release wrote is for RQ's own tools."""
    status = job.get_status(refresh=False)
    try:
        deliveries = deliveries_of(job)
    except (ConfigurationError, DeserializationError):
        return []
    return [_viewed(each, job, status, now) for each in deliveries]


def _viewed(delivery: Delivery, job: Job, status: JobStatus, now: Any) -> Delivery:
    if status is JobStatus.QUEUED and delivery.status.finished and is_revived(job):
        return delivery.retried(aware(job.enqueued_at or now))  # by RQ's own tools
    if delivery.status is not DeliveryStatus.PENDING:
        return delivery
    if status is JobStatus.STARTED:
        return delivery.claimed()
    if status is JobStatus.FAILED and (trouble := trouble_of(job)):
        return delivery.given_up(trouble)
    if status is JobStatus.FAILED and (error := _error_of(job)) is not None:
        return delivery.given_up(f"RQ could not have its job run: {error}")
    if status is JobStatus.FAILED:
        lost = with_lost(delivery, deaths(job) + 1, aware(job.ended_at or delivery.created_at))
        return lost.given_up("lost: RQ gave its job up, because its workers died")
    if status in (JobStatus.STOPPED, JobStatus.CANCELED):
        return delivery.given_up(f"its job was {status.value} in RQ")
    return delivery


def _error_of(job: Job) -> str | None:
    """Return the class of the error of a failed job, None if its workers died."""
    result = job.latest_result()
    text = (result and result.exc_string) or DEAD[0]
    if any(words in text for words in DEAD):
        return None
    last = text.strip().splitlines()[-1]
    return re.split(r"[^\w.]", last, maxsplit=1)[0].rpartition(".")[2]


def aware(moment: datetime.datetime) -> datetime.datetime:
    """Return a moment that RQ tells, which in older releases is without a time zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
