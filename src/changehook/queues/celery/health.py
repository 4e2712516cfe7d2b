"""What the figures of a store say about its Celery workers and sweeps. No I/O."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from changehook.inspection import SWEEPER, QueueStats, WorkerHeartbeat

__all__ = ["NO_SWEEP", "another_sweeps", "problems_of"]

NO_SWEEP = 120.0  # seconds
LATE = 300.0


def problems_of(stats: QueueStats, now: datetime.datetime) -> list[str]:
    """Return what keeps deliveries from being made, in words."""
    problems = []
    if not any(each.is_alive(now) for each in stats.workers):
        problems.append("no Celery worker has reported within the last minute")
    sweeps = [each for each in stats.workers if each.worker == SWEEPER]
    if not any(_age(each, now) < NO_SWEEP for each in sweeps):
        problems.append(
            "nobody sweeps, so no retry is made: "
            "have beat send changehook.sweep, or give CeleryQueue sweep_every"
        )
    late = stats.age_of_oldest_due or 0.0
    if late > LATE:
        problems.append(f"the oldest delivery that is due has been so for {late:.0f} seconds")
    return problems


def another_sweeps(
    workers: Iterable[WorkerHeartbeat], me: WorkerHeartbeat, now: datetime.datetime, within: float
) -> bool:
    """Return whether another process swept within so many seconds."""
    return any(
        each.worker == SWEEPER
        and (each.host, each.pid) != (me.host, me.pid)
        and _age(each, now) < within
        for each in workers
    )


def _age(heartbeat: WorkerHeartbeat, now: datetime.datetime) -> float:
    return abs((now - heartbeat.seen_at).total_seconds())
