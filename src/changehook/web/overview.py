"""The first page: is it working?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import (
    SWEEPER,
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    QueueStats,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.settings import store_of
from changehook.web.charts import DECADES, OUTCOMES, columns, spans, top_of
from changehook.web.page import Page
from changehook.web.wsgi import Answer
from changehook.webhooks import Webhook

__all__ = ["Row", "rows_of", "show"]

LATE = 60.0
FAILURES = 100
LOOK_UPS = 20
MOST_ROWS = 100
DAY = datetime.timedelta(hours=24)
RECENT = datetime.timedelta(hours=2)
BAD = frozenset({"retried", "failed", "lost"})


@attrs.frozen(kw_only=True)
class Row:
    """How one webhook fares.

    Args:
        name: of the webhook.
        webhook: its definition, None when it is gone.
        disabled: why it gets no deliveries.
        tally: how often it was asked.
        counts: attempts of the last day by outcome.
        failing: whether all attempts of the last hour or two failed.
        mean, slowest: seconds.
        failure: the last delivery whose last attempt failed, if it is known.
        failed_in: the last hour in which an attempt failed.
    """

    name: str
    webhook: Webhook | None
    disabled: DisabledWebhook | None
    tally: WebhookTally | None
    counts: dict[str, int]
    failing: bool
    mean: float | None
    slowest: float | None
    failure: Delivery | None
    failed_in: datetime.datetime | None

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return sum(count for name, count in self.counts.items() if name != "skipped")

    @property
    def rate(self) -> float | None:
        """The share of the attempts that delivered; None without any."""
        attempts = self.attempts
        return self.counts.get("delivered", 0) / attempts if attempts else None

    @property
    def percent(self) -> str:
        """The rate in words that do not round a failure away."""
        rate = self.rate
        if rate is None:
            return ""
        return f"{rate:.0%}" if rate in (0, 1) else f"{min(max(rate, 0.001), 0.999):.1%}"


def show(page: Page) -> Answer:
    """Show health, charts, webhooks and workers."""
    stats = page.queue.stats()
    rows = rows_of(page, stats)
    alive = [each for each in stats.workers if _performs(each) and each.is_alive(page.now)]
    top = top_of(stats.hours, page.now)
    return page.render(
        "overview.html",
        stats=stats,
        health=_health(page, stats, rows, alive),
        problems=_problems(page),
        alive=alive,
        workers=[each for each in stats.workers if each.threads or each.worker == SWEEPER],
        sweeper=SWEEPER,
        failing_count=sum(row.failing for row in rows),
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


def _health(
    page: Page, stats: QueueStats, rows: Sequence[Row], alive: Sequence[WorkerHeartbeat]
) -> str:
    """Return ``good``, ``warning`` or ``bad``."""
    late = stats.age_of_oldest_due or 0.0
    if late > LATE and not alive:
        return "bad"
    if late > LATE or any(row.failing for row in rows) or _problems(page):
        return "warning"
    return "good"


def _problems(page: Page) -> list[str]:
    """Return what keeps deliveries from being made, as the queue tells it."""
    problems = []
    health = getattr(page.queue, "health", None)
    if callable(health):
        problems += health()
    fallback = store_of(page.emitter.fallback)
    held = 0 if fallback is None else fallback.counts()[DeliveryStatus.PENDING]
    if held:
        problems.append(f"the queue would not take {held:,} deliveries; the fallback keeps them")
    return problems


def rows_of(page: Page, stats: QueueStats) -> list[Row]:
    """Return a row for each webhook that is defined or was used: first those in trouble, then
    those with the most attempts."""
    defined = {webhook.name: webhook for webhook in page.emitter.webhooks.all()}
    disabled = page.emitter.disabled()
    tallies = {tally.webhook: tally for tally in stats.webhooks}
    hours: dict[str, list[HourlyOutcome]] = {}
    for each in stats.hours:
        if each.hour > page.now - DAY:
            hours.setdefault(each.webhook, []).append(each)
    names = dict.fromkeys([*defined, *hours, *disabled])
    failures = _failures(page, [name for name in names if _failed_in(hours.get(name, ()))])
    rows = [
        _row(
            page,
            name,
            hours.get(name, ()),
            webhook=defined.get(name),
            disabled=disabled.get(name),
            tally=tallies.get(name),
            failure=failures.get(name),
        )
        for name in names
    ]
    return sorted(rows, key=_urgency)


def _urgency(row: Row) -> tuple[bool, bool, int, str]:
    return not row.failing, row.rate in (None, 1), -row.attempts, row.name


def _row(
    page: Page,
    name: str,
    hours: Sequence[HourlyOutcome],
    *,
    webhook: Webhook | None,
    disabled: DisabledWebhook | None,
    tally: WebhookTally | None,
    failure: Delivery | None,
) -> Row:
    counts: dict[str, int] = {}
    for each in hours:
        counts[each.outcome] = counts.get(each.outcome, 0) + each.count
    made = [each for each in hours if each.outcome not in ("skipped", "lost")]
    count = sum(each.count for each in made)
    recent = {each.outcome for each in hours if each.hour > page.now - RECENT and each.count}
    return Row(
        name=name,
        webhook=webhook,
        disabled=disabled,
        tally=tally,
        counts=counts,
        failing=bool(recent & BAD) and "delivered" not in recent,
        mean=sum(each.seconds for each in made) / count if count else None,
        slowest=max((each.slowest for each in made), default=None),
        failure=failure,
        failed_in=_failed_in(hours),
    )


def _failed_in(hours: Iterable[HourlyOutcome]) -> datetime.datetime | None:
    return max((each.hour for each in hours if each.outcome in BAD), default=None)


def _failures(page: Page, names: Sequence[str]) -> dict[str, Delivery]:
    """Return the last delivery with an error of these webhooks: those among the newest of all, and
    a bounded number that a durable store has indices to look up by."""
    newest = page.queue.find(DeliveryFilter(with_error=True), limit=FAILURES)
    found = {each.webhook: each for each in reversed(newest)}
    store = page.queue.store
    looked_up = LOOK_UPS if store is not None and store.durable else 0
    for name in [name for name in names if name not in found][:looked_up]:
        for each in page.queue.find(DeliveryFilter(webhook=name, with_error=True), limit=1):
            found[name] = each
    return found
