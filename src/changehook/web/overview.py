"""The first page: is it working?"""

from __future__ import annotations

from collections.abc import Sequence

from changehook.deliveries import DeliveryStatus
from changehook.errors import QueueError
from changehook.inspection import (
    SWEEPER,
    QueueStats,
    WorkerHeartbeat,
)
from changehook.settings import store_of
from changehook.web.charts import DECADES, OUTCOMES, columns, spans, top_of
from changehook.web.page import SOURCE_FAILS, Page
from changehook.web.rows import Row, rows_of
from changehook.web.wsgi import Answer

__all__ = ["show"]

LATE = 60.0
MOST_ROWS = 100
MOST_NAMES = 3


def show(page: Page) -> Answer:
    """Show health, charts, webhooks and workers."""
    stats = page.queue.stats()
    rows = rows_of(page, stats)
    problems = _problems(page)
    alive = [each for each in stats.workers if _performs(each) and each.is_alive(page.now)]
    top = top_of(stats.hours, page.now)
    return page.render(
        "overview.html",
        stats=stats,
        health=_health(stats, rows, alive, problems),
        problems=problems,
        alive=alive,
        workers=[each for each in stats.workers if each.threads or each.worker == SWEEPER],
        sweeper=SWEEPER,
        waits=_waits(stats),
        late=LATE,
        failing=[row for row in rows if row.failing],
        switched_off=[row for row in rows if row.is_switched_off],
        most_names=MOST_NAMES,
        rows=rows[:MOST_ROWS],
        hidden_rows=max(0, len(rows) - MOST_ROWS),
        columns=columns(stats.hours, page.now, top),
        top=top,
        spans=spans(stats.hours, page.now),
        outcomes=OUTCOMES,
        decades=DECADES,
        has_figures=page.queue.store is not None,
    )


def _performs(worker: WorkerHeartbeat) -> bool:
    return worker.worker != SWEEPER


def _waits(stats: QueueStats) -> int:
    """Return how many deliveries are not finished."""
    return sum(stats.counts[status] for status in DeliveryStatus if not status.finished)


def _health(
    stats: QueueStats,
    rows: Sequence[Row],
    alive: Sequence[WorkerHeartbeat],
    problems: Sequence[str],
) -> str:
    """Return ``good``, ``warning`` or ``bad``."""
    is_late = (stats.age_of_oldest_due or 0.0) > LATE
    waits = _waits(stats)
    if not alive and waits and (is_late or problems):
        return "bad"
    in_trouble = any(row.failing or row.is_switched_off for row in rows)
    return "warning" if is_late or problems or in_trouble or (waits and not alive) else "good"


def _problems(page: Page) -> list[str]:
    """Return what keeps deliveries from being made, as the queue tells it."""
    problems = [] if page.webhooks() is not None else [SOURCE_FAILS]
    for look in (_told_by_the_queue, _held_by_the_fallback):
        try:
            problems += look(page)
        except QueueError as error:
            problems.append(str(error))
        except Exception as error:  # a part of the host, beside what is shown
            problems.append(f"{look.__name__.strip('_').replace('_', ' ')}: {type(error).__name__}")
    return problems


def _told_by_the_queue(page: Page) -> list[str]:
    health = getattr(page.queue, "health", None)
    return list(health()) if callable(health) else []


def _held_by_the_fallback(page: Page) -> list[str]:
    fallback = store_of(page.emitter.fallback)
    held = 0 if fallback is None else fallback.counts()[DeliveryStatus.PENDING]
    return [f"the queue would not take {held:,} deliveries; the fallback keeps them"] * bool(held)
